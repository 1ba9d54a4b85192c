//! The validated configuration: what keepalived.conf and the TOML file both become.
//!
//! An illegal value cannot be built by the front ends; ranges are given at each field. Every field
//! holds the *effective* value (defaults and inheritance already applied), so two files that mean
//! the same give equal models.

mod address;
mod bfd;
mod check;
mod election;
mod global;
mod http;
mod mail;
mod pattern;
mod probes;
mod process;
mod routing;
mod scheduler;
mod script;
mod track;
mod transport;
mod vmac;

use std::net::IpAddr;
use std::time::Duration;

pub use address::{AddressOptions, Broadcast, VirtualAddress};
pub use bfd::Bfd;
pub use check::{Check, CheckKind, FileCheck};
pub use election::Election;
pub use global::{ExtraGarp, GarpGroup, Global, LinkDelay};
pub use http::{Http, HttpDigest, HttpVersion, StatusCodes, Trust, Url};
pub use mail::{Mail, MailServer};
pub use pattern::{HttpRegex, HttpRegexText, RegexOption};
pub use probes::{DnsCheck, DnsType, Pattern, SmtpCheck, UdpCheck};
pub use process::{ParamMatch, TrackProcess};
pub use routing::{Fate, Hop, Prefix, Route, Routing, Rule, Statics};
pub use scheduler::{SchedFlags, Scheduler};
pub use script::{Errand, Fifo, Fifos, MiscCheck, Script, User, VrrpNotify};
use serde::{Deserialize, Serialize};
pub use track::{InitFile, ServiceTrack, Track, TrackFile, Tracks, VrrpScript};
pub use transport::{Family, OldChecksum, Transport, Unicast, UnicastPeer};
pub use vmac::{Macvlan, Vmac, is_virtual_mac, virtual_mac};

/// A whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// What holds for the whole daemon.
    pub global: Global,
    /// `vrrp_script`; names are unique.
    pub vrrp_scripts: Vec<VrrpScript>,
    /// `track_file`; names are unique.
    pub track_files: Vec<TrackFile>,
    /// `vrrp_track_process`; names are unique.
    pub track_processes: Vec<TrackProcess>,
    /// `bfd_instance`; names are unique.
    pub bfd_instances: Vec<Bfd>,
    /// VRRP instances in the order of the file; names are unique. No two meet
    /// ([`VrrpInstance::meets`]), and of one interface, VRID and family one has a `vmac` at most.
    pub instances: Vec<VrrpInstance>,
    /// Sync groups; an instance is in at most one.
    pub sync_groups: Vec<SyncGroup>,
    /// `static_ipaddress`, `static_routes`, `static_rules`.
    pub statics: Statics,
    /// Virtual servers in the order of the file; (address, port, protocol) is unique.
    pub services: Vec<Service>,
}

impl Model {
    /// The service one of whose addresses is `key`; a firewall mark is an address too.
    pub fn service_at(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.iter().find(|s| s.keys().any(|k| k == *key))
    }

    /// Whether there is anything for the XDP program: a service, or an address for which nothing is
    /// accepted.
    #[must_use]
    pub fn needs_program(&self) -> bool {
        !self.services.is_empty() || self.instances.iter().any(|i| !i.accept)
    }

    /// All commands that it names, some more than once.
    pub fn scripts(&self) -> impl Iterator<Item = &Script> {
        let Global {
            startup_script,
            shutdown_script,
            fifos: Fifos { all, vrrp, lvs },
            ..
        } = &self.global;
        let errands = [startup_script, shutdown_script].into_iter().flatten();
        let errands = errands.map(|e| &e.script);
        let readers = [all, vrrp, lvs]
            .into_iter()
            .flatten()
            .filter_map(|f| f.script.as_ref());
        let instances = self.instances.iter().map(|i| &i.notify);
        let groups = self.sync_groups.iter().map(|g| &g.notify);
        let services = self.services.iter().flat_map(|s| {
            let servers = s
                .real_servers
                .iter()
                .flat_map(|r| [&r.notify_up, &r.notify_down]);
            let checks = s.real_servers.iter().flat_map(|r| &r.checks);
            let checks = checks.filter_map(|c| match &c.kind {
                CheckKind::Misc(misc) => Some(&misc.script),
                _ => None,
            });
            [&s.quorum_up, &s.quorum_down]
                .into_iter()
                .chain(servers)
                .flatten()
                .chain(checks)
        });
        let tracked = self.vrrp_scripts.iter().map(|s| &s.script);
        errands
            .chain(readers)
            .chain(tracked)
            .chain(instances.chain(groups).flat_map(VrrpNotify::scripts))
            .chain(services)
    }
}

