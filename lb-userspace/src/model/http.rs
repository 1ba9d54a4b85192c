//! What `HTTP_GET` and `SSL_GET` ask for and what they want to be answered.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::HttpRegex;

/// `HTTP_GET` or `SSL_GET`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// `SSL_GET`: over TLS.
    #[serde(default)]
    pub tls: bool,
    /// `enable_sni`: the URL's `host` is sent in the TLS handshake.
    #[serde(default)]
    pub sni: bool,
    /// What either side shows in that handshake.
    #[serde(default)]
    pub trust: Trust,
    /// `http_protocol`, default 1.0.
    #[serde(default)]
    pub version: HttpVersion,
    /// `fast_recovery`: at the start and after a failure there is no pause between URLs.
    #[serde(default)]
    pub fast_recovery: bool,
    /// `url`, at least one: asked for in turn, one a run.
    pub urls: Vec<Url>,
}

/// Whom a check trusts, and what it shows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// lbd's own `verify_certificate`: the server's certificate must be good. Otherwise any will do.
    #[serde(default)]
    pub verify: bool,
    /// `ca` of `SSL`: who may have signed it, in a file; none: whom the system trusts. None without
    /// `verify`.
    #[serde(default)]
    pub ca: Option<String>,
    /// `certificate` of `SSL`: this host's own, in a file; only with `key`.
    #[serde(default)]
    pub certificate: Option<String>,
    /// `key` of `SSL`: that of the certificate.
    #[serde(default)]
    pub key: Option<String>,
}

impl Http {
    /// `HTTP_GET` or `SSL_GET`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        if self.tls { "SSL_GET" } else { "HTTP_GET" }
    }

    /// Whether `other` asks for the same and wants the same, so that what was learnt still holds.
    #[must_use]
    pub fn same_target(&self, other: &Http) -> bool {
        (self.tls, self.sni, self.version) == (other.tls, other.sni, other.version)
            && self.trust == other.trust
            && self.urls == other.urls
    }
}

/// `http_protocol`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.0.
    #[default]
    #[serde(rename = "1.0")]
    V1_0,
    /// HTTP/1.0 with `Connection: close`.
    #[serde(rename = "1.0C")]
    V1_0Close,
    /// HTTP/1.1, with `Connection: close`.
    #[serde(rename = "1.1")]
    V1_1,
}

impl HttpVersion {
    /// All of them.
    pub const ALL: [HttpVersion; 3] =
        [HttpVersion::V1_0, HttpVersion::V1_0Close, HttpVersion::V1_1];

    /// `http_protocol`'s word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            HttpVersion::V1_0 => "1.0",
            HttpVersion::V1_0Close => "1.0C",
            HttpVersion::V1_1 => "1.1",
        }
    }
}

/// `url`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Url {
    /// `path`: what stands behind `GET`; not empty, no blanks, no control characters.
    pub path: String,
    /// `virtualhost` of the URL, the checker, the real server or the service; absent: address and
    /// port of the check. No blanks, no control characters.
    #[serde(default)]
    pub host: Option<String>,
    /// `status_code`, default 200-299.
    #[serde(default)]
    pub status: StatusCodes,
    /// `digest`.
    #[serde(default)]
    pub digest: Option<HttpDigest>,
    /// `regex` and the words that go with it.
    #[serde(default)]
    pub regex: Option<HttpRegex>,
}

/// An MD5, as genhash prints it.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpDigest(pub [u8; 16]);

impl std::str::FromStr for HttpDigest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "32 hexadecimal digits";
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        u128::from_str_radix(text, 16)
            .map(|n| HttpDigest(n.to_be_bytes()))
            .map_err(|_| wrong)
    }
}

impl TryFrom<String> for HttpDigest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HttpDigest> for String {
    fn from(digest: HttpDigest) -> String {
        digest.to_string()
    }
}

impl fmt::Display for HttpDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for HttpDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The status codes that count as good: ranges in order that neither overlap nor touch.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u16, u16)>", into = "Vec<(u16, u16)>")]
pub struct StatusCodes(Vec<(u16, u16)>);

impl StatusCodes {
    /// The least that there is.
    pub const MIN: u16 = 100;
    /// The greatest that there is.
    pub const MAX: u16 = 599;

    /// The ranges, first and last included.
    #[must_use]
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }

    /// Whether a status is good.
    #[must_use]
    pub fn contain(&self, status: u16) -> bool {
        self.0
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&status))
    }
}

impl From<Vec<(u16, u16)>> for StatusCodes {
    fn from(mut ranges: Vec<(u16, u16)>) -> Self {
        ranges.sort_unstable();
        let mut out: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match out.last_mut() {
                Some((_, end)) if from <= end.saturating_add(1) => *end = to.max(*end),
                Some(_) | None => out.push((from, to)),
            }
        }
        StatusCodes(out)
    }
}

impl From<StatusCodes> for Vec<(u16, u16)> {
    fn from(codes: StatusCodes) -> Self {
        codes.0
    }
}

impl Default for StatusCodes {
    fn default() -> Self {
        StatusCodes(vec![(200, 299)])
    }
}

/// As `status_code` takes them: `200-299 503`.
impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (from, to)) in self.0.iter().enumerate() {
            let blank = if i == 0 { "" } else { " " };
            if from == to {
                write!(f, "{blank}{from}")?;
            } else {
                write!(f, "{blank}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined() {
        for (given, want) in [
            (vec![(200, 299)], "200-299"),
            (vec![(503, 503), (200, 299)], "200-299 503"),
            (vec![(200, 250), (251, 299), (210, 220)], "200-299"),
            (vec![(100, 599), (204, 204)], "100-599"),
        ] {
            assert_eq!(StatusCodes::from(given).to_string(), want);
        }
        let codes = StatusCodes::from(vec![(200, 299), (503, 503)]);
        assert!(codes.contain(200) && codes.contain(299) && codes.contain(503));
        assert!(!codes.contain(199) && !codes.contain(300) && !codes.contain(504));
    }

    #[test]
    fn a_digest_is_32_hexadecimal_digits() {
        let text = "00b3a0c85a887a256d6939da88aabd8c";
        assert_eq!(
            text.parse::<HttpDigest>().map(|d| d.to_string()).as_deref(),
            Ok(text)
        );
        assert_eq!("AB".repeat(16).parse(), Ok(HttpDigest([0xab; 16])));
        for bad in [
            "",
            "0",
            "+0b3a0c85a887a256d6939da88aabd8c",
            &"g".repeat(32),
            &"0".repeat(33),
        ] {
            assert!(bad.parse::<HttpDigest>().is_err(), "{bad}");
        }
    }
}
