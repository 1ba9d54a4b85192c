//! The control socket: the daemon's server and lbctl's client.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientError};
pub use server::{Call, Limits, Peer, Server, ServerError};
