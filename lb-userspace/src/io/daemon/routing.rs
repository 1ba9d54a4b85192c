//! Static and virtual routes, rules and addresses: set, kept and removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::run::Daemon;
use crate::io::netlink::{NetlinkError, Set};
use crate::model::{Model, Route, Routing, Rule, VirtualAddress};
use crate::vrrp::{Address, State, Transition};

/// How many looks at the host's network pass before what a predecessor left is removed: who was master
/// a moment ago has become it again by then.
const SETTLED: u64 = 3;

/// What the daemon knows of the routing that it is to set.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The instances that are master.
    masters: BTreeSet<Arc<str>>,
    /// What was set.
    set: Vec<Routing>,
    looks: u64,
}

impl Daemon<'_> {
    /// An instance became master, or is it no longer.
    pub(super) fn route_by(&mut self, t: &Transition) {
        let changed = match t.to {
            State::Master => self.routes.masters.insert(Arc::clone(&t.name)),
            State::Init | State::Backup | State::Fault | State::Stopped => {
                self.routes.masters.remove(&t.name)
            }
        };
        if changed {
            self.keep_routes();
        }
    }

    /// Sets what is missing and removes what is not wanted any more.
    pub(super) fn keep_routes(&mut self) {
        let model = Arc::clone(self.engine.model());
        let wanted = model.routing(|name| self.routes.masters.contains(name));
        self.bring(wanted);
    }

    /// Looks whether somebody took something away, and whether a predecessor left something.
    pub(super) fn look_after_routes(&mut self) {
        self.keep_routes();
        self.routes.looks += 1;
        if self.routes.looks == SETTLED {
            let set = &self.routes.set;
            let routes: Vec<&Route> = set.iter().filter_map(as_route).collect();
            let rules: Vec<&Rule> = set.iter().filter_map(as_rule).collect();
            match self.control.del_other_routing(&routes, &rules, &self.links) {
                Ok(0) => {}
                Ok(n) => {
                    tracing::warn!("{n} route(s) or rule(s) that are not wanted any more, removed")
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }

    /// Removes everything, as the daemon ends.
    pub(super) fn remove_routes(&mut self) {
        self.bring(Model::default().routing(|_| false));
    }

    fn bring(&mut self, wanted: Vec<Routing>) {
        let mut before = std::mem::take(&mut self.routes.set);
        // The last one that was set goes first.
        before.reverse();
        for old in before.iter().filter(|old| !wanted.contains(old)) {
            if let Err(error) = self.unset(old) {
                self.say_once(error.to_string());
            }
        }
        for new in wanted {
            let was_set = before.contains(&new);
            if was_set && !new.is_kept() {
                self.routes.set.push(new);
                continue;
            }
            match self.set(&new) {
                Ok(Set::New) if was_set => {
                    tracing::warn!(
                        "{} was taken away by another program, set again",
                        what(&new)
                    );
                    self.routes.set.push(new);
                }
                Ok(Set::New | Set::There) => self.routes.set.push(new),
                // Tried again at the next look; perhaps its interface is still to come.
                Err(error) => self.say_once(format!("{error}; tried again every second")),
            }
        }
    }

    fn set(&mut self, routing: &Routing) -> Result<Set, NetlinkError> {
        match routing {
            Routing::Route(route) => self.control.add_route(route, &self.links),
            Routing::Rule(rule) => self.control.add_rule(rule),
            Routing::Address(address) => {
                let address = address_of(address);
                let missing = || NetlinkError::NoInterface(address.iface.to_string());
                let index = self
                    .links
                    .by_name(&address.iface)
                    .ok_or_else(missing)?
                    .index;
                let key = (index, address.addr, address.prefix_len);
                if self.host.contains(&key) {
                    return Ok(Set::There);
                }
                self.control.add_address(index, &address)?;
                Ok(Set::New)
            }
        }
    }

    fn unset(&mut self, routing: &Routing) -> Result<(), NetlinkError> {
        match routing {
            Routing::Route(route) => self.control.del_route(route, &self.links),
            Routing::Rule(rule) => self.control.del_rule(rule),
            Routing::Address(address) => {
                let iface = address.dev.as_deref().unwrap_or_default();
                let Some(index) = self.links.by_name(iface).map(|l| l.index) else {
                    return Ok(());
                };
                let done = self
                    .control
                    .del_address(index, address.addr, address.prefix_len);
                done.map(drop)
            }
        }
    }
}

fn as_route(routing: &Routing) -> Option<&Route> {
    match routing {
        Routing::Route(route) => Some(route),
        Routing::Rule(_) | Routing::Address(_) => None,
    }
}

fn as_rule(routing: &Routing) -> Option<&Rule> {
    match routing {
        Routing::Rule(rule) => Some(rule),
        Routing::Route(_) | Routing::Address(_) => None,
    }
}

fn address_of(address: &VirtualAddress) -> Address {
    Address {
        iface: address.dev.as_deref().unwrap_or_default().into(),
        addr: address.addr,
        prefix_len: address.prefix_len,
        label: address.label.clone(),
        broadcast: address.broadcast,
        scope: address.scope,
    }
}

fn what(routing: &Routing) -> String {
    match routing {
        Routing::Address(a) => format!("{} of {}", a.addr, a.dev.as_deref().unwrap_or_default()),
        Routing::Route(r) => format!("the route to {}/{}", r.to.addr, r.to.len),
        Routing::Rule(r) => format!("the rule for table {}", r.table),
    }
}
