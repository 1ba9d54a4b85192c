//! What is no longer desired: closed, kept for its flows, given free in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::maps::{BACKEND_DOWN, BACKEND_REMOVED, SLOT_DELETED};

use super::desired::Link;
use super::op::{Change, Op};
use super::slots::Held;
use super::tables::{GRACE, Phases, Refs, Row, Tables};
use super::values::relinked;
use crate::model::ServiceKey;
use crate::time::Time;

impl Tables {
    /// The rows of a service.
    pub(super) fn indices_of(&self, id: u16) -> impl Iterator<Item = (u16, &Row)> {
        let first = (id, IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let last = (id, IpAddr::V6(Ipv6Addr::from([0xff; 16])), u16::MAX);
        self.by_addr
            .range(first..=last)
            .filter_map(|(_, i)| Some((*i, self.backends.get(i)?)))
    }

    /// Marks a real server as removed: it keeps its established connections.
    pub(super) fn retire_backend(&mut self, index: u16, now: Time, phases: &mut Phases) {
        if let Some(row) = self.backends.get_mut(&index) {
            row.retired = Some(now);
            self.retired_backends.insert(index);
            row.value.flags |= BACKEND_DOWN | BACKEND_REMOVED;
            phases.lower.push(Op::Backend {
                index,
                value: row.value,
                remote: row.remote,
            });
        }
    }

    /// Real servers that were removed, or taken out by their checks, are reached by these links from
    /// now on: their connections go on. The operations to be applied.
    #[must_use]
    pub fn relink(&mut self, links: &BTreeMap<IpAddr, Link>) -> Vec<Op> {
        let mut ops = Vec::new();
        for &index in &self.retired_backends {
            let Some(row) = self.backends.get_mut(&index) else {
                continue;
            };
            let reached = links
                .get(&row.endpoint().0)
                .and_then(|link| relinked(row.value, row.remote, link));
            if let Some((value, remote)) = reached
                && (value, remote) != (row.value, row.remote)
            {
                (row.value, row.remote) = (value, remote);
                ops.push(Op::Backend {
                    index,
                    value,
                    remote,
                });
            }
        }
        ops
    }

    /// Removes the services that are not in `kept`.
    pub(super) fn retire_others(
        &mut self,
        kept: &BTreeSet<ServiceKey>,
        now: Time,
        phases: &mut Phases,
    ) {
        let gone: Vec<ServiceKey> = self
            .services
            .iter()
            .filter(|(key, s)| s.retired.is_none() && !kept.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            let Some(service) = self.services.get_mut(&key) else {
                continue;
            };
            let (slot, id) = (service.slot, service.value.id);
            service.retired = Some(now);
            service.brought = None;
            let had_table = !std::mem::take(&mut service.table).is_empty();
            let base = (service.value.table >> 32) as u32;
            if had_table {
                self.arena.free(base, now);
            }
            self.sets.leave(service.value.timeouts, now);
            self.retired_services.insert(key);
            self.slots.set(slot, Some(Held::Retired(key)));
            phases.close.push(Op::CloseSlot {
                slot,
                key: service.value.key,
            });
            let backends: Vec<u16> = self
                .indices_of(id)
                .filter(|(_, r)| r.retired.is_none())
                .map(|(i, _)| i)
                .collect();
            for index in backends {
                self.retire_backend(index, now, phases);
            }
            phases.changes.push(Change::ServiceRemoved { service: key });
        }
    }

    /// Gives free what was removed long enough before `refs` was taken and is not in it: the
    /// operations to be applied.
    #[must_use]
    pub fn release(&mut self, refs: &Refs) -> Vec<Op> {
        let over = |retired: Option<Time>| retired.is_some_and(|at| refs.taken_at >= at + GRACE);
        let mut ops = Vec::new();
        let free: Vec<u16> = self
            .retired_backends
            .iter()
            .filter(|index| !refs.backends.contains(index))
            .filter(|index| self.backends.get(index).is_none_or(|row| over(row.retired)))
            .copied()
            .collect();
        for index in free {
            self.retired_backends.remove(&index);
            let Some(row) = self.backends.remove(&index) else {
                continue;
            };
            let (id, (addr, port)) = (row.value.service, row.endpoint());
            if self.by_addr.get(&(id, addr, port)) == Some(&index) {
                self.by_addr.remove(&(id, addr, port));
            }
            self.indices.free(index);
            // The last one of a service that is not known by anything else.
            if !self.by_id.contains_key(&id) && self.indices_of(id).next().is_none() {
                self.ids.free(id);
            }
            ops.push(Op::FreeBackend { index });
        }
        let free: Vec<ServiceKey> = self
            .retired_services
            .iter()
            .filter(|key| {
                self.services.get(key).is_none_or(|s| {
                    over(s.retired)
                        && !refs.services.contains(&s.value.id)
                        && self.indices_of(s.value.id).next().is_none()
                })
            })
            .copied()
            .collect();
        for key in free {
            self.retired_services.remove(&key);
            let Some(service) = self.services.remove(&key) else {
                continue;
            };
            self.by_id.remove(&service.value.id);
            self.ids.free(service.value.id);
            self.slots.set(service.slot, Some(Held::Tombstone));
            let passed = self.slots.is_passed_over(service.slot);
            ops.push(Op::ClearSlot {
                slot: service.slot,
                key: if passed { SLOT_DELETED } else { 0 },
            });
            if !passed {
                self.slots.set(service.slot, None);
            }
        }
        for slot in self.slots.idle_tombstones() {
            self.slots.set(slot, None);
            ops.push(Op::ClearSlot { slot, key: 0 });
        }
        self.sets.release(over, refs.timeout_sets, &mut ops);
        ops
    }
}

#[cfg(test)]
mod tests {
    use lb_common::maps::{BACKEND_RESOLVED, Backend};

