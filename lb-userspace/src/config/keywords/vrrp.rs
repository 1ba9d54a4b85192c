//! VRRP: instances, groups, tracking, BFD.

use super::Block;
use super::Body::{Block as Of, Lines};
use super::Status::{Acted, NoEffect, NotNeeded, Old, Removed, Unsupported};
use super::{Keyword, b, k};

pub(super) const INSTANCE: &[Keyword] = &[
    k("state", "MASTER|BACKUP", Acted, "BACKUP; MASTER with priority 255", "the role at start"),
    k("interface", "IF", Acted, "", "the interface that carries the adverts"),
    k("virtual_router_id", "1..255", Acted, "", "the number of the virtual router, the same on all its hosts"),
    k("priority", "1..255", Acted, "100", "who becomes master: the highest; 255 is the owner of the addresses"),
    k("advert_int", "SECONDS", Acted, "1", "how often the master says that it lives; version 2: whole seconds"),
    k("version", "2|3", Acted, "vrrp_version", "the VRRP version"),
    b("authentication", "", Of(Block::Authentication), Acted, "the password of version 2"),
    b("virtual_ipaddress", "", Lines, Acted, "the virtual addresses: IP[/MASK] [dev IF] [label L] [brd IP|+|-] [scope S] ..."),
    b("virtual_ipaddress_excluded", "", Lines, Acted, "further virtual addresses, which do not stand in the adverts"),
    k("nopreempt", "", Acted, "off", "do not take the role from a living master of lower priority"),
    k("preempt", "", Acted, "on", "take the role from a master of lower priority"),
    k("garp_master_delay", "SECONDS", Acted, "vrrp_garp_master_delay", "when the second block of gratuitous ARPs follows; 0: none"),
    k("garp_master_repeat", "1..", Acted, "vrrp_garp_master_repeat", "how many gratuitous ARPs one block has"),
    k("garp_master_refresh", "SECONDS", Acted, "vrrp_garp_master_refresh", "gratuitous ARPs again and again while master; 0: never"),
    k("garp_master_refresh_repeat", "1..", Acted, "vrrp_garp_master_refresh_repeat", "how many gratuitous ARPs one refresh has"),
    k("garp_lower_prio_delay", "SECONDS", Acted, "vrrp_garp_lower_prio_delay", "as garp_master_delay, after a lower advert was heard"),
    k("garp_lower_prio_repeat", "0..", Acted, "vrrp_garp_lower_prio_repeat", "as garp_master_repeat, after a lower advert was heard"),
    k("mcast_src_ip", "IP", Acted, "the interface's first address", "the source address of the adverts"),
    b("track_interface", "", Lines, Acted, "interfaces that must be up: IF [weight -253..253 [reverse]]"),
    k("dont_track_primary", "", Acted, "off", "do not go to FAULT when the interface goes down"),
    k("unicast_src_ip", "IP", Acted, "the interface's first address", "the source address of the adverts; the same as mcast_src_ip"),
    b("unicast_peer", "", Lines, Unsupported, "send adverts to these hosts instead of the multicast group"),
    k("unicast_fault_no_peer", "", NoEffect, "off", "FAULT when unicast is wanted but no peer is named"),
    k("unicast_ttl", "0..255", NoEffect, "255", "the TTL of unicast adverts"),
    k("check_unicast_src", "[BOOL]", NotNeeded, "off", "adverts must come from a unicast peer"),
    k("old_unicast_checksum", "[never]", NoEffect, "", "the checksum of version 3 as before 1.3.7"),
    k("mcast_dst_ip", "IP", Unsupported, "vrrp_mcast_group4", "another multicast group for the adverts"),
    k("track_src_ip", "", NoEffect, "off", "FAULT when the source address is gone"),
    k("vrf", "IF", Unsupported, "", "the VRF of a unicast instance without an interface"),
    k("use_vmac", "[NAME [MAC]]", Unsupported, "off", "the virtual router's own MAC, on a macvlan"),
    k("use_vmac_addr", "", Unsupported, "off", "the virtual router's own MAC for addresses on other interfaces"),
    k("vmac_xmit_base", "", NoEffect, "off", "send adverts on the interface itself instead of the macvlan"),
    k("use_ipvlan", "[NAME [IP [bridge|private|vepa]]]", Unsupported, "off", "addresses on an ipvlan"),
    k("native_ipv6", "", Unsupported, "", "an IPv6 instance"),
    k("down_timer_adverts", "1..100", Unsupported, "3", "how many adverts may be missed before the master counts as down"),
    k("preempt_delay", "0..1000", NoEffect, "0", "seconds to wait before taking the role from a lower master"),
    k("skip_check_adv_addr", "[BOOL]", NoEffect, "vrrp_skip_check_adv_addr", "do not compare the addresses of each advert of the same master"),
    k("higher_prio_send_advert", "[BOOL]", NoEffect, "vrrp_higher_prio_send_advert", "send an advert when a higher one takes the role away"),
    k("lower_prio_no_advert", "[BOOL]", NoEffect, "vrrp_lower_prio_no_advert", "do not answer a lower advert at once"),
    k("strict_mode", "[BOOL]", Unsupported, "vrrp_strict", "follow the RFC to the letter"),
    k("accept", "", NotNeeded, "on", "accept packets for the virtual addresses"),
    k("no_accept", "", Unsupported, "off", "drop packets for the virtual addresses unless owner"),
    k("promote_secondaries", "", NoEffect, "off", "keep the other addresses of a network when one is removed"),
    b("track_script", "", Lines, Unsupported, "scripts that change the priority: NAME [weight -253..253 [reverse]]"),
    b("track_file", "", Lines, Unsupported, "files that change the priority: NAME [weight -254..254]"),
    b("track_process", "", Lines, Unsupported, "processes that change the priority: NAME [weight -254..254]"),
    b("track_bfd", "", Lines, Unsupported, "BFD sessions that change the priority: NAME [weight -253..253]"),
    b("virtual_routes", "", Lines, NoEffect, "routes of the master"),
    b("virtual_rules", "", Lines, NoEffect, "routing rules of the master"),
    k("garp_extra_if", "[all] SECONDS", NoEffect, "vrrp_garp_extra_if", "gratuitous ARPs on the other interfaces"),
    k("vmac_garp_intvl", "[all] SECONDS", NoEffect, "", "the old name of garp_extra_if"),
    k("notify_master", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on becoming master"),
    k("notify_backup", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on becoming backup"),
    k("notify_fault", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on a fault"),
    k("notify_stop", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on stop"),
    k("notify_deleted", "[SCRIPT [USER [GROUP]]]", NoEffect, "", "a script to run when a reload removes the instance"),
    k("notify", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on every change"),
    k("notify_master_rx_lower_pri", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run when the master hears a lower advert"),
    k("notify_priority_changes", "[BOOL]", NoEffect, "off", "priority changes are written to the notify FIFO"),
    k("smtp_alert", "[BOOL]", NoEffect, "off", "mails about changes"),
    k("kernel_rx_buf_size", "BYTES", NotNeeded, "", "receive buffer of the socket"),
    k("linkbeat_use_polling", "", NoEffect, "off", "poll the link instead of using netlink"),
    k("debug", "0..4", NotNeeded, "0", "debug level, never implemented"),
    k(
        "lvs_sync_daemon_interface",
        "IF",
        NoEffect,
        "",
        "the old way to name the interface of IPVS's sync daemon; lbd keeps connections without one where the scheduler is a hash",
    ),
    k(
        "lvs_sync_daemon_inteface",
        "IF",
        Removed("the spelling that stood in keepalived's own documentation for years; keepalived ignores it"),
        "",
        "lvs_sync_daemon_interface, misspelt",
    ),
];

pub(super) const AUTHENTICATION: &[Keyword] = &[
    k("auth_type", "PASS|AH", Acted, "", "PASS: a password in plain text; AH: IPsec"),
    k("auth_pass", "TEXT", Acted, "", "the password; 8 bytes count"),
];

pub(super) const SYNC_GROUP: &[Keyword] = &[
    b("group", "", Lines, Acted, "the instances of the group, one a line"),
    b("track_interface", "", Lines, Unsupported, "interfaces that must be up for all members"),
    b("track_script", "", Lines, Unsupported, "scripts that all members follow"),
    b("track_file", "", Lines, Unsupported, "files that all members follow"),
    b("track_process", "", Lines, Unsupported, "processes that all members follow"),
    b("track_bfd", "", Lines, Unsupported, "BFD sessions that all members follow"),
    k("notify_master", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on becoming master"),
    k("notify_backup", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on becoming backup"),
    k("notify_fault", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on a fault"),
    k("notify_stop", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on stop"),
    k("notify", "SCRIPT [USER [GROUP]]", NoEffect, "", "a script to run on every change"),
    k("notify_priority_changes", "[BOOL]", NoEffect, "off", "priority changes are written to the notify FIFO"),
    k("smtp_alert", "[BOOL]", NoEffect, "off", "mails about changes"),
    k("global_tracking", "", Old("sync_group_tracking_weight"), "", "let members have different tracking weights"),
    k("sync_group_tracking_weight", "", NotNeeded, "off", "let members have different tracking weights"),
];

pub(super) const GARP_GROUP: &[Keyword] = &[
    k("garp_interval", "SECONDS", NoEffect, "0", "pause between gratuitous ARPs"),
    k("gna_interval", "SECONDS", NoEffect, "0", "pause between neighbour advertisements"),
    k("interface", "IF", NoEffect, "", "the interface"),
    b("interfaces", "", Lines, NoEffect, "interfaces that share the pause"),
];

pub(super) const SCRIPT: &[Keyword] = &[
    k("script", "SCRIPT", NoEffect, "", "what to run"),
    k("interval", "SECONDS", NoEffect, "1", "how often"),
    k("timeout", "SECONDS", NoEffect, "", "how long it may take"),
    k("weight", "-253..253 [reverse]", NoEffect, "0", "what it adds to the priority; 0: FAULT when it fails"),
    k("rise", "N", NoEffect, "1", "successes until it counts as good"),
    k("fall", "N", NoEffect, "1", "failures until it counts as bad"),
    k("user", "USER [GROUP]", NoEffect, "script_user", "who runs it"),
    k("init_fail", "", NoEffect, "off", "it counts as bad at start"),
];

pub(super) const TRACK_FILE: &[Keyword] = &[
    k("file", "PATH", NoEffect, "", "the file"),
    k("weight", "N [reverse]", NoEffect, "1", "what its value is multiplied by"),
    k("init_file", "[VALUE [overwrite]]", NoEffect, "", "make the file at start"),
];

pub(super) const TRACK_PROCESS: &[Keyword] = &[
    k("process", "NAME ...", NoEffect, "", "the process, with its parameters"),
    k("param_match", "[initial|partial]", NoEffect, "", "how parameters are compared"),
    k("weight", "-254..254 [reverse]", NoEffect, "1", "what it adds to the priority"),
    k("quorum", "N", NoEffect, "1", "how many must run"),
    k("quorum_max", "N", NoEffect, "", "how many may run"),
    k("fork_delay", "SECONDS", NoEffect, "", "how long it must run before it counts"),
    k("terminate_delay", "SECONDS", NoEffect, "", "how long it must be gone before it counts"),
    k("delay", "SECONDS", NoEffect, "", "fork_delay and terminate_delay"),
    k("full_command", "", NoEffect, "off", "compare the whole command line"),
];

pub(super) const BFD: &[Keyword] = &[
    k("neighbor_ip", "IP", NoEffect, "", "the other side"),
    k("neighbour_ip", "IP", NoEffect, "", "the other side"),
    k("source_ip", "IP", NoEffect, "", "this side"),
    k("min_rx", "MILLISECONDS", NoEffect, "10", "the shortest interval of packets from the other side"),
    k("min_tx", "MILLISECONDS", NoEffect, "10", "the interval of packets to the other side"),
    k("idle_tx", "MILLISECONDS", NoEffect, "1000", "that interval while the session is down"),
    k("multiplier", "N", NoEffect, "5", "packets that may be missed"),
    k("passive", "", NoEffect, "off", "wait for the other side to begin"),
    k("ttl", "N", NoEffect, "255", "the TTL of IPv4 packets"),
    k("hoplimit", "N", NoEffect, "64", "the hop limit of IPv6 packets"),
    k("max_hops", "N", NoEffect, "0", "how many hops a packet may have made"),
    k("weight", "-253..253 [reverse]", NoEffect, "0", "what it adds to the priority"),
    k("vrrp", "", NoEffect, "", "only instances hear of it"),
    k("checker", "", NoEffect, "", "only real servers hear of it"),
];