/// How long a connection in a state may be silent, in whole seconds 1..=2678400; absent: what holds
/// otherwise, in the end IPVS's own defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// TCP ESTABLISHED (`tcp` of `lvs_timeouts`).
    pub established: Option<u32>,
    /// TCP SYN_RECV.
    pub syn_recv: Option<u32>,
    /// TCP FIN_WAIT (`tcpfin` of `lvs_timeouts`).
    pub fin_wait: Option<u32>,
    /// TCP TIME_WAIT.
    pub time_wait: Option<u32>,
    /// TCP CLOSE.
    pub close: Option<u32>,
    /// TCP CLOSE_WAIT.
    pub close_wait: Option<u32>,
    /// TCP LAST_ACK.
    pub last_ack: Option<u32>,
    /// UDP (`udp` of `lvs_timeouts`).
    pub udp: Option<u32>,
    /// SCTP ESTABLISHED.
    pub sctp: Option<u32>,
}

impl Timeouts {
    /// None is set.
    pub const NONE: Timeouts = Timeouts {
        established: None,
        syn_recv: None,
        fin_wait: None,
        time_wait: None,
        close: None,
        close_wait: None,
        last_ack: None,
        udp: None,
        sctp: None,
    };
}

/// A VRRP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VrrpVersion {
    /// RFC 3768.
    #[serde(rename = "2")]
    V2,
    /// RFC 5798 and RFC 9568.
    #[serde(rename = "3")]
    V3,
}

/// `authentication` of a version 2 instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// No authentication.
    None,
    /// The plain-text password, at most 8 bytes.
    Pass(Vec<u8>),
    /// IPsec AH keyed by the password, at most 8 bytes; only over IPv4.
    Ah(Vec<u8>),
}

/// `vrrp_instance`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VrrpInstance {
    /// Its name, unique.
    pub name: String,
    /// The interface that carries the adverts.
    pub interface: String,
    /// 1..=255.
    pub virtual_router_id: u8,
    /// 1..=255; 255 is the address owner.
    pub priority: u8,
    /// `state MASTER`: wanted at start (keepalived waits its down timer all the same). Never set in a
    /// sync group, unless `priority` is 255.
    pub initial_master: bool,
    /// The protocol version; always 3 for IPv6.
    pub version: VrrpVersion,
    /// Version 2: whole seconds 1..=255; version 3: 10 ms ..= 40.95 s in centiseconds.
    pub advert_int: Duration,
    /// Only version 2 has one other than `None`.
    pub auth: Auth,
    /// `nopreempt`; never set together with `initial_master`.
    pub nopreempt: bool,
    /// `v3_checksum_as_v2`: version 3's checksum covers the message alone, as RFC 9568 and Cisco have
    /// it for IPv4.
    pub v3_checksum_as_v2: bool,
    /// `preempt_delay`, `down_timer_adverts` and the like.
    pub election: Election,
    /// `accept`, default on: what is for its addresses and for no service is for this host. Never off
    /// with priority 255.
    pub accept: bool,
    /// `virtual_ipaddress`, in the order of the file: these go into the advert. All of one family.
    pub addresses: Vec<VirtualAddress>,
    /// `virtual_ipaddress_excluded`: set and removed with the others but not advertised.
    pub excluded: Vec<VirtualAddress>,
    /// `garp_master_delay`, default 5 s: when the second block of gratuitous ARPs (for IPv6 neighbour
    /// advertisements) follows; 0: none.
    pub garp_master_delay: Duration,
    /// `garp_master_repeat`, default 5: how many each block has.
    pub garp_master_repeat: u32,
    /// `garp_master_refresh`, default 0: never.
    pub garp_master_refresh: Duration,
    /// `garp_master_refresh_repeat`, default 1.
    pub garp_master_refresh_repeat: u32,
    /// `garp_lower_prio_delay`, default `vrrp_garp_master_delay`.
    pub garp_lower_prio_delay: Duration,
    /// `garp_lower_prio_repeat`, default `vrrp_garp_master_repeat`.
    pub garp_lower_prio_repeat: u32,
    /// `garp_extra_if`.
    #[serde(default)]
    pub garp_extra_if: Option<ExtraGarp>,
    /// `mcast_src_ip` or `unicast_src_ip`, of the instance's family; absent: the interface's first
    /// address, for IPv6 its link-local one.
    pub mcast_src_ip: Option<IpAddr>,
    /// `track_src_ip`: FAULT while `mcast_src_ip` is not on this host. Never set without one.
    #[serde(default)]
    pub track_src_ip: bool,
    /// `unicast_peer`, `mcast_dst_ip`, `vrrp_mcast_group4`, `vrrp_mcast_group6`.
    pub transport: Transport,
    /// `dont_track_primary`.
    pub dont_track_primary: bool,
    /// `use_vmac`: its addresses are on a macvlan of its own.
    #[serde(default)]
    pub vmac: Option<Vmac>,
    /// `promote_secondaries`.
    #[serde(default)]
    pub promote_secondaries: bool,
    /// `virtual_routes`.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// `virtual_rules`.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// `track_script` and the like.
    #[serde(default)]
    pub tracks: Tracks,
    /// `notify` and the like.
    #[serde(default)]
    pub notify: VrrpNotify,
}

