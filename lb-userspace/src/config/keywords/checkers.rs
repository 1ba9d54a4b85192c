//! Checkers. Those that are not built make their service unsupported; their keywords are known all
//! the same, so that a file is read without false alarms.

use super::Block;
use super::Body::Block as Of;
use super::Status::{self, Acted, NotNeeded, Old, Own};
use super::{Keyword, b, k};

// Words that several checkers share, with the same meaning and default.

const CONNECT_IP: Keyword = k(
    "connect_ip",
    "IP",
    Acted,
    "the real server's",
    "the address to connect to",
);

const CONNECT_PORT: Keyword = k(
    "connect_port",
    "PORT",
    Acted,
    "the real server's",
    "the port to connect to",
);

const BINDTO: Keyword = k("bindto", "IP", Acted, "any", "the source address");

const BIND_PORT: Keyword = k("bind_port", "PORT", Acted, "any", "the source port");

const BIND_IF: Keyword = k("bind_if", "IF", Acted, "", "the interface to connect from");

const FWMARK: Keyword = k("fwmark", "N", Acted, "0", "a mark on the check's packets");

const CONNECT_TIMEOUT: Keyword = k(
    "connect_timeout",
    "SECONDS",
    Acted,
    "5 or inherited",
    "how long it may take to connect",
);

const fn alpha(status: Status) -> Keyword {
    k(
        "alpha",
        "[BOOL]",
        status,
        "inherited",
        "down until it has passed",
    )
}

const fn retry(status: Status, default: &'static str) -> Keyword {
    k(
        "retry",
        "N",
        status,
        default,
        "failures in a row, after the first, that are forgiven",
    )
}

const fn delay_before_retry(status: Status, default: &'static str) -> Keyword {
    k(
        "delay_before_retry",
        "SECONDS",
        status,
        default,
        "from a failed check to the next try",
    )
}

const fn warmup(status: Status) -> Keyword {
    k(
        "warmup",
        "SECONDS",
        status,
        "delay_loop or inherited",
        "the first check starts at random within it",
    )
}

const fn delay_loop(status: Status) -> Keyword {
    k(
        "delay_loop",
        "SECONDS",
        status,
        "60 or inherited",
        "from one check to the next",
    )
}

const fn log_all_failures(status: Status) -> Keyword {
    k(
        "log_all_failures",
        "[BOOL]",
        status,
        "off",
        "log every failure",
    )
}

/// The words of a check that connects: those of all, with the defaults of `retry` and
/// `delay_before_retry`, then its own.
macro_rules! connecting {
    ($retry:literal, $delay:literal $(, $own:expr)* $(,)?) => {
        &[
            CONNECT_IP,
            CONNECT_PORT,
            BINDTO,
            BIND_PORT,
            BIND_IF,
            FWMARK,
            CONNECT_TIMEOUT,
            alpha(Acted),
            retry(Acted, $retry),
            delay_before_retry(Acted, $delay),
            warmup(Acted),
            delay_loop(Acted),
            log_all_failures(Acted),
            $($own,)*
        ]
    };
}

/// Another name of `retry`.
const NB_GET_RETRY: Keyword = k(
    "nb_get_retry",
    "N",
    Old("retry"),
    "",
    "failures in a row that are forgiven; keepalived knows it in HTTP_GET and SSL_GET only",
);

pub(super) const TCP_CHECK: &[Keyword] =
    connecting!["1 or inherited", "1 or inherited", NB_GET_RETRY,];

pub(super) const PING_CHECK: &[Keyword] = connecting!["1 or inherited", "1 or inherited",];

pub(super) const HTTP_GET: &[Keyword] = connecting![
    "1 or inherited",
    "3 or inherited",
    NB_GET_RETRY,
    k(
        "http_protocol",
        "1.0|1.0C|1.1",
        Acted,
        "1.0",
        "the version of HTTP",
    ),
    k(
        "virtualhost",
        "NAME",
        Acted,
        "the real server's",
        "the Host of the request",
    ),
    k(
        "enable_sni",
        "[BOOL]",
        Acted,
        "off",
        "send the name in the TLS handshake",
    ),
    k(
        "verify_certificate",
        "[BOOL]",
        Own,
        "that of global_defs",
        "the server's certificate must be good: for the name, in time, of a trusted issuer",
    ),
    k(
        "fast_recovery",
        "[BOOL]",
        Acted,
        "off",
        "no delay between URLs at the start and on recovery",
    ),
    b("url", "", Of(Block::Url), Acted, "a URL to ask for"),
];

