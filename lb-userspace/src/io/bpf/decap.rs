//! The program that takes tunnels off on a real server: pinned, like the balancer, so that it needs
//! no process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::EbpfLoader;
use aya::maps::{HashMap, Map, MapData, MapError, MapInfo, MapType, PerCpuArray};
use lb_common::decap::{
    Address, COUNT_SLOTS, Count, LOCAL, MAX_ADDRESSES, Settings, VIP_GRE, VIP_GUE, VIP_IPIP,
    key_v4, name,
};

use super::attach::{ModeWish, create_link};
use super::error::BpfError;
use super::{host, object, sys};
use crate::realserver::{Entry, Tunnel};

const LINK: &str = "link-";

/// The program with its pins.
#[derive(Clone, Debug)]
pub struct Decap {
    dir: PathBuf,
}

impl Decap {
    /// The one whose pins lie in `dir`; nothing is loaded.
    #[must_use]
    pub fn at(dir: &Path) -> Decap {
        Decap {
            dir: dir.to_owned(),
        }
    }

    /// The interfaces that have it, by index.
    #[must_use]
    pub fn attached(&self) -> BTreeSet<u32> {
        self.links()
            .filter(|&index| {
                sys::open_pin(&self.link_path(index))
                    .and_then(|link| sys::link_ifindex(link.as_fd()))
                    .is_ok_and(|now| now == index)
            })
            .collect()
    }

    fn links(&self) -> impl Iterator<Item = u32> {
        let entries = std::fs::read_dir(&self.dir).ok().into_iter().flatten();
        entries.flatten().filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix(LINK)?.parse().ok()
        })
    }

    fn link_path(&self, index: u32) -> PathBuf {
        self.dir.join(format!("{LINK}{index}"))
    }

    fn addresses(&self) -> Result<Option<HashMap<MapData, [u32; 4], u64>>, BpfError> {
        let path = self.dir.join(name::ADDRESSES);
        if !path.exists() {
            return Ok(None);
        }
        let failed = |source| BpfError::Map {
            name: name::ADDRESSES,
            source,
        };
        let data = MapData::from_pin(&path).map_err(failed)?;
        HashMap::try_from(Map::HashMap(data))
            .map(Some)
            .map_err(failed)
    }

    /// The addresses that it knows.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn known(&self) -> Result<BTreeMap<IpAddr, Entry>, BpfError> {
        let Some(map) = self.addresses()? else {
            return Ok(BTreeMap::new());
        };
        map.iter()
            .map(|entry| {
                let (key, value) = entry.map_err(|source| BpfError::Map {
                    name: name::ADDRESSES,
                    source,
                })?;
                Ok((address_of(key), entry_of(zerocopy::transmute!(value))))
            })
            .collect()
    }

    /// Makes it know just these addresses; its maps are made if they are not there.
    ///
    /// # Errors
    /// When the host lacks what is needed or the kernel refuses.
    pub fn know(&self, entries: &BTreeMap<IpAddr, Entry>) -> Result<(), BpfError> {
        self.load()?;
        let mut map = self.addresses()?.ok_or(BpfError::Missing {
            name: name::ADDRESSES,
        })?;
        let failed = |source| BpfError::Map {
            name: name::ADDRESSES,
            source,
        };
        for (&addr, &entry) in entries {
            let value: u64 = zerocopy::transmute!(value_of(entry));
            map.insert(key_of(addr), value, 0).map_err(failed)?;
        }
        let there: Vec<[u32; 4]> = map.keys().collect::<Result<_, _>>().map_err(failed)?;
        for key in there {
            if !entries.contains_key(&address_of(key)) {
                match map.remove(&key) {
                    Ok(()) | Err(MapError::KeyNotFound) => {}
                    Err(source) => return Err(failed(source)),
                }
            }
        }
        Ok(())
    }

    /// Puts it on an interface; why not natively, when that was tried.
    ///
    /// # Errors
    /// As the balancer's attachment.
    pub fn attach(&self, ifname: &str, index: u32) -> Result<Option<String>, BpfError> {
        let mut ebpf = self.load()?;
        let program = object::load_program(&mut ebpf, name::PROGRAM)?;
        let path = self.link_path(index);
        self.detach(index)?;
        let (link, why) = create_link(program.as_fd(), ModeWish::Auto, ifname, index)?;
        sys::pin(link.as_fd(), &path).map_err(|source| BpfError::Pin {
            action: "pin",
            path,
            source,
        })?;
        Ok(why)
    }

    /// Takes it off an interface; it is off on return.
    ///
    /// # Errors
    /// When it cannot be taken off or the pin cannot be removed.
    pub fn detach(&self, index: u32) -> Result<(), BpfError> {
        object::take_off(&self.link_path(index))
    }

    /// Removes all that is pinned, and the directory when nothing else is in it.
    ///
    /// # Errors
    /// As [`Decap::detach`].
    pub fn forget(&self) -> Result<(), BpfError> {
        for index in self.links() {
            self.detach(index)?;
        }
        for name in name::ALL {
            object::remove_pin(&self.dir.join(name))?;
        }
        // It may hold pins of others, or be gone.
        let _ = std::fs::remove_dir(&self.dir);
        Ok(())
    }

    /// What was counted, summed over the CPUs; nothing when it is not loaded.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn counts(&self) -> Result<Vec<(Count, u64)>, BpfError> {
        let path = self.dir.join(name::COUNTS);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let failed = |source| BpfError::Map {
            name: name::COUNTS,
            source,
        };
        let data = MapData::from_pin(&path).map_err(failed)?;
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(Map::PerCpuArray(data)).map_err(failed)?;
        Count::ALL
            .iter()
            .map(|&count| {
                let values = map.get(&(count as u32), 0).map_err(failed)?;
                Ok((count, values.iter().sum()))
            })
            .collect()
    }

    /// The object with the pinned maps, or with new ones that are pinned.
    fn load(&self) -> Result<aya::Ebpf, BpfError> {
        host::check()?;
        host::make_pin_dir(&self.dir)?;
        let shapes = [
            (
                name::ADDRESSES,
                MapType::Hash,
                16,
                size_of::<Address>(),
                MAX_ADDRESSES,
            ),
            (name::COUNTS, MapType::PerCpuArray, 4, 8, COUNT_SLOTS),
            (name::SETTINGS, MapType::Array, 4, size_of::<Settings>(), 1),
        ];
        let mut loader = EbpfLoader::new();
        for (name, kind, key, value, len) in shapes {
            let path = self.dir.join(name);
            let fits = MapInfo::from_pin(&path).is_ok_and(|info| {
                info.map_type().is_ok_and(|there| there == kind)
                    && info.key_size() == key
                    && info.value_size() as usize == value
                    && info.max_entries() == len
            });
            if !fits {
                object::remove_pin(&path)?;
            }
            loader.map_pin_path(name, path);
        }
        loader
            .load(crate::io::program::DECAP_BYTES)
            .map_err(|e| BpfError::Load(Box::new(e)))
    }
}