impl VrrpInstance {
    /// The interfaces by which packets for its addresses come, without those that it can do without.
    pub fn ingress(&self) -> impl Iterator<Item = &str> {
        let addresses = self.addresses.iter().chain(&self.excluded);
        let tracked = addresses.filter(|a| !a.no_track);
        let devs = tracked.filter_map(|a| a.dev.as_deref());
        devs.chain([self.interface.as_str()])
    }

    /// That of the first virtual address; all that stand in the adverts are of it.
    #[must_use]
    pub fn family(&self) -> Family {
        self.addresses
            .first()
            .map_or(Family::V4, |a| Family::of(a.addr))
    }
}

/// `vrrp_sync_group`: its members are all MASTER or all not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncGroup {
    /// Its name.
    pub name: String,
    /// Names of instances that exist.
    pub members: Vec<String>,
    /// What all members follow.
    #[serde(default)]
    pub tracks: Tracks,
    /// `sync_group_tracking_weight`: members may have tracks with a weight.
    #[serde(default)]
    pub tracking_weight: bool,
    /// `notify` and the like.
    #[serde(default)]
    pub notify: VrrpNotify,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 132.
    Sctp,
}

impl Protocol {
    /// The number in the IP header.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// `TCP`, `UDP`, `SCTP`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        }
    }
}

/// What identifies a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The virtual address.
    pub addr: IpAddr,
    /// 1..=65535, or 0: any port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// As `ipvsadm` prints it: `TCP 192.0.2.1:80`, `UDP [2001:db8::1]:53`.
impl std::fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let endpoint = std::net::SocketAddr::new(self.addr, self.port);
        write!(f, "{} {endpoint}", self.protocol.name())
    }
}

/// `lb_kind`; those that the data plane has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ForwardMethod {
    /// Direct routing.
    Dr,
    /// In a tunnel to the real server.
    Tun(Tunnel),
}

/// `type` of `lb_kind TUN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Tunnel {
    /// IP in IP.
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// UDP destination port, not 0.
        port: u16,
        /// `csum`: a UDP checksum is sent (over IPv6 there always is one).
        csum: bool,
    },
    /// GRE.
    Gre {
        /// `csum`: the GRE header has a checksum.
        csum: bool,
    },
}

/// `persistence_timeout` and `persistence_granularity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persistence {
    /// 1 s ..= 2678400 s.
    pub timeout: Duration,
    /// How many leading bits of the client's address count; 32 by default.
    pub prefix_len: u8,
}

