//! `lbctl check`, `convert` and `explain`: what needs only files and no daemon.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::config::keywords::{Block, Body, Keyword, Status, lines_with};
use crate::config::{self, JsonDiagnostic, Loaded, Options, Severity};
use crate::control::view::Color;
use crate::io::files::RealFiles;

/// `lbctl check FILE...`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Configuration files: keepalived.conf, or TOML when the name ends in .toml.
    #[arg(required = true)]
    pub files: Vec<String>,
    /// Compare with the configuration of the other director: what must agree and does not.
    #[arg(long, value_name = "FILE")]
    pub against: Option<String>,
    /// The id that `@id` lines of the other director's file are compared with.
    #[arg(long, value_name = "ID", requires = "against")]
    pub against_id: Option<String>,
    /// Warnings make the exit status 1.
    #[arg(long)]
    pub strict: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Leave out what is not supported, as lbd does with the same switch.
    #[arg(long)]
    pub skip_unsupported: bool,
    /// The id that `@id` lines are compared with [default: the host's name].
    #[arg(short = 'i', long)]
    pub config_id: Option<String>,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    ok: bool,
    errors: usize,
    warnings: usize,
    services: usize,
    instances: usize,
    left_out: Vec<String>,
    diagnostics: Vec<JsonDiagnostic>,
}

fn report(file: &str, loaded: &Loaded) -> FileReport {
    FileReport {
        file: file.to_owned(),
        ok: loaded.model.is_some(),
        errors: loaded.count(Severity::Error),
        warnings: loaded.count(Severity::Warning),
        services: loaded.model.as_ref().map_or(0, |m| m.services.len()),
        instances: loaded.model.as_ref().map_or(0, |m| m.instances.len()),
        left_out: loaded.left_out.clone(),
        diagnostics: loaded
            .diagnostics
            .iter()
            .map(|d| config::to_json(d, &loaded.sources))
            .collect(),
    }
}

/// Checks files. Exit status: 0 clean or with warnings, 1 with warnings under `--strict`, 2 refused.
#[must_use]
pub fn check(args: &CheckArgs, color: Color) -> ExitCode {
    let options = Options {
        config_id: args.config_id.clone(),
        skip_unsupported: args.skip_unsupported,
        // Others than root do not see what lbd sees.
        look: nix::unistd::Uid::effective().is_root(),
    };
    if let Some(other) = &args.against {
        return match args.files.as_slice() {
            [file] => against([file, other], &options, args, color),
            _ => {
                eprintln!("lbctl: --against goes with one file");
                ExitCode::from(2)
            }
        };
    }
    let mut worst = 0;
    let mut reports = Vec::new();
    let mut out = String::new();
    for file in &args.files {
        let loaded = config::load(file, &RealFiles, &options);
        let r = report(file, &loaded);
        worst = worst.max(match (r.ok, r.warnings) {
            (false, _) => 2,
            (true, w) if w > 0 && args.strict => 1,
            (true, _) => 0,
        });
        if !args.json {
            out.push_str(&loaded.render(color == Color::On));
            out.push_str(&summary(&r));
        }
        reports.push(r);
    }
    if args.json {
        out = serde_json::to_string_pretty(&reports).unwrap_or_default();
        out.push('\n');
    }
    print(&out);
    ExitCode::from(worst)
}

/// What `--json` prints with `--against`.
#[derive(Serialize)]
struct PairReport {
    agree: bool,
    files: Vec<FileReport>,
    disagreements: Vec<JsonDiagnostic>,
}

/// Compares the files of a pair. Exit status: 0 they agree, 1 with warnings under `--strict`, 2 they do
/// not, or one is refused.
fn against(files: [&String; 2], options: &Options, args: &CheckArgs, color: Color) -> ExitCode {
    let theirs = Options {
        config_id: args.against_id.clone(),
        // What the other host has is not known here.
        look: false,
        ..options.clone()
    };
    let paths = files.map(String::as_str);
    let compared = config::compare(paths, &RealFiles, [options, &theirs]);
    let mut reports: Vec<FileReport> = Vec::new();
    for (file, side) in files.into_iter().zip(&compared.sides) {
        reports.push(report(file, side));
    }
    let of = |s| compared.findings.iter().filter(|d| d.severity == s).count();
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let refused = reports.iter().any(|r| !r.ok);
    let warned = warnings + reports.iter().map(|r| r.warnings).sum::<usize>();
    let code = match (refused || errors > 0, warned > 0 && args.strict) {
        (true, _) => 2,
        (false, true) => 1,
        (false, false) => 0,
    };
    let out = if args.json {
        let disagreements = compared.findings.iter();
        let report = PairReport {
            agree: !refused && compared.findings.is_empty(),
            files: reports,
            disagreements: disagreements
                .map(|d| config::to_json(d, &compared.sources))
                .collect(),
        };
        serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
    } else {
        let mut out = String::new();
        for (r, side) in reports.iter().zip(&compared.sides) {
            out.push_str(&side.render(color == Color::On));
            out.push_str(&summary(r));
        }
        let findings = config::render(&compared.findings, &compared.sources, color == Color::On);
        out.push_str(&findings);
        if !refused {
            out.push_str(&match errors + warnings {
                0 => "the two agree\n".to_owned(),
                _ => format!("between the two: {errors} error(s), {warnings} warning(s)\n"),
            });
        }
        out
    };
    print(&out);
    ExitCode::from(code)
}

