//! `use_vmac`: which macvlans there are, and their names.

use std::collections::{BTreeMap, BTreeSet};

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::source::Span;
use crate::config::tree::Node;
use crate::model::{Family, Global, Transport, Vmac, VrrpInstance};

/// The kernel's limit of an interface's name.
const NAME: usize = 15;
/// keepalived's beginning of the names that it makes.
const PREFIX: &str = "vrrp";

/// How macvlans without a name are named.
#[derive(Default)]
pub(super) struct Prefixes {
    /// `vmac_prefix`.
    vmac: Option<String>,
    /// `vmac_addr_prefix`.
    address: Option<String>,
}

/// Interface, whether IPv6, VRID: what a virtual router's MAC is unique by.
type Key = (String, bool, u8);

impl Lower {
    /// `vmac_prefix`, `vmac_addr_prefix`.
    pub(super) fn vmac_prefixes(&mut self, walked: &Walked<'_>, global: &mut Global) -> Prefixes {
        let mut prefix = |name: &str| {
            let word = self.last(walked, name)?.args().first()?.clone();
            // Room for the family, a number and the VRID.
            if word.text.len() > NAME - 8 {
                let most = NAME - 8;
                self.invalid_word(
                    &word,
                    &format!("a beginning of at most {most} bytes"),
                    "ignored",
                );
                return None;
            }
            Some(word.text)
        };
        let vmac = prefix("vmac_prefix");
        let address = prefix("vmac_addr_prefix").or_else(|| vmac.clone());
        global.vmac_addr_prefix = address.clone().filter(|p| p != PREFIX);
        Prefixes { vmac, address }
    }

