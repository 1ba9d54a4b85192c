//! The one table of keywords: what keepalived 2.2.7 knows (`keepalived.conf(5)` and the words that its
//! manual leaves out), the removed and old spellings met in real files, and lbd's own.

mod checkers;
mod global;
mod line;
mod lvs;
mod vrrp;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

pub use line::lines_with;

/// A kind of block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Block {
    /// Outside of any block.
    Top,
    /// `global_defs`.
    Global,
    /// `track_group`.
    TrackGroup,
    /// `vrrp_sync_group`.
    SyncGroup,
    /// `garp_group`.
    GarpGroup,
    /// `vrrp_instance`.
    Instance,
    /// `authentication`.
    Authentication,
    /// `vrrp_script`.
    Script,
    /// `track_file`.
    TrackFile,
    /// `vrrp_track_process`.
    TrackProcess,
    /// `bfd_instance`.
    Bfd,
    /// `SSL`.
    Ssl,
    /// `virtual_server`.
    VirtualServer,
    /// `real_server`.
    RealServer,
    /// `TCP_CHECK`.
    TcpCheck,
    /// `HTTP_GET`.
    HttpGet,
    /// `SSL_GET`.
    SslGet,
    /// `url` of `HTTP_GET` and `SSL_GET`.
    Url,
    /// `SMTP_CHECK`.
    SmtpCheck,
    /// `host` of `SMTP_CHECK`.
    SmtpHost,
    /// `DNS_CHECK`.
    DnsCheck,
    /// `MISC_CHECK`.
    MiscCheck,
    /// `BFD_CHECK`.
    BfdCheck,
    /// `PING_CHECK`.
    PingCheck,
    /// `UDP_CHECK`.
    UdpCheck,
    /// lbd's own `DR_PATH_CHECK`.
    DrPathCheck,
    /// `FILE_CHECK`.
    FileCheck,
    /// lbd's own `timeouts`.
    Timeouts,
}

impl Block {
    /// All of them, in the order of the manual.
    pub const ALL: &'static [Block] = &[
        Block::Top,
        Block::Global,
        Block::TrackGroup,
        Block::SyncGroup,
        Block::GarpGroup,
        Block::Instance,
        Block::Authentication,
        Block::Script,
        Block::TrackFile,
        Block::TrackProcess,
        Block::Bfd,
        Block::Ssl,
        Block::VirtualServer,
        Block::RealServer,
        Block::TcpCheck,
        Block::HttpGet,
        Block::SslGet,
        Block::Url,
        Block::SmtpCheck,
        Block::SmtpHost,
        Block::DnsCheck,
        Block::MiscCheck,
        Block::BfdCheck,
        Block::PingCheck,
        Block::UdpCheck,
        Block::DrPathCheck,
        Block::FileCheck,
        Block::Timeouts,
    ];

    /// As it is called in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Block::Top => "the top level",
            Block::Global => "global_defs",
            Block::TrackGroup => "track_group",
            Block::SyncGroup => "vrrp_sync_group",
            Block::GarpGroup => "garp_group",
            Block::Instance => "vrrp_instance",
            Block::Authentication => "authentication",
            Block::Script => "vrrp_script",
            Block::TrackFile => "track_file",
            Block::TrackProcess => "vrrp_track_process",
            Block::Bfd => "bfd_instance",
            Block::Ssl => "SSL",
            Block::VirtualServer => "virtual_server",
            Block::RealServer => "real_server",
            Block::TcpCheck => "TCP_CHECK",
            Block::HttpGet => "HTTP_GET",
            Block::SslGet => "SSL_GET",
            Block::Url => "url",
            Block::SmtpCheck => "SMTP_CHECK",
            Block::SmtpHost => "host",
            Block::DnsCheck => "DNS_CHECK",
            Block::MiscCheck => "MISC_CHECK",
            Block::BfdCheck => "BFD_CHECK",
            Block::PingCheck => "PING_CHECK",
            Block::UdpCheck => "UDP_CHECK",
            Block::DrPathCheck => "DR_PATH_CHECK",
            Block::FileCheck => "FILE_CHECK",
            Block::Timeouts => "timeouts",
        }
    }

    /// Its keywords.
    #[must_use]
    pub fn keywords(self) -> &'static [Keyword] {
        match self {
            Block::Top => global::TOP,
            Block::Global => global::GLOBAL,
            Block::TrackGroup => global::TRACK_GROUP,
            Block::SyncGroup => vrrp::SYNC_GROUP,
            Block::GarpGroup => vrrp::GARP_GROUP,
            Block::Instance => vrrp::INSTANCE,
            Block::Authentication => vrrp::AUTHENTICATION,
            Block::Script => vrrp::SCRIPT,
            Block::TrackFile => vrrp::TRACK_FILE,
            Block::TrackProcess => vrrp::TRACK_PROCESS,
            Block::Bfd => vrrp::BFD,
            Block::Ssl => lvs::SSL,
            Block::VirtualServer => lvs::VIRTUAL_SERVER,
            Block::RealServer => lvs::REAL_SERVER,
            Block::TcpCheck => checkers::TCP_CHECK,
            Block::HttpGet | Block::SslGet => checkers::HTTP_GET,
            Block::Url => checkers::URL,
            Block::SmtpCheck => checkers::SMTP_CHECK,
            Block::SmtpHost => checkers::SMTP_HOST,
            Block::DnsCheck => checkers::DNS_CHECK,
            Block::MiscCheck => checkers::MISC_CHECK,
            Block::BfdCheck => checkers::BFD_CHECK,
            Block::PingCheck => checkers::PING_CHECK,
            Block::UdpCheck => checkers::UDP_CHECK,
            Block::DrPathCheck => checkers::DR_PATH_CHECK,
            Block::FileCheck => checkers::FILE_CHECK,
            Block::Timeouts => lvs::TIMEOUTS,
        }
    }
}

