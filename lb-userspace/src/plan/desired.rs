//! What should be.

use std::net::IpAddr;

use crate::model::{Persistence, Scheduler, ServiceKey};

/// A service as it should be in the data plane.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredService {
    /// Address, port, protocol; unique within a plan.
    pub key: ServiceKey,
    /// `lb_algo`.
    pub scheduler: Scheduler,
    /// `persistence_timeout` and its granularity; `None` is off.
    pub persistence: Option<Persistence>,
    /// TCP in mid-stream without a flow is scheduled.
    pub sloppy: bool,
    /// The real servers in the order of the configuration (the order counts for `sh`); address and
    /// port are unique. One that is left out keeps its established connections.
    pub backends: Vec<DesiredBackend>,
}

/// A real server of one service as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its address.
    pub addr: IpAddr,
    /// Its port: with direct routing the service's.
    pub port: u16,
    /// Effective weight; 0 is quiesced: nothing new, its connections stay.
    pub weight: u16,
    /// Whether it is alive. A dead one gets nothing new, and clients that come back go elsewhere.
    pub up: bool,
    /// How to reach it; `None` while its MAC is not known.
    pub link: Option<Link>,
    /// It is this host: its frames go up the stack and `link` is not needed.
    pub local: bool,
}

/// How a frame gets to a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The real server's MAC.
    pub dmac: [u8; 6],
    /// The outgoing interface's MAC.
    pub smac: [u8; 6],
    /// The outgoing interface, not 0.
    pub ifindex: u32,
}