    use super::*;
    use crate::model::{ForwardMethod, Protocol, Scheduler, Tunnel};
    use crate::plan::{DesiredBackend, DesiredService};

    fn addr(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, n).into()
    }

    fn link(mac: u8, ifindex: u32) -> Link {
        Link {
            source: Some(Ipv4Addr::new(10, 0, 0, 250).into()),
            ..Link::new([2, 0, 0, 0, 0, mac], [2, 1, 0, 0, 0, 0], ifindex)
        }
    }

    fn service(method: ForwardMethod, servers: &[u8]) -> DesiredService {
        let key = ServiceKey {
            addr: Ipv4Addr::new(192, 0, 2, 1).into(),
            port: 80,
            protocol: Protocol::Tcp,
        };
        let backend = |n: &u8| DesiredBackend {
            method,
            link: Some(link(*n, 3)),
            ..DesiredBackend::new(addr(*n), 80, 1)
        };
        DesiredService {
            backends: servers.iter().map(backend).collect(),
            ..DesiredService::new(key, Scheduler::Rr)
        }
    }

    /// What is written when the links of both servers change after the second was removed.
    fn written(method: ForwardMethod, links: [Link; 2]) -> (Tables, Vec<Backend>) {
        let mut tables = Tables::new(250);
        let refs = Refs::default();
        let _ = tables.plan(&[service(method, &[1, 2])], &refs, Time::ZERO);
        let _ = tables.plan(&[service(method, &[1])], &refs, Time::ZERO);
        let ops = tables.relink(&[(addr(1), links[0]), (addr(2), links[1])].into());
        let backends = ops.iter().map(|op| match op {
            Op::Backend { value, .. } => *value,
            other => panic!("{other:?}"),
        });
        let backends = backends.collect();
        (tables, backends)
    }

    #[test]
    fn a_removed_server_follows_its_mac_while_its_connections_go_on() {
        for method in [ForwardMethod::Dr, ForwardMethod::Tun(Tunnel::Ipip)] {
            let (mut tables, backends) = written(method, [link(9, 3), link(8, 4)]);
            let [gone] = backends[..] else {
                panic!("{method:?}: {backends:?}");
            };
            assert_eq!((gone.dmac[5], gone.ifindex), (8, 4));
            assert_eq!(
                gone.flags,
                BACKEND_RESOLVED | BACKEND_DOWN | BACKEND_REMOVED
            );
            let links = [(addr(2), link(8, 4))].into();
            assert_eq!(tables.relink(&links), [], "it is as it should be");
        }
    }

    #[test]
    fn a_link_that_does_not_serve_the_tunnel_changes_nothing() {
        let other_family = Link {
            source: Some(Ipv6Addr::LOCALHOST.into()),
            ..link(8, 4)
        };
        let (_, backends) = written(ForwardMethod::Tun(Tunnel::Ipip), [link(9, 3), other_family]);
        assert_eq!(backends, []);
    }
}
