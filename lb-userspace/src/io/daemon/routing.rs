//! Static and virtual routes, rules and addresses: set, kept and removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::run::Daemon;
use crate::io::netlink::{NetlinkError, Set};
use crate::model::{Model, Route, Routing, Rule, VirtualAddress, VrrpInstance};
use crate::vrrp::{Address, Followed, InstanceId, Order};

/// How many looks at the host's network pass before what a predecessor left is removed: whose addresses
/// were left is known by then.
const SETTLED: u64 = 3;

/// What the daemon knows of the routing that it is to set.
#[derive(Debug, Default)]
pub(super) struct Routes {
    holders: Holders,
    /// What was tried to set, and why that failed.
    set: Vec<(Routing, Option<String>)>,
    looks: u64,
    /// What was missing came: where it had been in part, the kernel may have it twice.
    is_patched: bool,
    /// Groups of static routing that instances follow, and whether all of each was set.
    told: BTreeMap<String, bool>,
}

/// The instances whose addresses are here, with their names and their routes and rules: those of one
/// that is no longer configured go when its addresses do. That may be after another of its name has
/// its own.
#[derive(Debug, Default)]
struct Holders(BTreeMap<InstanceId, (Arc<str>, Vec<Routing>)>);

impl Holders {
    fn note(&mut self, instance: InstanceId, name: Arc<str>, holds: bool) {
        if holds {
            self.0.entry(instance).or_default().0 = name;
        } else {
            self.0.remove(&instance);
        }
    }

    /// What belongs to them by the configuration; by the last one that had them, if none has now.
    fn routing(&mut self, instances: &[VrrpInstance]) -> impl Iterator<Item = Routing> + '_ {
        for (name, own) in self.0.values_mut() {
            if let Some(instance) = instances.iter().find(|i| *i.name == **name) {
                *own = instance.routing().collect();
            }
        }
        self.0.values().flat_map(|(_, own)| own).cloned()
    }
}

