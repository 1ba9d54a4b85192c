//! On which interfaces this host can forward.

use std::collections::BTreeSet;

/// Where the program runs that forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Wherever it must: there are no services, or the operator has named the interfaces.
    Everywhere,
    /// On these interfaces. One that is made anew is not among them until it is told again.
    On(BTreeSet<String>),
    /// Nowhere yet, but the program is on its way into the kernel: instances listen meanwhile, and who
    /// would be MASTER is so once it is there.
    Loading,
}

impl From<bool> for Forwarding {
    /// Everywhere or nowhere.
    fn from(everywhere: bool) -> Self {
        match everywhere {
            true => Forwarding::Everywhere,
            false => Forwarding::On(BTreeSet::new()),
        }
    }
}

impl Forwarding {
    pub(super) fn has(&self, iface: &str) -> bool {
        match self {
            Forwarding::Everywhere => true,
            Forwarding::On(interfaces) => interfaces.contains(iface),
            Forwarding::Loading => false,
        }
    }

    pub(super) const fn is_loading(&self) -> bool {
        matches!(self, Forwarding::Loading)
    }

    /// The interface is gone, and the program with it.
    pub(super) fn forget(&mut self, iface: &str) {
        match self {
            Forwarding::Everywhere | Forwarding::Loading => {}
            Forwarding::On(interfaces) => {
                interfaces.remove(iface);
            }
        }
    }
}
