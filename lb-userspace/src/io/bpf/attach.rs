//! Interfaces: the program on them, their place in the table, the peers that may send to them.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use lb_common::maps::{
    IFACE_PROBES, Iface, iface_slot, mac_bloom, mac_key, name, peer_key, peer_mac, virtual_mac_bit,
};

use super::error::BpfError;
use super::iface::{self, XdpMode};
use super::{DataPlane, object, sys};

const IFACE_WORDS: usize = size_of::<Iface>() / 8;
/// The word of `Iface::peer_bloom`.
const BLOOM: usize = std::mem::offset_of!(Iface, peer_bloom) / 8;
/// The first word of `Iface::virtual_macs`.
const VIRTUAL_MACS: usize = std::mem::offset_of!(Iface, virtual_macs) / 8;
const LINK: &str = "link-";

/// Which mode is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModeWish {
    /// Native where the driver has it, else generic.
    #[default]
    Auto,
    /// Native or not at all.
    Native,
    /// Generic.
    Generic,
}

/// The program on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The interface's name when it was attached.
    pub ifname: String,
    /// Its index.
    pub ifindex: u32,
    /// Its MAC.
    pub mac: [u8; 6],
    /// How the program is run.
    pub mode: XdpMode,
    /// Why not natively, when that was tried.
    pub why_generic: Option<String>,
    /// Whether an earlier daemon's attachment was taken over, without a packet in between.
    pub taken_over: bool,
}

/// An attachment and the link that holds it.
#[derive(Debug)]
pub(super) struct Held {
    attachment: Attachment,
    /// Keeps the kernel's object; the pin keeps it attached without us.
    _link: OwnedFd,
}

impl DataPlane {
    /// Puts this program on an interface, or in place of the one that an earlier daemon left there,
    /// and pins the attachment. Frames for the interface's MAC are balanced from then on.
    ///
    /// # Errors
    /// [`BpfError::Busy`] names the other program; [`BpfError::Attach`] says why not.
    pub fn attach(&mut self, ifname: &str) -> Result<Attachment, BpfError> {
        let state = iface::query(ifname)?;
        let ifindex = state.ifindex;
        let mac = state.mac.ok_or_else(|| BpfError::Attach {
            ifname: ifname.to_owned(),
            mode: "any",
            source: std::io::ErrorKind::Unsupported.into(),
            hint: "; the interface has no Ethernet address",
        })?;
        self.set_iface(ifname, ifindex, mac)?;
        let (link, why_generic, taken_over) = match self.take_over(ifindex)? {
            Some(link) => (link, None, true),
            None => {
                let (link, why) = create_link(self.program().as_fd(), self.mode, ifname, ifindex)?;
                let path = self.link_path(ifindex);
                sys::pin(link.as_fd(), &path).map_err(|source| BpfError::Pin {
                    action: "pin",
                    path,
                    source,
                })?;
                (link, why, false)
            }
        };
        let mode = iface::query(ifname)?
            .xdp
            .and_then(|(mode, _)| mode)
            .unwrap_or(XdpMode::Native);
        let how = if taken_over {
            "took over the program"
        } else {
            "attached"
        };
        match &why_generic {
            Some(why) => tracing::warn!(
                "{ifname}: {how} in {} mode, native failed: {why}",
                mode.name()
            ),
            None => tracing::info!("{ifname}: {how} in {} mode", mode.name()),
        }
        let attachment = Attachment {
            ifname: ifname.to_owned(),
            ifindex,
            mac,
            mode,
            why_generic,
            taken_over,
        };
        self.links.insert(
            ifindex,
            Held {
                attachment: attachment.clone(),
                _link: link,
            },
        );
        Ok(attachment)
    }

    /// What this process has attached.
    #[must_use]
    pub fn attachments(&self) -> Vec<Attachment> {
        self.links
            .values()
            .map(|held| held.attachment.clone())
            .collect()
    }

    /// Whether this process's program is on the interface, as the kernel says at this moment.
    #[must_use]
    pub fn is_attached(&self, ifname: &str) -> bool {
        iface::query(ifname)
            .is_ok_and(|state| state.xdp.is_some_and(|(_, id)| id == self.program_id))
    }

    /// Whether somebody took this process's program off the interface. One that is gone, or was made
    /// anew, took it along itself.
    #[must_use]
    pub fn was_taken_off(&self, ifname: &str) -> bool {
        iface::query(ifname).is_ok_and(|state| {
            let has_it = state.xdp.is_some_and(|(_, id)| id == self.program_id);
            !has_it && self.links.contains_key(&state.ifindex)
        })
    }

