//! Virtual addresses.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One line of `virtual_ipaddress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualAddress {
    /// The address.
    pub addr: IpAddr,
    /// 0..=32 or 0..=128; default all bits.
    pub prefix_len: u8,
    /// `dev`; absent: the instance's interface.
    #[serde(default)]
    pub dev: Option<String>,
    /// `label`.
    #[serde(default)]
    pub label: Option<String>,
    /// `brd`.
    #[serde(default)]
    pub broadcast: Option<Broadcast>,
    /// `scope` as the kernel's number (0 global, 200 site, 253 link, 254 host, 255 nowhere).
    #[serde(default)]
    pub scope: u8,
    /// `use_vmac`: the macvlan on `dev` that carries it, other than the instance's own.
    #[serde(default)]
    pub vmac: Option<String>,
    /// `peer`, `preferred_lft` and the like.
    #[serde(default)]
    pub options: AddressOptions,
    /// `no_track`: not put back when somebody takes it away, and its interface may be down.
    #[serde(default)]
    pub no_track: bool,
    /// `track_group` of a static one.
    #[serde(default)]
    pub track_group: Option<String>,
}

/// What the kernel is told of an address that few need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AddressOptions {
    /// `peer`: the other end of a point-to-point link, of the same family; the prefix is then all bits.
    pub peer: Option<IpAddr>,
    /// `preferred_lft` of IPv6 in seconds, after which nothing of this host speaks from it; absent: for
    /// ever. Of one with all bits (`/128`) 0 unless the file says otherwise.
    pub preferred_lft: Option<u32>,
    /// `home` of IPv6 (RFC 6275).
    pub home: bool,
    /// `-nodad` of IPv6: duplicate address detection, which virtual addresses are spared otherwise.
    pub dad: bool,
    /// `mngtmpaddr` of IPv6.
    pub mngtmpaddr: bool,
    /// `noprefixroute`: no route to its network comes with it.
    pub noprefixroute: bool,
}

impl AddressOptions {
    /// `preferred_lft` of an address that does not say.
    #[must_use]
    pub const fn usual_lifetime(addr: IpAddr, prefix_len: u8) -> Option<u32> {
        match addr {
            IpAddr::V6(_) if prefix_len == 128 => Some(0),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        }
    }
}

/// `brd` of a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broadcast {
    /// An address.
    Addr(std::net::Ipv4Addr),
    /// `+`: all host bits set.
    HostBitsSet,
    /// `-`: all host bits clear.
    HostBitsClear,
}
