//! Preparing a host as a real server: what is there against what should be, to ordered operations;
//! and the way back, exactly.
//!
//! A real server has the virtual address, does not answer ARP for it, and takes packets out of
//! their tunnel where they come in one. What was there before is remembered in a [`State`], so
//! that [`down`] restores just what [`up`] changed. Both are safe to repeat.

mod sysctl;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use sysctl::Sysctl;

/// Version of [`State`] in its file.
pub const STATE_VERSION: u32 = 1;

/// IANA's port for GUE.
pub const GUE_PORT: u16 = 6080;

/// How packets come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum Tunnel {
    /// In IP (protocol 4 or 41).
    Ipip,
    /// In UDP with a GUE header.
    Gue {
        /// UDP destination port.
        port: u16,
    },
    /// In GRE.
    Gre,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The virtual addresses.
    pub vips: Vec<IpAddr>,
    /// The interface that is to have them.
    pub dev: String,
    /// `None`: direct routing.
    pub tunnel: Option<Tunnel>,
    /// Where packets arrive; `None`: the only interface that it can be.
    pub iface: Option<String>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it has an Ethernet address (and is not the loopback).
    pub ethernet: bool,
}

/// How the host is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// All interfaces.
    pub links: Vec<Link>,
    /// All addresses: interface, address, prefix length.
    pub addresses: Vec<(String, IpAddr, u8)>,
    /// The value of each sysctl that [`Sysctl::of`] names; one that does not exist is left out.
    pub sysctls: BTreeMap<Sysctl, i64>,
    /// Interfaces that have our decapsulation program, by index.
    pub attached: BTreeSet<u32>,
    /// What the decapsulation program knows.
    pub known: BTreeMap<IpAddr, Entry>,
}

/// What the decapsulation program knows of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Tunnels may end there.
    pub local: bool,
    /// It is a virtual address whose packets come so.
    pub tunnel: Option<Tunnel>,
}

/// A sysctl that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What it was.
    pub before: i64,
    /// What it was set to.
    pub set: i64,
}

/// A virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// The interface that has it.
    pub dev: String,
    /// Whether it was added; else it was there before.
    pub added: bool,
    /// How its packets come in; `None`: by direct routing.
    pub tunnel: Option<Tunnel>,
    /// Where they arrive, if that is known.
    pub iface: Option<String>,
}

/// What was done so far and how it was before: what is kept until [`down`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_VERSION`].
    pub version: u32,
    /// By address.
    pub vips: BTreeMap<IpAddr, Vip>,
    /// By name.
    pub sysctls: BTreeMap<Sysctl, Change>,
    /// Interfaces to which the decapsulation program was attached.
    pub attached: BTreeMap<String, u32>,
}

/// Something to do. The order matters: a host answers ARP for an address from the moment it has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub enum Op {
    /// Set a sysctl.
    Set {
        /// Which.
        sysctl: Sysctl,
        /// To what.
        value: i64,
    },
    /// Attach the decapsulation program.
    Attach {
        /// To which interface.
        iface: String,
        /// Its index.
        index: u32,
    },
    /// Tell the decapsulation program all the addresses that it is to know.
    Know {
        /// All of them.
        #[serde(skip)]
        entries: BTreeMap<IpAddr, Entry>,
    },
    /// Add an address, alone in its subnet.
    Add {
        /// To which interface.
        dev: String,
        /// The address.
        addr: IpAddr,
    },
    /// Remove an address.
    Remove {
        /// From which interface.
        dev: String,
        /// The address.
        addr: IpAddr,
    },
    /// Take the decapsulation program off.
    Detach {
        /// From which interface.
        iface: String,
        /// Its index.
        index: u32,
    },
    /// Remove the decapsulation program's maps.
    Forget,
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Op::Set { sysctl, value } => write!(f, "set {sysctl} = {value}"),
            Op::Attach { iface, .. } => write!(f, "attach the decapsulation program to {iface}"),
            Op::Know { entries } => {
                let is_vip = |entry: &&Entry| entry.tunnel.is_some();
                let vips = entries.values().filter(is_vip).count();
                let s = if vips == 1 { "" } else { "es" };
                write!(f, "take tunnels off for {vips} virtual address{s}")
            }
            Op::Add { dev, addr } => write!(f, "add {addr}/{} to {dev}", host_prefix(*addr)),
            Op::Remove { dev, addr } => {
                write!(f, "remove {addr}/{} from {dev}", host_prefix(*addr))
            }
            Op::Detach { iface, .. } => write!(f, "take the decapsulation program off {iface}"),
            Op::Forget => write!(f, "remove the decapsulation program's maps"),
        }
    }
}

