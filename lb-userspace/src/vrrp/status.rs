//! What the router tells about itself.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Reason, State};
use super::instance::{Instance, Proto};
use super::net::Net;
use super::packet::{Counters, Reject};
use super::rival::Rival;
use crate::time::Time;

/// Why the addresses of an instance are (or are not) on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// They are not to be here.
    Absent,
    /// The instance is master.
    Owned,
    /// Left by the daemon's predecessor; kept until another master is heard.
    Kept,
    /// This instance resigned (priority 0) and waits for its successor's first advert.
    Offered,
    /// The successor was heard; kept a little longer, until it certainly has the addresses.
    Lingering,
}

/// A snapshot of the router.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouterStatus {
    /// Every instance, in the order of the configuration.
    pub instances: Vec<InstanceStatus>,
    /// Packets that belong to no instance, by reason.
    pub unclaimed: Counters,
}

/// A snapshot of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceStatus {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// Its VRID.
    pub vrid: u8,
    /// Its priority.
    pub priority: u8,
    /// Released by hand: it takes nothing from a living master.
    pub released: bool,
    /// The priority was raised by hand.
    pub raised: bool,
    /// The reported state.
    pub state: State,
    /// Why it is in this state.
    pub reason: Reason,
    /// Since when.
    pub since: Time,
    /// How often it became MASTER.
    pub became_master: u64,
    /// The master: its address and priority, this host's own when it is MASTER.
    pub master: Option<(IpAddr, u8)>,
    /// When the last advert of another router was accepted.
    pub last_advert: Option<Time>,
    /// The interval in force: the configured one, or in version 3 the master's.
    pub advert_interval: Duration,
    /// 3 x interval + skew.
    pub down_interval: Duration,
    /// This host's primary address on the interface.
    pub source: Option<IpAddr>,
    /// The virtual addresses, `virtual_ipaddress_excluded` included, and whether each is there.
    pub addresses: Vec<(IpAddr, u8, bool)>,
    /// Why the addresses are here.
    pub hold: Hold,
    /// Adverts sent.
    pub adverts_sent: u64,
    /// Adverts accepted.
    pub adverts_received: u64,
    /// Adverts with priority 0 sent.
    pub zero_sent: u64,
    /// Adverts with priority 0 received.
    pub zero_received: u64,
    /// Gratuitous ARPs and neighbour advertisements sent.
    pub garps_sent: u64,
    /// Adverts rejected, by reason.
    pub rejected: Counters,
    /// Another master whose adverts are refused, and why.
    pub rival: Option<(IpAddr, Reject)>,
    /// Which of its addresses others claim while it is master, and by which MAC.
    pub claims: Vec<(IpAddr, [u8; 6])>,
}

impl Instance {
    /// A snapshot of this instance.
    pub(super) fn status(&self, net: &Net) -> InstanceStatus {
        let source = self.current_source(net);
        let master = match &self.proto {
            Proto::Master(_) => source.map(|s| (s, self.priority)),
            Proto::Init | Proto::Fault | Proto::Backup(_) | Proto::Stopped => self.master,
        };
        InstanceStatus {
            name: self.name.to_string(),
            interface: self.iface.to_string(),
            vrid: self.config.virtual_router_id,
            priority: self.priority,
            released: self.released,
            raised: self.raised.is_some(),
            state: self.reported,
            reason: self.reason.clone(),
            since: self.since,
            became_master: self.numbers.became_master,
            master,
            last_advert: self.last_advert,
            advert_interval: self.master_interval(),
            down_interval: self.down_interval(),
            source,
            addresses: self
                .vips
                .iter()
                .map(|v| {
                    (
                        v.address.addr,
                        v.address.prefix_len,
                        net.is_present(&v.address),
                    )
                })
                .collect(),
            hold: self.hold.kind(),
            adverts_sent: self.numbers.adverts_sent,
            adverts_received: self.numbers.adverts_received,
            zero_sent: self.numbers.zero_sent,
            zero_received: self.numbers.zero_received,
            garps_sent: self.numbers.garps_sent,
            rejected: self.numbers.rejected,
            rival: self
                .rival
                .filter(Rival::is_certain)
                .map(|r| (r.from, r.reason)),
            claims: self.claims.certain(),
        }
    }
}