/// `virtual_server`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Address, port, protocol; of a `virtual_server_group` the first.
    pub key: ServiceKey,
    /// `virtual_server_group`: its name and its other addresses. Each is a service of its own for
    /// clients; real servers and their checks are shared.
    #[serde(default)]
    pub group: Option<Group>,
    /// `lb_algo`.
    pub scheduler: Scheduler,
    /// `sh-port` and the like.
    #[serde(default)]
    pub sched_flags: SchedFlags,
    /// `lb_kind`; real servers and the sorry server may have their own.
    pub method: ForwardMethod,
    /// `ops`: each UDP packet is scheduled by itself.
    #[serde(default)]
    pub ops: bool,
    /// lbd's own `timeouts`.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// lbd's own `expire_nodest_conn`: a connection whose server is down or removed ends.
    #[serde(default)]
    pub expire_nodest_conn: bool,
    /// lbd's own `expire_quiescent_template`: a client whose server has weight 0 gets another one.
    #[serde(default)]
    pub expire_quiescent_template: bool,
    /// `persistence_timeout`; absent: off.
    #[serde(default)]
    pub persistence: Option<Persistence>,
    /// `sloppy` (lbd's own word): TCP in mid-stream without an entry is scheduled.
    #[serde(default)]
    pub sloppy: bool,
    /// `alpha`: real servers start down and must pass their check first.
    #[serde(default)]
    pub alpha: bool,
    /// `omega`: on stop, quorum_down and notify_down are run.
    #[serde(default)]
    pub omega: bool,
    /// `quorum_up`.
    #[serde(default)]
    pub quorum_up: Option<Script>,
    /// `quorum_down`.
    #[serde(default)]
    pub quorum_down: Option<Script>,
    /// `smtp_alert`, default off: mails about the quorum.
    #[serde(default)]
    pub smtp_alert: bool,
    /// `quorum`, at least 1: the weight of living servers that the service needs.
    pub quorum: u32,
    /// `hysteresis`, below `quorum`.
    pub hysteresis: u32,
    /// `sorry_server`: gets the traffic while the quorum is lost.
    #[serde(default)]
    pub sorry_server: Option<SorryServer>,
    /// `ha_suspend`: checks rest while the VIP is not on this host.
    #[serde(default)]
    pub ha_suspend: bool,
    /// Real servers in the order of the file; (address, port) is unique.
    pub real_servers: Vec<RealServer>,
}

/// The addresses of a `virtual_server_group`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// All but the first, in the order of the file, ranges expanded.
    pub others: Vec<ServiceKey>,
}

impl Service {
    /// A service with keepalived's defaults (but direct routing) and no real servers.
    #[must_use]
    pub const fn new(key: ServiceKey) -> Self {
        Service {
            key,
            group: None,
            scheduler: Scheduler::Wlc,
            sched_flags: SchedFlags {
                port: false,
                fallback: false,
            },
            method: ForwardMethod::Dr,
            ops: false,
            timeouts: Timeouts::NONE,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            persistence: None,
            sloppy: false,
            alpha: false,
            omega: false,
            quorum_up: None,
            quorum_down: None,
            smtp_alert: false,
            quorum: 1,
            hysteresis: 0,
            sorry_server: None,
            ha_suspend: false,
            real_servers: Vec::new(),
        }
    }

    /// The services that it is for clients: one, or one for each address of its group.
    pub fn keys(&self) -> impl Iterator<Item = ServiceKey> + '_ {
        let others = self.group.iter().flat_map(|group| &group.others);
        std::iter::once(self.key).chain(others.copied())
    }
}

/// `sorry_server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SorryServer {
    /// Its address.
    pub addr: IpAddr,
    /// With direct routing and tunnels always the service's port.
    pub port: u16,
    /// `sorry_server_lvs_method`, by default the service's `lb_kind`.
    pub method: ForwardMethod,
    /// `sorry_server_inhibit`: kept in the table with weight 0 instead of being absent.
    #[serde(default)]
    pub inhibit: bool,
}

/// `real_server`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RealServer {
    /// Its address.
    pub addr: IpAddr,
    /// With direct routing and tunnels always the service's port.
    pub port: u16,
    /// 0..=65535.
    pub weight: u16,
    /// Its `lb_kind`, by default the service's.
    pub method: ForwardMethod,
    /// `uthreshold`: with so many connections it gets no new ones; 0: no limit.
    #[serde(default)]
    pub uthreshold: u32,
    /// `lthreshold`, at most `uthreshold`: below so many it gets new ones again; 0: below three
    /// quarters of `uthreshold`.
    #[serde(default)]
    pub lthreshold: u32,
    /// `inhibit_on_failure`: weight 0 instead of removal when it is down.
    #[serde(default)]
    pub inhibit_on_failure: bool,
    /// `notify_up`.
    #[serde(default)]
    pub notify_up: Option<Script>,
    /// `notify_down`.
    #[serde(default)]
    pub notify_down: Option<Script>,
    /// `smtp_alert`, default on: mails about its checks.
    pub smtp_alert: bool,
    /// Its checks, those of a kind together; it is up while all of them are.
    #[serde(default)]
    pub checks: Vec<Check>,
}

impl RealServer {
    /// A real server with keepalived's defaults (but direct routing) and no checks.
    #[must_use]
    pub const fn new(addr: IpAddr, port: u16, weight: u16) -> Self {
        RealServer {
            addr,
            port,
            weight,
            method: ForwardMethod::Dr,
            uthreshold: 0,
            lthreshold: 0,
            inhibit_on_failure: false,
            notify_up: None,
            notify_down: None,
            smtp_alert: true,
            checks: Vec::new(),
        }
    }
}
