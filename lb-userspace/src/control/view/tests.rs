//! Every view of one sample, and ipvsadm's formats literally.

use super::*;
use crate::control::protocol::{Connection, ReloadOutcome, ReloadReport};
use crate::control::status::*;
use crate::health::ByHand;
use crate::model::{ForwardMethod, Protocol, SchedFlags, Scheduler, ServiceKey};

fn key(last: u8, port: u16, protocol: Protocol) -> ServiceKey {
    ServiceKey {
        addr: [192, 0, 2, last].into(),
        port,
        protocol,
    }
}

fn backend(last: u8, port: u16, n: u64) -> BackendStatus {
    BackendStatus {
        addr: [10, 0, 0, last].into(),
        port,
        sorry: false,
        listed: true,
        local: false,
        method: ForwardMethod::Dr,
        uthreshold: 0,
        lthreshold: 0,
        weight: 1,
        by_hand: ByHand::default(),
        effective_weight: 1,
        up: true,
        why: None,
        mac: Some(format!("02:00:00:00:00:{last:02x}")),
        routed: false,
        interface: Some("eth1".into()),
        active_conns: n,
        inactive_conns: 2 * n,
        counts: Counts {
            conns: n,
            packets: 1000 * n,
            bytes: 1_000_000 * n,
        },
        rates: Rates {
            cps: n,
            pps: 10 * n,
            bps: 1500 * n,
        },
    }
}

fn service(key: ServiceKey, backends: Vec<BackendStatus>) -> ServiceStatus {
    ServiceStatus {
        key,
        group: None,
        shares_checks: false,
        scheduler: Scheduler::Wrr,
        sched_flags: SchedFlags::default(),
        ops: false,
        method: ForwardMethod::Dr,
        persistence_secs: 0,
        persistence_prefix: 32,
        sloppy: false,
        quorum: 1,
        hysteresis: 0,
        quorum_up: true,
        live_weight: 2,
        counts: Counts {
            conns: 123_456_789,
            packets: 4_321_000_000,
            bytes: 7_654_000_000_000,
        },
        rates: Rates {
            cps: 12,
            pps: 3456,
            bps: 123_456_789,
        },
        backends,
    }
}

fn check(service: ServiceKey, last: u8, state: CheckState) -> CheckStatus {
    CheckStatus {
        service,
        server: [10, 0, 0, last].into(),
        server_port: service.port,
        kind: "TCP_CHECK".into(),
        target: [10, 0, 0, last].into(),
        target_port: service.port,
        state,
        last_result: Some("ok".into()),
        last_duration_us: Some(312),
        last_ago_ms: Some(1500),
        since_ms: 7_384_000,
        retries_used: 0,
        retry: 3,
        running: false,
        next_in_ms: Some(4500),
        runs: 100,
        failures: 1,
    }
}

fn instance(name: &str, state: VrrpState) -> VrrpStatus {
    VrrpStatus {
        rival: (name == "outside-4").then(|| RivalStatus {
            address: "192.0.2.3".into(),
            reason: "auth_data".into(),
            compare: "authentication".into(),
        }),
        claims: match name {
            "outside-4" => vec![
                ClaimStatus {
                    address: "192.0.2.1".parse().unwrap(),
                    mac: "02:00:00:00:00:09".into(),
                    server: None,
                },
                ClaimStatus {
                    address: "192.0.2.1".parse().unwrap(),
                    mac: "02:00:00:00:00:0a".into(),
                    server: Some("192.0.2.11".parse().unwrap()),
                },
            ],
            _ => Vec::new(),
        },
        routing: Vec::new(),
        name: name.into(),
        interface: "eth0".into(),
        vrid: 51,
        version: 2,
        state,
        wanted: VrrpState::Master,
        priority: 150,
        effective_priority: 150,
        advert_ms: 1000,
        nopreempt: false,
        released: false,
        raised: false,
        sent_to: vec!["192.0.2.2".parse().unwrap()],
        master: None,
        master_priority: None,
        last_transition: Some(TransitionStatus {
            from: VrrpState::Backup,
            to: state,
            at_unix: 1_790_000_000,
            ago_ms: 185_000,
            reason: "no advert for 3.414s".into(),
        }),
        became_master: 1,
        adverts_sent: 185,
        adverts_received: 3,
        discarded: vec![
            Discarded {
                reason: "wrong password".into(),
                count: 7,
            },
            Discarded {
                reason: "wrong checksum".into(),
                count: 0,
            },
        ],
        addresses: vec![
            AddressStatus {
                address: "192.0.2.1/24".into(),
                dev: "eth0".into(),
                present: true,
                advertised: true,
            },
            AddressStatus {
                address: "192.0.2.2/24".into(),
                dev: "eth0".into(),
                present: false,
                advertised: true,
            },
        ],
    }
}

