//! On which interfaces the program is to run, and whether it does.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::io::bpf::DataPlane;
use crate::io::netlink::Control;
use crate::model::Model;
use crate::vrrp::Forwarding;

/// The interfaces named on the command line, else those of the VRRP instances and of their
/// addresses, else those by which the real servers are reached. None without services, unless there is
/// an address for which nothing is accepted.
pub(super) fn wanted(model: &Model, named: &[String], control: &mut Control) -> BTreeSet<String> {
    if !model.needs_program() {
        return BTreeSet::new();
    }
    if !named.is_empty() {
        return named.iter().cloned().collect();
    }
    let mut wanted = BTreeSet::new();
    for instance in &model.instances {
        wanted.extend(instance.ingress().map(str::to_owned));
    }
    if wanted.is_empty() {
        let names = control.links().unwrap_or_default();
        let servers: BTreeSet<IpAddr> = model
            .services
            .iter()
            .flat_map(|s| &s.real_servers)
            .map(|r| r.addr)
            .collect();
        for server in servers {
            let hop = control.route_to(server).ok().filter(|h| !h.local);
            let link = hop.and_then(|h| names.iter().find(|l| l.index == h.index));
            wanted.extend(link.map(|l| l.name.clone()));
        }
    }
    wanted
}

/// Puts the program on every wanted interface and takes it off the others; what goes wrong is said
/// once. True when it runs on all of them.
pub(super) fn attach(
    plane: &mut DataPlane,
    wanted: &BTreeSet<String>,
    said: &mut BTreeSet<String>,
) -> bool {
    let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
    if let Err(error) = plane.retain_interfaces(&names) {
        say_once(said, error.to_string());
    }
    let mut all = true;
    for name in wanted {
        if plane.is_attached(name) {
            continue;
        }
        match plane.attach(name) {
            // The data plane says how it runs, and why not natively.
            Ok(_) => said.retain(|text| !text.contains(name.as_str())),
            Err(error) => {
                all = false;
                say_once(said, error.to_string());
            }
        }
    }
    all
}

/// Where the host can forward, after [`attach`] with this outcome. A missing interface is the
/// fault of its instances alone, unless the operator named it.
pub(super) fn forwarding(
    plane: &DataPlane,
    wanted: &BTreeSet<String>,
    named: &[String],
    all: bool,
) -> Forwarding {
    if !named.is_empty() {
        return all.into();
    }
    let running = wanted.iter().filter(|name| plane.is_attached(name));
    Forwarding::On(running.cloned().collect())
}

pub(super) fn say_once(said: &mut BTreeSet<String>, text: String) {
    if !said.contains(&text) {
        tracing::error!("{text}");
        said.insert(text);
    }
}
