//! An advert was heard: whose it is.

use std::sync::Arc;
use std::time::Duration;

use super::super::event::Action;
use super::super::instance::Instance;
use super::super::packet::{Reject, View, destination_of, family_of, source_of, vrid_of};
use super::super::report::Report;
use super::{Router, ctx};
use crate::time::Time;

/// More peers than this are not remembered: somebody is making them up.
const MAX_PEERS: usize = 256;
/// How often a line about adverts of unknown virtual routers is written at most.
const UNKNOWN_VRID_GAP: Duration = Duration::from_secs(1);

impl Router {
    pub(super) fn on_packet(&mut self, iface: &str, packet: &[u8], src_mac: [u8; 6], now: Time) {
        let parsed = View::parse(packet);
        let vrid = match &parsed {
            Ok(view) => Some(view.vrid()),
            Err(_) => vrid_of(packet),
        };
        let family = family_of(packet);
        let is_for = |i: &Instance| {
            i.hears(iface, src_mac)
                && Some(i.config.virtual_router_id) == vrid
                && Some(i.config.family()) == family
        };
        let (from, to) = (source_of(packet), destination_of(packet));
        // A removed instance still waits for its successor.
        let rank = |i: &Instance| (!i.is_meant(from, to), !i.is_addressed(to), i.removed);
        let instances = self.instances.iter().enumerate();
        let found = instances
            .filter(|(_, i)| is_for(i))
            .min_by_key(|(_, i)| rank(i))
            .map(|(at, _)| at);
        let (at, view) = match (found, parsed) {
            (Some(at), Ok(view)) => (at, view),
            (Some(at), Err(reject)) => {
                self.instances[at].reject(reject, from, &mut ctx!(self, now));
                return;
            }
            (None, Ok(view)) => {
                self.unclaimed.count(Reject::UnknownVrid);
                self.note_unknown_vrid(iface, &view, now);
                return;
            }
            (None, Err(reject)) => {
                self.unclaimed.count(reject);
                return;
            }
        };
        let before = self.instances[at].numbers.adverts_received;
        let effect = self.instances[at].on_advert(&view, &mut ctx!(self, now));
        if self.instances[at].numbers.adverts_received != before
            && self.instances[at].is_neighbour(&view, &self.net)
            && self.peers.len() < MAX_PEERS
        {
            let iface: Arc<str> = Arc::clone(&self.instances[at].iface);
            let addr = view.source();
            if self.peers.insert((Arc::clone(&iface), src_mac, addr)) {
                self.actions.push_back(Action::Report(Report::LearnedPeer {
                    iface,
                    mac: src_mac,
                    addr,
                }));
            }
        }
        self.apply_effect(at, effect, now);
    }

    /// `log_unknown_vrids`: one line a second at most.
    fn note_unknown_vrid(&mut self, iface: &str, view: &View<'_>, now: Time) {
        if !self.log_unknown_vrids {
            return;
        }
        if let Some(count) = self.unknown_vrids.pass(UNKNOWN_VRID_GAP, now) {
            self.actions.push_back(Action::Report(Report::UnknownVrid {
                iface: iface.into(),
                vrid: view.vrid(),
                from: view.source(),
                count,
            }));
        }
    }
}