fn sessions() -> Vec<BfdStatus> {
    use crate::bfd::State;
    let up = BfdStatus {
        name: "router".into(),
        neighbor: [10, 0, 0, 254].into(),
        source: None,
        state: State::Up,
        diagnostic: "no diagnostic".into(),
        since_ms: 93_000,
        discriminator: 0x1234_5678,
        remote_state: State::Up,
        remote_diagnostic: "no diagnostic".into(),
        remote_discriminator: 7,
        interval_us: Some(10_000),
        detection_us: 16_565,
        last_packet_ms: Some(4),
        counts_as_up: Some(true),
        sent: 12_345,
        received: 12_340,
        came_up: 2,
        went_down: 1,
    };
    let down = BfdStatus {
        name: "rs1".into(),
        neighbor: "fd00::11".parse().unwrap(),
        state: State::Down,
        diagnostic: "control detection time expired".into(),
        remote_state: State::Down,
        remote_discriminator: 0,
        interval_us: Some(1_000_000),
        last_packet_ms: None,
        counts_as_up: Some(false),
        ..up.clone()
    };
    let held = BfdStatus {
        name: "rs2".into(),
        state: State::Down,
        remote_state: State::AdminDown,
        diagnostic: "neighbor signaled session down".into(),
        interval_us: None,
        ..up.clone()
    };
    vec![up, down, held]
}

fn sample() -> Status {
    let (web, tls, turn) = (
        key(1, 80, Protocol::Tcp),
        key(1, 443, Protocol::Tcp),
        key(2, 3478, Protocol::Udp),
    );
    let down = BackendStatus {
        listed: false,
        effective_weight: 0,
        up: false,
        why: Some("TCP_CHECK: connection refused".into()),
        ..backend(12, 80, 0)
    };
    let inhibited = BackendStatus {
        listed: true,
        ..down.clone()
    };
    let sorry = BackendStatus {
        sorry: true,
        ..backend(99, 443, 1)
    };
    let mut reasons = vec![
        ReasonStatus {
            name: "not_ip".into(),
            action: ReasonAction::Pass,
            help: "not an IPv4 packet (ARP, IPv6, ...)".into(),
            count: 1204,
        },
        ReasonStatus {
            name: "fragment".into(),
            action: ReasonAction::Drop,
            help: "the first fragment of a packet for a service".into(),
            count: 3,
        },
        ReasonStatus {
            name: "short_header".into(),
            action: ReasonAction::Drop,
            help: "the TCP or UDP header is cut off".into(),
            count: 0,
        },
    ];
    reasons[1].count = 3;
    let mut failing = check(web, 12, CheckState::Down);
    failing.last_result = Some("connection refused".into());
    (failing.running, failing.next_in_ms) = (true, None);
    let mut elsewhere = check(web, 10, CheckState::Up);
    (elsewhere.target, elsewhere.target_port) = ([10, 9, 9, 9].into(), 8080);
    (
        elsewhere.last_result,
        elsewhere.retries_used,
        elsewhere.last_duration_us,
    ) = (Some("connection timed out".into()), 1, Some(5_000_000));
    let mut unborn = check(turn, 10, CheckState::AssumedUp);
    (
        unborn.last_result,
        unborn.last_duration_us,
        unborn.last_ago_ms,
    ) = (None, None, None);
    let mut backup = instance("VI_2", VrrpState::Backup);
    (
        backup.master,
        backup.master_priority,
        backup.vrid,
        backup.nopreempt,
    ) = (Some([10, 0, 0, 3].into()), Some(200), 52, true);
    backup.effective_priority = 130;
    backup.discarded.clear();
    backup.addresses[0].advertised = false;
    Status {
        daemon: Daemon {
            version: "0.1.0".into(),
            pid: 4242,
            router_id: "lb1".into(),
            uptime_ms: 93_784_000,
        },
        config: ConfigStatus {
            path: "/etc/keepalived/keepalived.conf".into(),
            loaded_unix: 1_790_000_000,
            warnings: 2,
            reloads: 1,
            refused: Some("2 errors".into()),
            left_out: vec![LeftOut {
                what: "virtual_server 192.0.2.9 53 UDP".into(),
                place: "keepalived.conf:40".into(),
                why: "lb_kind NAT is not supported yet".into(),
            }],
        },
        data_plane: DataPlane {
            layout: 1,
            interfaces: vec![
                InterfaceStatus {
                    name: "eth0".into(),
                    ifindex: 2,
                    mac: "02:00:00:00:00:01".into(),
                    mode: Some(XdpMode::Native),
                    program_id: 77,
                    note: None,
                },
                InterfaceStatus {
                    name: "eth1".into(),
                    ifindex: 3,
                    mac: "02:00:00:00:00:02".into(),
                    mode: Some(XdpMode::Generic),
                    program_id: 77,
                    note: Some("the driver has no XDP".into()),
                },
                InterfaceStatus {
                    name: "eth2".into(),
                    ..InterfaceStatus::default()
                },
            ],
            hz: 250,
            flow_slots: 2_097_152,
            flows_used: 524_288,
            adopted: true,
            loading: false,
        },
        services: vec![
            ServiceStatus {
                scheduler: Scheduler::Rr,
                ..service(turn, vec![backend(10, 3478, 0)])
            },
            ServiceStatus {
                persistence_secs: 360,
                persistence_prefix: 24,
                scheduler: Scheduler::Sh,
                quorum_up: false,
                quorum: 2,
                hysteresis: 1,
                live_weight: 0,
                ..service(tls, vec![sorry, inhibited])
            },
            service(
                web,
                vec![
                    BackendStatus {
                        weight: 3,
                        effective_weight: 3,
                        mac: None,
                        ..backend(11, 80, 7)
                    },
                    BackendStatus {
                        routed: true,
                        ..backend(10, 80, 123_456)
                    },
                    down,
                ],
            ),
        ],
        reasons,
        vrrp: vec![
            instance("VI_1", VrrpState::Master),
            backup,
            VrrpStatus {
                last_transition: None,
                addresses: vec![],
                ..instance("outside-4", VrrpState::Fault)
            },
        ],
        vrrp_unclaimed: vec![Discarded {
            reason: "unknown_vrid".into(),
            count: 12,
        }],
        statics: Vec::new(),
        sync_groups: vec![SyncGroupStatus {
            name: "G1".into(),
            state: VrrpState::Master,
            members: vec!["VI_1".into(), "VI_3".into()],
        }],
        bfd: sessions(),
        bfd_refused: vec![Discarded {
            reason: "ttl".into(),
            count: 3,
        }],
        checks: vec![
            unborn,
            check(web, 11, CheckState::Up),
            elsewhere,
            check(web, 10, CheckState::Up),
            failing,
        ],
    }
}

