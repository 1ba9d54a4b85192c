//! The virtual addresses that are here but not to be talked to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::maps::{RefusedKey, Settings, name, refused_key};

use super::DataPlane;
use super::error::BpfError;

/// The word of the settings that says how many there are.
const REFUSED: usize = std::mem::offset_of!(Settings, refused) / 8;
const _: () = assert!(std::mem::offset_of!(Settings, refused) % 8 == 0);

impl DataPlane {
    /// Sets the virtual addresses for which nothing but services is accepted (`no_accept`). What is in
    /// the map counts, which may be an earlier daemon's.
    ///
    /// # Errors
    /// When the map cannot be read or written, or is full.
    pub fn set_refused(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), BpfError> {
        let fail = |source| BpfError::Map {
            name: name::REFUSED,
            source,
        };
        let wanted: BTreeSet<RefusedKey> = addresses.iter().map(|addr| key(*addr)).collect();
        let maps = &mut self.object.maps;
        let held: Result<BTreeSet<RefusedKey>, _> = maps.refused.keys().collect();
        let held = held.map_err(fail)?;
        for key in wanted.difference(&held) {
            maps.refused.insert(key, 0, 0).map_err(fail)?;
        }
        maps.settings.store(0, REFUSED, wanted.len() as u64);
        for key in held.difference(&wanted) {
            maps.refused.remove(key).map_err(fail)?;
        }
        Ok(())
    }
}

fn key(addr: IpAddr) -> RefusedKey {
    match addr {
        IpAddr::V4(v4) => refused_key(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => zerocopy::transmute!(v6.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_and_the_ipv6_address_of_the_same_bytes_differ() {
        let bytes = |addr: &str| -> [u8; 16] { zerocopy::transmute!(key(addr.parse().unwrap())) };
        assert_eq!(
            bytes("192.0.2.1"),
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]
        );
        assert_eq!(bytes("c000:201::")[..4], [0xc0, 0, 2, 1]);
        assert_eq!(bytes("c000:201::")[4..], [0; 12]);
    }
}
