//! What an operator has set by hand (`lbctl set weight`, `drain`, `disable`).
//!
//! - A weight by hand stands in the place of the configured one everywhere: in the table, for the
//!   quorum, and for what a check says of the weight. Weight 0 gives the server nothing new; what is
//!   there goes on.
//! - A disabled server is down as if a check failed, whatever its checks say, and they go on; so the
//!   quorum, the sorry server, `inhibit_on_failure` and the notify scripts follow.
//! - A configuration that gives the server another weight ends a weight by hand, one without the
//!   server ends both. A restart of the daemon is no end.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::event::{Change, Transition};
use super::{Health, pool};
use crate::model::{Protocol, ServiceKey};

/// What is set by hand for a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ByHand {
    /// The weight in place of the configured one.
    pub weight: Option<u16>,
    /// Out of the pool, whatever its checks say.
    pub disabled: bool,
}

impl fmt::Display for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.disabled, self.weight) {
            (false, None) => f.write_str("as configured"),
            (true, None) => f.write_str("disabled"),
            (false, Some(0)) => f.write_str("draining (weight 0)"),
            (false, Some(weight)) => write!(f, "weight {weight}"),
            (true, Some(weight)) => write!(f, "disabled, weight {weight}"),
        }
    }
}

/// What to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetServer {
    /// This weight.
    Weight(u16),
    /// The weight as configured.
    WeightDefault,
    /// Out of the pool.
    Disable,
    /// In the pool and with the configured weight, as far as its checks pass.
    Enable,
}

impl SetServer {
    pub(super) fn on(self, before: ByHand) -> ByHand {
        match self {
            SetServer::Weight(weight) => ByHand {
                weight: Some(weight),
                ..before
            },
            SetServer::WeightDefault => ByHand {
                weight: None,
                ..before
            },
            SetServer::Disable => ByHand {
                disabled: true,
                ..before
            },
            SetServer::Enable => ByHand::default(),
        }
    }
}

/// A real server with what is set by hand, as a daemon leaves it to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The service; of a group its first address.
    pub service: ServiceKey,
    /// The real server.
    pub server: (IpAddr, u16),
    /// The weight that the configuration gave it.
    pub configured: u16,
    /// What is set.
    pub by_hand: ByHand,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vs = self.service;
        write!(
            f,
            "{} {} {} {}",
            vs.protocol.name(),
            SocketAddr::new(vs.addr, vs.port),
            SocketAddr::new(self.server.0, self.server.1),
            self.configured
        )?;
        if let Some(weight) = self.by_hand.weight {
            write!(f, " weight={weight}")?;
        }
        if self.by_hand.disabled {
            f.write_str(" disabled")?;
        }
        Ok(())
    }
}

/// A line that is no [`Kept`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a line of settings by hand")]
pub struct NotKept;

impl std::str::FromStr for Kept {
    type Err = NotKept;

    fn from_str(line: &str) -> Result<Kept, NotKept> {
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or(NotKept);
        let name = next()?;
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|p| p.name() == name)
            .ok_or(NotKept)?;
        let endpoint = |word: &str| word.parse::<SocketAddr>().map_err(|_| NotKept);
        let service = endpoint(next()?)?;
        let server = endpoint(next()?)?;
        let configured = next()?.parse().map_err(|_| NotKept)?;
        let mut by_hand = ByHand::default();
        for word in words {
            match word.split_once('=') {
                Some(("weight", n)) => by_hand.weight = Some(n.parse().map_err(|_| NotKept)?),
                None if word == "disabled" => by_hand.disabled = true,
                Some(_) | None => return Err(NotKept),
            }
        }
        Ok(Kept {
            service: ServiceKey {
                addr: service.ip(),
                port: service.port(),
                protocol,
            },
            server: (server.ip(), server.port()),
            configured,
            by_hand,
        })
    }
}

/// What a predecessor left, until the configuration takes it up.
pub(super) type Left = BTreeMap<(ServiceKey, (IpAddr, u16)), Kept>;

impl Health {
    /// Nothing to check yet, and what a predecessor had set by hand.
    #[must_use]
    pub fn with_by_hand(left: &[Kept]) -> Self {
        let left = left.iter().map(|k| ((k.service, k.server), *k)).collect();
        Health {
            left,
            ..Health::default()
        }
    }

    /// Sets something by hand for a real server; what holds now, or none when there is no such server.
    pub fn set_by_hand(
        &mut self,
        service: &ServiceKey,
        addr: IpAddr,
        port: u16,
        set: SetServer,
    ) -> Option<ByHand> {
        let pool = &mut self.pools[*self.by_key.get(service)?];
        let server = pool.servers.iter_mut().find(|s| s.at() == (addr, port))?;
        let before = server.by_hand;
        server.by_hand = set.on(before);
        let (by_hand, configured) = (server.by_hand, server.configured());
        if by_hand != before {
            self.transitions.push(Transition {
                service: *service,
                change: Change::ByHand {
                    server: (addr, port),
                    by_hand,
                    configured,
                },
            });
            pool.settle(false, &mut self.transitions);
            self.dirty.insert(*service);
        }
        Some(by_hand)
    }

    /// Says what a configuration has changed of what was set `before`.
    pub(super) fn say_ended(&mut self, before: &[Kept]) {
        for kept in before {
            let pool = self.by_key.get(&kept.service).map(|i| &self.pools[*i]);
            let mut servers = pool.into_iter().flat_map(|p| &p.servers);
            let server = servers.find(|s| s.at() == kept.server);
            if let Some(server) = server.filter(|s| s.by_hand != kept.by_hand) {
                self.transitions.push(Transition {
                    service: kept.service,
                    change: Change::ByHand {
                        server: kept.server,
                        by_hand: server.by_hand,
                        configured: server.configured(),
                    },
                });
            }
        }
    }

    /// All that is set by hand.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        let of = |p: &'_ pool::Pool| -> Vec<Kept> {
            let set = p
                .servers
                .iter()
                .filter(|s| s.by_hand != ByHand::default())
                .map(|s| Kept {
                    service: p.key,
                    server: s.at(),
                    configured: s.configured(),
                    by_hand: s.by_hand,
                });
            set.collect()
        };
        self.pools.iter().flat_map(of).collect()
    }
}