#[test]
fn routes_and_rules_are_shown_and_those_that_cannot_be_set_everywhere() {
    let routing = |line: &str, set, failure: Option<&str>| RoutingStatus {
        line: line.to_owned(),
        set,
        failure: failure.map(str::to_owned),
    };
    let mut status = sample();
    status.vrrp[0].routing = vec![
        routing("route to 198.51.100.0/24 dev eth0", true, None),
        routing("rule inet table 7", false, Some("no interface eth7")),
    ];
    status.vrrp[1].routing = vec![routing("route to 198.51.101.0/24 dev eth0", false, None)];
    status.statics = vec![
        routing("address 10.99.0.1/24 dev eth0", true, None),
        routing(
            "route to 198.51.102.0/24 dev eth9",
            false,
            Some("no interface eth9"),
        ),
    ];
    let bad = [
        "rule inet table 7 CANNOT BE SET: no interface eth7",
        "route to 198.51.102.0/24 dev eth9 CANNOT BE SET: no interface eth9",
    ];
    let vrrp = render(View::Vrrp, &status, Color::Off);
    let overview = render(View::Overview, &status, Color::Off);
    for line in bad {
        assert!(
            vrrp.contains(line) && overview.contains(line),
            "{vrrp}\n{overview}"
        );
    }
    for line in [
        "route to 198.51.100.0/24 dev eth0\n",
        "route to 198.51.101.0/24 dev eth0 (not here)\n",
        "address 10.99.0.1/24 dev eth0\n",
    ] {
        assert!(vrrp.contains(line), "{vrrp}");
        assert!(!overview.contains(line), "{overview}");
    }
    let json = serde_json::to_string(&part(View::Vrrp, &status)).unwrap();
    assert!(
        json.contains("no interface eth7") && json.contains("no interface eth9"),
        "{json}"
    );
    status.vrrp.clear();
    let statics = render(View::Vrrp, &status, Color::Off);
    assert!(statics.contains("address 10.99.0.1/24"), "{statics}");
}

