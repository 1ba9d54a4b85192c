//! Which virtual addresses the daemon has put on interfaces, so that its successor takes away those
//! that were struck from the configuration while no daemon ran.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::{StateError, replace};

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// Name of the interface.
    pub iface: String,
    /// The address.
    pub addr: IpAddr,
    /// Its prefix length.
    pub prefix_len: u8,
}

/// The file of held addresses, a line for each: `IFACE ADDRESS PREFIX`.
#[derive(Debug)]
pub struct HeldFile {
    path: PathBuf,
    held: BTreeSet<Held>,
}

impl HeldFile {
    /// What the predecessor left in `dir`; nothing if there is no file. Lines that make no sense are
    /// passed over.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let path = dir.join("addresses");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        HeldFile {
            held: text.lines().filter_map(decode).collect(),
            path,
        }
    }

    /// What is held, as far as is noted.
    #[must_use]
    pub fn held(&self) -> &BTreeSet<Held> {
        &self.held
    }

    /// Notes that addresses are about to come (`here`), or are gone. The file is written once for
    /// all of them: a virtual router may have hundreds, which change hands together.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(
        &mut self,
        addresses: impl IntoIterator<Item = Held>,
        here: bool,
    ) -> Result<(), StateError> {
        let mut changed = false;
        for address in addresses {
            changed |= match here {
                true => self.held.insert(address),
                false => self.held.remove(&address),
            };
        }
        if !changed {
            return Ok(());
        }
        let text: String = self
            .held
            .iter()
            .map(|h| format!("{} {} {}\n", h.iface, h.addr, h.prefix_len))
            .collect();
        replace(&self.path, &text)
    }
}

fn decode(line: &str) -> Option<Held> {
    // An interface's name has no space.
    let mut words = line.split(' ');
    let held = Held {
        iface: words.next().filter(|name| !name.is_empty())?.to_owned(),
        addr: words.next()?.parse().ok()?,
        prefix_len: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(iface: &str, addr: &str, prefix_len: u8) -> Held {
        Held {
            iface: iface.to_owned(),
            addr: addr.parse().unwrap(),
            prefix_len,
        }
    }

    #[test]
    fn what_one_daemon_holds_the_next_one_knows() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HeldFile::open(dir.path());
        assert!(file.held().is_empty());
        let (a, b) = (
            held("eth0", "192.0.2.1", 32),
            held("eth1", "2001:db8::1", 64),
        );
        file.note([a.clone(), b.clone()], true).unwrap();
        file.note([a], false).unwrap();
        assert_eq!(HeldFile::open(dir.path()).held(), &BTreeSet::from([b]));
    }

    #[test]
    fn lines_that_make_no_sense_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("addresses"),
            "eth0 192.0.2.1\n\neth0 x 32\neth0 192.0.2.1 32 more\neth0 192.0.2.2 32\n",
        )
        .unwrap();
        let file = HeldFile::open(dir.path());
        assert_eq!(
            file.held(),
            &BTreeSet::from([held("eth0", "192.0.2.2", 32)])
        );
    }
}
