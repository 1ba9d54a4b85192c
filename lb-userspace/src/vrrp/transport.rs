//! How an instance's adverts travel: to a group, or to each of its unicast peers.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::event::{Notice, Reason};
use super::instance::{Ctx, Instance};
use super::net::Net;
use super::packet::{Coverage, Envelope, TTL, View};
use crate::model::{Family, OldChecksum, Transport};

/// What the sockets of an interface are to receive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// Groups to be a member of.
    pub groups: BTreeSet<IpAddr>,
    /// Adverts come by unicast as well, of these versions of IP.
    pub unicast: BTreeSet<Family>,
    /// It is a macvlan of `use_vmac`: the interface under it is the member of the groups, since what
    /// the kernel sends for a membership would tell switches that the MAC is here.
    pub is_vmac: bool,
}

impl Listen {
    /// What one instance needs.
    #[must_use]
    pub fn to(transport: &Transport, family: Family) -> Self {
        let mut listen = Listen::default();
        listen.add(transport, family);
        listen
    }

    pub(super) fn add(&mut self, transport: &Transport, family: Family) {
        match transport {
            Transport::Multicast(group) => {
                self.groups.insert(*group);
            }
            Transport::Unicast(_) => {
                self.unicast.insert(family);
            }
        }
    }

    /// The versions of IP over which adverts come.
    #[must_use]
    pub fn families(&self) -> BTreeSet<Family> {
        let groups = self.groups.iter().map(|g| Family::of(*g));
        groups.chain(self.unicast.iter().copied()).collect()
    }
}

impl Instance {
    /// Of the packets that make up one advert. A list of peers that is the same on all hosts names
    /// this one too: nothing is sent to oneself.
    pub(super) fn envelopes(&self, net: &Net) -> Vec<Envelope> {
        // Over IPv6 there is one checksum only.
        let v4 = self.config.family() == Family::V4;
        let plain = self.config.v3_checksum_as_v2 && v4;
        match &self.config.transport {
            Transport::Multicast(group) => vec![Envelope {
                destination: *group,
                ttl: TTL,
                coverage: match plain {
                    true => Coverage::Message,
                    false => Coverage::Destination,
                },
            }],
            Transport::Unicast(unicast) => {
                let coverage = match unicast.old_checksum {
                    _ if plain => Coverage::Message,
                    _ if !v4 => Coverage::Destination,
                    OldChecksum::Always => Coverage::Group,
                    OldChecksum::Auto if self.old_checksum => Coverage::Group,
                    OldChecksum::Auto | OldChecksum::Never => Coverage::Destination,
                };
                let envelope = |destination| Envelope {
                    destination,
                    ttl: unicast.ttl,
                    coverage,
                };
                unicast
                    .peers
                    .iter()
                    .filter(|p| !net.is_own(p.addr))
                    .map(|p| envelope(p.addr))
                    .collect()
            }
        }
    }

    /// Whether an advert's sender may be where it says that it is. Only adverts to a group cannot
    /// have come through a router.
    pub(super) fn is_possible_source(&self, source: IpAddr, net: &Net) -> bool {
        match &self.config.transport {
            Transport::Multicast(_) => net.is_on_link(&self.iface, source),
            Transport::Unicast(_) => true,
        }
    }

    /// Whether the frame that carried an accepted advert was sent by its sender, not by a router
    /// between.
    pub(super) fn is_neighbour(&self, view: &View<'_>, net: &Net) -> bool {
        match &self.config.transport {
            Transport::Multicast(_) => true,
            Transport::Unicast(_) => {
                view.envelope().ttl == TTL && net.is_in_subnet(&self.iface, view.source())
            }
        }
    }

    /// Whether an advert goes the way that this instance's do: of several with one VRID it is the one
    /// that is meant.
    pub(super) fn is_meant(&self, from: IpAddr, to: IpAddr) -> bool {
        match &self.config.transport {
            Transport::Multicast(group) => to == *group,
            Transport::Unicast(unicast) => !to.is_multicast() && unicast.has_peer(from),
        }
    }

    /// Whether a unicast advert was sent to the address that this instance sends from, if that is known:
    /// of several with one VRID and one peer it is the one that is meant.
    pub(super) fn is_addressed(&self, to: IpAddr) -> bool {
        match &self.config.transport {
            Transport::Multicast(_) => true,
            Transport::Unicast(_) => self.config.mcast_src_ip.is_none_or(|own| own == to),
        }
    }

    /// `unicast_fault_no_peer`.
    pub(super) fn without_peers(&self) -> Option<Reason> {
        let unicast = self.config.transport.unicast()?;
        unicast.peers.is_empty().then_some(Reason::NoPeer)
    }

    /// A peer that computes the checksum as keepalived up to 1.3.6 did is answered likewise.
    pub(super) fn note_checksum(&mut self, view: &View<'_>, ctx: &mut Ctx<'_>) {
        if view.envelope().coverage == Coverage::Group && !self.old_checksum {
            self.old_checksum = true;
            let from = view.source();
            self.notice(Notice::OldChecksum { from }, ctx);
        }
    }
}
