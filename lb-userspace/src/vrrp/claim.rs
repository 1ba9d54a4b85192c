//! Somebody else who answers for a virtual address while this host is master: another master whose
//! adverts do not arrive here (a switch that drops the group, a firewall), a real server that should be
//! silent about it, or a host that was given it by mistake. Adverts say nothing of it, so a master asks the
//! segment now and then who has its addresses, as who is about to take an address does (RFC 5227), and
//! hears who claims one. Each host is told of once, and once when it claims none any more; the status has
//! all that it claims.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::event::{Action, Notice};
use super::hold::HoldState;
use super::instance::{Ctx, Instance, Proto};
use super::rival::Rival;
use crate::model::Family;
use crate::time::Time;

/// When a new master asks for the first time: what it took the role from has let go by then.
const FIRST: Duration = Duration::from_secs(3);
/// How often it asks then.
const EVERY: Duration = Duration::from_secs(10);
/// How often while an address is claimed.
const AGAIN: Duration = Duration::from_secs(2);
/// How many addresses are asked for at a time; the next ones follow at the next time.
const AT_ONCE: usize = 4;
/// What is claimed again after so long is not the rest of a change of hands.
const CERTAIN: Duration = Duration::from_millis(1500);
/// What is not claimed for so long is over.
const SILENCE: Duration = Duration::from_secs(9);
/// How many claimants are remembered, and how many addresses of each.
const MOST: usize = 8;
const MOST_OF_ONE: usize = 4;

/// A claim on one of an instance's addresses.
#[derive(Clone, Copy, Debug)]
struct Claim {
    first: Time,
    last: Time,
    certain: bool,
}

/// The claims on an instance's addresses.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// When to ask next; none when it is no master.
    ask_at: Option<Time>,
    cursor: usize,
    all: BTreeMap<([u8; 6], IpAddr), Claim>,
}

impl Claims {
    /// Those that are certain, by MAC.
    pub(super) fn certain(&self) -> Vec<(IpAddr, [u8; 6])> {
        let certain = self.all.iter().filter(|(_, c)| c.certain);
        certain.map(|((mac, addr), _)| (*addr, *mac)).collect()
    }

    /// Whether this host was told of.
    fn knows(&self, mac: [u8; 6]) -> bool {
        self.all.iter().any(|((m, _), c)| *m == mac && c.certain)
    }

    /// Whether a claim of this host is to be remembered.
    fn has_room(&self, mac: [u8; 6]) -> bool {
        let macs: BTreeSet<[u8; 6]> = self.all.keys().map(|(m, _)| *m).collect();
        let of_this = self.all.keys().filter(|(m, _)| *m == mac).count();
        of_this < MOST_OF_ONE && (of_this > 0 || macs.len() < MOST)
    }

    /// When [`Instance::tick_claims`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        let ends = self.all.values().map(|c| c.last + SILENCE);
        ends.chain(self.ask_at).min()
    }
}

impl Instance {
    /// Whether what others say of its addresses counts.
    pub(super) fn guards(&self) -> bool {
        matches!(
            (&self.proto, self.hold),
            (Proto::Master(_), HoldState::Owned)
        )
    }

    /// `mac` says that `addr` is its own.
    pub(super) fn on_claim(
        &mut self,
        iface: &Arc<str>,
        addr: IpAddr,
        mac: [u8; 6],
        ctx: &mut Ctx<'_>,
    ) {
        if !self.guards() || self.claims.ask_at.is_none() {
            return;
        }
        let key = (mac, addr);
        if !self.claims.all.contains_key(&key) {
            if !self.claims.has_room(mac) {
                return;
            }
            let soon = ctx.now + AGAIN;
            self.claims.ask_at = self.claims.ask_at.map(|at| at.min(soon));
        }
        let known = self.claims.knows(mac);
        let claim = self.claims.all.entry(key).or_insert(Claim {
            first: ctx.now,
            last: ctx.now,
            certain: false,
        });
        claim.last = ctx.now;
        // Of another master that is heard but refused more is known.
        let is_rival = self.rival.as_ref().is_some_and(Rival::is_certain);
        if !claim.certain && ctx.now.since(claim.first) >= CERTAIN && !is_rival {
            claim.certain = true;
            if !known {
                let iface = Arc::clone(iface);
                let notice = Notice::Claimed {
                    iface,
                    addr,
                    mac,
                    server: None,
                };
                self.notice(notice, ctx);
            }
        }
    }

    /// Asks who has the addresses; forgets who is silent.
    pub(super) fn tick_claims(&mut self, ctx: &mut Ctx<'_>) {
        let guards = self.guards();
        let now = ctx.now;
        let (over, going): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.claims.all)
            .into_iter()
            .partition(|(_, c)| !guards || c.last + SILENCE <= now);
        self.claims.all = going;
        let over = over.into_iter().filter(|(_, c)| c.certain);
        let over: BTreeMap<[u8; 6], IpAddr> = over.map(|(key, _)| key).collect();
        for (mac, addr) in over {
            if !self.claims.knows(mac) {
                self.notice(Notice::ClaimGone { addr, mac }, ctx);
            }
        }
        match self.claims.ask_at {
            _ if !guards => self.claims = Claims::default(),
            None => self.claims.ask_at = Some(now + FIRST),
            Some(at) if at <= now => self.ask(ctx),
            Some(_) => {}
        }
    }

    fn ask(&mut self, ctx: &mut Ctx<'_>) {
        let claimed: BTreeSet<IpAddr> = self.claims.all.keys().map(|(_, addr)| *addr).collect();
        let every = if claimed.is_empty() { EVERY } else { AGAIN };
        self.claims.ask_at = Some(ctx.now + every);
        let len = self.vips.len();
        let turn = (0..len.min(AT_ONCE)).map(|n| (self.claims.cursor + n) % len);
        let turn: BTreeSet<usize> = turn.collect();
        self.claims.cursor = (self.claims.cursor + AT_ONCE) % len.max(1);
        for (at, vip) in self.vips.iter().enumerate() {
            let address = &vip.address;
            let wanted = turn.contains(&at) || claimed.contains(&address.addr);
            if !wanted || !ctx.net.is_present(address) {
                continue;
            }
            ctx.out.push_back(Action::AskFor {
                iface: Arc::clone(&address.iface),
                addr: address.addr,
                from: ctx.net.primary(&address.iface, Family::of(address.addr)),
            });
        }
    }
}
