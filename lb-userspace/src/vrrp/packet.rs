//! VRRP packets: a checked view of the bytes and a plain representation.
//!
//! [`View::parse`] checks what a packet alone can tell: IP header, length, checksum. What needs an
//! instance (VRID, destination, TTL, authentication, interval, addresses) is checked by [`check`].
//! [`Advert::emit`] writes the whole IP packet as keepalived 2.2.7 does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::model::{Auth, Family, Transport, VrrpVersion};

mod ah;
mod emit;
mod envelope;
mod ip;
mod reject;
mod sum;

pub use emit::Advert;
pub use envelope::{Coverage, Envelope};
pub use ip::{destination_of, family_of, source_of, vrid_of};
pub use reject::{Counters, Reject};

/// IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;
/// TTL or hop limit that an advert to a group must have.
pub const TTL: u8 = 255;

const FIXED: usize = 8;
const AUTH_DATA: usize = 8;
const TYPE_ADVERTISEMENT: u8 = 1;
/// RFC 2338 authentication types that survive on the wire.
const AUTH_NONE: u8 = 0;
const AUTH_PASS: u8 = 1;
const AUTH_AH: u8 = 2;

/// A packet whose structure is right; borrowed, nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    source: IpAddr,
    envelope: Envelope,
    version: VrrpVersion,
    /// The VRRP message, exactly as long as it must be.
    message: &'a [u8],
    ah: Option<ah::Ah<'a>>,
}

impl<'a> View<'a> {
    /// Reads an IP packet. Bytes behind the IP length are ignored (Ethernet padding).
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of RFC 5798 section 7.1.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Reject> {
        let ip::Packet {
            source,
            destination,
            ttl,
            message,
            ah,
        } = ip::split(packet)?;
        if message.len() < FIXED {
            return Err(Reject::Length);
        }
        let family = Family::of(source);
        let version = match (message[0] >> 4, family) {
            (2, Family::V4) => VrrpVersion::V2,
            (3, Family::V4 | Family::V6) => VrrpVersion::V3,
            _ => return Err(Reject::Version),
        };
        if message[0] & 0x0f != TYPE_ADVERTISEMENT {
            return Err(Reject::Type);
        }
        let count = usize::from(message[3]);
        if count == 0 {
            return Err(Reject::Count);
        }
        if message.len() != message_len(version, family, count) {
            return Err(Reject::Length);
        }
        let coverage = sum::coverage(version, source, destination, message);
        let coverage = coverage.ok_or(Reject::Checksum)?;
        let view = View {
            source,
            envelope: Envelope {
                destination,
                ttl,
                coverage,
            },
            version,
            message,
            ah,
        };
        // RFC 9568 section 7.1 with erratum 8301; version 2 compares with its own interval, never 0.
        if version == VrrpVersion::V3 && view.interval().is_zero() {
            return Err(Reject::ZeroInterval);
        }
        Ok(view)
    }

    /// Who sent it.
    #[must_use]
    pub const fn source(&self) -> IpAddr {
        self.source
    }

    /// How it came.
    #[must_use]
    pub const fn envelope(&self) -> Envelope {
        self.envelope
    }

    /// Its version.
    #[must_use]
    pub const fn version(&self) -> VrrpVersion {
        self.version
    }

    /// Its VRID, 0..=255 (0 belongs to nobody).
    #[must_use]
    pub const fn vrid(&self) -> u8 {
        self.message[1]
    }

