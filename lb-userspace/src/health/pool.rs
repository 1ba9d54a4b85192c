//! The real servers of one service: up or down, the quorum, the sorry server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::health::CheckerId;
use crate::health::by_hand::{ByHand, Left};
use crate::health::checker::{Checker, Last, Step, Verdict, Weighs};
use crate::health::event::{Change, Transition};
use crate::model::{Check, ForwardMethod, Protocol, RealServer, Service, ServiceKey, SorryServer};
use crate::time::Time;

/// A real server, or the sorry server, as the service should use it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets reach it.
    pub method: ForwardMethod,
    /// `uthreshold`; 0: none, as for a sorry server.
    pub uthreshold: u32,
    /// `lthreshold`.
    pub lthreshold: u32,
    /// Weight as configured; 1 for a sorry server. What is set by hand is not in it.
    pub weight: u16,
    /// What is set by hand.
    pub by_hand: ByHand,
    /// Weight to schedule with: 0 for one that stays in the table but gets nothing new.
    pub effective_weight: u16,
    /// Whether it stands in the service's table, as IPVS would have it.
    pub listed: bool,
    /// Whether its checks pass and it is not disabled.
    pub up: bool,
    /// Whether it is the sorry server (or a real server in that part).
    pub sorry: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
    method: ForwardMethod,
    uthreshold: u32,
    lthreshold: u32,
    weight: u16,
    inhibit: bool,
    pub(super) by_hand: ByHand,
    pub(super) up: bool,
    pub(super) checkers: Vec<(CheckerId, Checker)>,
}

/// What a service is known by from one configuration to the next, as in keepalived: the addresses of
/// a group may change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Address(ServiceKey),
    Group(String, Protocol),
}

impl Name {
    pub(super) fn of(service: &Service) -> Name {
        match &service.group {
            Some(group) => Name::Group(group.name.clone(), service.key.protocol),
            None => Name::Address(service.key),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) name: Name,
    pub(super) key: ServiceKey,
    pub(super) keys: Arc<[ServiceKey]>,
    quorum: u64,
    hysteresis: u64,
    sorry: Option<SorryServer>,
    /// The sorry server is in the table.
    sorry_in: bool,
    ha_suspend: bool,
    /// Its virtual addresses: several for a group.
    addrs: BTreeSet<IpAddr>,
    /// Those of them that are on this host.
    here: BTreeSet<IpAddr>,
    pub(super) quorum_up: bool,
    pub(super) servers: Vec<Server>,
}

impl Server {
    pub(super) fn at(&self) -> (IpAddr, u16) {
        (self.addr, self.port)
    }

    /// The weight that the configuration gives it.
    pub(super) fn configured(&self) -> u16 {
        self.weight
    }

    /// Its weight while it is up: by hand, else with what its checks say of it; several add up as in
    /// keepalived.
    fn weighs(&self) -> u16 {
        if let Some(weight) = self.by_hand.weight {
            return weight;
        }
        let own = i64::from(self.weight);
        let said = self.checkers.iter().filter_map(|(_, c)| c.weight);
        let more = said.map(|w| match w {
            Weighs::Exactly(weight) => i64::from(weight) - own,
            Weighs::More(more) => more,
        });
        let sum = more.fold(own, i64::saturating_add);
        u16::try_from(sum.clamp(0, u16::MAX.into())).unwrap_or(u16::MAX)
    }

    /// Whether it may be used.
    fn usable(&self) -> bool {
        !self.by_hand.disabled && self.checkers.iter().all(|(_, c)| c.up)
    }

    /// Why it may not be used; none when it may.
    pub(super) fn why(&self) -> Option<String> {
        if self.by_hand.disabled {
            return Some("disabled by hand".to_owned());
        }
        let (_, c) = self.checkers.iter().find(|(_, c)| !c.up)?;
        let kind = c.check.kind.name();
        Some(match &c.last {
            Some(Last {
                verdict: Verdict::Failed(why),
                ..
            }) => format!("{kind}: {why}"),
            Some(Last {
                verdict: Verdict::NotRun(why),
                ..
            }) => format!("{kind} cannot be run: {}", why.why),
            Some(Last {
                verdict: Verdict::Ok | Verdict::Weighs(_),
                ..
            })
            | None => format!("{kind} has not passed yet"),
        })
    }

