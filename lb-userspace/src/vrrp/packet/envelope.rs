//! What of an advert is not the VRRP message: destination, TTL, and what its checksum covers.

use std::net::IpAddr;

use super::{Reject, TTL, View};
use crate::model::{Family, OldChecksum, Transport, VrrpVersion};

/// What the checksum of a version 3 advert covers beside the message. Version 2's covers nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// Source and destination of the packet, protocol and length: RFC 5798 as keepalived and FRR
    /// read it for IPv4, and the only way for IPv6.
    #[default]
    Destination,
    /// Nothing: RFC 9568 section 5.2.8 for IPv4.
    Message,
    /// As [`Coverage::Destination`], but 224.0.0.18 stands for the unicast destination: keepalived up
    /// to 1.3.6.
    Group,
}

/// How an advert travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// IP destination.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// What the checksum of version 3 covers.
    pub coverage: Coverage,
}

impl Envelope {
    /// As RFC 5798 has it for IPv4: to 224.0.0.18, TTL 255.
    pub const MULTICAST: Envelope = Envelope {
        destination: Family::V4.group(),
        ttl: TTL,
        coverage: Coverage::Destination,
    };
}

/// Checks that a packet came the way an instance listens on.
///
/// # Errors
/// [`Reject::Destination`] when it went to another group, or by unicast where multicast is expected and
/// the reverse; [`Reject::Ttl`], [`Reject::NotPeer`] and [`Reject::Checksum`] as configured.
pub(super) fn check(view: &View<'_>, transport: &Transport) -> Result<(), Reject> {
    let envelope = view.envelope();
    match transport {
        Transport::Multicast(group) => {
            if envelope.destination != *group {
                return Err(Reject::Destination);
            }
            if envelope.ttl != TTL {
                return Err(Reject::Ttl);
            }
        }
        Transport::Unicast(unicast) => {
            let to = envelope.destination;
            let broadcast = matches!(to, IpAddr::V4(v4) if v4.is_broadcast());
            if to.is_multicast() || broadcast || to.is_unspecified() {
                return Err(Reject::Destination);
            }
            if unicast.check_source {
                let source = view.source();
                let peer = unicast.peers.iter().find(|p| p.addr == source);
                let peer = peer.ok_or(Reject::NotPeer)?;
                if !(peer.min_ttl..=peer.max_ttl).contains(&envelope.ttl) {
                    return Err(Reject::Ttl);
                }
            }
            if view.version() == VrrpVersion::V3
                && envelope.coverage == Coverage::Group
                && unicast.old_checksum == OldChecksum::Never
            {
                return Err(Reject::Checksum);
            }
        }
    }
    Ok(())
}