    /// Takes up a changed MAC. True when it had changed; an interface that was made anew under the
    /// same name (another index) must be attached again.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn refresh_iface(&mut self, ifname: &str) -> Result<bool, BpfError> {
        let state = iface::query(ifname)?;
        let Some(mac) = state.mac else {
            return Ok(false);
        };
        match self.links.get_mut(&state.ifindex) {
            Some(held) if held.attachment.mac != mac => held.attachment.mac = mac,
            Some(_) | None => return Ok(false),
        }
        self.set_iface(ifname, state.ifindex, mac)?;
        Ok(true)
    }

    /// Takes the program off an interface.
    ///
    /// # Errors
    /// When there is no such interface or its pin cannot be removed.
    pub fn detach(&mut self, ifname: &str) -> Result<(), BpfError> {
        self.detach_index(iface::query(ifname)?.ifindex)
    }

    /// Takes the program, this one or an earlier daemon's, off all interfaces but these.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn retain_interfaces(&mut self, ifnames: &[&str]) -> Result<(), BpfError> {
        let keep: Vec<u32> = ifnames
            .iter()
            .filter_map(|n| iface::query(n).ok())
            .map(|s| s.ifindex)
            .collect();
        for (ifindex, _) in self.link_pins()? {
            if !keep.contains(&ifindex) {
                self.detach_index(ifindex)?;
            }
        }
        Ok(())
    }

    /// Takes the program off every interface and removes all pins: nothing is left in the kernel
    /// once this process ends.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn unload(mut self) -> Result<(), BpfError> {
        self.retain_interfaces(&[])?;
        let dir = &self.dir;
        let fail = |source| BpfError::Pin {
            action: "empty",
            path: dir.clone(),
            source,
        };
        for entry in std::fs::read_dir(dir).map_err(fail)? {
            object::remove_pin(&entry.map_err(fail)?.path())?;
        }
        std::fs::remove_dir(dir).map_err(|source| BpfError::Pin {
            action: "remove",
            path: dir.clone(),
            source,
        })
    }

    /// Sets the MACs of the peer directors: what they send is never scheduled here again.
    ///
    /// # Errors
    /// When the table is full or cannot be written.
    pub fn set_peers(&mut self, macs: &[[u8; 6]]) -> Result<(), BpfError> {
        let macs = macs.iter().map(|mac| mac_key(*mac));
        let others = self.peers.iter().copied();
        let others = others.filter(|key| *key != peer_mac(*key));
        self.replace_peers(macs.chain(others).collect())
    }

    /// Sets the MACs of the real servers to which directors forward as they do to this host, with
    /// the id of the service: what they send for it they have scheduled as directors.
    ///
    /// # Errors
    /// When the table is full or cannot be written.
    pub fn set_fellows(&mut self, fellows: &[([u8; 6], u16)]) -> Result<(), BpfError> {
        let fellows = fellows.iter().map(|(mac, id)| peer_key(mac_key(*mac), *id));
        let directors = self.peers.iter().copied();
        let directors = directors.filter(|key| *key == peer_mac(*key));
        self.replace_peers(fellows.chain(directors).collect())
    }

    fn replace_peers(&mut self, mut keys: Vec<u64>) -> Result<(), BpfError> {
        let fail = |source| BpfError::Map {
            name: name::PEERS,
            source,
        };
        keys.sort_unstable();
        keys.dedup();
        // A peer is in the table before a frame of its is looked for there, and after.
        for key in keys.iter().filter(|k| !self.peers.contains(k)) {
            self.object.maps.peers.insert(key, 0, 0).map_err(fail)?;
        }
        let gone: Vec<u64> = self
            .peers
            .iter()
            .copied()
            .filter(|k| !keys.contains(k))
            .collect();
        self.peers = keys;
        let ifaces = &self.object.maps.ifaces;
        for slot in (0..ifaces.len()).filter(|slot| ifaces.load(*slot, 0) != 0) {
            ifaces.store(slot, BLOOM, self.bloom());
        }
        for key in gone {
            self.object.maps.peers.remove(&key).map_err(fail)?;
        }
        Ok(())
    }

    /// Tells the program of an interface: frames for this MAC are balanced. [`attach`](Self::attach)
    /// does it by itself; for test runs, whose interface is the loopback one.
    ///
    /// # Errors
    /// When the table is full.
    pub fn set_iface(&mut self, ifname: &str, ifindex: u32, mac: [u8; 6]) -> Result<(), BpfError> {
        let ifaces = &self.object.maps.ifaces;
        let slots: Vec<u32> = (0..IFACE_PROBES)
            .map(|probe| iface_slot(ifindex, probe))
            .collect();
        let index_of = |slot: u32| ifaces.load(slot, 0) as u32;
        let slot = slots
            .iter()
            .find(|s| index_of(**s) == ifindex)
            .or_else(|| slots.iter().find(|s| index_of(**s) == 0))
            .copied()
            .ok_or_else(|| BpfError::TooManyInterfaces {
                ifname: ifname.to_owned(),
            })?;
        // Until it is told otherwise, what the daemon before this one said holds.
        let before = self.iface_at(slot);
        let value = Iface {
            ifindex,
            mac,
            peer_bloom: self.bloom(),
            virtual_macs: match before.ifindex == ifindex {
                true => before.virtual_macs,
                false => [0; 8],
            },
            ..Iface::default()
        };
        let words: [u64; IFACE_WORDS] = zerocopy::transmute!(value);
        // The index, which makes it valid, is in the first word.
        for word in (0..IFACE_WORDS).rev() {
            ifaces.store(slot, word, words[word]);
        }
        Ok(())
    }

    /// Sets the VRRP virtual MACs that are this host's, by interface: frames for them are balanced. A
    /// port of an interface has those of the interface.
    pub fn set_virtual_macs(&mut self, macs: &BTreeMap<u32, BTreeSet<[u8; 6]>>) {
        let ifaces = &self.object.maps.ifaces;
        for slot in (0..ifaces.len()).filter(|slot| ifaces.load(*slot, 0) != 0) {
            let ifindex = self.iface_at(slot).ifindex;
            let of = self.ports.get(&ifindex).unwrap_or(&ifindex);
            let mut words = [0u64; 8];
            for [_, _, _, _, kind, vrid] in macs.get(of).into_iter().flatten() {
                let (word, bit) = virtual_mac_bit(*kind, *vrid);
                words[word] |= bit;
            }
            for (at, word) in words.into_iter().enumerate() {
                ifaces.store(slot, VIRTUAL_MACS + at, word);
            }
        }
    }

    /// Tells the program of ports of other interfaces: (port, interface). A program on a bond is run by
    /// the drivers of its ports, and says that frames came in there.
    ///
    /// # Errors
    /// When the table is full.
    pub fn set_ports(
        &mut self,
        ports: impl IntoIterator<Item = (u32, u32)>,
    ) -> Result<(), BpfError> {
        for (port, of) in ports {
            let Some(held) = self.links.get(&of) else {
                continue;
            };
            self.ports.insert(port, of);
            if self.links.contains_key(&port) || self.knows_iface(port, held.attachment.mac) {
                continue;
            }
            let (ifname, mac) = (held.attachment.ifname.clone(), held.attachment.mac);
            self.set_iface(&ifname, port, mac)?;
        }
        Ok(())
    }

    fn knows_iface(&self, ifindex: u32, mac: [u8; 6]) -> bool {
        (0..IFACE_PROBES).any(|probe| {
            let held = self.iface_at(iface_slot(ifindex, probe));
            (held.ifindex, held.mac) == (ifindex, mac)
        })
    }

    fn iface_at(&self, slot: u32) -> Iface {
        zerocopy::transmute!(self.object.maps.ifaces.get::<IFACE_WORDS>(slot))
    }

    /// The peers that an earlier daemon knew.
    pub(super) fn read_peers(&mut self) -> Result<(), BpfError> {
        let keys: Result<Vec<u64>, _> = self.object.maps.peers.keys().collect();
        self.peers = keys.map_err(|source| BpfError::Map {
            name: name::PEERS,
            source,
        })?;
        self.peers.sort_unstable();
        Ok(())
    }

    /// Forgets interfaces that are gone, and the pins of their links.
    pub(super) fn sweep_ifaces(&mut self) -> Result<(), BpfError> {
        let mut alive = Vec::new();
        for (ifindex, path) in self.link_pins()? {
            match sys::open_pin(&path).and_then(|link| sys::link_ifindex(link.as_fd())) {
                Ok(now) if now == ifindex => alive.push(ifindex),
                Ok(_) | Err(_) => object::remove_pin(&path)?,
            }
        }
        let ifaces = &self.object.maps.ifaces;
        let known: Vec<(u32, Iface)> = (0..ifaces.len())
            .map(|slot| (slot, self.iface_at(slot)))
            .filter(|(_, iface)| iface.ifindex != 0)
            .collect();
        let lives = |iface: &Iface| alive.contains(&iface.ifindex);
        let macs: Vec<[u8; 6]> = known
            .iter()
            .filter(|(_, iface)| lives(iface))
            .map(|(_, iface)| iface.mac)
            .collect();
        // The port of a bond has the bond's MAC and stays with it.
        for (slot, _) in known
            .iter()
            .filter(|(_, i)| !lives(i) && !macs.contains(&i.mac))
        {
            ifaces.store(*slot, 0, 0);
        }
        Ok(())
    }

    fn bloom(&self) -> u64 {
        self.peers
            .iter()
            .fold(0, |bits, key| bits | mac_bloom(peer_mac(*key)))
    }

    fn link_path(&self, ifindex: u32) -> PathBuf {
        self.dir.join(format!("{LINK}{ifindex}"))
    }

    /// The pinned links by interface index.
    fn link_pins(&self) -> Result<Vec<(u32, PathBuf)>, BpfError> {
        let fail = |source| BpfError::Pin {
            action: "read",
            path: self.dir.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            if let Some(ifindex) = name
                .to_str()
                .and_then(|n| n.strip_prefix(LINK))
                .and_then(|n| n.parse().ok())
            {
                found.push((ifindex, entry.path()));
            }
        }
        Ok(found)
    }

    /// Puts this program into the link that an earlier daemon (or an earlier call) left.
    fn take_over(&self, ifindex: u32) -> Result<Option<OwnedFd>, BpfError> {
        let path = self.link_path(ifindex);
        let link = match sys::open_pin(&path) {
            Ok(link) => link,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(BpfError::Pin {
                    action: "open",
                    path,
                    source,
                });
            }
        };
        let alive = sys::link_ifindex(link.as_fd()).is_ok_and(|now| now == ifindex);
        if alive {
            match sys::link_update(link.as_fd(), self.program().as_fd()) {
                Ok(()) => return Ok(Some(link)),
                // Taken off by force in this very moment.
                Err(e) if e.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(source) => {
                    return Err(BpfError::Pin {
                        action: "put the program into",
                        path,
                        source,
                    });
                }
            }
        }
        object::remove_pin(&path)?;
        Ok(None)
    }

    fn detach_index(&mut self, ifindex: u32) -> Result<(), BpfError> {
        object::take_off(&self.link_path(ifindex))?;
        self.links.remove(&ifindex);
        let ifaces = &self.object.maps.ifaces;
        for slot in (0..IFACE_PROBES).map(|probe| iface_slot(ifindex, probe)) {
            if ifaces.load(slot, 0) as u32 == ifindex {
                ifaces.store(slot, 0, 0);
            }
        }
        Ok(())
    }
}

