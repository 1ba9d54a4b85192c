//! Which sysctls a real server needs. For those of ARP and of the reverse path filter the kernel
//! takes the larger of an interface's own value and that of `all`
//! (Documentation/networking/ip-sysctl.rst).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Change, Observed, Op, Plan, State};

/// A sysctl by its path below `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sysctl(String);

/// For all interfaces.
const ALL: &str = "all";
/// Answer only for addresses of the interface that was asked on.
const ARP_IGNORE: &str = "arp_ignore";
/// Never ask with an address of another interface.
const ARP_ANNOUNCE: &str = "arp_announce";
/// 1: a packet must come from where an answer would go; 2: from where there is any route.
const RP_FILTER: &str = "rp_filter";

impl Sysctl {
    fn new(iface: &str, name: &str) -> Sysctl {
        Sysctl(format!("net/ipv4/conf/{iface}/{name}"))
    }

    /// All that matter when packets arrive on that interface.
    #[must_use]
    pub fn of(iface: Option<&str>) -> Vec<Sysctl> {
        let mut all = Vec::new();
        for iface in [Some(ALL), iface].into_iter().flatten() {
            for name in [ARP_IGNORE, ARP_ANNOUNCE, RP_FILTER] {
                all.push(Sysctl::new(iface, name));
            }
        }
        all
    }

    /// The path below `/proc/sys`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Sysctl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `value` must become so that this host is silent about addresses of `lo`; `None`: nothing.
fn silent(name: &str, value: i64) -> Option<i64> {
    match name {
        // 1 and 2 answer only for addresses of the interface, 8 for none. 3 answers for all that
        // are not of scope host, and 4 to 7 are as 0.
        ARP_IGNORE => (!matches!(value, 1 | 2 | 8)).then_some(1),
        _ => (value < 2).then_some(2),
    }
}

/// What each sysctl must become, where it is not right as it is.
fn wanted(state: &State, observed: &Observed) -> BTreeMap<Sysctl, Option<i64>> {
    let mut wanted = BTreeMap::new();
    let value = |sysctl: &Sysctl| observed.sysctls.get(sysctl).copied();
    // IPv6 asks for addresses of the interface only, and the address is added without asking.
    for vip in state
        .vips
        .iter()
        .filter(|(addr, _)| addr.is_ipv4())
        .map(|(_, vip)| vip)
    {
        for iface in [Some(ALL), vip.iface.as_deref()].into_iter().flatten() {
            for name in [ARP_IGNORE, ARP_ANNOUNCE] {
                let sysctl = Sysctl::new(iface, name);
                if let Some(now) = value(&sysctl) {
                    wanted.insert(sysctl, silent(name, now));
                }
            }
        }
        if let (Some(_), Some(iface)) = (vip.tunnel, &vip.iface) {
            // The director may be reached another way than the client.
            let own = Sysctl::new(iface, RP_FILTER);
            let all = value(&Sysctl::new(ALL, RP_FILTER)).unwrap_or(0);
            if let Some(now) = value(&own) {
                wanted.insert(own, (now.max(all) == 1).then_some(2));
            }
        }
    }
    wanted
}

/// Sets what is needed and restores what no longer is.
pub(super) fn settle(plan: &mut Plan, observed: &Observed) {
    let wanted = wanted(&plan.state, observed);
    for (sysctl, value) in &wanted {
        if let (&Some(set), Some(&before)) = (value, observed.sysctls.get(sysctl)) {
            plan.state
                .sysctls
                .insert(sysctl.clone(), Change { before, set });
            plan.ops.push(Op::Set {
                sysctl: sysctl.clone(),
                value: set,
            });
        }
    }
    let done: Vec<Sysctl> = plan
        .state
        .sysctls
        .keys()
        .filter(|sysctl| !wanted.contains_key(*sysctl))
        .cloned()
        .collect();
    for sysctl in done {
        let Some(Change { before, set }) = plan.state.sysctls.remove(&sysctl) else {
            continue;
        };
        match observed.sysctls.get(&sysctl) {
            Some(&now) if now == set => plan.ops.push(Op::Set {
                sysctl,
                value: before,
            }),
            // It never came to be set.
            Some(&now) if now == before => {}
            Some(&now) => plan.notes.push(format!(
                "{sysctl} was set to {set} here and is {now} now: somebody else's, it stays"
            )),
            None => {}
        }
    }
}