#[test]
fn what_is_set_by_hand_is_shown_everywhere() {
    let mut status = sample();
    let web = status.services.last_mut().unwrap();
    let drained = &mut web.backends[0];
    drained.by_hand.weight = Some(0);
    drained.effective_weight = 0;
    web.backends[1].by_hand.disabled = true;
    web.backends[1].listed = false;
    let said = [
        "by hand: draining (weight 0) (configured weight 3)",
        "by hand: disabled (configured weight 1)",
    ];
    for view in [View::Services, View::Health, View::Overview] {
        let text = render(view, &status, Color::Off);
        for said in said {
            assert_eq!(text.matches(said).count(), 1, "{view:?}\n{text}");
        }
    }
    let text = render(View::Services, &status, Color::Off);
    assert!(text.ends_with(
        "10.0.0.11:80 of TCP  192.0.2.1:80: by hand: draining (weight 0) (configured weight 3)\n\
         10.0.0.10:80 of TCP  192.0.2.1:80: by hand: disabled (configured weight 1)\n"
    ), "{text}");
    let json = serde_json::to_value(&status).unwrap();
    let web = json["services"].as_array().unwrap().last().unwrap();
    assert_eq!(web["backends"][0]["by_hand"]["weight"], 0);
    assert_eq!(web["backends"][1]["by_hand"]["disabled"], true);
}

/// What `ipvsadm -Ln` prints for the same table, `size` apart.
#[test]
fn as_ipvsadm_ln() {
    let want = "\
IP Virtual Server version 0.1.0 (size=2097152)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  192.0.2.1:80 wrr
  -> 10.0.0.10:80                 Route   1      123456     246912    \n  \
  -> 10.0.0.11:80                 Route   3      7          14        \n\
TCP  192.0.2.1:443 sh persistent 360 mask 255.255.255.0
  -> 10.0.0.12:80                 Route   0      0          0         \n  \
  -> 10.0.0.99:443                Route   1      1          2         \n\
UDP  192.0.2.2:3478 rr
  -> 10.0.0.10:3478               Route   1      0          0         \n";
    assert_eq!(render(View::Services, &sample(), Color::On), want);
}

#[test]
fn as_ipvsadm_stats() {
    let want = "\
IP Virtual Server version 0.1.0 (size=2097152)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  192.0.2.1:80                  123456K    4321M        0    7654G        0
  -> 10.0.0.10:80                   123456  123456K        0     123G        0
  -> 10.0.0.11:80                        7     7000        0  7000000        0
";
    let got = render(View::Stats, &sample(), Color::Off);
    assert_eq!(got[..want.len()], *want, "{got}");
    assert_eq!(got.lines().count(), 11);
}

#[test]
fn as_ipvsadm_rate() {
    let want = "\
IP Virtual Server version 0.1.0 (size=2097152)
Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
TCP  192.0.2.1:80                       12     3456        0  123456K        0
  -> 10.0.0.10:80                   123456  1234560        0  185184K        0
";
    let got = render(View::Rate, &sample(), Color::Off);
    assert_eq!(got[..want.len()], *want, "{got}");
}

#[test]
fn as_ipvsadm_lnc() {
    let c = |state: &str, expires_ms, client_port| Connection {
        protocol: Protocol::Tcp,
        expires_ms,
        state: state.into(),
        client: [198, 51, 100, 7].into(),
        client_port,
        vip: [192, 0, 2, 1].into(),
        vip_port: 80,
        server: [10, 0, 0, 10].into(),
        server_port: 80,
    };
    let want = "\
IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:59  ESTABLISHED 198.51.100.7:40000 192.0.2.1:80       10.0.0.10:80
TCP 00:09  CLOSE       198.51.100.7:9     192.0.2.1:80       10.0.0.10:80
TCP 600:00 NONE        198.51.100.7:0     192.0.2.1:80       10.0.0.10:80
";
    let lines = [
        c("ESTABLISHED", 899_999, 40_000),
        c("CLOSE", 9_000, 9),
        c("NONE", 36_000_000, 0),
    ];
    let got: String = lines.iter().map(ipvs::connection).collect();
    assert_eq!(ipvs::connections_title() + &got, want);
}

