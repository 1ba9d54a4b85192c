//! The state of the daemon at one moment, as plain data.
//!
//! Times are whole milliseconds or microseconds (the field's name says which), points in time are
//! seconds since 1970. Names and meanings of the fields are part of `lbctl --json`: a field may be
//! added, but not renamed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::health::ByHand;
use crate::model::{ForwardMethod, SchedFlags, Scheduler, ServiceKey};

/// Everything there is to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The process.
    pub daemon: Daemon,
    /// The configuration that is in force.
    pub config: ConfigStatus,
    /// The XDP program and its tables.
    pub data_plane: DataPlane,
    /// Virtual servers in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// Why frames were passed to the stack or dropped, in the order of `lb_common::reason`.
    pub reasons: Vec<ReasonStatus>,
    /// VRRP instances in the order of the configuration.
    pub vrrp: Vec<VrrpStatus>,
    /// VRRP packets that belong to none of them and were not accepted.
    #[serde(default)]
    pub vrrp_unclaimed: Vec<Discarded>,
    /// Sync groups.
    pub sync_groups: Vec<SyncGroupStatus>,
    /// `static_ipaddress`, `static_routes`, `static_rules`.
    #[serde(default)]
    pub statics: Vec<RoutingStatus>,
    /// Health checks in the order of the configuration.
    pub checks: Vec<CheckStatus>,
    /// BFD sessions in the order of the configuration.
    #[serde(default)]
    pub bfd: Vec<BfdStatus>,
    /// BFD packets that were not accepted.
    #[serde(default)]
    pub bfd_refused: Vec<Discarded>,
}

/// The process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Daemon {
    /// Version of the package.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// `router_id`, or the host's name.
    pub router_id: String,
    /// Time since start.
    pub uptime_ms: u64,
}

/// The configuration that is in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigStatus {
    /// Its file.
    pub path: String,
    /// When it came into force.
    pub loaded_unix: u64,
    /// Warnings and notes that it gave.
    pub warnings: u32,
    /// How often it was replaced since start.
    pub reloads: u64,
    /// Why the last reload was refused; none after one that succeeded.
    pub refused: Option<String>,
    /// What `--skip-unsupported` left out.
    pub left_out: Vec<LeftOut>,
}

/// A part of the configuration that does not run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// What: `virtual_server 192.0.2.1 80 TCP`.
    pub what: String,
    /// `file:line`.
    pub place: String,
    /// Why it is left out.
    pub why: String,
}

/// The XDP program and its tables.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataPlane {
    /// Layout version of the maps.
    pub layout: u32,
    /// Interfaces on which the program is to run.
    pub interfaces: Vec<InterfaceStatus>,
    /// The kernel's tick rate (`CONFIG_HZ`), the unit of the flow table's clock.
    pub hz: u32,
    /// Flows that the table has room for.
    pub flow_slots: u64,
    /// Flows in it when it was last counted.
    pub flows_used: u64,
    /// Whether the maps were taken over from an earlier process.
    pub adopted: bool,
    /// The kernel still verifies the program; until it has, this host is nowhere MASTER.
    pub loading: bool,
}

/// The program on one interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// Its index; 0 while it does not exist.
    pub ifindex: u32,
    /// Its MAC.
    pub mac: String,
    /// How the program is attached; none when it is not.
    pub mode: Option<XdpMode>,
    /// The attached program's id; 0 when there is none.
    pub program_id: u32,
    /// Why it is not attached, or runs in generic mode.
    pub note: Option<String>,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// By the driver.
    Native,
    /// By the stack, after the socket buffer is made.
    Generic,
}

/// Counts since the entry was made. With direct routing the replies bypass the director, so there
/// is no outgoing side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets received and forwarded.
    pub packets: u64,
    /// Bytes of their IP packets.
    pub bytes: u64,
}

impl From<lb_common::maps::Counters> for Counts {
    fn from(counters: lb_common::maps::Counters) -> Self {
        Counts {
            conns: counters.conns,
            packets: counters.packets,
            bytes: counters.bytes,
        }
    }
}

/// [`Counts`] in a second, smoothed as IPVS does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// Connections.
    pub cps: u64,
    /// Packets.
    pub pps: u64,
    /// Bytes.
    pub bps: u64,
}

