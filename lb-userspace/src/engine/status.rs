//! The engine's state as `lbctl` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use crate::bfd::{self, SessionStatus};
use crate::control::status::{
    AddressStatus, BackendStatus, BfdStatus, ClaimStatus, ConfigStatus, Daemon, DataPlane,
    Discarded, ReasonStatus, RivalStatus, RoutingStatus, ServiceStatus, Status, SyncGroupStatus,
    TransitionStatus, VrrpState, VrrpStatus,
};
use crate::engine::{Engine, Sample};
use crate::health::Target;
use crate::model::{Routing, Service, ServiceKey, Transport, VrrpInstance, VrrpVersion};
use crate::time::Time;
use crate::vrrp::packet::Counters;
use crate::vrrp::{self, InstanceStatus, RouterStatus, mac_text};

/// What the engine does not know itself and a [`Status`] has all the same.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The process.
    pub daemon: Daemon,
    /// Where the configuration came from.
    pub config: ConfigStatus,
    /// The program and its interfaces.
    pub data_plane: DataPlane,
    /// The counters now.
    pub sample: Sample,
    /// Active and inactive connections by backend index.
    pub connections: BTreeMap<u16, (u64, u64)>,
    /// Why frames were passed or dropped.
    pub reasons: Vec<ReasonStatus>,
    /// Names of interfaces by index.
    pub interfaces: BTreeMap<u32, String>,
    /// The VRRP router.
    pub vrrp: RouterStatus,
    /// The addresses, routes and rules that were tried to set, and why that failed.
    pub routing: Vec<(Routing, Option<String>)>,
    /// BFD sessions.
    pub bfd: Vec<SessionStatus>,
    /// BFD packets that were refused.
    pub bfd_refused: bfd::Counters,
    /// Seconds since 1970.
    pub unix_now: u64,
}

impl Engine {
    /// Everything there is to say at `now`.
    #[must_use]
    pub fn status(&self, around: Surroundings, now: Time) -> Status {
        let totals = self.meter.totals(&around.sample, &self.tables);
        let services = self
            .model
            .services
            .iter()
            .flat_map(|s| s.keys().map(move |key| (s, key)))
            .map(|(s, key)| {
                let (quorum_up, live_weight) = self.health.quorum(&s.key).unwrap_or_default();
                let bits = if key.addr.is_ipv4() { 32 } else { 128 };
                ServiceStatus {
                    key,
                    group: s.group.as_ref().map(|g| g.name.clone()),
                    shares_checks: key != s.key,
                    scheduler: s.scheduler,
                    sched_flags: s.sched_flags,
                    ops: s.ops,
                    method: s.method,
                    persistence_secs: s.persistence.map_or(0, |p| p.timeout.as_secs()),
                    persistence_prefix: s.persistence.map_or(bits, |p| p.prefix_len),
                    sloppy: s.sloppy,
                    quorum: s.quorum,
                    hysteresis: s.hysteresis,
                    quorum_up,
                    live_weight,
                    counts: totals.get(&key).copied().unwrap_or_default(),
                    rates: self.meter.service(&key),
                    backends: self.backends(s, key, &around),
                }
            })
            .collect();
        let vrrp: Vec<VrrpStatus> = around
            .vrrp
            .instances
            .iter()
            .map(|seen| {
                let conf = self.model.instances.iter().find(|c| c.name == seen.name);
                VrrpStatus {
                    routing: conf.map_or_else(Vec::new, |c| routing(c.routing(), &around.routing)),
                    ..self.instance(seen, conf, now, around.unix_now)
                }
            })
            .collect();
        let sync_groups = self
            .model
            .sync_groups
            .iter()
            .map(|g| SyncGroupStatus {
                name: g.name.clone(),
                state: group_state(g.members.iter(), &vrrp),
                members: g.members.clone(),
            })
            .collect();
        Status {
            daemon: around.daemon,
            config: around.config,
            data_plane: around.data_plane,
            services,
            reasons: around.reasons,
            vrrp,
            vrrp_unclaimed: discarded(&around.vrrp.unclaimed),
            sync_groups,
            statics: routing(self.model.statics.routing(), &around.routing),
            checks: self.health.report(now),
            bfd: around.bfd.iter().map(|s| session(s, now)).collect(),
            bfd_refused: counted(around.bfd_refused.iter().map(|(r, n)| (r.name(), n))),
        }
    }

