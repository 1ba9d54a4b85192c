//! `use_vmac`: virtual routers with a MAC of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Family, Model, VirtualAddress, VrrpInstance};

/// `use_vmac`: a macvlan with the virtual router's MAC on the instance's interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vmac {
    /// Its name, which no other macvlan of the configuration has; at most 15 bytes.
    pub name: String,
    /// `vmac_xmit_base`: adverts are sent by the interface itself. Always set with unicast peers.
    pub xmit_base: bool,
}

impl VrrpInstance {
    /// The interface that lies under an address: `dev`, else the instance's.
    #[must_use]
    pub fn base_of<'a>(&'a self, address: &'a VirtualAddress) -> &'a str {
        address.dev.as_ref().unwrap_or(&self.interface)
    }

    /// The interface that is to have an address.
    #[must_use]
    pub fn iface_of<'a>(&'a self, address: &'a VirtualAddress) -> &'a str {
        let base = self.base_of(address);
        match (&address.vmac, &self.vmac) {
            (Some(name), _) => name,
            (None, Some(own)) if base == self.interface => &own.name,
            (None, Some(_) | None) => base,
        }
    }
}

/// A macvlan with a virtual router's MAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macvlan<'a> {
    /// The interface under it.
    pub base: &'a str,
    /// Its MAC.
    pub mac: [u8; 6],
    /// Whether an IPv6 address is to be on it.
    pub has_ipv6: bool,
}

impl Model {
    /// All macvlans, by their names. They are there as long as this is the configuration, whoever is
    /// master.
    #[must_use]
    pub fn macvlans(&self) -> BTreeMap<&str, Macvlan<'_>> {
        let mut all: BTreeMap<&str, Macvlan<'_>> = BTreeMap::new();
        for i in &self.instances {
            let vrid = i.virtual_router_id;
            if let Some(vmac) = &i.vmac {
                let (base, mac) = (
                    i.interface.as_str(),
                    virtual_mac(i.family() == Family::V6, vrid),
                );
                let has_ipv6 = false;
                all.insert(
                    &vmac.name,
                    Macvlan {
                        base,
                        mac,
                        has_ipv6,
                    },
                );
            }
            for a in i.addresses.iter().chain(&i.excluded) {
                if let Some(name) = &a.vmac {
                    let (base, mac) = (i.base_of(a), virtual_mac(a.addr.is_ipv6(), vrid));
                    let has_ipv6 = false;
                    all.entry(name).or_insert(Macvlan {
                        base,
                        mac,
                        has_ipv6,
                    });
                }
                if let Some(vmac) = all.get_mut(i.iface_of(a)) {
                    vmac.has_ipv6 |= a.addr.is_ipv6();
                }
            }
        }
        all
    }
}

/// 00:00:5e:00:01 for IPv4, 00:00:5e:00:02 for IPv6, and then the VRID (RFC 9568 section 7.3).
#[must_use]
pub const fn virtual_mac(is_ipv6: bool, vrid: u8) -> [u8; 6] {
    [0, 0, 0x5e, 0, if is_ipv6 { 2 } else { 1 }, vrid]
}

/// Whether a MAC is a virtual router's.
#[must_use]
pub const fn is_virtual_mac(mac: [u8; 6]) -> bool {
    matches!(mac, [0, 0, 0x5e, 0, 1 | 2, _])
}
