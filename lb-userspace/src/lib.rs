//! `lbd` and `lbctl`: everything but `main`.
//!
//! The layers and what each may use are described in ARCHITECTURE.md; `cargo xtask test` checks
//! that the pure ones stay pure.

#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests of io/ measure and wait; that the pure layers do neither is checked by xtask's tidy"
    )
)]

pub mod bfd;
pub mod config;
pub mod control;
pub mod engine;
pub mod health;
pub mod io;
pub mod model;
pub mod plan;
#[cfg(test)]
mod random;
pub mod realserver;
pub mod time;
pub mod vrrp;
