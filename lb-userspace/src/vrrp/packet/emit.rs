//! Writing an advert.

use std::net::IpAddr;
use std::time::Duration;

use super::sum::{beside, fold, sum};
use super::{
    AUTH_AH, AUTH_DATA, AUTH_NONE, AUTH_PASS, Envelope, TYPE_ADVERTISEMENT, ah, ip, message_len,
    pad_password,
};
use crate::model::{Auth, Family, VrrpVersion};

/// An advert to send. Its addresses are all of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The sender's primary address.
    pub source: IpAddr,
    /// How it goes.
    pub envelope: Envelope,
    /// 2 or 3; over IPv6 only 3 means something.
    pub version: VrrpVersion,
    /// 1..=255.
    pub vrid: u8,
    /// 0..=255.
    pub priority: u8,
    /// Version 2: whole seconds up to 255; version 3: centiseconds up to 4095. What is finer or
    /// more is cut.
    pub interval: Duration,
    /// Version 2 only.
    pub auth: Auth,
    /// At most 255; more are left out.
    pub addresses: Vec<IpAddr>,
}

impl Advert {
    /// The whole IP packet. IPv4: with identification `id`, TOS 0xc0, DF 0.
    #[must_use]
    pub fn emit(&self, id: u16) -> Vec<u8> {
        self.emit_with(id, 0)
    }

    /// The same with a sequence number, which AH needs.
    #[must_use]
    pub fn emit_with(&self, id: u16, sequence: u32) -> Vec<u8> {
        let family = Family::of(self.source);
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        // At most 8 + 16 * 255 + 8 bytes.
        let len = message_len(self.version, family, count.into());
        let to = self.envelope.destination;
        let password = match (&self.auth, self.version, family) {
            (Auth::Ah(password), VrrpVersion::V2, Family::V4) => Some(password),
            (Auth::Ah(_) | Auth::None | Auth::Pass(_), _, _) => None,
        };
        let before = if password.is_some() { ah::LEN } else { 0 };
        let with_ah = (id, password.is_some());
        let mut out = ip::header(self.source, to, self.envelope.ttl, with_ah, before + len);
        let ah_at = out.len();
        if password.is_some() {
            out.extend_from_slice(&ah::header(self.source, sequence));
        }
        let start = out.len();
        let version = match self.version {
            VrrpVersion::V2 => 2u8,
            VrrpVersion::V3 => 3,
        };
        out.extend_from_slice(&[
            version << 4 | TYPE_ADVERTISEMENT,
            self.vrid,
            self.priority,
            count,
        ]);
        match self.version {
            VrrpVersion::V2 => {
                let auth = match self.auth {
                    Auth::None => AUTH_NONE,
                    Auth::Pass(_) => AUTH_PASS,
                    Auth::Ah(_) => AUTH_AH,
                };
                let secs = u8::try_from(self.interval.as_secs()).unwrap_or(u8::MAX);
                out.extend_from_slice(&[auth, secs, 0, 0]);
            }
            VrrpVersion::V3 => {
                // Fits: the minimum is below 2^12.
                let centis = (self.interval.as_millis() / 10).min(0x0fff) as u16;
                out.extend_from_slice(&centis.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
            }
        }
        for address in self.addresses.iter().take(count.into()) {
            match address {
                IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
                IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
            }
        }
        let pseudo = match self.version {
            VrrpVersion::V2 => {
                out.extend_from_slice(&match &self.auth {
                    Auth::None | Auth::Ah(_) => [0; AUTH_DATA],
                    Auth::Pass(password) => pad_password(password),
                });
                0
            }
            VrrpVersion::V3 => beside(self.envelope.coverage, self.source, to, len),
        };
        let checksum = !fold(sum(pseudo, &out[start..]));
        out[start + 6..start + 8].copy_from_slice(&checksum.to_be_bytes());
        if let Some(password) = password {
            ah::seal(&mut out, ah_at, password);
        }
        out
    }
}
