//! What is changed in the kernel while the daemon runs and is set back when it ends, so that its
//! successor does that after it was killed. A reboot forgets both.

use std::collections::BTreeSet;
use std::path::Path;

use super::{StateError, replace};

const NAME: &str = "changed";
const PROMOTE: &str = "promote_secondaries";
const IGMP: &str = "igmp_link_local_mcast_reports";
const RP_FILTER: &str = "rp_filter";

/// What is not as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Interfaces on which `promote_secondaries` was set, by index: a name may go to another one.
    pub promoting: BTreeSet<u32>,
    /// Whether IGMP reports were turned off.
    pub no_igmp: bool,
    /// `all`, if its `rp_filter` was set from 1 to 0, and where it was set from 0 to 1 instead.
    pub filtering: BTreeSet<String>,
}

impl Changed {
    /// What the predecessor left in `dir`; nothing if there is no file. Lines that make no sense are
    /// passed over.
    #[must_use]
    pub fn read(dir: &Path) -> Self {
        let text = std::fs::read_to_string(dir.join(NAME)).unwrap_or_default();
        let mut changed = Changed::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some((PROMOTE, index)) => changed.promoting.extend(index.parse::<u32>()),
                Some((RP_FILTER, iface)) => drop(changed.filtering.insert(iface.to_owned())),
                Some(_) => {}
                None => changed.no_igmp |= line == IGMP,
            }
        }
        changed
    }

    /// Writes it, before it is done.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), StateError> {
        let promoting = self.promoting.iter();
        let mut text: String = promoting.map(|i| format!("{PROMOTE} {i}\n")).collect();
        if self.no_igmp {
            text += &format!("{IGMP}\n");
        }
        text.extend(
            self.filtering
                .iter()
                .map(|name| format!("{RP_FILTER} {name}\n")),
        );
        replace(&dir.join(NAME), &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_daemon_changed_the_next_one_knows() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Changed::read(dir.path()), Changed::default());
        let all = Changed {
            promoting: BTreeSet::from([3, 70_000]),
            no_igmp: true,
            filtering: ["default", "eth0"].map(str::to_owned).into(),
        };
        for changed in [
            all.clone(),
            Changed {
                no_igmp: false,
                ..all.clone()
            },
            Changed::default(),
        ] {
            changed.write(dir.path()).unwrap();
            assert_eq!(Changed::read(dir.path()), changed);
        }
        let text = "\npromote_secondaries x\nother 3\npromote_secondaries 70000\nmore\n\
                    igmp_link_local_mcast_reports\npromote_secondaries 3\nrp_filter eth0\nrp_filter default\n";
        std::fs::write(dir.path().join(NAME), text).unwrap();
        assert_eq!(Changed::read(dir.path()), all);
    }
}
