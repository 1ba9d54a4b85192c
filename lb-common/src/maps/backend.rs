//! Real servers: how they are reached, how many connections they have.

/// A real server of one service: what is needed to send a frame to it. One cache line.
///
/// Three words change as one each: `dmac` (with the first bytes of `smac`); the rest of `smac` with
/// `ifindex`; `flags` with `service` and `addr`. To move a live backend to another interface clear
/// [`BACKEND_RESOLVED`] and set [`BACKEND_CHANGING`], store the first two words, and the other way
/// round.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Backend {
    /// Destination MAC. All zero: not resolved yet, see [`BACKEND_RESOLVED`].
    pub dmac: [u8; 6],
    /// Source MAC: that of the outgoing interface.
    pub smac: [u8; 6],
    /// Outgoing interface.
    pub ifindex: u32,
    /// `BACKEND_*` bits.
    pub flags: u16,
    /// The service's id.
    pub service: u16,
    /// IPv4 address, network byte order (IPv6: 0, see [`Remote::addr`]); for people.
    pub addr: u32,
    /// Port, network byte order; for people.
    pub port: u16,
    /// Weight as configured or set.
    pub weight: u16,
    /// MTU of the outgoing interface: the longest IP packet that it takes; 0: do not care.
    pub mtu: u16,
    /// A [`Forward`] as a number.
    pub forward: u8,
    /// How many bytes the short way of IPv4 puts in front of a packet: 0 for direct routing, or
    /// [`BACKEND_LONG_WAY`]. See [`prepared`].
    pub overhead: u8,
    /// Sum, for the checksum, of what the outer header of the usual tunnel (IPv4, no checksum of its
    /// own) always says. See [`prepared`].
    pub sum: u64,
    /// Source and destination of that outer header, as they lie in it. See [`prepared`].
    pub ends: u64,
    /// The [`Remote::tunnel_port`] of that tunnel. See [`prepared`].
    pub tunnel_port: u64,
    /// 1: the program keeps [`Load::counts`], because a scheduler or a threshold looks at them
    /// ([`SERVICE_COUNTS`](super::SERVICE_COUNTS)). 0: nobody does so packet by packet, and to count
    /// there would make all CPUs write the same lines for each new connection; user space stores what
    /// it finds in the flow table.
    pub counted: u8,
    /// Reserved.
    pub reserved: [u8; 7],
}

/// [`Backend::overhead`] of a tunnel that takes more than the short way does.
pub const BACKEND_LONG_WAY: u8 = u8::MAX;
/// [`Backend::overhead`] of the usual IPIP tunnel: an IPv4 header.
pub const IPIP_OVERHEAD: u8 = 20;
/// Of GRE without a checksum: 4 bytes more.
pub const GRE_OVERHEAD: u8 = IPIP_OVERHEAD + 4;
/// Of GUE: a UDP header of 8 bytes and 4 of GUE more.
pub const GUE_OVERHEAD: u8 = IPIP_OVERHEAD + 8 + 4;

/// The MACs and the interface are known.
pub const BACKEND_RESOLVED: u16 = 1;
/// Dead or removed: new connections, SYNs and UDP go elsewhere; established TCP stays.
pub const BACKEND_DOWN: u16 = 2;
/// This host itself: frames go up the stack.
pub const BACKEND_LOCAL: u16 = 4;
/// How it is reached is just being written: nothing is sent to it for that moment, but flows stay.
pub const BACKEND_CHANGING: u16 = 8;
/// No longer in the configuration and kept for its flows; only user space looks at it.
pub const BACKEND_REMOVED: u16 = 1 << 15;

/// Counters of one backend on one CPU. A service's are the sum of its backends' and what the
/// daemon remembers of those removed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Counters {
    /// Packets forwarded.
    pub packets: u64,
    /// Their bytes, counted as IPVS does: the IP packet without its Ethernet header.
    pub bytes: u64,
    /// Connections scheduled.
    pub conns: u64,
    /// Reserved; keeps an element within a cache line.
    pub reserved: u64,
}

/// How a packet gets to a real server.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Direct routing: another destination MAC.
    Direct = 0,
    /// In an IP packet to the real server (protocol 4 or 41).
    Ipip = 1,
    /// In UDP with a GUE header, version 0.
    Gue = 2,
    /// In GRE (RFC 2784).
    Gre = 3,
}

impl Forward {
    /// The one of that number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Forward> {
        match number {
            0 => Some(Forward::Direct),
            1 => Some(Forward::Ipip),
            2 => Some(Forward::Gue),
            3 => Some(Forward::Gre),
            _ => None,
        }
    }
}

