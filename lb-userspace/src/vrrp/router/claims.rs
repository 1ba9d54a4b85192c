//! Who else claims a virtual address: what the router hears of it, and where it wants to hear it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Router, ctx};
use crate::time::Time;

impl Router {
    /// Another host says that an address is its own.
    pub(super) fn on_claimed(&mut self, iface: &str, addr: IpAddr, mac: [u8; 6], now: Time) {
        for at in 0..self.instances.len() {
            let vips = self.instances[at].vips.iter();
            let mut ours = vips.filter(|v| v.address.addr == addr && *v.address.iface == *iface);
            if let Some(iface) = ours.next().map(|v| Arc::clone(&v.address.iface)) {
                self.instances[at].on_claim(&iface, addr, mac, &mut ctx!(self, now));
            }
        }
    }

    /// The addresses of which it is to be heard who claims them, by interface: those of masters.
    #[must_use]
    pub fn guarded(&self) -> BTreeMap<Arc<str>, BTreeSet<IpAddr>> {
        let mut all: BTreeMap<Arc<str>, BTreeSet<IpAddr>> = BTreeMap::new();
        for vip in self
            .instances
            .iter()
            .filter(|i| i.guards())
            .flat_map(|i| &i.vips)
        {
            let iface = Arc::clone(&vip.address.iface);
            all.entry(iface).or_default().insert(vip.address.addr);
        }
        all
    }
}
