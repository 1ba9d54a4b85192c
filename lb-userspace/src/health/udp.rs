//! What `UDP_CHECK` sends and what it makes of an answer.

use crate::health::Failure;
use crate::model::UdpCheck;

/// What is sent where no `payload` is given.
const TEXT: &[u8; 32] = b"lbd UDP_CHECK - lbd UDP_CHECK - ";

/// The datagram to send.
#[must_use]
pub fn question(check: &UdpCheck) -> &[u8] {
    check.payload.as_deref().unwrap_or(TEXT)
}

/// How many octets of an answer [`judge`] wants to see.
#[must_use]
pub fn wanted(check: &UdpCheck) -> usize {
    check.require_reply.as_ref().map_or(0, |p| p.len())
}

/// Judges an answer of `length` octets that begins with `head`, which has [`wanted`] of them or all.
///
/// # Errors
/// Why it is not the one that is required.
pub fn judge(check: &UdpCheck, head: &[u8], length: usize) -> Result<(), Failure> {
    let Some(pattern) = &check.require_reply else {
        return Ok(());
    };
    let (min, max) = (check.min_reply_length, check.max_reply_length);
    if length < usize::from(min) || length > usize::from(max) {
        return Err(Failure::Answer(format!(
            "the answer's length is {length}, not {min} to {max}"
        )));
    }
    match pattern.differs(head) {
        None => Ok(()),
        Some(at) => Err(Failure::Answer(format!(
            "the answer is another one from octet {} on",
            at + 1
        ))),
    }
}

/// Judges silence until the time was over.
///
/// # Errors
/// When an answer is required.
pub fn judge_silence(check: &UdpCheck) -> Result<(), Failure> {
    match check.require_reply {
        None => Ok(()),
        Some(_) => Err(Failure::NoAnswer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pattern;

    fn requires(pattern: &str, min: u16, max: u16) -> UdpCheck {
        UdpCheck {
            require_reply: Pattern::parse(pattern),
            min_reply_length: min,
            max_reply_length: max,
            ..UdpCheck::default()
        }
    }

    fn said(check: &UdpCheck, answer: &[u8]) -> String {
        let head = &answer[..answer.len().min(wanted(check))];
        match judge(check, head, answer.len()) {
            Ok(()) => "ok".to_owned(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn answers() {
        let any = UdpCheck::default();
        assert_eq!(said(&any, b"whatever"), "ok");
        assert_eq!(
            said(&any, &[0; 1000]),
            "ok",
            "lengths count where an answer is required"
        );
        for (pattern, min, max, answer, verdict) in [
            ("", 0, 255, &b""[..], "ok"),
            ("", 0, 255, &[0; 255], "ok"),
            (
                "",
                0,
                255,
                &[0; 256],
                "the answer's length is 256, not 0 to 255",
            ),
            ("", 5, 9, b"1234", "the answer's length is 4, not 5 to 9"),
            ("", 5, 5, b"12345", "ok"),
            ("", 5, 5, b"123456", "the answer's length is 6, not 5 to 5"),
            ("3132", 0, 255, b"12345", "ok"),
            ("3132", 0, 255, b"1", "ok"),
            (
                "3132",
                2,
                255,
                b"1",
                "the answer's length is 1, not 2 to 255",
            ),
            (
                "3132",
                0,
                255,
                b"13",
                "the answer is another one from octet 2 on",
            ),
            ("xx32", 0, 255, b"92", "ok"),
        ] {
            let check = requires(pattern, min, max);
            assert_eq!(said(&check, answer), verdict, "{pattern} {answer:?}");
        }
    }

    #[test]
    fn the_question_is_the_payload_where_there_is_one() {
        let mut check = UdpCheck::default();
        assert_eq!(question(&check), TEXT);
        check.payload = Some(b"who?".to_vec());
        assert_eq!(question(&check), b"who?");
    }

    #[test]
    fn silence() {
        assert_eq!(judge_silence(&UdpCheck::default()), Ok(()));
        assert_eq!(judge_silence(&requires("", 0, 9)), Err(Failure::NoAnswer));
    }
}
