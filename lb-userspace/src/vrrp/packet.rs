//! VRRP packets for IPv4: a checked view of the bytes and a plain representation.
//!
//! [`View::parse`] checks what a packet alone can tell: IP header, length, checksum. What needs an
//! instance (VRID, destination, TTL, authentication, interval, addresses) is checked by [`check`].
//! [`Advert::emit`] writes the whole IPv4 packet as keepalived 2.2.7 does.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::model::{Auth, Transport, VrrpVersion};

mod envelope;
mod reject;

pub use crate::model::VRRP_GROUP as GROUP;
pub use envelope::{Coverage, Envelope};
pub use reject::{Counters, Reject};

/// IP protocol number of VRRP.
pub const PROTOCOL: u8 = 112;
/// TTL that an advert to a group must have.
pub const TTL: u8 = 255;

const IP_HEADER: usize = 20;
const FIXED: usize = 8;
const AUTH_DATA: usize = 8;
const TYPE_ADVERTISEMENT: u8 = 1;
/// "Internetwork control", as keepalived sends it.
const TOS: u8 = 0xc0;
/// RFC 2338 authentication types that survive on the wire.
const AUTH_NONE: u8 = 0;
const AUTH_PASS: u8 = 1;

/// A packet whose structure is right; borrowed, nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    source: Ipv4Addr,
    envelope: Envelope,
    version: VrrpVersion,
    /// The VRRP message, exactly as long as it must be.
    message: &'a [u8],
}

impl<'a> View<'a> {
    /// Reads an IPv4 packet. Bytes behind the IP length are ignored (Ethernet padding).
    ///
    /// # Errors
    /// The first thing that is wrong, in the order of RFC 5798 section 7.1.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Reject> {
        let (ip, rest) = packet.split_at_checked(IP_HEADER).ok_or(Reject::IpHeader)?;
        let header_len = usize::from(ip[0] & 0x0f) * 4;
        let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        if ip[0] >> 4 != 4 || header_len < IP_HEADER || total < header_len || total > packet.len() {
            return Err(Reject::IpHeader);
        }
        // Reserved bit, MF and offset; an advert is far below any MTU.
        if u16::from_be_bytes([ip[6], ip[7]]) & 0xbfff != 0 {
            return Err(Reject::Fragment);
        }
        if ip[9] != PROTOCOL {
            return Err(Reject::Protocol);
        }
        let source = ipv4(&ip[12..16]);
        if source.is_unspecified()
            || source.is_multicast()
            || source.is_broadcast()
            || source.is_loopback()
        {
            return Err(Reject::Source);
        }
        let message = &rest[header_len - IP_HEADER..total - IP_HEADER];
        if message.len() < FIXED {
            return Err(Reject::Length);
        }
        let version = match message[0] >> 4 {
            2 => VrrpVersion::V2,
            3 => VrrpVersion::V3,
            _ => return Err(Reject::Version),
        };
        if message[0] & 0x0f != TYPE_ADVERTISEMENT {
            return Err(Reject::Type);
        }
        let count = usize::from(message[3]);
        if count == 0 {
            return Err(Reject::Count);
        }
        if message.len() != message_len(version, count) {
            return Err(Reject::Length);
        }
        let destination = ipv4(&ip[16..20]);
        let coverage = coverage(version, source, destination, message).ok_or(Reject::Checksum)?;
        let view = View {
            source,
            envelope: Envelope {
                destination,
                ttl: ip[8],
                coverage,
            },
            version,
            message,
        };
        // RFC 9568 section 7.1 with erratum 8301; version 2 compares with its own interval, never 0.
        if version == VrrpVersion::V3 && view.interval().is_zero() {
            return Err(Reject::ZeroInterval);
        }
        Ok(view)
    }

    /// Who sent it.
    #[must_use]
    pub const fn source(&self) -> Ipv4Addr {
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

    /// The virtual addresses in the packet's order.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = Ipv4Addr> + 'a {
        let count = usize::from(self.message[3]);
        self.message[FIXED..FIXED + 4 * count]
            .chunks_exact(4)
            .map(ipv4)
    }

    /// The plain representation.
    ///
    /// # Errors
    /// [`Reject::AuthType`] when the authentication is neither none nor PASS.
    pub fn to_advert(&self) -> Result<Advert, Reject> {
        let auth = match self.auth_type() {
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

/// The VRID of a packet that [`View::parse`] may have refused, to say whose it would have been.
#[must_use]
pub fn vrid_of(packet: &[u8]) -> Option<u8> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(header_len + 1).copied()
}

/// The source address of a packet that [`View::parse`] may have refused; 0.0.0.0 when it is too
/// short to have one.
#[must_use]
pub fn source_of(packet: &[u8]) -> Ipv4Addr {
    packet.get(12..16).map_or(Ipv4Addr::UNSPECIFIED, ipv4)
}

/// Where a packet goes; 0.0.0.0 when it is too short to say.
#[must_use]
pub fn destination_of(packet: &[u8]) -> Ipv4Addr {
    packet.get(16..20).map_or(Ipv4Addr::UNSPECIFIED, ipv4)
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
    /// Its interval; compared in version 2 only.
    pub interval: Duration,
    /// Its addresses, sorted; `None` when they are not to be compared.
    pub addresses: Option<&'a [Ipv4Addr]>,
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
    match (view.version(), expect.auth) {
        (VrrpVersion::V3, _) => {}
        (VrrpVersion::V2, Auth::None) if view.auth_type() == AUTH_NONE => {}
        (VrrpVersion::V2, Auth::Pass(password)) if view.auth_type() == AUTH_PASS => {
            if view.auth_data() != pad_password(password) {
                return Err(Reject::AuthData);
            }
        }
        (VrrpVersion::V2, Auth::None | Auth::Pass(_)) => return Err(Reject::AuthType),
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

/// An advert to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// The sender's primary address.
    pub source: Ipv4Addr,
    /// How it goes.
    pub envelope: Envelope,
    /// 2 or 3.
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
    pub addresses: Vec<Ipv4Addr>,
}

impl Advert {
    /// The whole IPv4 packet with identification `id`: TOS 0xc0, DF 0.
    #[must_use]
    pub fn emit(&self, id: u16) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).unwrap_or(u8::MAX);
        let len = message_len(self.version, count.into());
        let mut out = Vec::with_capacity(IP_HEADER + len);
        // At most 20 + 8 + 4 * 255 + 8 bytes.
        let total = (IP_HEADER + len) as u16;
        out.extend_from_slice(&[0x45, TOS]);
        out.extend_from_slice(&total.to_be_bytes());
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[0, 0, self.envelope.ttl, PROTOCOL, 0, 0]);
        out.extend_from_slice(&self.source.octets());
        out.extend_from_slice(&self.envelope.destination.octets());
        let header_sum = !fold(sum(0, &out));
        out[10..12].copy_from_slice(&header_sum.to_be_bytes());

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
            out.extend_from_slice(&address.octets());
        }
        let pseudo = match self.version {
            VrrpVersion::V2 => {
                out.extend_from_slice(&match &self.auth {
                    Auth::None => [0; AUTH_DATA],
                    Auth::Pass(password) => pad_password(password),
                });
                0
            }
            VrrpVersion::V3 => beside(
                self.envelope.coverage,
                self.source,
                self.envelope.destination,
                len,
            ),
        };
        let checksum = !fold(sum(pseudo, &out[IP_HEADER..]));
        out[IP_HEADER + 6..IP_HEADER + 8].copy_from_slice(&checksum.to_be_bytes());
        out
    }
}

