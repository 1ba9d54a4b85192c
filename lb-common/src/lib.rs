//! What the XDP program and the daemon share: the layout of every map, hashing, the scheduling
//! tables, the TCP state step, limits, and the names of the counters.
//!
//! Nothing here allocates or does input or output, so one source serves the kernel side, the user
//! side and the tests of both.
#![no_std]

pub mod bench;
pub mod checksum;
pub mod decap;
pub mod flow;
pub mod hash;
pub mod maps;
pub mod reason;
pub mod sched;
pub mod sctp;
pub mod tcp;
