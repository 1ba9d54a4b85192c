//! Packets that direct routing cannot just send, under `BPF_PROG_TEST_RUN`: into tunnels of every
//! kind, and answers to senders of packets that are too long.

#[path = "tunnel/decap.rs"]
mod decap;
#[path = "tunnel/encapsulated.rs"]
mod encapsulated;
#[path = "tunnel/fixture.rs"]
mod fixture;
#[path = "tunnel/too_big.rs"]
mod too_big;
