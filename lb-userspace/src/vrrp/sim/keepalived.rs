//! What keepalived 2.2.7 does on the wire, as far as a peer and a client can see it.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::{VrrpInstance, VrrpVersion};
use crate::time::Time;
use crate::vrrp::packet::{Advert, Envelope, View};

/// What it wants done.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    Advert(Vec<u8>),
    Add,
    Remove,
    Garp,
}

#[derive(Clone, Debug)]
enum State {
    Backup {
        down_at: Time,
    },
    Master {
        advert_at: Time,
        garps_at: Option<Time>,
    },
    Stopped,
}

#[derive(Clone, Debug)]
pub(super) struct Keepalived {
    config: VrrpInstance,
    source: IpAddr,
    state: State,
    interval: Duration,
    pub(super) wishes: Vec<Wish>,
}

impl Keepalived {
    /// It removes addresses that it finds before it starts.
    pub(super) fn start(config: VrrpInstance, source: IpAddr, now: Time) -> Self {
        let interval = config.advert_int;
        let mut new = Keepalived {
            config,
            source,
            state: State::Stopped,
            interval,
            wishes: vec![Wish::Remove],
        };
        new.listen(now);
        new
    }

    pub(super) fn is_master(&self) -> bool {
        matches!(self.state, State::Master { .. })
    }

    fn skew(&self) -> Duration {
        let base = match self.config.version {
            VrrpVersion::V2 => Duration::from_secs(1),
            VrrpVersion::V3 => self.interval,
        };
        base * (256 - u32::from(self.config.priority)) / 256
    }

    fn listen(&mut self, now: Time) {
        self.state = State::Backup {
            down_at: now + 3 * self.interval + self.skew(),
        };
    }

    fn advert(&mut self, priority: u8) {
        let mut advert = Advert {
            source: self.source,
            envelope: Envelope {
                destination: self.config.family().group(),
                ..Envelope::MULTICAST
            },
            version: self.config.version,
            vrid: self.config.virtual_router_id,
            priority,
            interval: self.config.advert_int,
            auth: self.config.auth.clone(),
            addresses: self.config.addresses.iter().map(|a| a.addr).collect(),
        };
        match self.config.transport.unicast() {
            None => self.wishes.push(Wish::Advert(advert.emit(1))),
            Some(unicast) => {
                for peer in &unicast.peers {
                    advert.envelope.destination = peer.addr;
                    self.wishes.push(Wish::Advert(advert.emit(1)));
                }
            }
        }
    }

    fn garps(&mut self) {
        self.wishes.extend(std::iter::repeat_n(
            Wish::Garp,
            self.config.garp_master_repeat as usize,
        ));
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Backup { down_at } => Some(down_at),
            State::Master {
                advert_at,
                garps_at,
            } => Some(garps_at.map_or(advert_at, |g| g.min(advert_at))),
            State::Stopped => None,
        }
    }

    pub(super) fn tick(&mut self, now: Time) {
        match &mut self.state {
            State::Backup { down_at } if *down_at <= now => {
                self.interval = self.config.advert_int;
                self.state = State::Master {
                    advert_at: now + self.config.advert_int,
                    garps_at: Some(now + self.config.garp_master_delay),
                };
                self.advert(self.config.priority);
                self.wishes.push(Wish::Add);
                self.garps();
            }
            State::Master {
                advert_at,
                garps_at,
            } => {
                let garp = garps_at.is_some_and(|at| at <= now);
                let advert = *advert_at <= now;
                if garp {
                    *garps_at = None;
                }
                if advert {
                    *advert_at = now + self.config.advert_int;
                    self.advert(self.config.priority);
                }
                if garp {
                    self.garps();
                }
            }
            State::Backup { .. } | State::Stopped => {}
        }
    }

    pub(super) fn receive(&mut self, packet: &[u8], now: Time) {
        let Ok(view) = View::parse(packet) else {
            return;
        };
        let multicast = view.envelope().destination.is_multicast();
        if multicast == self.config.transport.unicast().is_some() {
            // "Expected unicast packet but received multicast packet", and the reverse.
            return;
        }
        let better = (view.priority(), view.source()) > (self.config.priority, self.source);
        match &mut self.state {
            State::Backup { .. } => {
                if view.priority() == 0 {
                    self.state = State::Backup {
                        down_at: now + self.skew(),
                    };
                } else if view.priority() >= self.config.priority || self.config.nopreempt {
                    self.interval = view.interval();
                    self.listen(now);
                }
            }
            State::Master { .. } if view.priority() == 0 => self.advert(self.config.priority),
            State::Master { .. } if better => {
                // Yields without a word.
                self.interval = view.interval();
                self.wishes.push(Wish::Remove);
                self.listen(now);
            }
            State::Master { garps_at, .. } => {
                *garps_at = Some(now + self.config.garp_lower_prio_delay);
                self.advert(self.config.priority);
                self.garps();
            }
            State::Stopped => {}
        }
    }

    /// SIGTERM: the addresses go before anybody else has them.
    pub(super) fn stop(&mut self) {
        if self.is_master() {
            self.advert(0);
            self.wishes.push(Wish::Remove);
        }
        self.state = State::Stopped;
    }
}