impl Daemon<'_> {
    /// The addresses of an instance came, or go.
    pub(super) fn route_by(&mut self, instance: InstanceId, name: Arc<str>, holds: bool) {
        self.routes.holders.note(instance, name, holds);
        self.keep_routes();
    }

    /// Sets what is missing and removes what is not wanted any more.
    pub(super) fn keep_routes(&mut self) {
        let model = Arc::clone(self.engine.model());
        let own = self.routes.holders.routing(&model.instances);
        let wanted = model.statics.routing().chain(own).collect();
        self.bring(wanted);
        self.tell_groups(&model);
    }

    /// Says to VRRP which groups of static routing are whole (`track_group`).
    fn tell_groups(&mut self, model: &Model) {
        let followed = model.instances.iter().flat_map(|i| &i.tracks.statics);
        let mut whole: BTreeMap<String, bool> = followed.map(|n| (n.clone(), true)).collect();
        for (routing, failed) in &self.routes.set {
            let group = routing.group().and_then(|name| whole.get_mut(name));
            if let Some(good) = group {
                *good &= failed.is_none();
            }
        }
        for (name, good) in &whole {
            if self.routes.told.get(name) != Some(good) {
                let (what, name, good) = (Followed::Statics, name.clone(), *good);
                self.order(Order::Followed { what, name, good });
            }
        }
        self.routes.told = whole;
    }

    /// Looks whether somebody took something away, and whether a predecessor left something.
    pub(super) fn look_after_routes(&mut self) {
        self.keep_routes();
        if self.loading {
            return;
        }
        self.routes.looks += 1;
        let settles = self.routes.looks == SETTLED;
        let is_patched = self.routes.looks > SETTLED && std::mem::take(&mut self.routes.is_patched);
        if settles || is_patched {
            let set = &self.routes.set;
            let routes: Vec<&Route> = set.iter().filter_map(|(r, _)| as_route(r)).collect();
            let rules: Vec<&Rule> = set.iter().filter_map(|(r, _)| as_rule(r)).collect();
            match self.control.del_other_routing(&routes, &rules, &self.links) {
                Ok(0) => {}
                Ok(n) => {
                    tracing::warn!("{n} route(s) or rule(s) that are not wanted any more, removed");
                    // Over IPv6 one of them may have stood where ours belongs.
                    self.routes.set.clear();
                    self.keep_routes();
                }
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }

    /// What was tried to set, and why that failed.
    pub(super) fn routing(&self) -> &[(Routing, Option<String>)] {
        &self.routes.set
    }

    /// Removes everything, as the daemon ends.
    pub(super) fn remove_routes(&mut self) {
        self.bring(Vec::new());
    }

    /// Reads the addresses of the host.
    pub(super) fn read_host(&mut self) -> Result<(), NetlinkError> {
        let addresses = self.control.addresses()?;
        let keys = addresses.iter().map(|a| (a.index, a.addr, a.prefix_len));
        self.host = keys.collect();
        Ok(())
    }

    fn bring(&mut self, wanted: Vec<Routing>) {
        let before = std::mem::take(&mut self.routes.set);
        let mut is_moved = false;
        for old in gone(&before, &wanted) {
            is_moved |= matches!(old, Routing::Address(_));
            if let Err(error) = self.unset(old) {
                self.say_once(error.to_string());
            }
        }
        // With the first address of a network the kernel takes the others.
        if is_moved && let Err(error) = self.read_host() {
            tracing::error!("{error}");
        }
        let keys: Vec<Routing> = before.iter().map(|(r, _)| r.in_kernel()).collect();
        for new in wanted {
            let key = new.in_kernel();
            let tried = keys.iter().position(|old| *old == key);
            let tried = tried.and_then(|i| before.get(i));
            let failed = tried.and_then(|(_, why)| why.as_ref());
            if tried.is_some() && failed.is_none() && !new.is_kept() {
                self.routes.set.push((new, None));
                continue;
            }
            let done = self.set(&new).map_err(|error| match error {
                NetlinkError::Refused { source, .. } => source.to_string(),
                NetlinkError::Socket { .. }
                | NetlinkError::Decode(_)
                | NetlinkError::NoInterface(_) => error.to_string(),
            });
            match news(tried.map(|(_, why)| why.as_deref()), &done) {
                News::Nothing => {}
                News::Again if is_moved && matches!(new, Routing::Address(_)) => {}
                News::Again => {
                    tracing::warn!("{new} was taken away by another program, set again");
                }
                News::AtLast => {
                    tracing::info!("{new} is set now");
                    self.routes.is_patched = true;
                }
                // Perhaps its interface is still to come.
                News::Fails(why) => {
                    tracing::error!("{new} cannot be set: {why}; tried again every second");
                }
            }
            self.routes.set.push((new, done.err()));
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
                // The kernel's word of it comes later than the next look perhaps.
                self.host.insert(key);
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

/// What is not wanted any more, the last one that was set first. What only is followed otherwise than
/// before stays.
fn gone<'b>(before: &'b [(Routing, Option<String>)], wanted: &[Routing]) -> Vec<&'b Routing> {
    let wanted: Vec<Routing> = wanted.iter().map(Routing::in_kernel).collect();
    let set = before.iter().rev().map(|(old, _)| old);
    set.filter(|old| !wanted.contains(&old.in_kernel()))
        .collect()
}

/// What there is to say when something was tried to set.
#[derive(Debug, PartialEq, Eq)]
enum News<'e> {
    Nothing,
    /// It was missing.
    Again,
    /// It failed before.
    AtLast,
    /// It fails, and did not before, or for another reason.
    Fails(&'e str),
}

/// `before`: if it was tried before, why that failed.
fn news<'e>(before: Option<Option<&str>>, done: &'e Result<Set, String>) -> News<'e> {
    match (before, done) {
        (Some(Some(_)), Ok(_)) => News::AtLast,
        (Some(None), Ok(Set::New)) => News::Again,
        (None, Ok(Set::New | Set::There)) | (Some(None), Ok(Set::There)) => News::Nothing,
        (Some(Some(before)), Err(why)) if before == why => News::Nothing,
        (_, Err(why)) => News::Fails(why),
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
        options: address.options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, MemoryFiles, Options};

    fn model(text: &str) -> Model {
        let files = MemoryFiles::one("lbd.conf", text);
        let loaded = config::load("lbd.conf", &files, &Options::default());
        loaded.model.expect("no errors")
    }

    #[test]
    fn what_only_is_followed_otherwise_stays() {
        let all = |number: u8, follows: &str| {
            let text = format!(
                "track_group G {{\ngroup {{\nV\n}}\n}}\n\
                 vrrp_instance V {{\ninterface eth0\nvirtual_router_id 51\n\
                 virtual_ipaddress {{\n10.77.0.100\n}}\n}}\n\
                 static_ipaddress {{\n10.99.0.1/24 dev eth0 label eth0:{number} {follows}\n}}\n\
                 static_routes {{\nblackhole 10.88.0.0/16 metric {number} {follows}\n}}\n\
                 static_rules {{\nto 10.88.0.0/16 table 100 preference {number} {follows}\n}}"
            );
            model(&text).statics.routing().collect::<Vec<_>>()
        };
        let before: Vec<_> = all(1, "").into_iter().map(|r| (r, None)).collect();
        let otherwise = all(1, "no_track track_group G");
        assert_eq!(gone(&before, &otherwise), <[&Routing; 0]>::default());
        let other_words = all(2, "");
        let other = gone(&before, &other_words);
        assert_eq!(other, [&before[2].0, &before[1].0, &before[0].0]);
    }

    #[test]
    fn what_cannot_be_set_is_said_whenever_it_was_good_before() {
        let fail = |why: &str| Err(why.to_owned());
        let mut before = None;
        for (done, want) in [
            (fail("no interface"), News::Fails("no interface")),
            (fail("no interface"), News::Nothing),
            (fail("down"), News::Fails("down")),
            (Ok(Set::New), News::AtLast),
            (Ok(Set::There), News::Nothing),
            (Ok(Set::New), News::Again),
            (fail("down"), News::Fails("down")),
            (fail("down"), News::Nothing),
            (Ok(Set::There), News::AtLast),
        ] {
            assert_eq!(news(before.as_ref().map(Option::as_deref), &done), want);
            before = Some(done.err());
        }
        assert_eq!(news(None, &Ok(Set::New)), News::Nothing);
    }

    #[test]
    fn routes_are_there_while_one_instance_of_the_name_has_its_addresses() {
        let file = |text: &str| {
            let text = format!("vrrp_instance V {{\ninterface eth0\n{text}\n}}");
            model(&text).instances
        };
        let routed = "virtual_router_id 52\nvirtual_ipaddress {\n10.77.0.100\n}\n\
                      virtual_routes {\n10.88.0.0/16 via 10.77.0.1 dev eth0\n}";
        let instances = file(routed);
        let route = instances[0].routing().collect::<Vec<_>>();
        assert_eq!(route.len(), 1);
        let (old, new) = (InstanceId(1), InstanceId(2));
        let mut holders = Holders::default();
        let mut after = |instance, name: &str, holds, instances: &[VrrpInstance]| {
            holders.note(instance, name.into(), holds);
            holders.routing(instances).collect::<Vec<_>>()
        };
        assert_eq!(after(old, "V", true, &instances), route);
        assert!(after(new, "V", true, &instances).contains(&route[0]));
        assert_eq!(after(old, "V", false, &instances), route);
        // It has another name now, and after that none.
        assert_eq!(after(new, "W", true, &instances), route);
        assert_eq!(after(new, "W", true, &[]), route);
        assert_eq!(after(new, "W", false, &[]), []);
    }
}
