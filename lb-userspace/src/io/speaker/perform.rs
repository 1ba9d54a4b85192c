//! Carries out what the router wants done.

use std::net::IpAddr;

use super::{Desk, Heard};
use crate::io::clock::now;
use crate::io::ndisc;
use crate::io::state::{Held, Record};
use crate::vrrp::{Action, Address, Applied, Event, Report, State};

impl Desk {
    /// Does everything that is to be done, in its order. What fails is said; nothing stops the thread.
    pub(super) fn perform(&mut self) {
        self.note_coming();
        while let Some(action) = self.router.poll_action() {
            match action {
                Action::SendAdvert {
                    instance,
                    iface,
                    packet,
                    priority,
                    sequence,
                } => {
                    let name = self.router.name(instance).cloned();
                    let Some(name) = name else { continue };
                    match self.sockets.send(&iface, &packet) {
                        Ok(()) => {
                            self.mute.remove(&name);
                            let record = Record {
                                master: priority > 0,
                                last_advert: now(),
                                sequence,
                            };
                            self.note(&name, record);
                        }
                        Err(error) => {
                            if self.mute.insert(name.clone()) {
                                self.tell(Heard::Trouble(format!("({name}) {error}")));
                            }
                        }
                    }
                }
                Action::AddAddress { address, .. } => self.address(&address, true),
                Action::DelAddress { address, .. } => self.address(&address, false),
                Action::Announce { iface, addr, .. } => self.announce(&iface, addr),
                Action::AskFor { iface, addr, from } => self.ask_for(&iface, addr, from),
                Action::Report(report) => self.report(report),
            }
        }
        let gone = std::mem::take(&mut self.gone);
        self.note_held(gone, false);
    }

    /// Notes the addresses before they come, so that whoever follows a killed daemon knows of them.
    fn note_coming(&mut self) {
        let coming = self.router.actions().filter_map(|action| match action {
            Action::AddAddress { address, .. } => Some(held(address)),
            Action::DelAddress { .. }
            | Action::SendAdvert { .. }
            | Action::Announce { .. }
            | Action::AskFor { .. }
            | Action::Report(_) => None,
        });
        let coming: Vec<Held> = coming.collect();
        self.note_held(coming, true);
    }

    /// One gratuitous ARP or neighbour advertisement. One that is not sent is as good as one that is
    /// lost: more follow.
    fn announce(&self, iface: &str, addr: IpAddr) {
        let link = self.links.by_name(iface);
        let Some((index, mac)) = link.and_then(|l| Some((l.index, l.mac?))) else {
            return;
        };
        match addr {
            IpAddr::V4(addr) => {
                let _ = self.arp.send_garp(index, mac, addr);
            }
            IpAddr::V6(addr) => {
                let _ = self.ndisc.send(index, mac, addr, ndisc::is_router(iface));
            }
        }
    }

    /// Asks who else has an address. As with announcements, more follow.
    fn ask_for(&self, iface: &str, addr: IpAddr, from: Option<IpAddr>) {
        let link = self.links.by_name(iface);
        let Some((index, mac)) = link.and_then(|l| Some((l.index, l.mac?))) else {
            return;
        };
        match (addr, from) {
            (IpAddr::V4(addr), _) => {
                let nobody = std::net::Ipv4Addr::UNSPECIFIED;
                let _ = self.arp.send_request(index, mac, nobody, addr);
            }
            (IpAddr::V6(addr), Some(IpAddr::V6(from))) => {
                let _ = self.ndisc.ask(index, mac, from, addr);
            }
            (IpAddr::V6(_), _) => {}
        }
    }

    /// Hears who claims the addresses of masters.
    pub(super) fn hear_claims(&mut self) {
        let guarded = self.router.guarded();
        let index_of = |name: &str| self.links.by_name(name).map(|l| l.index);
        if let Err(error) = self.claims.listen(&guarded, index_of) {
            self.trouble(format!("listening for ARP: {error}"));
        }
        for (iface, addr, mac) in self.claims.drain() {
            // Another interface of this host on the same segment may answer as well.
            if self.links.iter().all(|l| l.mac != Some(mac)) {
                let iface = &*iface;
                self.router
                    .handle(Event::Claimed { iface, addr, mac }, now());
            }
        }
        self.perform();
    }

    fn report(&mut self, report: Report) {
        match &report {
            Report::Transition(t) if t.from == State::Master && t.to != State::Master => {
                let record = Record {
                    master: false,
                    last_advert: now(),
                    sequence: 0,
                };
                self.note(&t.name, record);
            }
            Report::Stopped => self.stopped = true,
            Report::Transition(_)
            | Report::RunScript { .. }
            | Report::ScriptChanged { .. }
            | Report::FollowedChanged { .. }
            | Report::PriorityChanged { .. }
            | Report::LearnedPeer { .. }
            | Report::HeardLower { .. }
            | Report::UnknownVrid { .. }
            | Report::Notice { .. }
            | Report::Holding { .. }
            | Report::Addresses(_)
            | Report::Configured { .. } => {}
        }
        self.tell(Heard::Report(report, now()));
    }

    /// Adds or removes an address, and tells the router at once what came of it.
    fn address(&mut self, address: &Address, add: bool) {
        let index = self.links.by_name(&address.iface).map(|l| l.index);
        if add {
            // Noted already, unless it was asked for since.
            self.note_held([held(address)], true);
            self.gone.remove(&held(address));
        }
        let outcome = match index {
            None if add => Applied::Failed,
            // With its interface the address went too.
            None => Applied::NotThere,
            Some(index) => {
                let done = if add {
                    self.control.add_address(index, address)
                } else {
                    let (addr, prefix_len) = (address.addr, address.prefix_len);
                    self.control.del_address(index, addr, prefix_len)
                };
                // The router has a notice for it.
                done.unwrap_or(Applied::Failed)
            }
        };
        if matches!(outcome, Applied::Removed | Applied::NotThere) {
            self.gone.insert(held(address));
        }
        let event = Event::Applied {
            iface: &address.iface,
            addr: address.addr,
            prefix_len: address.prefix_len,
            outcome,
        };
        self.router.handle(event, now());
    }

    /// An interface has another name now and still the addresses that it had for its instances.
    pub(super) fn strip(&mut self, name: &str, index: u32) {
        let held = self.held.held().iter().filter(|h| h.iface == name);
        let all: Vec<Held> = held.cloned().collect();
        for address in &all {
            let (addr, prefix_len) = (address.addr, address.prefix_len);
            if let Err(error) = self.control.del_address(index, addr, prefix_len) {
                self.trouble(error.to_string());
            }
        }
        self.note_held(all, false);
    }

    fn note_held(&mut self, addresses: impl IntoIterator<Item = Held>, here: bool) {
        if let Err(error) = self.held.note(addresses, here) {
            self.trouble(error.to_string());
        }
    }

    /// Writes a record for the daemon after this one.
    fn note(&mut self, name: &str, record: Record) {
        if let Err(error) = self.state.note(name, record) {
            self.trouble(error.to_string());
        }
    }
}

fn held(address: &Address) -> Held {
    Held {
        iface: address.iface.to_string(),
        addr: address.addr,
        prefix_len: address.prefix_len,
    }
}
