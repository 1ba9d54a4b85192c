//! The question of `DNS_CHECK` (RFC 1035) and what it makes of an answer.

use crate::health::Failure;
use crate::model::DnsCheck;

/// As much of an answer as is looked at; without EDNS none may be longer than 512 octets.
pub const LONGEST: usize = 4096;

const HEADER: usize = 12;
const RESPONSE: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
const TRUNCATED: u16 = 1 << 9;
const RECURSION_DESIRED: u16 = 1 << 8;
const RCODE: u16 = 0xf;
const CLASS_IN: u16 = 1;

/// The message to send: one question, recursion desired.
#[must_use]
pub fn question(check: &DnsCheck, id: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + check.name.len() + 6);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        out.extend(word.to_be_bytes());
    }
    for label in check.name.split('.').filter(|l| !l.is_empty()) {
        // The front ends let no label of more than 63 octets in.
        out.push(label.len().min(63) as u8);
        out.extend(label.bytes().take(63));
    }
    out.push(0);
    out.extend((check.record as u16).to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out
}

/// What a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not the answer to the question, and why: the answer may still come.
    Else(&'static str),
    /// The answer.
    Answer(Result<(), Failure>),
}

/// Judges the first octets (up to [`LONGEST`]) of a message of `length` octets that came after
/// `question`. The server is well when it answers this question without an error, in a message that
/// can be read to its end; what the answer says, and whether there is such a record, does not matter.
#[must_use]
pub fn judge(question: &[u8], message: &[u8], length: usize) -> Heard {
    let wrong = |why: String| Heard::Answer(Err(Failure::Answer(why)));
    let Some(flags) = word(message, 2).filter(|_| message.len() >= HEADER) else {
        return Heard::Else("it is too short for DNS");
    };
    if message[..2] != question[..2] {
        return Heard::Else("its id is another one");
    }
    if flags & RESPONSE == 0 {
        return Heard::Else("it is a question");
    }
    let rcode = flags & RCODE;
    if rcode != 0 {
        return wrong(match rcode {
            1 => "FORMERR".to_owned(),
            2 => "SERVFAIL".to_owned(),
            3 => "NXDOMAIN".to_owned(),
            4 => "NOTIMP".to_owned(),
            5 => "REFUSED".to_owned(),
            other => format!("response code {other}"),
        });
    }
    if flags & OPCODE != 0 {
        return wrong("the answer is none to a query".to_owned());
    }
    let asked = &question[HEADER..];
    let end = HEADER + asked.len();
    let same = |a: &[u8]| a.eq_ignore_ascii_case(asked);
    if word(message, 4) != Some(1) || !message.get(HEADER..end).is_some_and(same) {
        return wrong("the answer is to another question".to_owned());
    }
    if flags & TRUNCATED != 0 {
        // The rest is to be had by TCP.
        return Heard::Answer(Ok(()));
    }
    if length > message.len() {
        return wrong(format!("the answer has {length} octets"));
    }
    let count = |at| usize::from(word(message, at).unwrap_or(0));
    let records = count(6) + count(8) + count(10);
    match skip_records(message, end, records) {
        Some(_) => Heard::Answer(Ok(())),
        None => wrong("the answer ends in the middle".to_owned()),
    }
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    let octets = message.get(at..at + 2)?;
    Some(u16::from_be_bytes([octets[0], octets[1]]))
}

/// Where so many records end that begin at `at`.
fn skip_records(message: &[u8], mut at: usize, records: usize) -> Option<usize> {
    for _ in 0..records {
        // Type, class, TTL, and the length of what follows.
        let fixed = skip_name(message, at)?;
        let data = usize::from(word(message, fixed + 8)?);
        at = fixed + 10 + data;
        if at > message.len() {
            return None;
        }
    }
    Some(at)
}