    /// `use_vmac` and `vmac_xmit_base` of an instance; without a name in the file it has none yet.
    pub(super) fn vmac(
        &mut self,
        walked: &Walked<'_>,
        transport: &Transport,
        unsupported: &mut Vec<Diagnostic>,
    ) -> Option<Vmac> {
        let base = self.last(walked, "vmac_xmit_base");
        let Some(n) = self.last(walked, "use_vmac") else {
            if let Some(base) = base {
                self.push(
                    Diagnostic::new(
                        Code::Conflict,
                        Severity::Warning,
                        "`vmac_xmit_base` means nothing without `use_vmac`",
                    )
                    .at(base.whole(), "ignored"),
                );
            }
            return None;
        };
        let mut args = n.args().iter();
        let mut name = String::new();
        if let Some(word) = args.next() {
            if word.text.len() > NAME || word.text.contains('/') {
                self.invalid_word(
                    word,
                    "an interface's name",
                    "one is made for it instead, as by keepalived",
                );
            } else {
                name.clone_from(&word.text);
            }
        }
        if let Some(mac) = args.next() {
            unsupported.push(
                Diagnostic::new(
                    Code::Unsupported,
                    Severity::Error,
                    "another MAC than the virtual router's own is not supported",
                )
                .at(mac.span, "RFC 9568 gives the MAC")
                .help("leave it out: all directors then take 00:00:5e:00:01:VRID, for IPv6 00:00:5e:00:02:VRID"),
            );
        }
        let unicast = matches!(transport, Transport::Unicast(_));
        if unicast && base.is_none() {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    self.replaced(),
                    "`use_vmac` with unicast peers needs `vmac_xmit_base`",
                )
                .at(n.whole(), "it is taken as set, as by keepalived")
                .help("add `vmac_xmit_base`"),
            );
        }
        Some(Vmac {
            name,
            xmit_base: unicast || base.is_some(),
        })
    }

    /// Names the macvlans that have none: `vrrp.VRID`, and a number behind `vrrp` where that is taken.
    /// `spans`: where the instances stand.
    pub(super) fn name_vmacs(
        &mut self,
        instances: &mut [VrrpInstance],
        prefixes: &Prefixes,
        spans: &BTreeMap<String, Span>,
    ) {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut owners: BTreeMap<Key, (String, String)> = BTreeMap::new();
        let mut doubled: Vec<(String, String, String)> = Vec::new();
        for i in instances.iter() {
            if let Some(vmac) = i.vmac.as_ref().filter(|v| !v.name.is_empty())
                && !names.insert(vmac.name.clone())
            {
                let why = format!("`use_vmac {}` is written twice", vmac.name);
                doubled.push((i.name.clone(), why, "the second one".to_owned()));
            }
        }
        let mut made = |prefix: &Option<String>, is_ipv6: bool, vrid: u8| {
            let prefix = prefix.as_deref().unwrap_or(PREFIX);
            let six = if is_ipv6 { "6" } else { "" };
            let numbers = std::iter::once(String::new()).chain((1..).map(|n: u32| n.to_string()));
            let mut all = numbers.map(|n| format!("{prefix}{six}{n}.{vrid}"));
            let name = all.find(|name| !names.contains(name)).unwrap_or_default();
            names.insert(name.clone());
            name
        };
        for i in instances.iter_mut() {
            let key = (
                i.interface.clone(),
                i.family() == Family::V6,
                i.virtual_router_id,
            );
            if let Some(vmac) = &mut i.vmac {
                if vmac.name.is_empty() {
                    vmac.name = made(&prefixes.vmac, key.1, key.2);
                }
                let vrid = i.virtual_router_id;
                let owner = (i.name.clone(), vmac.name.clone());
                if let Some((first, _)) = owners.insert(key, owner) {
                    let why = format!(
                        "`use_vmac` would have the same MAC on the same interface as that of \
                         `vrrp_instance {first}`"
                    );
                    doubled.push((
                        i.name.clone(),
                        why,
                        format!("both are virtual router {vrid}"),
                    ));
                }
            }
        }
        for i in instances.iter_mut() {
            let (interface, vrid) = (i.interface.clone(), i.virtual_router_id);
            for a in i.addresses.iter_mut().chain(&mut i.excluded) {
                if a.vmac.is_none() {
                    continue;
                }
                let base = a.dev.as_ref().unwrap_or(&interface).clone();
                let key = (base, a.addr.is_ipv6(), vrid);
                let (owner, name) = owners.entry(key).or_insert_with_key(|key| {
                    let name = made(&prefixes.address, key.1, key.2);
                    (i.name.clone(), name)
                });
                let own = i.vmac.as_ref().is_some_and(|v| v.name == *name);
                a.vmac = (!own).then(|| name.clone());
                if *owner != i.name {
                    let why = format!(
                        "`{}` would have the same MAC on the same interface as `vrrp_instance {owner}`",
                        a.addr
                    );
                    let what = "both are virtual router ".to_owned() + &vrid.to_string();
                    doubled.push((i.name.clone(), why, what));
                    break;
                }
            }
        }
        for (name, why, label) in doubled {
            if let Some(span) = spans.get(&name) {
                self.push(Diagnostic::new(Code::Duplicate, Severity::Error, why).at(*span, label));
            }
        }
    }

    /// Marks the addresses that are to have a macvlan of their own; [`Lower::name_vmacs`] names them.
    pub(super) fn mark_vmac(on: bool, address: &mut crate::model::VirtualAddress) {
        if on {
            address.vmac = Some(String::new());
        }
    }

    /// `use_vmac_addr`: addresses on other interfaces, or of the other family, have a macvlan too.
    pub(super) fn use_vmac_addr(
        walked: &Walked<'_>,
        interface: Option<&str>,
        addresses: &mut [crate::model::VirtualAddress],
        is_of_ipv6: bool,
    ) {
        let on = walked
            .acted
            .iter()
            .any(|(k, _): &(_, &Node)| *k == "use_vmac_addr");
        for a in addresses {
            let elsewhere = a.dev.is_some() && a.dev.as_deref() != interface;
            Self::mark_vmac(on && (elsewhere || a.addr.is_ipv6() != is_of_ipv6), a);
        }
    }
}