/// A virtual server; of a `virtual_server_group` each address is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Address, port, protocol.
    #[serde(flatten)]
    pub key: ServiceKey,
    /// The name of its `virtual_server_group`.
    #[serde(default)]
    pub group: Option<String>,
    /// Whether its checks are those of another service: of the first one of its group.
    #[serde(default)]
    pub shares_checks: bool,
    /// `lb_algo`.
    pub scheduler: Scheduler,
    /// `sh-port` and the like.
    #[serde(default)]
    pub sched_flags: SchedFlags,
    /// `ops`.
    #[serde(default)]
    pub ops: bool,
    /// `lb_kind`.
    pub method: ForwardMethod,
    /// `persistence_timeout` in seconds; 0 is off.
    pub persistence_secs: u64,
    /// `persistence_granularity`: how many bits of the client's address count.
    pub persistence_prefix: u8,
    /// `sloppy`.
    pub sloppy: bool,
    /// `quorum`.
    pub quorum: u32,
    /// `hysteresis`.
    pub hysteresis: u32,
    /// Whether the quorum is held.
    pub quorum_up: bool,
    /// Total weight of the real servers that are up.
    pub live_weight: u64,
    /// Counts, those of removed backends included.
    pub counts: Counts,
    /// Rates.
    pub rates: Rates,
    /// Real servers in the order of the configuration, then the sorry server.
    pub backends: Vec<BackendStatus>,
}

/// A real server, or the sorry server, of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether this is the sorry server.
    pub sorry: bool,
    /// Whether it is in the service's table: what `ipvsadm` would list.
    pub listed: bool,
    /// Whether it is this host itself.
    #[serde(default)]
    pub local: bool,
    /// How packets reach it.
    #[serde(default = "direct")]
    pub method: ForwardMethod,
    /// `uthreshold`: connections from which on it gets nothing new; 0: no limit.
    #[serde(default)]
    pub uthreshold: u32,
    /// `lthreshold`: connections below which it gets new ones again.
    #[serde(default)]
    pub lthreshold: u32,
    /// Weight as configured.
    pub weight: u16,
    /// What an operator has set for it.
    #[serde(default)]
    pub by_hand: ByHand,
    /// Weight that is in force: 0 for a server that is inhibited.
    pub effective_weight: u16,
    /// Whether all of its checks pass and it is not disabled by hand.
    pub up: bool,
    /// Why it is not up.
    pub why: Option<String>,
    /// Its MAC, or that of the router before it; none while it is not resolved, and then it gets no new
    /// connection.
    pub mac: Option<String>,
    /// Whether there is a router before it.
    #[serde(default)]
    pub routed: bool,
    /// The interface by which it is reached.
    pub interface: Option<String>,
    /// Established connections.
    pub active_conns: u64,
    /// All others.
    pub inactive_conns: u64,
    /// Counts.
    pub counts: Counts,
    /// Rates.
    pub rates: Rates,
}

const fn direct() -> ForwardMethod {
    ForwardMethod::Dr
}

/// How often a frame was passed to the stack or dropped for a reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReasonStatus {
    /// Its name.
    pub name: String,
    /// What became of such a frame.
    pub action: ReasonAction,
    /// What it means.
    pub help: String,
    /// How often.
    pub count: u64,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonAction {
    /// Up the stack.
    #[default]
    Pass,
    /// Dropped.
    Drop,
    /// Forwarded, or counted beside another reason.
    Note,
}

/// States of a VRRP instance; FAULT as in keepalived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VrrpState {
    /// Not started.
    #[default]
    Init,
    /// Listening.
    Backup,
    /// Owns the addresses.
    Master,
    /// Something that it needs is down.
    Fault,
}

impl VrrpState {
    /// As in log lines and in `lbctl`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            VrrpState::Init => "INIT",
            VrrpState::Backup => "BACKUP",
            VrrpState::Master => "MASTER",
            VrrpState::Fault => "FAULT",
        }
    }
}

/// A VRRP instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VrrpStatus {
    /// Its name.
    pub name: String,
    /// Its interface.
    pub interface: String,
    /// `virtual_router_id`.
    pub vrid: u8,
    /// 2 or 3.
    pub version: u8,
    /// What it is.
    pub state: VrrpState,
    /// What the configuration wants it to be at start.
    pub wanted: VrrpState,
    /// `priority`.
    pub priority: u8,
    /// Priority that is sent.
    pub effective_priority: u8,
    /// Released by hand: it takes nothing from a living master.
    pub released: bool,
    /// Taken over by hand: the priority is raised while it is master.
    pub raised: bool,
    /// Interval of adverts: the own one as MASTER, the master's as BACKUP.
    pub advert_ms: u64,
    /// `nopreempt`.
    pub nopreempt: bool,
    /// Where adverts go: the multicast group or the unicast peers.
    pub sent_to: Vec<IpAddr>,
    /// Address of the master, when it is another one.
    pub master: Option<IpAddr>,
    /// Its priority.
    pub master_priority: Option<u8>,
    /// The last transition.
    pub last_transition: Option<TransitionStatus>,
    /// Transitions to MASTER since start.
    pub became_master: u64,
    /// Adverts sent.
    pub adverts_sent: u64,
    /// Adverts accepted.
    pub adverts_received: u64,
    /// Packets that were not accepted.
    pub discarded: Vec<Discarded>,
    /// Another master that refuses this one's adverts as this one does its.
    #[serde(default)]
    pub rival: Option<RivalStatus>,
    /// Others that answer for its addresses while it is master.
    #[serde(default)]
    pub claims: Vec<ClaimStatus>,
    /// Its addresses.
    pub addresses: Vec<AddressStatus>,
    /// Its routes and rules.
    #[serde(default)]
    pub routing: Vec<RoutingStatus>,
}