    fn build(
        rs: &RealServer,
        old: Option<Server>,
        now: Time,
        make: &mut dyn FnMut(&Check) -> (CheckerId, Checker),
    ) -> Server {
        let existed = old.is_some();
        let was_up = old.as_ref().is_none_or(|s| s.up);
        let by_hand = old.as_ref().map_or_else(ByHand::default, |s| ByHand {
            weight: s.by_hand.weight.filter(|_| s.weight == rs.weight),
            disabled: s.by_hand.disabled,
        });
        let mut left = old.map_or_else(Vec::new, |s| s.checkers);
        let mut checkers: Vec<(CheckerId, Checker)> = Vec::with_capacity(rs.checks.len());
        for check in &rs.checks {
            match left.iter().position(|(_, c)| c.same_target(check)) {
                Some(i) => {
                    let (id, mut checker) = left.swap_remove(i);
                    checker.retime(check, now);
                    checkers.push((id, checker));
                }
                None => {
                    let (id, mut checker) = make(check);
                    // A server that was serving is not taken out because a check was added.
                    if existed && was_up {
                        checker.up = true;
                    }
                    checkers.push((id, checker));
                }
            }
        }
        let mut server = Server {
            addr: rs.addr,
            port: rs.port,
            method: rs.method,
            uthreshold: rs.uthreshold,
            lthreshold: rs.lthreshold,
            weight: rs.weight,
            inhibit: rs.inhibit_on_failure,
            by_hand,
            up: was_up,
            checkers,
        };
        if !existed {
            server.up = server.usable();
        }
        server
    }
}

impl Pool {
    /// The pool of `service`, which takes over what `old` knows.
    pub(super) fn build(
        service: &Service,
        old: Option<Pool>,
        now: Time,
        make: &mut dyn FnMut(&Check) -> (CheckerId, Checker),
    ) -> Pool {
        let addrs: BTreeSet<IpAddr> = service.keys().map(|k| k.addr).collect();
        // The servers of a group have the port of its first address, which may be another one now.
        let grouped = service.group.is_some();
        let same = |a: (IpAddr, u16), b: (IpAddr, u16)| a.0 == b.0 && (grouped || a.1 == b.1);
        let (mut old_servers, quorum_up, old_sorry, here) = match old {
            Some(p) => (
                p.servers,
                p.quorum_up,
                p.sorry.filter(|_| p.sorry_in),
                p.here.intersection(&addrs).copied().collect(),
            ),
            None => (Vec::new(), false, None, BTreeSet::new()),
        };
        let servers = service
            .real_servers
            .iter()
            .map(|rs| {
                let at = old_servers
                    .iter()
                    .position(|s| same(s.at(), (rs.addr, rs.port)));
                let old = at.map(|i| old_servers.swap_remove(i));
                Server::build(rs, old, now, make)
            })
            .collect();
        // A sorry server that is replaced by another one, or no more wanted, goes; `settle` lets
        // the new one in.
        let sorry_in = match (service.sorry_server, old_sorry) {
            (Some(new), Some(old)) => same((new.addr, new.port), (old.addr, old.port)),
            (Some(_) | None, None) | (None, Some(_)) => false,
        };
        Pool {
            name: Name::of(service),
            key: service.key,
            keys: service.keys().collect(),
            quorum: u64::from(service.quorum),
            hysteresis: u64::from(service.hysteresis),
            sorry: service.sorry_server,
            sorry_in,
            ha_suspend: service.ha_suspend,
            addrs,
            here,
            quorum_up,
            servers,
        }
    }

    /// Gives new servers what a predecessor had set by hand for them.
    pub(super) fn take_up(&mut self, left: &Left, out: &mut Vec<Transition>) {
        for server in &mut self.servers {
            let Some(kept) = left.get(&(self.key, server.at())) else {
                continue;
            };
            server.by_hand = ByHand {
                weight: kept
                    .by_hand
                    .weight
                    .filter(|_| kept.configured == server.weight),
                disabled: kept.by_hand.disabled,
            };
            server.up = server.usable();
            out.push(Transition {
                service: self.key,
                change: Change::ByHand {
                    server: server.at(),
                    by_hand: server.by_hand,
                    configured: server.weight,
                },
            });
        }
    }

    /// The weight of the servers that are up.
    pub(super) fn live_weight(&self) -> u64 {
        self.servers
            .iter()
            .filter(|s| s.up)
            .map(|s| u64::from(s.weighs()))
            .sum()
    }

    /// Whether its checks rest.
    pub(super) fn suspended(&self) -> bool {
        self.ha_suspend && self.here.is_empty()
    }

    /// An address left or came; whether anything changed for the checks. With the first address of
    /// the service they run at once.
    pub(super) fn address(&mut self, addr: IpAddr, present: bool, now: Time) -> bool {
        if !self.addrs.contains(&addr) {
            return false;
        }
        let before = self.suspended();
        if present {
            self.here.insert(addr);
        } else {
            self.here.remove(&addr);
        }
        if before && !self.suspended() {
            for (_, c) in self.servers.iter_mut().flat_map(|s| &mut s.checkers) {
                c.due = c.due.min(now);
            }
            return true;
        }
        false
    }

    /// Leaves out what a predecessor had out of use, until the checks have passed, which run at once.
    /// Whether those are all of its servers.
    pub(super) fn leave_out(
        &mut self,
        left_out: &BTreeSet<(ServiceKey, (IpAddr, u16))>,
        now: Time,
        out: &mut Vec<Transition>,
    ) -> bool {
        let mut all = !self.servers.is_empty();
        for server in &mut self.servers {
            if !left_out.contains(&(self.key, server.at())) {
                all = false;
                continue;
            }
            for (_, c) in &mut server.checkers {
                c.up = false;
                c.since = now;
                c.due = now;
            }
            let was_up = server.up;
            server.up = server.usable();
            if was_up && !server.up {
                out.push(Transition {
                    service: self.key,
                    change: Change::LeftOut {
                        server: server.at(),
                    },
                });
            }
        }
        all
    }

