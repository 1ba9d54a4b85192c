//! From what should be to what must be written: desired services and real servers against the
//! maps of the data plane, as an ordered list of operations.
//!
//! [`Tables`] keeps the books: which service has which id and slot, which real server which index,
//! which part of the arena holds which scheduling table. [`Tables::plan`] compares them with what
//! is desired and returns a [`Plan`]: the operations and what they mean for people; the books are
//! then as they stand once all operations were applied. [`Tables::update`] does it for some services
//! only, so that the verdict of one check costs what its service costs and not what all do. The
//! books can be rebuilt from a [`Dump`] of the
//! pinned maps alone ([`Tables::adopt`]), so a daemon that was killed goes on where it stopped.
//!
//! Order within a plan: sets of timeouts, real servers, scheduling tables, slots of services; then removals in
//! reverse. After every single operation the program finds, for each service, either its old or
//! its new table, and no table names a real server that was not written.

mod adopt;
mod arena;
mod bring;
mod describe;
mod desired;
#[cfg(test)]
mod fake;
mod ids;
mod op;
mod retire;
mod schedule;
mod slots;
mod tables;
#[cfg(test)]
mod tests;
mod timeouts;
mod values;

pub use adopt::Dump;
pub use desired::{Defaults, DesiredBackend, DesiredService, FLOOD_RATE, Link};
pub use op::{Change, Op, Refusal, RefusalReason};
pub use tables::{GRACE, Plan, Refs, Tables};
