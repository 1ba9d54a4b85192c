//! What is particular to a kind of check.

use crate::model::{CheckKind, Pattern, UdpCheck};

/// The value of a keyword.
pub(super) enum Value {
    /// None: that it is there is all.
    Flag,
    /// A number.
    Number(u32),
    /// Text; a space in it is between two parameters.
    Text(String),
}

/// The keywords of a kind of check, without those that have their default.
pub(super) fn keywords(kind: &CheckKind) -> Vec<(&'static str, Value)> {
    match kind {
        // Those of HTTP_GET are in `http`.
        CheckKind::Tcp | CheckKind::Http(_) => Vec::new(),
        CheckKind::Udp(udp) => udp_check(udp),
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