    /// Takes in a verdict; whether the targets may have changed.
    pub(super) fn verdict(
        &mut self,
        server: usize,
        check: usize,
        verdict: &Verdict,
        took: Duration,
        now: Time,
        out: &mut Vec<Transition>,
    ) -> bool {
        let s = &mut self.servers[server];
        let (at, before) = (s.at(), s.weighs());
        let (_, checker) = &mut s.checkers[check];
        let kind = checker.check.kind.name();
        let step = checker.verdict(verdict, took, now);
        let after = s.weighs();
        if after != before {
            out.push(Transition {
                service: self.key,
                change: Change::Weight {
                    server: at,
                    from: before,
                    to: after,
                },
            });
        }
        let change = match step {
            Step::Same if after == before => return false,
            Step::Same => {
                self.settle(false, out);
                return true;
            }
            Step::Up { first } => Change::CheckUp {
                server: at,
                kind,
                first,
            },
            Step::Down {
                why,
                retries,
                first,
            } => Change::CheckDown {
                server: at,
                kind,
                why,
                retries,
                first,
            },
            Step::Forgiven { why, retry } => Change::CheckForgiven {
                server: at,
                kind,
                why,
                retry,
            },
            Step::Stuck(why) => Change::CheckNotRun {
                server: at,
                kind,
                why,
            },
        };
        out.push(Transition {
            service: self.key,
            change,
        });
        self.settle(false, out) || after != before
    }

    /// Lets servers, quorum and sorry server follow the checks; whether anything changed. `start`:
    /// the configuration is new, and a quorum that it does not have is to be told.
    pub(super) fn settle(&mut self, start: bool, out: &mut Vec<Transition>) -> bool {
        let mut changed = false;
        let service = self.key;
        let mut say = |change| out.push(Transition { service, change });
        for s in &mut self.servers {
            let up = s.usable();
            if up != s.up {
                s.up = up;
                changed = true;
                say(match s.why() {
                    None => Change::ServerUp {
                        server: s.at(),
                        inhibit: s.inhibit,
                    },
                    Some(why) => Change::ServerDown {
                        server: s.at(),
                        inhibit: s.inhibit,
                        why,
                    },
                });
            }
        }
        let weight = self.live_weight();
        let (gain, keep) = (
            self.quorum + self.hysteresis,
            self.quorum.saturating_sub(self.hysteresis),
        );
        if !self.quorum_up && weight >= gain {
            self.quorum_up = true;
            changed = true;
            say(Change::QuorumGained {
                weight,
                threshold: gain,
            });
        } else if self.quorum_up && (weight == 0 || weight < keep) {
            self.quorum_up = false;
            changed = true;
            say(Change::QuorumLost {
                weight,
                threshold: keep,
                start: false,
            });
        } else if start && !self.quorum_up && self.sorry.is_some() && !self.sorry_in {
            say(Change::QuorumLost {
                weight,
                threshold: gain,
                start: true,
            });
        }
        match (self.sorry, self.quorum_up) {
            (Some(sorry), false) if !self.sorry_in => {
                self.sorry_in = true;
                changed = true;
                say(Change::SorryIn {
                    server: (sorry.addr, sorry.port),
                });
            }
            (Some(sorry), true) if self.sorry_in => {
                self.sorry_in = false;
                changed = true;
                say(Change::SorryOut {
                    server: (sorry.addr, sorry.port),
                });
            }
            (Some(_), true | false) | (None, true | false) => {}
        }
        changed
    }

    /// The servers as they should be used.
    pub(super) fn targets(&self) -> Vec<Target> {
        let mut targets: Vec<Target> = self
            .servers
            .iter()
            .map(|s| {
                let used = s.up && !self.sorry_in;
                Target {
                    addr: s.addr,
                    port: s.port,
                    method: s.method,
                    uthreshold: s.uthreshold,
                    lthreshold: s.lthreshold,
                    weight: s.weight,
                    by_hand: s.by_hand,
                    effective_weight: if used { s.weighs() } else { 0 },
                    listed: used || s.inhibit,
                    up: s.up,
                    sorry: false,
                }
            })
            .collect();
        if let Some(sorry) = self.sorry {
            // A sorry server may be one of the real servers: one entry in the table then.
            match targets
                .iter_mut()
                .find(|t| (t.addr, t.port) == (sorry.addr, sorry.port))
            {
                Some(t) if self.sorry_in => {
                    *t = Target {
                        effective_weight: 1,
                        listed: true,
                        sorry: true,
                        ..*t
                    };
                }
                Some(_) => {}
                None => targets.push(Target {
                    addr: sorry.addr,
                    port: sorry.port,
                    method: sorry.method,
                    uthreshold: 0,
                    lthreshold: 0,
                    weight: 1,
                    by_hand: ByHand::default(),
                    effective_weight: u16::from(self.sorry_in),
                    listed: self.sorry_in || sorry.inhibit,
                    up: true,
                    sorry: true,
                }),
            }
        }
        targets
    }
}