/// The corners of `print_largenum`.
#[test]
fn large_numbers_as_ipvsadm() {
    let mut s = sample();
    s.services.truncate(1);
    s.services[0].backends.clear();
    let mut line = |n| {
        s.services[0].counts = Counts {
            conns: n,
            packets: 0,
            bytes: 0,
        };
        render(View::Stats, &s, Color::Off).lines().last().unwrap()[33..42].to_owned()
    };
    for (n, want) in [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (99_999_999_999, "   99999M"),
        (100_000_000_000, "     100G"),
        (99_999_999_999_999, "   99999G"),
        (100_000_000_000_000, "     100T"),
        (u64::MAX, "18446744T"),
    ] {
        assert_eq!(line(n), want);
    }
}

#[test]
fn ipv6_endpoints_are_bracketed_and_masks_are_numbers() {
    let mut s = sample();
    s.services.truncate(1);
    s.services[0].key.addr = "2001:db8::1".parse().unwrap();
    (
        s.services[0].persistence_secs,
        s.services[0].persistence_prefix,
    ) = (50, 64);
    assert!(
        render(View::Services, &s, Color::Off)
            .contains("UDP  [2001:db8::1]:3478 rr persistent 50 mask 64\n")
    );
}

/// `print_service_entry` and `print_sched_flags` of ipvsadm 1.31.
#[test]
fn flags_tunnels_thresholds_and_any_port_as_ipvsadm() {
    let mut s = sample();
    s.services.truncate(1);
    let v = &mut s.services[0];
    (v.key.port, v.key.protocol) = (0, Protocol::Sctp);
    (v.scheduler, v.ops) = (Scheduler::Mh, true);
    v.sched_flags = SchedFlags {
        port: true,
        fallback: true,
    };
    v.persistence_secs = 360;
    let b = &mut v.backends[0];
    b.port = 0;
    b.method = ForwardMethod::Tun(crate::model::Tunnel::Ipip);
    (b.uthreshold, b.lthreshold) = (100, 75);
    let text = render(View::Services, &s, Color::Off);
    let want = "\
SCTP 192.0.2.2:0 mh (mh-fallback,mh-port) persistent 360 ops
  -> 10.0.0.10:0                  Tunnel  1      0          0         \n";
    assert!(text.ends_with(want), "{text}");
    let want = "\
IP Virtual Server version 0.1.0 (size=2097152)
Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n  \
  -> RemoteAddress:Port
SCTP 192.0.2.2:0 mh (mh-fallback,mh-port) persistent 360 ops
  -> 10.0.0.10:0                  100        75         0          0         \n";
    assert_eq!(render(View::Thresholds, &s, Color::Off), want);
    s.services[0].scheduler = Scheduler::Wlc;
    assert!(render(View::Services, &s, Color::Off).contains(":0 wlc persistent"));
}

#[test]
fn a_group_is_one_entry_of_the_checks_and_several_services() {
    let mut s = sample();
    let mut others: Vec<ServiceStatus> = (2..=3)
        .map(|_| ServiceStatus {
            shares_checks: true,
            ..s.services[2].clone()
        })
        .collect();
    (others[0].key.port, others[1].key.port) = (81, 82);
    s.services.append(&mut others);
    for v in &mut s.services[2..] {
        v.group = Some("WEB".to_owned());
    }
    let text = render(View::Health, &s, Color::Off);
    assert!(
        text.contains("TCP 192.0.2.1:80 (group WEB, 3 addresses)"),
        "{text}"
    );
    assert!(!text.contains("192.0.2.1:81"), "{text}");
    let text = render(View::Services, &s, Color::Off);
    assert!(text.contains("TCP  192.0.2.1:81 wrr\n"), "{text}");
    let text = render(View::Overview, &s, Color::Off);
    assert!(text.contains("TCP 192.0.2.1:82 (WEB)"), "{text}");
    let json = serde_json::to_value(part(View::Services, &s)).unwrap();
    assert_eq!(json[4]["group"], "WEB");
}

#[test]
fn overview() {
    insta::assert_snapshot!(render(View::Overview, &sample(), Color::Off));
}

#[test]
fn vrrp() {
    insta::assert_snapshot!(render(View::Vrrp, &sample(), Color::Off));
}

#[test]
fn bfd() {
    insta::assert_snapshot!(render(View::Bfd, &sample(), Color::Off));
}

#[test]
fn health() {
    insta::assert_snapshot!(render(View::Health, &sample(), Color::Off));
}

#[test]
fn reasons() {
    insta::assert_snapshot!(render(View::Reasons { all: false }, &sample(), Color::Off));
    let all = render(View::Reasons { all: true }, &sample(), Color::Off);
    assert!(all.contains("short_header  drop"), "{all}");
}