/// An address, a route or a rule that the daemon sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingStatus {
    /// What it is, and its line in the configuration.
    pub line: String,
    /// Whether it is there, as far as is known.
    pub set: bool,
    /// Why it cannot be set.
    pub failure: Option<String>,
}

/// Another host that answers for a virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimStatus {
    /// The address.
    pub address: IpAddr,
    /// Its MAC.
    pub mac: String,
    /// Which real server it is, if it is one.
    pub server: Option<IpAddr>,
}

/// Another master of the same virtual router, which this host does not accept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RivalStatus {
    /// Its address.
    pub address: String,
    /// The counter under which its adverts are refused.
    pub reason: String,
    /// The words of keepalived.conf that differ.
    pub compare: String,
}

/// A change of state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TransitionStatus {
    /// From.
    pub from: VrrpState,
    /// To.
    pub to: VrrpState,
    /// When.
    pub at_unix: u64,
    /// How long ago.
    pub ago_ms: u64,
    /// Why.
    pub reason: String,
}

/// Packets of one kind that were not accepted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Discarded {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// A virtual address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// `192.0.2.1/24`.
    pub address: String,
    /// The interface that it belongs on.
    pub dev: String,
    /// Whether it is there.
    pub present: bool,
    /// Whether it stands in the adverts (`virtual_ipaddress`) or not (`.._excluded`).
    pub advertised: bool,
}

/// A sync group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncGroupStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: VrrpState,
    /// Names of its instances.
    pub members: Vec<String>,
}

/// A BFD session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BfdStatus {
    /// Its name.
    pub name: String,
    /// `neighbor_ip`.
    pub neighbor: IpAddr,
    /// `source_ip`.
    pub source: Option<IpAddr>,
    /// The state of this side.
    pub state: crate::bfd::State,
    /// Why it left the state before.
    pub diagnostic: String,
    /// For how long it has been in this state.
    pub since_ms: u64,
    /// This side's discriminator.
    pub discriminator: u32,
    /// The state of the neighbour, as it said last.
    pub remote_state: crate::bfd::State,
    /// Why it left the state before.
    pub remote_diagnostic: String,
    /// Its discriminator; 0 while it is not heard.
    pub remote_discriminator: u32,
    /// The interval of packets that are sent, before it is spread; none: none are sent.
    pub interval_us: Option<u64>,
    /// After how long without a packet the session goes down.
    pub detection_us: u64,
    /// How long ago the last packet was accepted.
    pub last_packet_ms: Option<u64>,
    /// How instances and checks that follow it see it; none: that is not decided yet.
    pub counts_as_up: Option<bool>,
    /// Packets that were sent.
    pub sent: u64,
    /// Packets that were accepted.
    pub received: u64,
    /// How often it came up.
    pub came_up: u64,
    /// How often it went down after it was up.
    pub went_down: u64,
}

/// A health check of a real server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckStatus {
    /// The service.
    pub service: ServiceKey,
    /// The real server.
    pub server: IpAddr,
    /// Its port.
    pub server_port: u16,
    /// `TCP_CHECK`.
    pub kind: String,
    /// What is connected to.
    pub target: IpAddr,
    /// Its port.
    pub target_port: u16,
    /// What it says of the server.
    pub state: CheckState,
    /// What the last run gave: `ok`, or why it failed.
    pub last_result: Option<String>,
    /// How long the last run took.
    pub last_duration_us: Option<u64>,
    /// How long ago it ended.
    pub last_ago_ms: Option<u64>,
    /// For how long it has been in this state.
    pub since_ms: u64,
    /// Failures in a row that were forgiven so far.
    pub retries_used: u32,
    /// `retry`.
    pub retry: u32,
    /// Whether a run is under way.
    pub running: bool,
    /// When the next run starts; none while one is under way.
    pub next_in_ms: Option<u64>,
    /// Runs that ended.
    pub runs: u64,
    /// Runs that failed.
    pub failures: u64,
}

/// The state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Passes.
    Up,
    /// Fails.
    Down,
    /// Has not run yet and counts as passed.
    AssumedUp,
    /// Has not run yet and counts as failed (`alpha`).
    AssumedDown,
    /// Rests, because the address is not on this host (`ha_suspend`).
    Suspended,
}