/// What follows a keyword between braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// No block.
    None,
    /// A block of keywords.
    Block(Block),
    /// A block of lines that are values.
    Lines,
}

/// What lbd does with a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It has its effect.
    Acted,
    /// It is lbd's own: keepalived does not know it.
    Own,
    /// Known to keepalived, does nothing here yet, and something is missed by that.
    NoEffect,
    /// Known to keepalived; there is nothing here that it could mean.
    NotNeeded,
    /// Leaving it out would change who is master or where traffic goes: what it stands in is refused
    /// (or left out with `--skip-unsupported`).
    Unsupported,
    /// An old spelling that has its old meaning; the text says what to write instead.
    Old(&'static str),
    /// Removed from keepalived, without effect; the text says what to do.
    Removed(&'static str),
}

/// One keyword of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyword {
    /// The word; case matters.
    pub name: &'static str,
    /// Its parameters as the manual writes them, with their ranges.
    pub args: &'static str,
    /// How many parameters it needs.
    pub min: usize,
    /// How many it takes.
    pub max: usize,
    /// What stands between its braces.
    pub body: Body,
    /// What lbd does with it.
    pub status: Status,
    /// Its default; empty when there is none.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
}

const MANY: usize = usize::MAX;

/// A keyword without a block. `args` tells how many parameters there are: words in `[]` may be left
/// out, `...` stands for any number more.
const fn k(
    name: &'static str,
    args: &'static str,
    status: Status,
    default: &'static str,
    help: &'static str,
) -> Keyword {
    let (min, max) = count(args);
    Keyword {
        name,
        args,
        min,
        max,
        body: Body::None,
        status,
        default,
        help,
    }
}

/// A keyword with a block.
const fn b(
    name: &'static str,
    args: &'static str,
    body: Body,
    status: Status,
    help: &'static str,
) -> Keyword {
    let (min, max) = count(args);
    Keyword {
        name,
        args,
        min,
        max,
        body,
        status,
        default: "",
        help,
    }
}

const fn count(args: &str) -> (usize, usize) {
    let bytes = args.as_bytes();
    let (mut min, mut max, mut optional, mut in_word, mut i) = (0usize, 0usize, 0usize, false, 0);
    let mut many = false;
    while i < bytes.len() {
        match bytes[i] {
            b' ' => in_word = false,
            b'[' => optional += 1,
            b']' => optional -= 1,
            b'.' if i + 2 < bytes.len() && bytes[i + 1] == b'.' && bytes[i + 2] == b'.' => {
                many = true;
                i += 2;
            }
            _ => {
                if !in_word {
                    in_word = true;
                    max += 1;
                    if optional == 0 {
                        min += 1;
                    }
                }
            }
        }
        i += 1;
    }
    (min, if many { MANY } else { max })
}

static INDEX: LazyLock<HashMap<(Block, &'static str), &'static Keyword>> = LazyLock::new(|| {
    Block::ALL
        .iter()
        .flat_map(|b| b.keywords().iter().map(|k| ((*b, k.name), k)))
        .collect()
});

static BELOW_TOP: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    Block::ALL
        .iter()
        .filter(|b| **b != Block::Top)
        .flat_map(|b| b.keywords())
        .map(|k| k.name)
        .collect()
});

/// The keyword `name` of a block.
#[must_use]
pub fn find(block: Block, name: &str) -> Option<&'static Keyword> {
    INDEX.get(&(block, name)).copied()
}

/// All blocks that know `name`.
pub fn blocks_of(name: &str) -> impl Iterator<Item = Block> + '_ {
    Block::ALL
        .iter()
        .copied()
        .filter(move |b| find(*b, name).is_some())
}

/// A keyword with a block that stands at the top level and nowhere else.
#[must_use]
pub(crate) fn only_at_top(name: &str) -> bool {
    find(Block::Top, name).is_some_and(|k| k.body != Body::None) && !BELOW_TOP.contains(name)
}