/// What a backend has beside its MACs: one cache line, read only where it is reached through a
/// tunnel or connections are limited.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Remote {
    /// The real server's address as in a packet; IPv4: in the first word, the others zero.
    pub addr: [u32; 4],
    /// The tunnel's own address on this host, of the same family.
    pub source: [u32; 4],
    /// `REMOTE_*` bits.
    pub flags: u32,
    /// UDP destination port of GUE, network byte order.
    pub tunnel_port: u16,
    /// User space's own: the last weight that was not 0, by which `mh` keeps a quiesced server's
    /// share of its table.
    pub last_weight: u16,
    /// `uthreshold`: with so many connections it takes no new ones; 0: no limit.
    pub upper: u32,
    /// `lthreshold`: below so many it does again; 0: below three quarters of `upper`.
    pub lower: u32,
    /// Reserved.
    pub reserved: [u64; 2],
}

/// A backend that is reached so, with what the short way reads of it.
#[must_use]
pub const fn prepared(mut backend: Backend, remote: &Remote, forward: Forward) -> Backend {
    backend.forward = forward as u8;
    let is_usual = remote.flags & (REMOTE_V6 | REMOTE_CHECKSUM) == 0;
    let (proto, overhead) = match forward {
        Forward::Direct => (0, 0),
        Forward::Ipip if is_usual => (4, IPIP_OVERHEAD),
        Forward::Gue if is_usual => (17, GUE_OVERHEAD),
        Forward::Gre if is_usual => (47, GRE_OVERHEAD),
        Forward::Ipip | Forward::Gue | Forward::Gre => (0, BACKEND_LONG_WAY),
    };
    backend.overhead = overhead;
    if proto == 0 {
        return backend;
    }
    backend.ends = remote.source[0] as u64 | (remote.addr[0] as u64) << 32;
    backend.tunnel_port = remote.tunnel_port as u64;
    let mut sum = u16::from_ne_bytes([0x45, 0]) as u64 + u16::from_ne_bytes([0, proto]) as u64;
    let mut rest = backend.ends;
    while rest != 0 {
        sum += rest & 0xffff;
        rest >>= 16;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    backend.sum = sum;
    backend
}

/// The real server's address is IPv6.
pub const REMOTE_V6: u32 = 1;
/// The tunnel header has a checksum (`csum`).
pub const REMOTE_CHECKSUM: u32 = 2;
/// A router before it has the MAC; user space's own.
pub const REMOTE_ROUTED: u32 = 4;

/// How many connections a backend has, as IPVS counts them. Where [`Backend::counted`] is set it is
/// changed with atomic additions by the program (flows that come, go, change state) and by user space
/// (flows that expired); elsewhere it is what user space found when it last walked through the table.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::IntoBytes,
        zerocopy::FromBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Load {
    /// [`load_word`]: active connections in the upper half, inactive ones in the lower.
    pub counts: u64,
    /// `LOAD_*` bits, written by the program alone.
    pub marks: u64,
}

/// The backend had [`Remote::upper`] connections and has not yet come below [`Remote::lower`].
pub const LOAD_OVERLOADED: u64 = 1;
/// The backend is in the set of its `lblcr` service; bits 8 to 15 are its
/// [number](crate::sched::locality::ServerSet::number) there.
pub const LOAD_IN_SET: u64 = 2;

/// [`Load::counts`] of so many connections, or, wrapping, the difference to add.
#[inline(always)]
#[must_use]
pub const fn load_word(active: i32, inactive: i32) -> u64 {
    (((active as i64) << 32) as u64).wrapping_add(inactive as i64 as u64)
}

/// Active and inactive connections of [`Load::counts`]; what is negative for a moment (an addition
/// overtaken by a subtraction) counts as 0.
#[inline(always)]
#[must_use]
pub const fn split_load(counts: u64) -> (u32, u32) {
    let inactive = counts as i32;
    let active = (counts.wrapping_sub(inactive as i64 as u64) as i64 >> 32) as i32;
    (
        if active < 0 { 0 } else { active as u32 },
        if inactive < 0 { 0 } else { inactive as u32 },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_counts_of_a_load_are_kept_apart() {
        let mut word = load_word(3, 5);
        assert_eq!(split_load(word), (3, 5));
        word = word.wrapping_add(load_word(1, -1));
        assert_eq!(split_load(word), (4, 4));
        word = word.wrapping_add(load_word(-4, -5));
        assert_eq!(split_load(word), (0, 0), "-1 for a moment");
        assert_eq!(split_load(word.wrapping_add(load_word(2, 1))), (2, 0));
    }
}
