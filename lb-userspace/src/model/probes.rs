//! What the checkers beside TCP_CHECK ask and expect.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `UDP_CHECK`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UdpCheck {
    /// `payload`, at most [`UdpCheck::MOST_PAYLOAD`] octets; none: 32 octets of text.
    #[serde(default)]
    pub payload: Option<Vec<u8>>,
    /// `require_reply`: an answer must come and begin so, as far as it goes. None: only an ICMP
    /// error makes the check fail, and silence is good.
    #[serde(default)]
    pub require_reply: Option<Pattern>,
    /// `min_reply_length`, default 0.
    pub min_reply_length: u16,
    /// `max_reply_length`, default 255; not below the smallest.
    pub max_reply_length: u16,
}

impl UdpCheck {
    /// What fits into one datagram over IPv4.
    pub const MOST_PAYLOAD: usize = 65_507;
}

impl Default for UdpCheck {
    fn default() -> Self {
        UdpCheck {
            payload: None,
            require_reply: None,
            min_reply_length: 0,
            max_reply_length: 255,
        }
    }
}

/// Octets of which some halves may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// The octets; a half that may be anything is 0.
    bytes: Vec<u8>,
    /// The bits that count, for each octet.
    mask: Vec<u8>,
}

impl Pattern {
    /// Reads `Ab12f 3 xx`: octets in hexadecimal as keepalived has them. A digit without a second
    /// one before a space or the end is an octet of its own, and `x` is a half that may be anything.
    /// None when there is another character in it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Pattern> {
        let mut out = Pattern::default();
        for word in text.split_ascii_whitespace() {
            for pair in word.as_bytes().chunks(2) {
                let (mut byte, mut mask) = (0u8, 0u8);
                for &digit in pair {
                    let value = match digit {
                        b'x' | b'X' => None,
                        d => Some(char::from(d).to_digit(16)? as u8),
                    };
                    byte = byte << 4 | value.unwrap_or(0);
                    mask = mask << 4 | if value.is_some() { 0xf } else { 0 };
                }
                if pair.len() == 1 {
                    mask |= 0xf0;
                }
                out.bytes.push(byte);
                out.mask.push(mask);
            }
        }
        Some(out)
    }

    /// The octets, when each of them is given in full.
    #[must_use]
    pub fn exact(self) -> Option<Vec<u8>> {
        let exact = self.mask.iter().all(|m| *m == 0xff);
        exact.then_some(self.bytes)
    }

    /// How many octets it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has none, so that anything fits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The first octet of `data` that does not fit, counted from 0. Of two lengths the shorter one
    /// is looked at.
    #[must_use]
    pub fn differs(&self, data: &[u8]) -> Option<usize> {
        let pattern = self.bytes.iter().zip(&self.mask);
        let mut both = pattern.zip(data);
        both.position(|((byte, mask), d)| (byte ^ d) & mask != 0)
    }
}

/// As [`Pattern::parse`] reads it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (byte, mask) in self.bytes.iter().zip(&self.mask) {
            for (digit, bits) in [(byte >> 4, mask >> 4), (byte & 0xf, mask & 0xf)] {
                match bits {
                    0 => f.write_str("x")?,
                    _ => write!(f, "{digit:X}")?,
                }
            }
        }
        Ok(())
    }
}

impl From<&[u8]> for Pattern {
    fn from(bytes: &[u8]) -> Self {
        Pattern {
            bytes: bytes.to_vec(),
            mask: vec![0xff; bytes.len()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_as_the_manual_has_it() {
        let octets = |t: &str| Pattern::parse(t).and_then(Pattern::exact);
        assert_eq!(
            octets("Ab12f 3 456 546443123"),
            Some(vec![
                0xab, 0x12, 0x0f, 3, 0x45, 6, 0x54, 0x64, 0x43, 0x12, 3
            ])
        );
        assert_eq!(octets(""), Some(vec![]));
        assert_eq!(octets("  0  "), Some(vec![0]));
        assert_eq!(octets("1g"), None);
        assert_eq!(octets("é"), None);
        assert_eq!(octets("1x"), None, "not exact");
    }

    #[test]
    fn what_fits() {
        for (pattern, data, differs) in [
            ("", &b"anything"[..], None),
            ("0102", &[1, 2, 3], None),
            ("0102", &[1], None),
            ("0102", &[], None),
            ("0102", &[1, 3], Some(1)),
            ("xx02", &[0xff, 2], None),
            ("x102", &[0xf1, 2], None),
            ("x102", &[0xf2, 2], Some(0)),
            ("1x02", &[0x1f, 2], None),
            ("1x02", &[0x2f, 2], Some(0)),
            ("x", &[0x0f], None),
            ("x", &[0x1f], Some(0)),
        ] {
            let p = Pattern::parse(pattern).unwrap();
            assert_eq!(p.differs(data), differs, "{pattern} {data:?}");
            assert_eq!(
                Pattern::parse(&p.to_string()).unwrap().differs(data),
                differs
            );
        }
    }
}
