//! The only place with sockets, netlink, BPF, clocks, files and processes. It makes no decisions.

pub mod check;
pub mod clock;
pub mod program;
pub mod state;
