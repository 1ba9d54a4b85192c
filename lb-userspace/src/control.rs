//! What lbctl and lbd say to each other, and what lbctl makes of it.
//!
//! [`status::Status`] is the one picture of the daemon: `lbctl show`, `lbctl watch` and the metrics
//! are made from it. [`protocol`] has the messages and their framing, [`view`] the text that
//! `lbctl` prints, [`rate`] IPVS's rate estimator. Nothing here does input or output; the sockets
//! are in [`crate::io::control`].

pub mod cli;
pub mod config_cli;
pub mod names;
pub mod protocol;
pub mod rate;
pub mod realserver_cli;
pub mod server_cli;
pub mod status;
pub mod view;
pub mod vrrp_cli;
