//! What holds for the whole daemon.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Errand, Fifos, Mail, Timeouts, User};

/// `global_defs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Global {
    /// `router_id`; absent: the host's name.
    pub router_id: Option<String>,
    /// `vrrp_startup_delay`, default 0: how long instances wait after the start of the daemon.
    pub startup_delay: Duration,
    /// `vrrp_rt_priority`, 1..=99: real-time priority of the VRRP thread; absent: the least there is.
    pub vrrp_rt_priority: Option<u8>,
    /// `bfd_rt_priority`, likewise of the thread of BFD.
    pub bfd_rt_priority: Option<u8>,
    /// `vrrp_cpu_affinity`, each 0..=1023: the CPUs that the VRRP thread runs on; none: those of the
    /// daemon.
    pub vrrp_cpu_affinity: BTreeSet<u16>,
    /// `checker_cpu_affinity`, likewise of the thread that runs checks.
    pub checker_cpu_affinity: BTreeSet<u16>,
    /// `bfd_cpu_affinity`, likewise of the thread of BFD.
    pub bfd_cpu_affinity: BTreeSet<u16>,
    /// `vrrp_garp_interval`, default 0: the pause between gratuitous ARPs on an interface that is in no
    /// group.
    pub garp_interval: Duration,
    /// `vrrp_gna_interval`, default 0: likewise between unsolicited neighbour advertisements.
    pub gna_interval: Duration,
    /// `garp_group`; an interface is in one at most.
    pub garp_groups: Vec<GarpGroup>,
    /// `disable_local_igmp`: the host sends no IGMP reports for groups of the local network.
    pub disable_local_igmp: bool,
    /// `interface_up_down_delays`; an interface stands in it once.
    pub link_delays: Vec<LinkDelay>,
    /// `log_unknown_vrids`: adverts of virtual routers that are not configured are logged.
    pub log_unknown_vrids: bool,
    /// `lvs_timeouts` and lbd's own finer words: of all services that do not say otherwise.
    pub timeouts: Timeouts,
    /// lbd's own `flood_rate`: new connections a second and CPU above which they are scheduled by
    /// hash without an entry; absent: the default; 0: never.
    pub flood_rate: Option<u32>,
    /// `script_user`, for what has no user of its own.
    pub script_user: Option<User>,
    /// `enable_script_security`: a script that runs as root is not run when somebody else may write
    /// it or a directory on the way to it.
    pub script_security: bool,
    /// `startup_script`: run before anything else starts.
    pub startup_script: Option<Errand>,
    /// `shutdown_script`: run after everything else has ended.
    pub shutdown_script: Option<Errand>,
    /// Where notifications are written.
    pub fifos: Fifos,
    /// Who is told by mail.
    pub mail: Mail,
    /// `rs_init_notifies`: real servers that begin as up are told as such.
    pub rs_init_notifies: bool,
    /// `fifo_write_vrrp_states_on_reload`.
    pub fifo_states_on_reload: bool,
    /// `reload_time_file`: its first line says when the configuration is read again.
    pub reload_time_file: Option<String>,
    /// `reload_repeat`: that file stays when its time had no date, and means every day.
    pub reload_repeat: bool,
    /// `vmac_addr_prefix`: how the names of macvlans of addresses begin; absent: `vrrp`.
    pub vmac_addr_prefix: Option<String>,
}

/// `garp_group`: interfaces that share the pauses between gratuitous ARPs and between neighbour
/// advertisements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GarpGroup {
    /// `interface`, `interfaces`: at least one.
    pub interfaces: Vec<String>,
    /// `garp_interval`: no two gratuitous ARPs are sent within it; 0: no pause.
    pub garp_interval: Duration,
    /// `gna_interval`: nor two unsolicited neighbour advertisements.
    #[serde(default)]
    pub gna_interval: Duration,
}

/// `garp_extra_if`: gratuitous ARPs or neighbour advertisements from time to time on the interfaces of
/// addresses that send no adverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraGarp {
    /// How often: 1 s to a day.
    pub every: Duration,
    /// `all`: on all of them, otherwise on macvlans of `use_vmac` only.
    pub all: bool,
}

/// A line of `interface_up_down_delays`: for how long a link must have changed before that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkDelay {
    /// The interface; a macvlan of `use_vmac` on it has the same.
    pub interface: String,
    /// Before it is down: 0 to 255 s.
    pub down: Duration,
    /// Before it is up: 0 to 255 s.
    pub up: Duration,
}
