//! What is particular to a kind of check.

use super::scripts::Statement;
use crate::config::command;
use crate::model::{
    Check, CheckKind, DnsCheck, FileCheck, MiscCheck, Pattern, SmtpCheck, UdpCheck,
};

/// The value of a keyword.
pub(super) enum Value {
    /// None: that it is there is all.
    Flag,
    /// A number.
    Number(u32),
    /// One word.
    Text(String),
    /// Several words.
    Words(Vec<String>),
}

/// The keywords of a kind of check, without those that have their default.
pub(super) fn keywords(kind: &CheckKind) -> Vec<(&'static str, Value)> {
    match kind {
        // Those of HTTP_GET are in `http`, those of BFD_CHECK and FILE_CHECK in
        // `own_statements`.
        CheckKind::Tcp
        | CheckKind::Http(_)
        | CheckKind::Ping
        | CheckKind::DrPath
        | CheckKind::Bfd(_)
        | CheckKind::File(_) => Vec::new(),
        CheckKind::Udp(udp) => udp_check(udp),
        CheckKind::Dns(dns) => dns_check(dns),
        CheckKind::Smtp(SmtpCheck { helo_name }) if helo_name == SmtpCheck::HELO_NAME => Vec::new(),
        CheckKind::Smtp(smtp) => vec![("helo_name", Value::Text(smtp.helo_name.clone()))],
        CheckKind::Misc(misc) => misc_check(misc),
    }
}

fn udp_check(udp: &UdpCheck) -> Vec<(&'static str, Value)> {
    let mut out = Vec::new();
    if let Some(payload) = &udp.payload {
        let text = Pattern::from(payload.as_slice()).to_string();
        out.push(("payload", Value::Text(text)));
    }
    match &udp.require_reply {
        None => {}
        Some(any) if any.is_empty() => out.push(("require_reply", Value::Flag)),
        Some(pattern) => out.push(("require_reply", Value::Text(pattern.to_string()))),
    }
    let usual = UdpCheck::default();
    let lengths = [
        (
            "min_reply_length",
            udp.min_reply_length,
            usual.min_reply_length,
        ),
        (
            "max_reply_length",
            udp.max_reply_length,
            usual.max_reply_length,
        ),
    ];
    let other = lengths.into_iter().filter(|(_, v, usual)| v != usual);
    out.extend(other.map(|(name, v, _)| (name, Value::Number(v.into()))));
    out
}

fn dns_check(dns: &DnsCheck) -> Vec<(&'static str, Value)> {
    let usual = DnsCheck::default();
    let mut out = Vec::new();
    if dns.record != usual.record {
        out.push(("type", Value::Text(dns.record.name().to_owned())));
    }
    if dns.name != usual.name {
        out.push(("name", Value::Text(dns.name.clone())));
    }
    out
}

fn misc_check(misc: &MiscCheck) -> Vec<(&'static str, Value)> {
    let MiscCheck { script, dynamic } = misc;
    let mut out = vec![("misc_path", Value::Text(command::join(&script.command)))];
    if let Some(user) = &script.user {
        let words = [Some(user.name.clone()), user.group.clone()];
        out.push(("user", Value::Words(words.into_iter().flatten().collect())));
    }
    if *dynamic {
        out.push(("misc_dynamic", Value::Flag));
    }
    out
}

/// All of a check that has nothing in common with the others; none for those. `alpha`: what the check
/// would inherit.
pub(super) fn own_statements(check: &Check, alpha: bool) -> Option<Vec<Statement>> {
    match &check.kind {
        CheckKind::File(file) => Some(file_check(file)),
        CheckKind::Bfd(name) => {
            let mut out = vec![("name", vec![name.clone()])];
            if check.alpha != alpha {
                out.push(("alpha", vec![check.alpha.to_string()]));
            }
            Some(out)
        }
        CheckKind::Tcp
        | CheckKind::Udp(_)
        | CheckKind::Http(_)
        | CheckKind::Dns(_)
        | CheckKind::Ping
        | CheckKind::Smtp(_)
        | CheckKind::Misc(_)
        | CheckKind::DrPath => None,
    }
}

fn file_check(check: &FileCheck) -> Vec<Statement> {
    let mut weight = vec![check.weight.to_string()];
    if check.reverse {
        weight.push("reverse".to_owned());
    }
    vec![("track_file", vec![check.file.clone()]), ("weight", weight)]
}