const fn message_len(version: VrrpVersion, count: usize) -> usize {
    match version {
        VrrpVersion::V2 => FIXED + 4 * count + AUTH_DATA,
        VrrpVersion::V3 => FIXED + 4 * count,
    }
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

/// `bytes` must have at least 4; callers cut them so.
fn ipv4(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

fn sum(start: u32, bytes: &[u8]) -> u32 {
    // At most 32 Ki words of 16 bits, so 32 bits hold the sum.
    bytes
        .chunks(2)
        .map(|c| u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)])))
        .fold(start, u32::wrapping_add)
}

/// The sum of what a version 3 checksum covers beside the message.
fn beside(coverage: Coverage, source: Ipv4Addr, destination: Ipv4Addr, len: usize) -> u32 {
    let to = match coverage {
        Coverage::Message => return 0,
        Coverage::Destination => destination,
        Coverage::Group => GROUP,
    };
    let start = u32::from(PROTOCOL) + len as u32;
    sum(sum(start, &source.octets()), &to.octets())
}

/// What the checksum covers, if it is right in any of the accepted ways.
fn coverage(
    version: VrrpVersion,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    message: &[u8],
) -> Option<Coverage> {
    let plain = sum(0, message);
    let fits =
        |c: &Coverage| fold(plain + beside(*c, source, destination, message.len())) == 0xffff;
    match version {
        VrrpVersion::V2 => (fold(plain) == 0xffff).then_some(Coverage::Destination),
        VrrpVersion::V3 => [Coverage::Destination, Coverage::Message, Coverage::Group]
            .into_iter()
            .find(fits),
    }
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;