    /// Its priority; 0 means that the sender resigns.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.message[2]
    }

    /// The interval between two adverts of the sender.
    #[must_use]
    pub fn interval(&self) -> Duration {
        match self.version {
            VrrpVersion::V2 => Duration::from_secs(self.message[5].into()),
            VrrpVersion::V3 => {
                let centis = u16::from_be_bytes([self.message[4] & 0x0f, self.message[5]]);
                Duration::from_millis(u64::from(centis) * 10)
            }
        }
    }

    /// Version 2's authentication type; 0 in version 3.
    #[must_use]
    pub const fn auth_type(&self) -> u8 {
        match self.version {
            VrrpVersion::V2 => self.message[4],
            VrrpVersion::V3 => AUTH_NONE,
        }
    }

    /// Version 2's authentication data, 8 bytes; empty in version 3.
    #[must_use]
    pub fn auth_data(&self) -> &'a [u8] {
        match self.version {
            VrrpVersion::V2 => &self.message[self.message.len() - AUTH_DATA..],
            VrrpVersion::V3 => &[],
        }
    }

    /// The sequence number of AH, if that is around it.
    #[must_use]
    pub fn sequence(&self) -> Option<u32> {
        self.ah.map(|ah| ah.sequence())
    }

    /// The virtual addresses in the packet's order.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = IpAddr> + 'a {
        let count = usize::from(self.message[3]);
        let size = address_len(Family::of(self.source));
        self.message[FIXED..FIXED + size * count]
            .chunks_exact(size)
            .map(address)
    }

    /// The plain representation.
    ///
    /// # Errors
    /// [`Reject::AuthType`] when the authentication is neither none nor PASS.
    pub fn to_advert(&self) -> Result<Advert, Reject> {
        let auth = match self.auth_type() {
            _ if self.ah.is_some() => return Err(Reject::AuthType),
            AUTH_NONE => Auth::None,
            AUTH_PASS => Auth::Pass(trim_password(self.auth_data()).to_vec()),
            _ => return Err(Reject::AuthType),
        };
        Ok(Advert {
            source: self.source,
            envelope: self.envelope,
            version: self.version,
            vrid: self.vrid(),
            priority: self.priority(),
            interval: self.interval(),
            auth,
            addresses: self.addresses().collect(),
        })
    }
}

/// What an instance expects of an advert.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// How it is to come.
    pub transport: &'a Transport,
    /// The instance's version.
    pub version: VrrpVersion,
    /// Its authentication.
    pub auth: &'a Auth,
    /// AH: the greatest sequence number so far.
    pub sequence: u32,
    /// Its interval; compared in version 2 only.
    pub interval: Duration,
    /// Its addresses, sorted; `None` when they are not to be compared.
    pub addresses: Option<&'a [IpAddr]>,
}

/// Checks a packet against the instance that it is for.
///
/// # Errors
/// The first thing that differs.
pub fn check(view: &View<'_>, expect: &Expect<'_>) -> Result<(), Reject> {
    envelope::check(view, expect.transport)?;
    if view.version() != expect.version {
        return Err(Reject::Version);
    }
    match (view.version(), expect.auth, &view.ah) {
        (VrrpVersion::V3, _, None) => {}
        (VrrpVersion::V2, Auth::None, None) if view.auth_type() == AUTH_NONE => {}
        (VrrpVersion::V2, Auth::Pass(password), None) if view.auth_type() == AUTH_PASS => {
            if view.auth_data() != pad_password(password) {
                return Err(Reject::AuthData);
            }
        }
        (VrrpVersion::V2, Auth::Ah(password), Some(ah)) if view.auth_type() == AUTH_AH => {
            if !ah.is_by(view.source(), password) {
                return Err(Reject::AuthData);
            }
            if ah.sequence() <= expect.sequence {
                return Err(Reject::Replay);
            }
        }
        (VrrpVersion::V2 | VrrpVersion::V3, Auth::None | Auth::Pass(_) | Auth::Ah(_), _) => {
            return Err(Reject::AuthType);
        }
    }
    if view.version() == VrrpVersion::V2 && view.interval() != expect.interval {
        return Err(Reject::Interval);
    }
    if let Some(own) = expect.addresses {
        if view.addresses().len() != own.len() {
            return Err(Reject::Count);
        }
        if view.addresses().any(|a| own.binary_search(&a).is_err()) {
            return Err(Reject::AddressList);
        }
    }
    Ok(())
}

const fn address_len(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

const fn message_len(version: VrrpVersion, family: Family, count: usize) -> usize {
    let auth = match version {
        VrrpVersion::V2 => AUTH_DATA,
        VrrpVersion::V3 => 0,
    };
    FIXED + address_len(family) * count + auth
}

/// `auth_pass` as it stands in the packet: cut or padded to 8 bytes.
fn pad_password(password: &[u8]) -> [u8; AUTH_DATA] {
    let mut data = [0; AUTH_DATA];
    for (to, from) in data.iter_mut().zip(password) {
        *to = *from;
    }
    data
}

fn trim_password(data: &[u8]) -> &[u8] {
    let end = data.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    &data[..end]
}

/// Of 4 or 16 bytes; callers cut them so.
fn address(bytes: &[u8]) -> IpAddr {
    match <[u8; 16]>::try_from(bytes) {
        Ok(octets) => Ipv6Addr::from(octets).into(),
        Err(_) => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
    }
}

#[cfg(test)]
mod tests;