/// What is to be done, and the state when it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be kept before the operations are carried out.
    pub state: State,
    /// In order.
    pub ops: Vec<Op>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

/// Why it cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such interface.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// It is not clear where packets arrive.
    #[error(
        "which interface do packets arrive on? give --iface; there {}",
        match .0.len() { 0 => "is none".to_owned(), _ => format!("are {}", .0.join(", ")) }
    )]
    WhichInterface(Vec<String>),
    /// The address is elsewhere on this host.
    #[error(
        "{addr} is already on {dev}: the host would answer for it there; remove it first (ip address del {addr}/{prefix} dev {dev})"
    )]
    Elsewhere {
        /// The address.
        addr: IpAddr,
        /// Where it is.
        dev: String,
        /// Its prefix length there.
        prefix: u8,
    },
    /// The address is there with its subnet.
    #[error(
        "{addr} is on {dev} as /{prefix}: the host would take all of that subnet for its own; remove it first (ip address del {addr}/{prefix} dev {dev})"
    )]
    Subnet {
        /// The address.
        addr: IpAddr,
        /// The interface.
        dev: String,
        /// Its prefix length there.
        prefix: u8,
    },
    /// The virtual address is on the interface that must not answer for it.
    #[error("packets arrive on {0}; the virtual address belongs on lo or a dummy interface")]
    SameInterface(String),
    /// No address that a virtual one can be.
    #[error("{0} is no address of a host")]
    NoHost(IpAddr),
}