fn key_of(addr: IpAddr) -> [u32; 4] {
    match addr {
        IpAddr::V4(v4) => key_v4(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => zerocopy::transmute!(v6.octets()),
    }
}

fn address_of(key: [u32; 4]) -> IpAddr {
    let octets: [u8; 16] = zerocopy::transmute!(key);
    Ipv6Addr::from(octets).to_canonical()
}

fn value_of(entry: Entry) -> Address {
    let (flag, port) = match entry.tunnel {
        None => (0, 0),
        Some(Tunnel::Ipip) => (VIP_IPIP, 0),
        Some(Tunnel::Gue { port }) => (VIP_GUE, port),
        Some(Tunnel::Gre) => (VIP_GRE, 0),
    };
    Address {
        flags: flag | if entry.local { LOCAL } else { 0 },
        port: port.to_be(),
        reserved: 0,
    }
}

fn entry_of(address: Address) -> Entry {
    let has = |flag: u32| address.flags & flag != 0;
    Entry {
        local: has(LOCAL),
        tunnel: if has(VIP_IPIP) {
            Some(Tunnel::Ipip)
        } else if has(VIP_GUE) {
            Some(Tunnel::Gue {
                port: u16::from_be(address.port),
            })
        } else if has(VIP_GRE) {
            Some(Tunnel::Gre)
        } else {
            None
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_back() {
        for addr in ["192.0.2.1", "2001:db8::1"] {
            let addr: IpAddr = addr.parse().unwrap();
            assert_eq!(address_of(key_of(addr)), addr);
        }
        for tunnel in [
            None,
            Some(Tunnel::Ipip),
            Some(Tunnel::Gue { port: 6080 }),
            Some(Tunnel::Gre),
        ] {
            for local in [false, true] {
                let entry = Entry { local, tunnel };
                assert_eq!(entry_of(value_of(entry)), entry);
            }
        }
    }
}
