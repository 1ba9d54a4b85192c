//! The codes of diagnostics: stable, each explained in docs/diagnostics.md.

/// A kind of diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// A file cannot be read.
    CannotRead,
    /// A block is not closed.
    UnclosedBlock,
    /// A brace where none belongs.
    UnexpectedBrace,
    /// A quote is not closed on its line.
    UnterminatedQuote,
    /// A placeholder of a template that was not filled in.
    Placeholder,
    /// An `include` that finds no file.
    IncludeNothing,
    /// A file that includes itself, or too many files.
    IncludeLoop,
    /// Definitions, `~SEQ` or `~LST` that make too much text.
    ExpansionTooLarge,
    /// A `~SEQ` or `~LST` that cannot be read.
    BadSequence,
    /// A keyword that keepalived does not know.
    UnknownKeyword,
    /// A keyword that belongs in another block.
    MisplacedKeyword,
    /// A parameter is missing.
    MissingParameter,
    /// A parameter that means nothing.
    ExtraParameter,
    /// A block is missing, or stands where none belongs.
    BlockMismatch,
    /// A value that cannot be read.
    InvalidValue,
    /// A value outside its range.
    OutOfRange,
    /// A value that is replaced by another, as keepalived does.
    Adjusted,
    /// A word is missing and its default is perhaps not what is meant.
    Defaulted,
    /// An old spelling.
    OldSpelling,
    /// A keyword that is known but has no effect here.
    NoEffect,
    /// Something that is not built yet.
    Unsupported,
    /// The same thing twice.
    Duplicate,
    /// Something without which its block means nothing.
    Incomplete,
    /// A name that nothing has.
    UnknownName,
    /// Two settings that do not go together.
    Conflict,
    /// More than there is room for.
    TooMany,
    /// What two directors must have in common and do not.
    Disagree,
    /// A script that this host cannot run, or that others may write.
    UnfitScript,
    /// The TOML text cannot be read.
    TomlSyntax,
    /// A field that the TOML file cannot have.
    TomlField,
    /// A TOML value of the wrong type.
    TomlType,
}

impl Code {
    /// All codes.
    pub const ALL: &'static [Code] = &[
        Code::CannotRead,
        Code::UnclosedBlock,
        Code::UnexpectedBrace,
        Code::UnterminatedQuote,
        Code::Placeholder,
        Code::IncludeNothing,
        Code::IncludeLoop,
        Code::ExpansionTooLarge,
        Code::BadSequence,
        Code::UnknownKeyword,
        Code::MisplacedKeyword,
        Code::MissingParameter,
        Code::ExtraParameter,
        Code::BlockMismatch,
        Code::InvalidValue,
        Code::OutOfRange,
        Code::Adjusted,
        Code::Defaulted,
        Code::OldSpelling,
        Code::NoEffect,
        Code::Unsupported,
        Code::Duplicate,
        Code::Incomplete,
        Code::UnknownName,
        Code::Conflict,
        Code::TooMany,
        Code::Disagree,
        Code::UnfitScript,
        Code::TomlSyntax,
        Code::TomlField,
        Code::TomlType,
    ];

    /// Whether something that the file may have meant does not run because of it.
    #[must_use]
    pub const fn leaves_out(self) -> bool {
        matches!(
            self,
            Code::IncludeNothing
                | Code::UnknownKeyword
                | Code::MisplacedKeyword
                | Code::BlockMismatch
                | Code::InvalidValue
                | Code::Duplicate
                | Code::Incomplete
                | Code::UnknownName
        )
    }

    /// The code as printed. It never changes its meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Code::CannotRead => "LB0001",
            Code::UnclosedBlock => "LB0002",
            Code::UnexpectedBrace => "LB0003",
            Code::UnterminatedQuote => "LB0004",
            Code::Placeholder => "LB0005",
            Code::IncludeNothing => "LB0006",
            Code::IncludeLoop => "LB0007",
            Code::ExpansionTooLarge => "LB0008",
            Code::BadSequence => "LB0009",
            Code::UnknownKeyword => "LB0010",
            Code::MisplacedKeyword => "LB0011",
            Code::MissingParameter => "LB0012",
            Code::ExtraParameter => "LB0013",
            Code::BlockMismatch => "LB0014",
            Code::InvalidValue => "LB0020",
            Code::OutOfRange => "LB0021",
            Code::Adjusted => "LB0022",
            Code::Defaulted => "LB0023",
            Code::OldSpelling => "LB0024",
            Code::NoEffect => "LB0025",
            Code::Unsupported => "LB0030",
            Code::Duplicate => "LB0040",
            Code::Incomplete => "LB0041",
            Code::UnknownName => "LB0042",
            Code::Conflict => "LB0043",
            Code::TooMany => "LB0044",
            Code::Disagree => "LB0045",
            Code::UnfitScript => "LB0046",
            Code::TomlSyntax => "LB0050",
            Code::TomlField => "LB0051",
            Code::TomlType => "LB0052",
        }
    }
}