/// Attaches a program; why not natively, when that was tried.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    wish: ModeWish,
    ifname: &str,
    ifindex: u32,
) -> Result<(OwnedFd, Option<String>), BpfError> {
    let create = |mode: XdpMode| {
        let flags = match mode {
            XdpMode::Native => sys::XDP_NATIVE,
            XdpMode::Generic => sys::XDP_GENERIC,
        };
        sys::link_create(program, ifindex, flags).map_err(|source| match source.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => BpfError::Busy {
                ifname: ifname.to_owned(),
                other: other_program(ifname),
            },
            errno => BpfError::Attach {
                ifname: ifname.to_owned(),
                mode: mode.name(),
                source,
                hint: hint(errno),
            },
        })
    };
    match wish {
        ModeWish::Native => Ok((create(XdpMode::Native)?, None)),
        ModeWish::Generic => Ok((create(XdpMode::Generic)?, None)),
        ModeWish::Auto => match create(XdpMode::Native) {
            Ok(link) => Ok((link, None)),
            Err(BpfError::Attach { source, hint, .. }) => {
                Ok((create(XdpMode::Generic)?, Some(format!("{source}{hint}"))))
            }
            Err(other) => Err(other),
        },
    }
}

/// The XDP program on an interface, for people.
fn other_program(ifname: &str) -> String {
    let id = iface::query(ifname)
        .ok()
        .and_then(|state| state.xdp)
        .map(|(_, id)| id);
    let Some(id) = id else {
        return "of another owner".to_owned();
    };
    let name = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|p| p.id() == id)
        .and_then(|p| p.name_as_str().map(str::to_owned));
    format!(
        "{} (id {id})",
        name.unwrap_or_else(|| "without a name".to_owned())
    )
}

/// What an error number of attaching usually means.
fn hint(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::EOPNOTSUPP) => "; the driver has no XDP",
        Some(libc::EINVAL | libc::ERANGE) => {
            "; the MTU is too large for this driver's XDP, or LRO is on (ethtool -K IF lro off)"
        }
        Some(libc::ENOMEM | libc::ENOSPC) => {
            "; the driver has too few queues or too little memory for XDP"
        }
        Some(libc::EPERM | libc::EACCES) => "; CAP_NET_ADMIN is missing in this network namespace",
        Some(_) | None => "",
    }
}
