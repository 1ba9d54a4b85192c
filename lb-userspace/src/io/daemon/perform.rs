//! Carries out what the engine wants done.

use super::run::Daemon;
use crate::control::status::Counts;
use crate::engine::{Action, Event, mac_text};
use crate::health::{Kept, NotRun, Verdict};
use crate::io::clock::now;
use crate::io::state::{Held, Record, by_hand};
use crate::plan::Op;
use crate::vrrp::{self, Address, Applied, State, Transition};

impl Daemon<'_> {
    /// Does one thing. What fails is said; nothing stops the loop.
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Vrrp(action) => self.perform_vrrp(action),
            Action::Write(ops) => self.write(&ops),
            Action::Probe(probes) => {
                for probe in probes {
                    if let Err(id) = self.prober.start(probe) {
                        let why = NotRun {
                            why: "the prober is gone".to_owned(),
                        };
                        let verdict = Verdict::NotRun(why);
                        let took = std::time::Duration::ZERO;
                        self.engine
                            .handle(Event::Verdict { id, verdict, took }, now());
                    }
                }
            }
            Action::Follow(wanted) => self.resolver.follow(&wanted),
            Action::Peers(macs) => {
                let macs: Vec<[u8; 6]> = macs.into_iter().collect();
                if let Some(plane) = &mut self.plane
                    && let Err(error) = plane.set_peers(&macs)
                {
                    tracing::error!("{error}");
                }
            }
            Action::Fellows(fellows) => {
                let fellows: Vec<_> = fellows.into_iter().collect();
                if let Some(plane) = &mut self.plane
                    && let Err(error) = plane.set_fellows(&fellows)
                {
                    tracing::error!("{error}");
                }
            }
            Action::Health(transition) => {
                if transition.change.is_bad() {
                    tracing::warn!("{transition}");
                } else {
                    tracing::info!("{transition}");
                }
            }
            Action::Keep(kept) => self.keep(&kept),
            Action::Notify(notification) => self.notifier.tell(notification),
            Action::Refused(refusal) => tracing::error!("{refusal}"),
            Action::Routed(server, router) => tracing::warn!(
                "real server {server} is behind a router ({}), which gets its packets and must know the \
                 way to it for the virtual address; if it does not, use lb_kind TUN, or mend the route \
                 if the server is in a network of this host",
                mac_text(router)
            ),
            Action::Stopped => self.stopped = true,
        }
    }

    fn perform_vrrp(&mut self, action: vrrp::Action) {
        match action {
            vrrp::Action::SendAdvert {
                instance,
                iface,
                packet,
                priority,
            } => {
                let name = self.engine.router().name(instance).cloned();
                let Some(name) = name else { return };
                match self.sockets.send(&iface, &packet) {
                    Ok(()) => {
                        self.mute.remove(&name);
                        let at = now();
                        let record = Record {
                            master: priority > 0,
                            last_advert: at,
                        };
                        self.note(&name, record);
                    }
                    Err(error) => {
                        if self.mute.insert(name.clone()) {
                            tracing::warn!("({name}) {error}");
                        }
                    }
                }
            }
            vrrp::Action::AddAddress { address, .. } => self.address(&address, true),
            vrrp::Action::DelAddress { address, .. } => self.address(&address, false),
            vrrp::Action::SendGarp { iface, addr, .. } => {
                let link = self.links.by_name(&iface);
                let Some((index, mac)) = link.and_then(|l| Some((l.index, l.mac?))) else {
                    return;
                };
                if let Err(error) = self.arp.send_garp(index, mac, addr) {
                    tracing::debug!("{error}");
                }
            }
            vrrp::Action::Transition(transition) => self.transition(&transition),
            vrrp::Action::LearnedPeer { iface, mac, addr } => {
                let mac = crate::engine::mac_text(mac);
                tracing::info!("peer director {addr} ({mac}) on {iface}");
            }
            vrrp::Action::RunScript { run, script, limit } => {
                let (outcome, ended) = (self.scripts.check(script, limit), self.ended.clone());
                tokio::spawn(async move {
                    // No outcome: it found no room, or the daemon ends.
                    drop(ended.send((run, outcome.await.ok())).await);
                });
            }
            vrrp::Action::ScriptChanged {
                name,
                good: true,
                words,
            } => {
                tracing::info!("tracked script {name} succeeds: {words}");
            }
            vrrp::Action::ScriptChanged {
                name,
                good: false,
                words,
            } => {
                tracing::warn!("tracked script {name} fails: {words}");
            }
            vrrp::Action::PriorityChanged { name, from, to } => {
                tracing::info!("({name}) effective priority {from} -> {to}");
            }
            // There is a notice of it, less often.
            vrrp::Action::HeardLower { .. } => {}
            vrrp::Action::UnknownVrid {
                iface,
                vrid,
                from,
                count,
            } => tracing::info!(
                "{count} advert(s) of virtual routers that are not configured, last of {vrid} from {from} \
                 on {iface}"
            ),
            vrrp::Action::Notice { instance, notice } => {
                let name = self
                    .engine
                    .router()
                    .name(instance)
                    .cloned()
                    .unwrap_or_default();
                match notice {
                    vrrp::Notice::NewMaster { .. }
                    | vrrp::Notice::LowerPriority { .. }
                    | vrrp::Notice::OldChecksum { .. } => {
                        tracing::info!("({name}) {notice}");
                    }
                    vrrp::Notice::AddressTakenAway { .. }
                    | vrrp::Notice::AddressFailed { .. }
                    | vrrp::Notice::AdvertRejected { .. }
                    | vrrp::Notice::NoSuccessor => tracing::warn!("({name}) {notice}"),
                }
            }
        }
    }

    /// Adds or removes an address, and tells the router at once what came of it.
    fn address(&mut self, address: &Address, add: bool) {
        let index = self.links.by_name(&address.iface).map(|l| l.index);
        if add {
            // Before it comes, so that whoever follows a killed daemon knows of it.
            self.note_address(address, true);
        }
        let outcome = match index {
            None if add => Applied::Failed,
            // With its interface the address went too.
            None => Applied::NotThere,
            Some(index) => {
                let done = if add {
                    self.control.add_address(index, address)
                } else {
                    self.control
                        .del_address(index, address.addr, address.prefix_len)
                };
                done.unwrap_or_else(|error| {
                    tracing::debug!("{error}");
                    Applied::Failed
                })
            }
        };
        if matches!(outcome, Applied::Removed | Applied::NotThere) {
            self.note_address(address, false);
        }
        let event = vrrp::Event::Applied {
            iface: &address.iface,
            addr: address.addr,
            prefix_len: address.prefix_len,
            outcome,
        };
        self.engine.handle(Event::Vrrp(event), now());
    }

    fn keep(&mut self, kept: &[Kept]) {
        if let Err(error) = by_hand::write(&self.options.state_dir, kept) {
            tracing::warn!("what is set by hand will not survive a restart: {error}");
        }
    }

    fn note_address(&mut self, address: &Address, here: bool) {
        let held = Held {
            iface: address.iface.to_string(),
            addr: address.addr,
            prefix_len: address.prefix_len,
        };
        if let Err(error) = self.held.note(held, here) {
            let text = error.to_string();
            if self.said.insert(text.clone()) {
                tracing::warn!("{text}");
            }
        }
    }

    fn transition(&mut self, t: &Transition) {
        let Transition {
            name,
            from,
            to,
            reason,
            priority,
            ..
        } = t;
        match to {
            State::Fault => tracing::warn!("({name}) {from} -> {to}: {reason}"),
            State::Init | State::Backup | State::Master | State::Stopped => {
                tracing::info!("({name}) {from} -> {to}: {reason} (priority {priority})");
            }
        }
        if *from == State::Master && *to != State::Master {
            let record = Record {
                master: false,
                last_advert: now(),
            };
            self.note(name, record);
        }
    }

    fn write(&mut self, ops: &[Op]) {
        let Some(plane) = &mut self.plane else {
            // Without services there is nothing to write but what a reload takes away, and then
            // there was a plane.
            return;
        };
        match plane.apply(ops) {
            Ok(applied) => {
                let freed: Vec<(u16, u16, Counts)> = applied
                    .freed
                    .iter()
                    .map(|&(index, service, counts)| (index, service, counts.into()))
                    .collect();
                self.engine.freed(&freed);
            }
            Err(error) => {
                tracing::error!("{error}; comparing with what the maps hold");
                match plane.dump() {
                    Ok(dump) => self.engine.handle(Event::Observed(&dump), now()),
                    Err(error) => tracing::error!("{error}"),
                }
            }
        }
    }
}
