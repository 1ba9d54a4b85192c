//! Why a frame was passed to the stack or dropped; each has a per-CPU counter and a name.
//!
//! A frame that is forwarded to a real server is counted at its backend and nowhere else.

/// What a [`Reason`] says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It went up this host's stack untouched.
    Pass,
    /// It was dropped.
    Drop,
    /// Something that happened while it was handled; the frame is counted elsewhere too.
    Note,
}

macro_rules! reasons {
    ($($(#[doc = $help:literal])+ $variant:ident $name:literal $kind:ident,)+) => {
        /// Why a frame was passed or dropped, or what happened on its way.
        ///
        /// The numbers are indexes of the per-CPU counters; the names are stable.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[doc = $help])+ $variant,)+
        }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// Its name in output and metrics: snake_case, never changed.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Reason::$variant => $name,)+
                }
            }

            /// What happens to the frame.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self {
                    $(Reason::$variant => Kind::$kind,)+
                }
            }

            /// One line for people.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self {
                    $(Reason::$variant => concat!($($help,)+).trim_ascii_start(),)+
                }
            }
        }
    };
}

reasons! {
    /// neither IPv4 nor IPv6 (ARP, LLDP, more than two VLAN tags, ...)
    NotIp "not_ip" Pass,
    /// neither TCP nor UDP nor SCTP nor an ICMP error about one of them
    OtherProtocol "other_protocol" Pass,
    /// TCP, UDP or SCTP that is not for a configured service
    NoService "no_service" Pass,
    /// for a service by its address, but the frame is for another host's MAC
    OtherMac "other_mac" Pass,
    /// an IP header of another version than its frame says; the stack discards it
    Malformed "malformed" Pass,
    /// an IPv4 header length below 20 or beyond the packet; the stack discards it
    BadHeaderLength "bad_header_length" Pass,
    /// an IP packet that says it is longer than its frame; the stack discards it
    BadTotalLength "bad_total_length" Pass,
    /// the packet ends within its IP headers or before its ports; the stack discards it
    Truncated "truncated" Pass,
    /// more IPv6 extension headers than are looked at (six)
    ExtensionHeaders "extension_headers" Pass,
    /// a fragment other than the first, and the first has not been seen: no reassembly follows
    LaterFragment "later_fragment" Pass,
    /// an ICMP error about a connection to a service that nobody knows
    IcmpNoFlow "icmp_no_flow" Pass,
    /// sent here by a peer director, and this host is a real server of the service
    PeerLocal "peer_local" Pass,
    /// for no service, to a virtual address that is here but not to be talked to (`no_accept`)
    NotAccepted "not_accepted" Drop,
    /// for a service, and its source is the service's own address
    Land "land" Drop,
    /// for a service, with a source route (IPv4 options LSRR, SSRR; IPv6 routing header type 0)
    SourceRoute "source_route" Drop,
    /// for a service, but the TCP or SCTP header is cut off
    ShortHeader "short_header" Drop,
    /// for a service, on an interface that the daemon has not told the program of
    UnknownIface "unknown_iface" Drop,
    /// for a service, to the MAC of a virtual router that this host is not at this moment
    VirtualMac "virtual_mac" Drop,
    /// for a service, sent by a peer director: it is never scheduled twice
    PeerDirector "peer_director" Drop,
    /// TTL or hop limit 1 or 0: a router would drop it here
    TtlExpired "ttl_expired" Drop,
    /// longer than the way to the real server takes, and may not be answered (no DF, ICMP, ...)
    TooBig "too_big" Drop,
    /// as too_big, and its sender was told what fits: "fragmentation needed", "packet too big"
    TooBigAnswered "too_big_answered" Drop,
    /// the service has no real server that takes new connections
    NoServer "no_server" Drop,
    /// no usable real server's MAC address is known
    BackendUnresolved "backend_unresolved" Drop,
    /// TCP in mid-stream without a connection entry, and no flood in the last minute
    TcpNoFlow "tcp_no_flow" Drop,
    /// SCTP in mid-stream without a connection entry, and no flood in the last minute
    SctpNoFlow "sctp_no_flow" Drop,
    /// another CPU was still deciding about the same connection
    FlowBusy "flow_busy" Drop,
    /// a table of the program lacks an element that must be there: a bug, please report it
    Internal "internal" Drop,
    /// the server whose turn it was has no MAC address or is down: another one was taken
    BackendSkipped "backend_skipped" Note,
    /// a connection that was closing gave way to a new one because its place was full
    EvictedClosing "evicted_closing" Note,
    /// a half-open connection or a UDP flow of one packet gave way to a new one because its place was full
    EvictedHalfOpen "evicted_half_open" Note,
    /// the most idle live connection gave way to a new one because its place was full
    EvictedLive "evicted_live" Note,
    /// a connection was moved to its second place to make room
    FlowMoved "flow_moved" Note,
    /// a fragment followed the first one of its packet
    FragmentFollowed "fragment_followed" Note,
    /// an ICMP error went to the server of the connection that it is about
    IcmpError "icmp_error" Note,
    /// a packet of a connection without an entry went by hash, more being opened than `flood_rate`
    FloodHashed "flood_hashed" Note,
    /// a SYN or a UDP packet of a known flow was scheduled anew, its server being gone
    Rescheduled "rescheduled" Note,
}

impl Reason {
    /// Whether the frame goes up the stack; the program asks this of a number it has in hand.
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> bool {
        const PASSING: u64 = {
            let mut mask = 0;
            let mut i = 0;
            while i < Reason::ALL.len() {
                if matches!(Reason::ALL[i].kind(), Kind::Pass) {
                    mask |= 1 << i;
                }
                i += 1;
            }
            mask
        };
        PASSING >> self as u8 & 1 != 0
    }

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// Elements of the map of counters: room for reasons of later versions.
pub const REASON_SLOTS: u32 = 64;
const _: () = assert!(Reason::COUNT <= REASON_SLOTS as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_snake_case_and_differ() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
            assert!(
                reason
                    .name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
                "{reason:?}"
            );
            assert!(!reason.help().is_empty());
            assert!(
                Reason::ALL[..i]
                    .iter()
                    .all(|other| other.name() != reason.name()),
                "{reason:?}"
            );
        }
    }
}