/// Prefix length of a single address.
#[must_use]
pub const fn host_prefix(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// What makes the host a real server for these addresses, besides those that it has already.
///
/// # Errors
/// When it cannot be, or not without harm; nothing is to be done then.
pub fn up(state: &State, observed: &Observed, wish: &Wish) -> Result<Plan, Refusal> {
    let index = |name: &str| observed.links.iter().find(|link| link.name == name);
    if index(&wish.dev).is_none() {
        return Err(Refusal::NoInterface(wish.dev.clone()));
    }
    let iface = arrival(observed, wish)?;
    if iface.as_deref() == Some(&wish.dev) {
        return Err(Refusal::SameInterface(wish.dev.clone()));
    }
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    plan.state.version = STATE_VERSION;
    let mut adds = Vec::new();
    for &addr in &wish.vips {
        if addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() {
            return Err(Refusal::NoHost(addr));
        }
        let is_there = is_there(observed, addr, &wish.dev)?;
        if !is_there {
            adds.push(Op::Add {
                dev: wish.dev.clone(),
                addr,
            });
        }
        let was_added = state.vips.get(&addr).is_some_and(|vip| vip.added);
        plan.state.vips.insert(
            addr,
            Vip {
                dev: wish.dev.clone(),
                added: was_added || !is_there,
                tunnel: wish.tunnel,
                iface: iface.clone(),
            },
        );
    }
    settle(&mut plan, observed);
    plan.ops.extend(adds);
    Ok(plan)
}

/// What undoes that, for these addresses; none: for all.
#[must_use]
pub fn down(state: &State, observed: &Observed, vips: &[IpAddr]) -> Plan {
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    let all: Vec<IpAddr> = state.vips.keys().copied().collect();
    for addr in if vips.is_empty() { &all } else { vips } {
        let Some(vip) = plan.state.vips.remove(addr) else {
            plan.notes.push(format!("{addr} was not up"));
            continue;
        };
        let prefix = host_prefix(*addr);
        let is_there = observed
            .addresses
            .iter()
            .any(|(dev, there, len)| (dev, *there, *len) == (&vip.dev, *addr, prefix));
        if vip.added && is_there {
            plan.ops.push(Op::Remove {
                dev: vip.dev,
                addr: *addr,
            });
        } else if !vip.added {
            plan.notes
                .push(format!("{addr} was on {} before and stays", vip.dev));
        }
    }
    settle(&mut plan, observed);
    plan
}

/// What differs from what was left: the operations that would mend it.
#[must_use]
pub fn drift(state: &State, observed: &Observed) -> Vec<Op> {
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    settle(&mut plan, observed);
    for (&addr, vip) in &state.vips {
        if matches!(is_there(observed, addr, &vip.dev), Ok(false)) {
            plan.ops.push(Op::Add {
                dev: vip.dev.clone(),
                addr,
            });
        }
    }
    plan.ops
}

/// Where packets arrive.
fn arrival(observed: &Observed, wish: &Wish) -> Result<Option<String>, Refusal> {
    if let Some(name) = &wish.iface {
        return match observed.links.iter().any(|link| link.name == *name) {
            true => Ok(Some(name.clone())),
            false => Err(Refusal::NoInterface(name.clone())),
        };
    }
    let candidates: Vec<String> = observed
        .links
        .iter()
        .filter(|link| link.ethernet && link.name != wish.dev)
        .map(|link| link.name.clone())
        .collect();
    match (&candidates[..], wish.tunnel) {
        ([one], _) => Ok(Some(one.clone())),
        // For direct routing the settings of all interfaces are enough.
        (_, None) => Ok(None),
        (_, Some(_)) => Err(Refusal::WhichInterface(candidates)),
    }
}

/// Whether the interface has the address, by itself.
fn is_there(observed: &Observed, addr: IpAddr, dev: &str) -> Result<bool, Refusal> {
    let mut found = false;
    for (there, _, prefix) in observed.addresses.iter().filter(|(_, a, _)| *a == addr) {
        if there != dev {
            return Err(Refusal::Elsewhere {
                addr,
                dev: there.clone(),
                prefix: *prefix,
            });
        }
        if *prefix != host_prefix(addr) {
            return Err(Refusal::Subnet {
                addr,
                dev: dev.to_owned(),
                prefix: *prefix,
            });
        }
        found = true;
    }
    Ok(found)
}

/// Makes sysctls and the decapsulation program what the addresses of the plan's state need.
fn settle(plan: &mut Plan, observed: &Observed) {
    sysctl::settle(plan, observed);
    let tunnels: BTreeSet<String> = plan
        .state
        .vips
        .values()
        .filter(|vip| vip.tunnel.is_some())
        .filter_map(|vip| vip.iface.clone())
        .collect();
    let gone: Vec<(String, u32)> = plan
        .state
        .attached
        .iter()
        .filter(|(name, _)| !tunnels.contains(*name))
        .map(|(name, &index)| (name.clone(), index))
        .collect();
    let entries = entries(&plan.state, observed);
    if !tunnels.is_empty() && entries != observed.known {
        plan.ops.push(Op::Know { entries });
    }
    for name in &tunnels {
        let Some(link) = observed.links.iter().find(|link| link.name == *name) else {
            plan.notes
                .push(format!("there is no interface {name} any more"));
            continue;
        };
        if !observed.attached.contains(&link.index) {
            plan.ops.push(Op::Attach {
                iface: name.clone(),
                index: link.index,
            });
        }
        plan.state.attached.insert(name.clone(), link.index);
    }
    for (iface, index) in gone {
        plan.state.attached.remove(&iface);
        plan.ops.push(Op::Detach { iface, index });
        if plan.state.attached.is_empty() {
            plan.ops.push(Op::Forget);
        }
    }
}

/// What the decapsulation program is to know.
fn entries(state: &State, observed: &Observed) -> BTreeMap<IpAddr, Entry> {
    let mut entries: BTreeMap<IpAddr, Entry> = BTreeMap::new();
    for (&addr, vip) in &state.vips {
        let (Some(_), Some(iface)) = (vip.tunnel, &vip.iface) else {
            continue;
        };
        entries.entry(addr).or_default().tunnel = vip.tunnel;
        for (dev, own, _) in &observed.addresses {
            // Nobody routes to a link-local address, and it comes and goes.
            let is_link_local = matches!(own, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if dev == iface && !is_link_local {
                entries.entry(*own).or_default().local = true;
            }
        }
    }
    entries
}
