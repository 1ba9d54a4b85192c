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

/// `DNS_CHECK`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsCheck {
    /// `type`, default SOA.
    pub record: DnsType,
    /// `name`, default `.`, which is also how the root is written; no other name ends in a dot.
    /// Labels of 1 to 63 octets of ASCII, 255 octets in all.
    pub name: String,
}

impl DnsCheck {
    /// The root.
    pub const ROOT: &'static str = ".";

    /// A name as it stands in [`DnsCheck::name`], or why it cannot be asked for.
    ///
    /// # Errors
    /// In words.
    pub fn name(text: &str) -> Result<String, &'static str> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Ok(Self::ROOT.to_owned());
        }
        if !name.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("a name has letters, digits and signs of ASCII only");
        }
        if name.split('.').any(str::is_empty) {
            return Err("between two dots there must be something");
        }
        if name.split('.').any(|l| l.len() > 63) {
            return Err("a label has at most 63 octets");
        }
        if name.len() > 253 {
            return Err("a name has at most 253 octets");
        }
        Ok(name.to_owned())
    }
}

impl Default for DnsCheck {
    fn default() -> Self {
        DnsCheck {
            record: DnsType::Soa,
            name: Self::ROOT.to_owned(),
        }
    }
}

/// What `DNS_CHECK` asks for, with its number (RFC 1035, 3596, 4034).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u16)]
pub enum DnsType {
    /// An IPv4 address.
    A = 1,
    /// A name server.
    Ns = 2,
    /// An alias.
    Cname = 5,
    /// The start of a zone.
    Soa = 6,
    /// A mail server.
    Mx = 15,
    /// Text.
    Txt = 16,
    /// An IPv6 address.
    Aaaa = 28,
    /// A signature.
    Rrsig = 46,
    /// A key.
    Dnskey = 48,
}

impl DnsType {
    /// All of them.
    pub const ALL: &'static [DnsType] = &[
        DnsType::A,
        DnsType::Ns,
        DnsType::Cname,
        DnsType::Soa,
        DnsType::Mx,
        DnsType::Txt,
        DnsType::Aaaa,
        DnsType::Rrsig,
        DnsType::Dnskey,
    ];

    /// Its name, as in keepalived.conf.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DnsType::A => "A",
            DnsType::Ns => "NS",
            DnsType::Cname => "CNAME",
            DnsType::Soa => "SOA",
            DnsType::Mx => "MX",
            DnsType::Txt => "TXT",
            DnsType::Aaaa => "AAAA",
            DnsType::Rrsig => "RRSIG",
            DnsType::Dnskey => "DNSKEY",
        }
    }
}

/// `SMTP_CHECK`; each `host` of it is a check of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpCheck {
    /// `helo_name`: 1 to 255 octets of ASCII without control characters.
    pub helo_name: String,
}

impl SmtpCheck {
    /// `helo_name` where none is given.
    pub const HELO_NAME: &'static str = "smtpchecker.keepalived.org";
}

impl Default for SmtpCheck {
    fn default() -> Self {
        SmtpCheck {
            helo_name: Self::HELO_NAME.to_owned(),
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
