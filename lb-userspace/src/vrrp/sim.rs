//! A simulated LAN: routers of ours and keepalived-like ones on one segment with a client, under
//! loss, partition, drifting clocks, delays, crashes and restarts. Everything comes from a seed.

mod by_hand;
mod keepalived;
mod node;
mod scenarios;
mod unicast;
mod world;

use crate::random::Random;
