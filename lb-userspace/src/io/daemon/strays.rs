//! Addresses that nobody configured any more while no daemon ran.

use std::collections::BTreeSet;

use crate::io::netlink::{Control, LinkTable};
use crate::io::state::{Held, HeldFile};
use crate::model::Model;
use crate::vrrp::Applied;

/// Removes the addresses that a killed predecessor left and that are no longer configured.
pub(super) fn take_away(
    held: &mut HeldFile,
    model: &Model,
    links: &LinkTable,
    control: &mut Control,
) {
    let configured: BTreeSet<Held> = model
        .instances
        .iter()
        .flat_map(|i| {
            let addresses = i.addresses.iter().chain(&i.excluded);
            addresses.map(|a| Held {
                iface: i.iface_of(a).to_owned(),
                addr: a.addr,
                prefix_len: a.prefix_len,
            })
        })
        .collect();
    let strays: Vec<Held> = held.held().difference(&configured).cloned().collect();
    for stray in strays {
        let Held {
            iface,
            addr,
            prefix_len,
        } = &stray;
        if let Some(link) = links.by_name(iface) {
            match control.del_address(link.index, *addr, *prefix_len) {
                Ok(Applied::Removed) => {
                    tracing::warn!("{addr} is no longer configured, taking it off {iface}");
                }
                Ok(Applied::NotThere | Applied::Present) => {}
                // Tried again at the next start.
                Ok(Applied::Failed) => continue,
                Err(error) => {
                    tracing::warn!("{error}");
                    continue;
                }
            }
        }
        if let Err(error) = held.note([stray], false) {
            tracing::warn!("{error}");
        }
    }
}
