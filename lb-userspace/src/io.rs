//! The only place with sockets, netlink, BPF, clocks, files and processes. It makes no decisions.

mod affinity;
mod appointment;
mod fd;
mod priority;

pub mod arp;
pub mod bfd;
pub mod bpf;
pub mod check;
mod claims;
pub mod clock;
pub mod control;
pub mod daemon;
pub mod files;
pub mod log;
pub mod mail;
pub mod ndisc;
pub mod neigh;
pub mod netlink;
pub mod notify;
pub mod options;
pub mod privileges;
pub mod processes;
pub mod program;
pub mod realserver;
pub mod script;
pub mod service;
pub mod speaker;
pub mod state;
pub mod terminal;
pub mod trackfile;
pub mod vrrp;
