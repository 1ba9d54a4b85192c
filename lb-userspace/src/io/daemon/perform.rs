//! Carries out what the engine wants done.

use super::run::Daemon;
use crate::control::status::Counts;
use crate::engine::{Action, Event, mac_text};
use crate::health::{Kept, NotRun, Verdict};
use crate::io::clock::now;
use crate::io::state::by_hand;
use crate::plan::Op;
use crate::vrrp::{Notice, Report, State, Transition};

impl Daemon<'_> {
    /// Does one thing. What fails is said; nothing stops the loop.
    pub(super) fn perform(&mut self, action: Action) {
        match action {
            Action::Vrrp(order) => self.order(order),
            Action::Report(report) => self.report(report),
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
            Action::RefuseFor(addresses) => {
                if let Some(plane) = &mut self.plane
                    && let Err(error) = plane.set_refused(&addresses)
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
            Action::Mail(message) => self.mailer.send(message),
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

    fn report(&mut self, report: Report) {
        match report {
            Report::Transition(transition) => tell(&transition),
            Report::Holding {
                instance,
                name,
                holds,
            } => self.route_by(instance, name, holds),
            Report::LearnedPeer { iface, mac, addr } => {
                let mac = crate::engine::mac_text(mac);
                tracing::info!("peer director {addr} ({mac}) on {iface}");
            }
            Report::RunScript { run, script, limit } => {
                let (outcome, ended) = (self.scripts.check(script, limit), self.ended.clone());
                tokio::spawn(async move {
                    // No outcome: it found no room, or the daemon ends.
                    drop(ended.send((run, outcome.await.ok())).await);
                });
            }
            Report::ScriptChanged {
                name,
                good: true,
                words,
            } => {
                tracing::info!("tracked script {name} succeeds: {words}");
            }
            Report::ScriptChanged {
                name,
                good: false,
                words,
            } => {
                tracing::warn!("tracked script {name} fails: {words}");
            }
            Report::FollowedChanged { what, name, words } => {
                tracing::info!("tracked {} {name}: {words}", what.name());
            }
            Report::PriorityChanged { name, from, to } => {
                tracing::info!("({name}) effective priority {from} -> {to}");
            }
            // There is a notice of it, less often.
            Report::HeardLower { .. } => {}
            Report::UnknownVrid {
                iface,
                vrid,
                from,
                count,
            } => tracing::info!(
                "{count} advert(s) of virtual routers that are not configured, last of {vrid} from {from} \
                 on {iface}"
            ),
            Report::Notice { name, notice } => match notice {
                Notice::NewMaster { .. }
                | Notice::LowerPriority { .. }
                | Notice::OldChecksum { .. }
                | Notice::RivalGone { .. }
                | Notice::ClaimGone { .. } => {
                    tracing::info!("({name}) {notice}");
                }
                Notice::Rival { .. } | Notice::Claimed { .. } => {
                    tracing::error!("({name}) {notice}")
                }
                Notice::AddressTakenAway { .. }
                | Notice::AddressFailed { .. }
                | Notice::AdvertRejected { .. }
                | Notice::NoSuccessor => tracing::warn!("({name}) {notice}"),
            },
            // The engine's.
            Report::Addresses(_) | Report::Configured { .. } | Report::Stopped => {}
        }
    }

    fn keep(&mut self, kept: &[Kept]) {
        if let Err(error) = by_hand::write(&self.options.state_dir, kept) {
            tracing::warn!("what is set by hand will not survive a restart: {error}");
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

/// A change of an instance's state.
fn tell(t: &Transition) {
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
}