pub(super) const URL: &[Keyword] = &[
    k("path", "PATH", Acted, "", "the path"),
    k(
        "digest",
        "MD5",
        Acted,
        "",
        "the MD5 of what follows the header, as genhash prints it",
    ),
    k(
        "status_code",
        "CODE|RANGE ...",
        Acted,
        "200-299",
        "the status codes that count as good",
    ),
    k(
        "virtualhost",
        "NAME",
        Acted,
        "the checker's",
        "the Host of the request",
    ),
    k(
        "regex",
        "PATTERN",
        Acted,
        "",
        "a pattern that what follows the header must match",
    ),
    k(
        "regex_no_match",
        "",
        Acted,
        "off",
        "the pattern must not match",
    ),
    k("regex_options", "OPTION ...", Acted, "", "options of PCRE"),
    k(
        "regex_stack",
        "START MAX",
        NotNeeded,
        "",
        "the stack of PCRE: matching needs none here",
    ),
    k("regex_min_offset", "N", Acted, "", "where matching starts"),
    k(
        "regex_max_offset",
        "N",
        Acted,
        "",
        "where a match may start at most",
    ),
];

pub(super) const SMTP_CHECK: &[Keyword] = connecting![
    "1 or inherited",
    "1 or inherited",
    k(
        "helo_name",
        "NAME",
        Acted,
        "smtpchecker.keepalived.org",
        "the name to say",
    ),
    b(
        "host",
        "",
        Of(Block::SmtpHost),
        Acted,
        "a host to check, the old way",
    ),
];

pub(super) const SMTP_HOST: &[Keyword] = connecting!["1 or inherited", "1 or inherited",];

pub(super) const DNS_CHECK: &[Keyword] = connecting![
    "3 or inherited",
    "delay_loop or inherited",
    k(
        "type",
        "A|NS|CNAME|SOA|MX|TXT|AAAA|RRSIG|DNSKEY",
        Acted,
        "SOA",
        "what to ask for",
    ),
    k("name", "NAME", Acted, ".", "the name to ask for"),
];

/// lbd's own.
pub(super) const DR_PATH_CHECK: &[Keyword] = &[
    k(
        "connect_port",
        "PORT",
        Own,
        "the real server's",
        "the port to ask for, where the service takes any",
    ),
    k(
        "bindto",
        "IP",
        Own,
        "as the route says",
        "this host's address to ask from",
    ),
    k(
        "connect_timeout",
        "SECONDS",
        Own,
        "5 or inherited",
        "how long the answer may take",
    ),
    alpha(Own),
    retry(Own, "1 or inherited"),
    delay_before_retry(Own, "1 or inherited"),
    warmup(Own),
    delay_loop(Own),
    log_all_failures(Own),
];

pub(super) const MISC_CHECK: &[Keyword] = &[
    alpha(Acted),
    retry(Acted, "0 or inherited"),
    delay_before_retry(Acted, "1 or inherited"),
    warmup(Acted),
    delay_loop(Acted),
    log_all_failures(Acted),
    k("misc_path", "SCRIPT", Acted, "", "the script"),
    k(
        "misc_timeout",
        "SECONDS",
        Acted,
        "delay_loop",
        "how long it may take",
    ),
    k(
        "misc_dynamic",
        "",
        Acted,
        "off",
        "its exit status sets the weight",
    ),
    k("user", "USER [GROUP]", Acted, "script_user", "who runs it"),
];

pub(super) const BFD_CHECK: &[Keyword] = &[
    k("name", "NAME", Acted, "", "the bfd_instance"),
    alpha(Acted),
];

pub(super) const UDP_CHECK: &[Keyword] = connecting![
    "1 or inherited",
    "1 or inherited",
    k("payload", "HEX ...", Acted, "random", "what to send"),
    k(
        "require_reply",
        "[HEX ...]",
        Acted,
        "off",
        "an answer must come",
    ),
    k("min_reply_length", "N", Acted, "0", "how long it must be"),
    k("max_reply_length", "N", Acted, "255", "how long it may be"),
];

pub(super) const FILE_CHECK: &[Keyword] = &[
    k("track_file", "NAME", Acted, "", "the track_file"),
    k(
        "dynamic",
        "",
        NotNeeded,
        "off",
        "its value is added to the weight",
    ),
    k(
        "weight",
        "N [reverse]",
        Acted,
        "1",
        "what the value is multiplied by",
    ),
];