#[test]
fn colour_changes_no_letter() {
    for view in [
        View::Overview,
        View::Vrrp,
        View::Bfd,
        View::Health,
        View::Reasons { all: true },
    ] {
        let (on, off) = (
            render(view, &sample(), Color::On),
            render(view, &sample(), Color::Off),
        );
        assert!(on.contains("\x1b[1m") && !off.contains('\x1b'));
        let mut plain = String::new();
        for piece in on.split('\x1b') {
            plain += piece
                .split_once('m')
                .filter(|_| piece.starts_with('['))
                .map_or(piece, |(_, rest)| rest);
        }
        assert_eq!(plain, off);
        assert!(off.lines().all(|l| !l.ends_with(' ')), "{off}");
    }
}

#[test]
fn nothing_configured_is_said_in_words() {
    let empty = Status::default();
    for view in [
        View::Vrrp,
        View::Bfd,
        View::Health,
        View::Reasons { all: true },
        View::Overview,
        View::Services,
    ] {
        assert!(render(view, &empty, Color::Off).ends_with('\n'));
    }
}

#[test]
fn json_has_the_parts() {
    let s = sample();
    let json = |view| serde_json::to_value(part(view, &s)).unwrap();
    let services = json(View::Services);
    assert_eq!(services[2]["addr"], "192.0.2.1");
    assert_eq!(services[2]["protocol"], "tcp");
    assert_eq!(services[2]["backends"][0]["effective_weight"], 3);
    assert_eq!(json(View::Vrrp)["instances"][0]["state"], "MASTER");
    let bfd = json(View::Bfd);
    assert_eq!(bfd["sessions"][2]["remote_state"], "admin_down");
    assert_eq!(bfd["refused"][0]["count"], 3);
    assert_eq!(json(View::Health)["checks"].as_array().unwrap().len(), 5);
    let whole = json(View::Overview);
    assert_eq!(serde_json::from_value::<Status>(whole).unwrap(), s);
}

#[test]
fn reloads() {
    let report = |outcome, errors, plan: &[&str]| ReloadReport {
        outcome,
        path: "/etc/lbd/lbd.toml".into(),
        plan: plan.iter().map(ToString::to_string).collect(),
        diagnostics: if errors > 0 {
            "error[E001]: no\n".into()
        } else {
            String::new()
        },
        errors,
        warnings: 1,
    };
    let all = [
        report(
            ReloadOutcome::WouldApply,
            0,
            &["add service TCP 192.0.2.1:80", "add 10.0.0.1:80 weight 1"],
        ),
        report(ReloadOutcome::Applied, 0, &["remove 10.0.0.1:80"]),
        report(ReloadOutcome::Unchanged, 0, &[]),
        report(ReloadOutcome::Refused, 2, &[]),
    ];
    let text: String = all.iter().map(|r| reload::reload(r, Color::Off)).collect();
    insta::assert_snapshot!(text);
}

#[test]
fn spans() {
    for (ms, want) in [
        (0, "0ms"),
        (999, "999ms"),
        (1000, "1s"),
        (1250, "1.25s"),
        (9990, "9.99s"),
        (59_999, "59s"),
        (60_000, "1m"),
        (125_000, "2m 5s"),
        (3_600_000, "1h"),
        (90_061_000, "1d 1h"),
        (u64::MAX, "213503982334d 14h"),
    ] {
        assert_eq!(span(ms), want);
    }
}

#[test]
fn a_check_without_a_port_shows_none_and_one_that_only_hears_never_runs() {
    let mut status = sample();
    let service = status.checks[0].service;
    let mut session = check(service, 10, CheckState::Up);
    (session.kind, session.target_port) = ("BFD_CHECK".into(), 0);
    session.next_in_ms = None;
    let mut ping = check(service, 10, CheckState::Up);
    (ping.kind, ping.target_port) = ("PING_CHECK".into(), 0);
    ping.target = [10, 9, 9, 8].into();
    status.checks = vec![session, ping];
    let shown = super::health::health(&status, Color::Off);
    let line = |kind: &str| {
        let found = shown.lines().find(|l| l.contains(kind));
        let line = found.expect(kind).split_whitespace();
        line.collect::<Vec<_>>().join(" ")
    };
    assert!(line("BFD_CHECK").contains("BFD_CHECK up "), "{shown}");
    assert!(line("BFD_CHECK").ends_with(" -"), "{shown}");
    let want = "PING_CHECK 10.9.9.8 up ";
    assert!(line("PING_CHECK").contains(want), "{shown}");
}
