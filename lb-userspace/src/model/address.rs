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