fn summary(r: &FileReport) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let found = format!(
        "{}, {}",
        count(r.errors, "error"),
        count(r.warnings, "warning")
    );
    let mut s = if r.ok {
        format!(
            "{}: ok: {}, {}; {found}\n",
            r.file,
            count(r.instances, "VRRP instance"),
            count(r.services, "service")
        )
    } else {
        format!("{}: refused: {found}\n", r.file)
    };
    for l in &r.left_out {
        s.push_str(&format!(
            "{}: {}: {l}\n",
            r.file,
            if r.ok { "left out" } else { "not supported" }
        ));
    }
    s
}

/// The format that `lbctl convert` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// lbd's TOML.
    Toml,
    /// keepalived.conf.
    Keepalived,
}

/// `lbctl convert FILE --to FORMAT`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConvertArgs {
    /// The file to convert: keepalived.conf, or TOML when the name ends in .toml.
    pub file: String,
    /// What to write.
    #[arg(long)]
    pub to: Format,
    /// Leave out what is not supported.
    #[arg(long)]
    pub skip_unsupported: bool,
    /// The id that `@id` lines are compared with [default: the host's name].
    #[arg(short = 'i', long)]
    pub config_id: Option<String>,
}

/// Converts a file; what is said about it goes to standard error. Exit status 2 when it is refused.
#[must_use]
pub fn convert(args: &ConvertArgs, color: Color) -> ExitCode {
    let options = Options {
        config_id: args.config_id.clone(),
        skip_unsupported: args.skip_unsupported,
        look: false,
    };
    let loaded = config::load(&args.file, &RealFiles, &options);
    eprint!("{}", loaded.render(color == Color::On));
    let Some(model) = &loaded.model else {
        return ExitCode::from(2);
    };
    print(&match args.to {
        Format::Toml => config::to_toml(model),
        Format::Keepalived => config::to_keepalived(model),
    });
    ExitCode::SUCCESS
}

/// `lbctl explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// A keyword of keepalived.conf, or a word in a line of an address, a route or a rule.
    // `-nodad` is one.
    #[arg(required_unless_present = "all", allow_hyphen_values = true)]
    pub keyword: Option<String>,
    /// All keywords.
    #[arg(long)]
    pub all: bool,
}

/// Explains keywords. Exit status 1 when there is no such keyword.
#[must_use]
pub fn explain(args: &ExplainArgs) -> ExitCode {
    let mut out = String::new();
    for block in Block::ALL {
        for k in block.keywords() {
            if args.all || args.keyword.as_deref() == Some(k.name) {
                explain_one(*block, k, &mut out);
            }
        }
    }
    if let (true, Some(word)) = (out.is_empty(), &args.keyword) {
        let lines: Vec<&str> = lines_with(word).collect();
        if !lines.is_empty() {
            let lines = lines.join(" or ");
            out = format!("{word}\n    a word in the line of {lines}: docs/vrrp.md\n");
        }
    }
    if out.is_empty() {
        let word = args.keyword.as_deref().unwrap_or_default();
        eprintln!("lbctl: neither keepalived 2.2.7 nor lbd has a keyword `{word}`");
        for hint in config::did_you_mean(word) {
            eprintln!("lbctl: {hint}");
        }
        return ExitCode::from(1);
    }
    if args.all {
        out.push_str(&counted());
    }
    print(&out);
    ExitCode::SUCCESS
}

/// How many keywords there are of each kind, in all blocks.
fn counted() -> String {
    let (mut acted, mut without, mut refused) = (0, 0, 0);
    for k in Block::ALL.iter().flat_map(|block| block.keywords()) {
        match k.status {
            Status::Acted | Status::Own | Status::Old(_) => acted += 1,
            Status::NoEffect | Status::NotNeeded | Status::Removed(_) => without += 1,
            Status::Unsupported => refused += 1,
        }
    }
    let all = acted + without + refused;
    format!(
        "\n{all} keywords: {acted} acted on, {without} known without effect, {refused} refused\n"
    )
}

fn explain_one(block: Block, k: &Keyword, out: &mut String) {
    let args = if k.args.is_empty() {
        String::new()
    } else {
        format!(" {}", k.args)
    };
    let body = if k.body == Body::None { "" } else { " { ... }" };
    out.push_str(&format!(
        "{}{args}{body}   (in {})\n    {}\n",
        k.name,
        block.name(),
        k.help
    ));
    if !k.default.is_empty() {
        out.push_str(&format!("    default: {}\n", k.default));
    }
    let status = match k.status {
        Status::Acted => String::new(),
        Status::Own => "lbd's own: keepalived does not know it".to_owned(),
        Status::NoEffect => "known, no effect here yet".to_owned(),
        Status::NotNeeded => "known, has no meaning here".to_owned(),
        Status::Unsupported => "not supported yet: what it stands in is refused".to_owned(),
        Status::Old(now) => format!("old spelling: write `{now}`"),
        Status::Removed(why) => format!("no effect any more: {why}"),
    };
    if !status.is_empty() {
        out.push_str(&format!("    {status}\n"));
    }
}

/// Writes to standard output; a reader that went away (`| head`) is no error.
fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
