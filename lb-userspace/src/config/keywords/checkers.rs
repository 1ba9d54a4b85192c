//! Checkers. Those that are not built make their service unsupported; their keywords are known all
//! the same, so that a file is read without false alarms.

use super::Block;
use super::Body::Block as Of;
use super::Status::{Acted, NoEffect, Old};
use super::{Keyword, b, k};

pub(super) const TCP_CHECK: &[Keyword] = &[
    k("connect_ip", "IP", Acted, "the real server's", "the address to connect to"),
    k("connect_port", "PORT", Acted, "the real server's", "the port to connect to"),
    k("bindto", "IP", Acted, "any", "the source address"),
    k("bind_port", "PORT", Acted, "any", "the source port"),
    k("bind_if", "IF", Acted, "", "the interface to connect from"),
    k("fwmark", "N", NoEffect, "0", "a mark on the check's packets"),
    k("connect_timeout", "SECONDS", Acted, "5 or inherited", "how long it may take to connect"),
    k("alpha", "[BOOL]", Acted, "inherited", "down until it has passed"),
    k("retry", "N", Acted, "1 or inherited", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", Acted, "1 or inherited", "from a failed check to the next try"),
    k("warmup", "SECONDS", Acted, "delay_loop or inherited", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", Acted, "60 or inherited", "from one check to the next"),
    k("log_all_failures", "[BOOL]", NoEffect, "off", "log every failure"),
    k("nb_get_retry", "N", Old("retry"), "", "failures in a row that are forgiven; keepalived knows it in HTTP_GET and SSL_GET only"),
];

pub(super) const TCP_CHECK_PLAIN: &[Keyword] = &[
    k("connect_ip", "IP", NoEffect, "the real server's", "the address to connect to"),
    k("connect_port", "PORT", NoEffect, "the real server's", "the port to connect to"),
    k("bindto", "IP", NoEffect, "any", "the source address"),
    k("bind_port", "PORT", NoEffect, "any", "the source port"),
    k("bind_if", "IF", NoEffect, "", "the interface to connect from"),
    k("fwmark", "N", NoEffect, "0", "a mark on the check's packets"),
    k("connect_timeout", "SECONDS", NoEffect, "5 or inherited", "how long it may take to connect"),
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
    k("retry", "N", NoEffect, "1 or inherited", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", NoEffect, "1 or inherited", "from a failed check to the next try"),
    k("warmup", "SECONDS", NoEffect, "delay_loop or inherited", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", NoEffect, "60 or inherited", "from one check to the next"),
    k("log_all_failures", "[BOOL]", NoEffect, "off", "log every failure"),
];

pub(super) const HTTP_GET: &[Keyword] = &[
    k("connect_ip", "IP", NoEffect, "the real server's", "the address to connect to"),
    k("connect_port", "PORT", NoEffect, "the real server's", "the port to connect to"),
    k("bindto", "IP", NoEffect, "any", "the source address"),
    k("bind_port", "PORT", NoEffect, "any", "the source port"),
    k("bind_if", "IF", NoEffect, "", "the interface to connect from"),
    k("fwmark", "N", NoEffect, "0", "a mark on the check's packets"),
    k("connect_timeout", "SECONDS", NoEffect, "5 or inherited", "how long it may take to connect"),
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
    k("retry", "N", NoEffect, "1 or inherited", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", NoEffect, "3 or inherited", "from a failed check to the next try"),
    k("warmup", "SECONDS", NoEffect, "delay_loop or inherited", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", NoEffect, "60 or inherited", "from one check to the next"),
    k("log_all_failures", "[BOOL]", NoEffect, "off", "log every failure"),
    k("nb_get_retry", "N", Old("retry"), "", "failures in a row that are forgiven; keepalived knows it in HTTP_GET and SSL_GET only"),
    k("http_protocol", "1.0|1.0C|1.1", NoEffect, "1.0", "the version of HTTP"),
    k("virtualhost", "NAME", NoEffect, "the real server's", "the Host of the request"),
    k("enable_sni", "[BOOL]", NoEffect, "off", "send the name in the TLS handshake"),
    k("fast_recovery", "[BOOL]", NoEffect, "off", "no delay between URLs on recovery"),
    b("url", "", Of(Block::Url), NoEffect, "a URL to ask for"),
];

pub(super) const URL: &[Keyword] = &[
    k("path", "PATH", NoEffect, "", "the path"),
    k("digest", "MD5", NoEffect, "", "the digest of the answer"),
    k("status_code", "CODE|RANGE ...", NoEffect, "200-299", "the status codes that count as good"),
    k("virtualhost", "NAME", NoEffect, "the checker's", "the Host of the request"),
    k("regex", "PATTERN", NoEffect, "", "a pattern that the answer must match"),
    k("regex_no_match", "", NoEffect, "off", "the answer must not match"),
    k("regex_options", "OPTION ...", NoEffect, "", "options of PCRE"),
    k("regex_stack", "START MAX", NoEffect, "", "the stack of PCRE"),
    k("regex_min_offset", "N", NoEffect, "", "where matching starts"),
    k("regex_max_offset", "N", NoEffect, "", "where a match may start at most"),
];

pub(super) const SMTP_CHECK: &[Keyword] = &[
    k("connect_ip", "IP", NoEffect, "the real server's", "the address to connect to"),
    k("connect_port", "PORT", NoEffect, "the real server's", "the port to connect to"),
    k("bindto", "IP", NoEffect, "any", "the source address"),
    k("bind_port", "PORT", NoEffect, "any", "the source port"),
    k("bind_if", "IF", NoEffect, "", "the interface to connect from"),
    k("fwmark", "N", NoEffect, "0", "a mark on the check's packets"),
    k("connect_timeout", "SECONDS", NoEffect, "5 or inherited", "how long it may take to connect"),
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
    k("retry", "N", NoEffect, "1 or inherited", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", NoEffect, "1 or inherited", "from a failed check to the next try"),
    k("warmup", "SECONDS", NoEffect, "delay_loop or inherited", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", NoEffect, "60 or inherited", "from one check to the next"),
    k("log_all_failures", "[BOOL]", NoEffect, "off", "log every failure"),
    k("helo_name", "NAME", NoEffect, "smtpchecker.keepalived.org", "the name to say"),
    b("host", "", Of(Block::SmtpHost), NoEffect, "a host to check, the old way"),
];

pub(super) const SMTP_HOST: &[Keyword] = &[
    k("connect_ip", "IP", NoEffect, "the real server's", "the address to connect to"),
    k("connect_port", "PORT", NoEffect, "the real server's", "the port to connect to"),
    k("bindto", "IP", NoEffect, "any", "the source address"),
    k("bind_port", "PORT", NoEffect, "any", "the source port"),
    k("bind_if", "IF", NoEffect, "", "the interface to connect from"),
    k("fwmark", "N", NoEffect, "0", "a mark on the check's packets"),
    k("connect_timeout", "SECONDS", NoEffect, "5 or inherited", "how long it may take to connect"),
];

pub(super) const DNS_CHECK: &[Keyword] = &[
    k("connect_ip", "IP", NoEffect, "the real server's", "the address to connect to"),
    k("connect_port", "PORT", NoEffect, "the real server's", "the port to connect to"),
    k("bindto", "IP", NoEffect, "any", "the source address"),
    k("bind_port", "PORT", NoEffect, "any", "the source port"),
    k("bind_if", "IF", NoEffect, "", "the interface to connect from"),
    k("fwmark", "N", NoEffect, "0", "a mark on the check's packets"),
    k("connect_timeout", "SECONDS", NoEffect, "5 or inherited", "how long it may take to connect"),
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
    k("retry", "N", NoEffect, "3 or inherited", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", NoEffect, "delay_loop or inherited", "from a failed check to the next try"),
    k("warmup", "SECONDS", NoEffect, "delay_loop or inherited", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", NoEffect, "60 or inherited", "from one check to the next"),
    k("log_all_failures", "[BOOL]", NoEffect, "off", "log every failure"),
    k("type", "A|NS|CNAME|SOA|MX|TXT|AAAA|RRSIG|DNSKEY", NoEffect, "SOA", "what to ask for"),
    k("name", "NAME", NoEffect, ".", "the name to ask for"),
];

pub(super) const MISC_CHECK: &[Keyword] = &[
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
    k("retry", "N", NoEffect, "0 or inherited", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", NoEffect, "1 or inherited", "from a failed check to the next try"),
    k("warmup", "SECONDS", NoEffect, "delay_loop or inherited", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", NoEffect, "60 or inherited", "from one check to the next"),
    k("log_all_failures", "[BOOL]", NoEffect, "off", "log every failure"),
    k("misc_path", "SCRIPT", NoEffect, "", "the script"),
    k("misc_timeout", "SECONDS", NoEffect, "", "how long it may take"),
    k("misc_dynamic", "", NoEffect, "off", "its exit status sets the weight"),
    k("user", "USER [GROUP]", NoEffect, "script_user", "who runs it"),
];

pub(super) const BFD_CHECK: &[Keyword] = &[
    k("name", "NAME", NoEffect, "", "the bfd_instance"),
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
];

pub(super) const UDP_CHECK: &[Keyword] = &[
    k("connect_ip", "IP", NoEffect, "the real server's", "the address to connect to"),
    k("connect_port", "PORT", NoEffect, "the real server's", "the port to connect to"),
    k("bindto", "IP", NoEffect, "any", "the source address"),
    k("bind_port", "PORT", NoEffect, "any", "the source port"),
    k("bind_if", "IF", NoEffect, "", "the interface to connect from"),
    k("fwmark", "N", NoEffect, "0", "a mark on the check's packets"),
    k("connect_timeout", "SECONDS", NoEffect, "5 or inherited", "how long it may take to connect"),
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
    k("retry", "N", NoEffect, "1 or inherited", "failures in a row, after the first, that are forgiven"),
    k("delay_before_retry", "SECONDS", NoEffect, "1 or inherited", "from a failed check to the next try"),
    k("warmup", "SECONDS", NoEffect, "delay_loop or inherited", "the first check starts at random within it"),
    k("delay_loop", "SECONDS", NoEffect, "60 or inherited", "from one check to the next"),
    k("log_all_failures", "[BOOL]", NoEffect, "off", "log every failure"),
    k("payload", "HEX ...", NoEffect, "random", "what to send"),
    k("require_reply", "[HEX ...]", NoEffect, "off", "an answer must come"),
    k("min_reply_length", "N", NoEffect, "0", "how long it must be"),
    k("max_reply_length", "N", NoEffect, "255", "how long it may be"),
];

pub(super) const FILE_CHECK: &[Keyword] = &[
    k("track_file", "NAME", NoEffect, "", "the track_file"),
    k("dynamic", "", NoEffect, "off", "its value is added to the weight"),
    k("weight", "N [reverse]", NoEffect, "1", "what the value is multiplied by"),
    k("alpha", "[BOOL]", NoEffect, "inherited", "down until it has passed"),
];