    /// In one line: how many instances are what, and what services lack.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        for instance in &self.model.instances {
            let last = self.transitions.get(&instance.name);
            let state = last.map_or(vrrp::State::Init, |(t, _)| t.to);
            *states.entry(state.name()).or_default() += 1;
        }
        let mut parts: Vec<String> = states.iter().map(|(s, n)| format!("{n} {s}")).collect();
        let services = &self.model.services;
        if !services.is_empty() {
            let lost = |s: &&Service| self.health.quorum(&s.key).is_some_and(|(up, _)| !up);
            let mut text = format!("{} service(s)", services.len());
            match services.iter().filter(lost).count() {
                0 => {}
                n => text += &format!(", {n} without quorum"),
            }
            parts.push(text);
        }
        parts.join(", ")
    }

    fn backends(
        &self,
        service: &Service,
        key: ServiceKey,
        around: &Surroundings,
    ) -> Vec<BackendStatus> {
        let targets = self.health.targets(&service.key).unwrap_or_default();
        targets
            .iter()
            .map(|t| self.backend(service, key, t, around))
            .collect()
    }

    /// A server of `service` as it serves `key`, one of its addresses.
    fn backend(
        &self,
        service: &Service,
        key: ServiceKey,
        t: &Target,
        around: &Surroundings,
    ) -> BackendStatus {
        let link = self.neighbours.get(&t.addr);
        let index = self.tables.backend_index(key, t.addr, key.port);
        let (active_conns, inactive_conns) = index
            .and_then(|i| around.connections.get(&i).copied())
            .unwrap_or_default();
        BackendStatus {
            addr: t.addr,
            // Neither direct routing nor a tunnel changes the port.
            port: key.port,
            sorry: t.sorry,
            listed: t.listed,
            local: self.own.contains(&t.addr),
            method: t.method,
            uthreshold: t.uthreshold,
            lthreshold: t.lthreshold,
            weight: t.weight,
            by_hand: t.by_hand,
            effective_weight: t.effective_weight,
            up: t.up,
            why: self.health.why_down(&service.key, t.addr, t.port),
            mac: if self.own.contains(&t.addr) {
                Some("this host".to_owned())
            } else {
                link.map(|l| mac_text(l.dmac))
            },
            routed: link.is_some_and(|l| !l.on_link),
            interface: link.map(|l| {
                around
                    .interfaces
                    .get(&l.ifindex)
                    .cloned()
                    .unwrap_or_else(|| format!("if{}", l.ifindex))
            }),
            active_conns,
            inactive_conns,
            counts: index
                .and_then(|i| around.sample.backends.get(&i).copied())
                .unwrap_or_default(),
            rates: index.map(|i| self.meter.backend(i)).unwrap_or_default(),
        }
    }

    fn instance(
        &self,
        seen: &InstanceStatus,
        conf: Option<&VrrpInstance>,
        now: Time,
        unix_now: u64,
    ) -> VrrpStatus {
        let excluded: BTreeSet<IpAddr> = conf
            .map(|c| c.excluded.iter().map(|a| a.addr).collect())
            .unwrap_or_default();
        let dev_of = |addr: IpAddr| {
            conf.and_then(|c| {
                c.addresses
                    .iter()
                    .chain(&c.excluded)
                    .find(|a| a.addr == addr)
            })
            .zip(conf)
            .map(|(a, c)| c.iface_of(a).to_owned())
            .unwrap_or_else(|| seen.interface.clone())
        };
        let is_master = seen.state == vrrp::State::Master;
        let other = seen.master.filter(|_| !is_master);
        let last = self.transitions.get(&seen.name);
        VrrpStatus {
            name: seen.name.clone(),
            interface: seen.interface.clone(),
            vrid: seen.vrid,
            version: match conf.map(|c| c.version) {
                Some(VrrpVersion::V3) => 3,
                Some(VrrpVersion::V2) | None => 2,
            },
            state: state(seen.state),
            wanted: if conf.is_some_and(|c| c.initial_master) {
                VrrpState::Master
            } else {
                VrrpState::Backup
            },
            priority: conf.map_or(seen.priority, |c| c.priority),
            effective_priority: seen.priority,
            released: seen.released,
            raised: seen.raised,
            advert_ms: u64::try_from(seen.advert_interval.as_millis()).unwrap_or(u64::MAX),
            nopreempt: conf.is_some_and(|c| c.nopreempt),
            sent_to: conf.map(|c| sent_to(&c.transport)).unwrap_or_default(),
            master: other.map(|(a, _)| a),
            master_priority: other.map(|(_, p)| p),
            last_transition: last.map(|(t, at)| TransitionStatus {
                from: state(t.from),
                to: state(t.to),
                at_unix: unix_now.saturating_sub(now.since(*at).as_secs()),
                ago_ms: u64::try_from(now.since(*at).as_millis()).unwrap_or(u64::MAX),
                reason: t.reason.to_string(),
            }),
            became_master: seen.became_master,
            adverts_sent: seen.adverts_sent,
            adverts_received: seen.adverts_received,
            rival: seen.rival.map(|(from, reason)| RivalStatus {
                address: from.to_string(),
                reason: reason.name().to_owned(),
                compare: reason.disagreement().unwrap_or_default().to_owned(),
            }),
            claims: seen
                .claims
                .iter()
                .map(|(addr, mac)| ClaimStatus {
                    address: *addr,
                    mac: mac_text(*mac),
                    server: self.server_of(*mac),
                })
                .collect(),
            discarded: discarded(&seen.rejected),
            addresses: seen
                .addresses
                .iter()
                .map(|(addr, prefix, present)| AddressStatus {
                    address: format!("{addr}/{prefix}"),
                    dev: dev_of(*addr),
                    present: *present,
                    advertised: !excluded.contains(addr),
                })
                .collect(),
            routing: Vec::new(),
        }
    }
}

