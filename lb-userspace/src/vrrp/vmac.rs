//! Virtual routers with a MAC of their own.

use std::sync::Arc;

use super::instance::Instance;
use crate::model::{Family, virtual_mac};

impl Instance {
    /// The macvlan of the instance itself.
    pub(super) fn vmac(&self) -> Option<&str> {
        self.config.vmac.as_ref().map(|v| v.name.as_str())
    }

    /// Whether this is a macvlan of `use_vmac`, the instance's or one of an address.
    pub(super) fn is_macvlan(&self, iface: &str) -> bool {
        let mut addresses = self.config.addresses.iter().chain(&self.config.excluded);
        self.vmac() == Some(iface) || addresses.any(|a| a.vmac.as_deref() == Some(iface))
    }

    /// The interface that sends the adverts.
    pub(super) fn advert_iface(&self) -> Arc<str> {
        match &self.config.vmac {
            Some(vmac) if !vmac.xmit_base => vmac.name.as_str().into(),
            Some(_) | None => Arc::clone(&self.iface),
        }
    }

    /// The MAC that all directors of this virtual router have.
    pub(super) fn virtual_mac(&self) -> [u8; 6] {
        virtual_mac(
            self.config.family() == Family::V6,
            self.config.virtual_router_id,
        )
    }

    /// Whether a frame's adverts are this instance's: come in on its interface, or on its macvlan, to
    /// which the kernel gives, instead of to the interface, what another director has sent with the
    /// MAC of both. What has another MAC is heard on the interface too.
    pub(super) fn hears(&self, iface: &str, src_mac: [u8; 6]) -> bool {
        *self.iface == *iface || self.vmac() == Some(iface) && src_mac == self.virtual_mac()
    }
}