/// Where the name at `at` ends. A name that goes on elsewhere is not followed.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            // Backwards only.
            192.. if usize::from(word(message, at)? & 0x3fff) < at => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::DnsType;

    fn asked(name: &str, record: DnsType) -> Vec<u8> {
        let name = name.to_owned();
        question(&DnsCheck { record, name }, 0x1234)
    }

    /// An answer to `question` with flags (beside "response") and records.
    fn answer(question: &[u8], flags: u16, counts: [u16; 3], records: &[u8]) -> Vec<u8> {
        let mut out = question.to_vec();
        out[2..4].copy_from_slice(&(RESPONSE | flags).to_be_bytes());
        for (at, n) in [6, 8, 10].into_iter().zip(counts) {
            out[at..at + 2].copy_from_slice(&n.to_be_bytes());
        }
        out.extend(records);
        out
    }

    /// An A record of the name in the question.
    const RECORD: [u8; 16] = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1];

    fn said(question: &[u8], message: &[u8]) -> String {
        match judge(question, message, message.len()) {
            Heard::Else(why) => format!("else: {why}"),
            Heard::Answer(Ok(())) => "ok".to_owned(),
            Heard::Answer(Err(why)) => why.to_string(),
        }
    }

    #[test]
    fn questions() {
        assert_eq!(
            asked(".", DnsType::Soa),
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01"
        );
        assert_eq!(
            asked("www.example.org", DnsType::Aaaa),
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03org\x00\x00\x1c\x00\x01"
        );
    }

    #[test]
    fn answers() {
        let q = asked("Example.ORG", DnsType::A);
        let a = |flags, counts, records: &[u8]| said(&q, &answer(&q, flags, counts, records));
        assert_eq!(a(0, [1, 0, 0], &RECORD), "ok");
        assert_eq!(a(0, [0, 0, 0], &[]), "ok", "no such record");
        assert_eq!(a(0x8480, [1, 1, 1], &RECORD.repeat(3)), "ok");
        assert_eq!(a(TRUNCATED, [9, 0, 0], &[]), "ok");
        for (rcode, name) in [
            (2, "SERVFAIL"),
            (3, "NXDOMAIN"),
            (5, "REFUSED"),
            (9, "response code 9"),
        ] {
            assert_eq!(a(rcode, [0, 0, 0], &[]), name);
        }
        assert_eq!(a(1 << 11, [0, 0, 0], &[]), "the answer is none to a query");
        assert_eq!(a(0, [1, 0, 0], &[]), "the answer ends in the middle");
        assert_eq!(
            a(0, [1, 0, 0], &RECORD[..15]),
            "the answer ends in the middle"
        );
        assert_eq!(
            a(0, [1, 0, 0], &[0xc0, 200]),
            "the answer ends in the middle"
        );
        assert_eq!(
            a(0, [1, 0, 0], &[0x41; 99]),
            "the answer ends in the middle"
        );
        let lower = asked("example.org", DnsType::A);
        assert_eq!(said(&q, &answer(&lower, 0, [1, 0, 0], &RECORD)), "ok");
        for other in [
            asked("example.com", DnsType::A),
            asked("example.org", DnsType::Mx),
        ] {
            assert_eq!(
                said(&q, &answer(&other, 0, [0, 0, 0], &[])),
                "the answer is to another question"
            );
        }
        assert_eq!(said(&q, &q), "else: it is a question");
        assert_eq!(said(&q, &q[..11]), "else: it is too short for DNS");
        let mut late = answer(&q, 0, [0, 0, 0], &[]);
        late[0] ^= 1;
        assert_eq!(said(&q, &late), "else: its id is another one");
        let long = answer(&q, 0, [1, 0, 0], &RECORD);
        assert_eq!(
            judge(&q, &long, 5000),
            Heard::Answer(Err(Failure::Answer("the answer has 5000 octets".into())))
        );
    }

    proptest! {
        #[test]
        fn no_octets_are_too_odd(
            name in "[a-z]{1,20}(\\.[a-z]{1,20}){0,3}",
            junk in proptest::collection::vec(any::<u8>(), 0..200),
            flip in any::<(u16, u8)>(),
        ) {
            let q = asked(&name, DnsType::Txt);
            let _ = judge(&q, &junk, junk.len());
            let mut message = answer(&q, 0, [2, 0, 0], &RECORD.repeat(2));
            prop_assert_eq!(said(&q, &message), "ok");
            // Whatever is cut off is missed.
            let cut = &message[..usize::from(flip.0) % message.len()];
            prop_assert!(judge(&q, cut, cut.len()) != Heard::Answer(Ok(())));
            let at = usize::from(flip.0) % message.len();
            message[at] ^= flip.1;
            let _ = judge(&q, &message, message.len());
        }
    }
}
