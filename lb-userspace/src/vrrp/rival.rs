//! Another master of the same virtual router whose adverts are refused here, and which refuses ours:
//! both hold the addresses, and neither yields. It is told once, by what differs, and once when it ends.

use std::net::IpAddr;

use super::event::Notice;
use super::instance::{Ctx, Instance, Proto};
use super::packet::Reject;
use crate::time::Time;

/// Adverts of it within one down interval of each other that make it a rival: one packet may be anybody's.
const ADVERTS: u32 = 3;

/// Who it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rival {
    pub(super) from: IpAddr,
    /// What differs.
    pub(super) reason: Reject,
    adverts: u32,
    /// When nothing more of it means that it is gone.
    until: Time,
}

impl Rival {
    /// It was heard often enough.
    pub(super) const fn is_certain(&self) -> bool {
        self.adverts >= ADVERTS
    }
}

impl Reject {
    /// The words of keepalived.conf that two directors have to agree on, when this says that they do not.
    #[must_use]
    pub const fn disagreement(self) -> Option<&'static str> {
        match self {
            Reject::Version => Some("version"),
            Reject::AuthType | Reject::AuthData => Some("authentication"),
            Reject::Interval => Some("advert_int"),
            Reject::Count | Reject::AddressList => Some("virtual_ipaddress"),
            Reject::Destination | Reject::NotPeer => {
                Some("unicast_peer, mcast_dst_ip, vrrp_mcast_group4 or vrrp_mcast_group6")
            }
            Reject::IpHeader
            | Reject::Fragment
            | Reject::Protocol
            | Reject::Ttl
            | Reject::Length
            | Reject::Type
            | Reject::Checksum
            | Reject::UnknownVrid
            | Reject::ZeroInterval
            | Reject::Source
            | Reject::OwnSource
            | Reject::OffSubnet
            | Reject::Replay
            | Reject::NotListening => None,
        }
    }
}

impl Instance {
    /// An advert was refused. True when this is all that is to be said of it.
    pub(super) fn note_rival(&mut self, reason: Reject, from: IpAddr, ctx: &mut Ctx<'_>) -> bool {
        if reason.disagreement().is_none() || !matches!(self.proto, Proto::Master(_)) {
            return false;
        }
        let until = ctx.now + self.down_interval() * 2;
        let adverts = match self.rival {
            Some(known) if (known.from, known.reason) == (from, reason) => known.adverts + 1,
            // The one that is known is told of first.
            Some(known) if known.is_certain() => return false,
            Some(_) | None => 1,
        };
        self.rival = Some(Rival {
            from,
            reason,
            adverts,
            until,
        });
        if adverts == ADVERTS {
            self.notice(Notice::Rival { from, reason }, ctx);
        }
        adverts >= ADVERTS
    }

    /// Forgets a rival that is silent, or to which the role was left.
    pub(super) fn tick_rival(&mut self, ctx: &mut Ctx<'_>) {
        let Some(rival) = self.rival else { return };
        let master = matches!(self.proto, Proto::Master(_));
        if master && rival.until > ctx.now {
            return;
        }
        self.rival = None;
        if rival.is_certain() {
            self.notice(Notice::RivalGone { from: rival.from }, ctx);
        }
    }

    /// When [`tick_rival`](Self::tick_rival) has something to do.
    pub(super) fn rival_deadline(&self) -> Option<Time> {
        self.rival.map(|r| r.until)
    }
}
