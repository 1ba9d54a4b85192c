//! The only place with sockets, netlink, BPF, clocks, files and processes. It makes no decisions.

pub mod arp;
pub mod check;
pub mod clock;
mod fd;
pub mod netlink;
pub mod program;
pub mod state;
pub mod vrrp;
