//! See ARCHITECTURE.md.
pub mod diff;