/// What is configured, beside what was tried.
fn routing(
    all: impl Iterator<Item = Routing>,
    tried: &[(Routing, Option<String>)],
) -> Vec<RoutingStatus> {
    all.map(|one| {
        let tried = tried.iter().find(|(tried, _)| *tried == one);
        RoutingStatus {
            line: one.to_string(),
            set: tried.is_some_and(|(_, failure)| failure.is_none()),
            failure: tried.and_then(|(_, failure)| failure.clone()),
        }
    })
    .collect()
}

fn discarded(counters: &Counters) -> Vec<Discarded> {
    counted(counters.iter().map(|(why, count)| (why.name(), count)))
}

/// Those that are not 0.
fn counted(all: impl Iterator<Item = (&'static str, u64)>) -> Vec<Discarded> {
    all.filter(|(_, count)| *count > 0)
        .map(|(why, count)| Discarded {
            reason: why.to_owned(),
            count,
        })
        .collect()
}

fn session(s: &SessionStatus, now: Time) -> BfdStatus {
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
    BfdStatus {
        name: s.name.clone(),
        neighbor: s.neighbor,
        source: s.source,
        state: s.state,
        diagnostic: s.diag.to_string(),
        since_ms: millis(now.since(s.since)),
        discriminator: s.discriminator,
        remote_state: s.remote_state,
        remote_diagnostic: s.remote_diag.to_string(),
        remote_discriminator: s.remote_discriminator,
        interval_us: s.interval.map(micros),
        detection_us: micros(s.detection),
        last_packet_ms: s.heard.map(|at| millis(now.since(at))),
        counts_as_up: s.counts_as_up,
        sent: s.sent,
        received: s.received,
        came_up: s.came_up,
        went_down: s.went_down,
    }
}

fn sent_to(transport: &Transport) -> Vec<IpAddr> {
    match transport {
        Transport::Multicast(group) => vec![*group],
        Transport::Unicast(unicast) => unicast.peers.iter().map(|p| p.addr).collect(),
    }
}

fn state(s: vrrp::State) -> VrrpState {
    match s {
        // A stopped instance is only seen for the moment in which it hands over.
        vrrp::State::Init | vrrp::State::Stopped => VrrpState::Init,
        vrrp::State::Backup => VrrpState::Backup,
        vrrp::State::Master => VrrpState::Master,
        vrrp::State::Fault => VrrpState::Fault,
    }
}

/// A group is what all of its members are; while they differ, FAULT before BACKUP before INIT.
fn group_state<'a>(members: impl Iterator<Item = &'a String>, vrrp: &[VrrpStatus]) -> VrrpState {
    let states: Vec<VrrpState> = members
        .filter_map(|m| vrrp.iter().find(|v| v.name == *m))
        .map(|v| v.state)
        .collect();
    let any = |s: VrrpState| states.contains(&s);
    if any(VrrpState::Fault) {
        VrrpState::Fault
    } else if any(VrrpState::Backup) {
        VrrpState::Backup
    } else if any(VrrpState::Init) || states.is_empty() {
        VrrpState::Init
    } else {
        VrrpState::Master
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Prefix, Rule};

    #[test]
    fn what_was_not_tried_is_not_set() {
        let rule = |table| {
            Routing::Rule(Rule {
                from: Some(Prefix::of([198, 51, 100, 0].into(), 24)),
                table,
                preference: 500,
                ..Rule::default()
            })
        };
        let tried = [(rule(2), Some("File exists".to_owned())), (rule(1), None)];
        let told = routing([rule(1), rule(2), rule(3)].into_iter(), &tried);
        let told: Vec<_> = told.iter().map(|r| (r.set, r.failure.as_deref())).collect();
        assert_eq!(
            told,
            [(true, None), (false, Some("File exists")), (false, None)]
        );
        assert_eq!(
            routing([rule(1)].into_iter(), &tried)[0].line,
            "rule inet from 198.51.100.0/24 preference 500 table 1"
        );
    }
}
