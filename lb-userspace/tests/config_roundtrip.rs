//! A model written as keepalived.conf or TOML and read again is the same model.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lb_userspace::config::{self, MemoryFiles, Options, Severity};
use lb_userspace::model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn there_and_back(model: &Model) {
    for (path, text) in [
        ("m.conf", config::to_keepalived(model)),
        ("m.toml", config::to_toml(model)),
    ] {
        let l = config::load(path, &MemoryFiles::one(path, &text), &Options::default());
        assert_eq!(l.count(Severity::Error), 0, "{}\n{text}", l.render(false));
        assert_eq!(
            l.model.as_ref(),
            Some(model),
            "{path}\n{text}\n{}",
            l.render(false)
        );
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z][A-Za-z0-9_.-]{0,12}",
        "[ -~]{1,16}".prop_filter("no placeholder of a template", |s| !s.contains("{{")
            && !s.contains("{%")
            && !s.contains("<%")),
        "[а-яäöü ]{1,6}",
    ]
}

fn interface() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.]{0,10}"
}

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn ip() -> impl Strategy<Value = IpAddr> {
    v4().prop_map(IpAddr::V4)
}

fn secs(max: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..=max).prop_map(Duration::from_secs),
        (1..=max * 1_000_000).prop_map(Duration::from_micros)
    ]
}

fn timer() -> impl Strategy<Value = Duration> {
    secs(4000).prop_map(|d| d.max(Duration::from_micros(1)))
}

fn address() -> impl Strategy<Value = VirtualAddress> {
    let brd = prop_oneof![
        Just(None),
        v4().prop_map(|a| Some(Broadcast::Addr(a))),
        Just(Some(Broadcast::HostBitsSet)),
        Just(Some(Broadcast::HostBitsClear))
    ];
    (
        ip(),
        0u8..=32,
        option::of(interface()),
        option::of("[a-z]{1,5}:[0-9]{1,3}"),
        brd,
        any::<u8>(),
    )
        .prop_map(
            |(addr, prefix_len, dev, label, broadcast, scope)| VirtualAddress {
                addr,
                prefix_len: if matches!(
                    broadcast,
                    Some(Broadcast::HostBitsSet | Broadcast::HostBitsClear)
                ) {
                    prefix_len.min(30)
                } else {
                    prefix_len
                },
                dev,
                label,
                broadcast,
                scope,
            },
        )
}

fn whole() -> impl Strategy<Value = Duration> {
    (0u64..100).prop_map(Duration::from_secs)
}

fn instance() -> impl Strategy<Value = VrrpInstance> {
    let version = prop_oneof![
        (
            Just(VrrpVersion::V2),
            (1u64..=255).prop_map(Duration::from_secs)
        ),
        (
            Just(VrrpVersion::V3),
            (1u64..=4095).prop_map(|c| Duration::from_millis(c * 10))
        )
    ];
    let auth = prop_oneof![Just(Auth::None), vec(1u8.., 1..=8).prop_map(Auth::Pass)];
    let garp = (whole(), 1u32..9, whole(), 1u32..9, whole(), 0u32..9);
    (
        (
            name(),
            interface(),
            1u8..,
            1u8..,
            any::<bool>(),
            version,
            auth,
            any::<bool>(),
        ),
        (
            vec(address(), 1..4),
            vec(address(), 0..3),
            garp,
            option::of(ip()),
            vec("[t-z][0-9]", 0..3),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(
                (
                    name,
                    interface,
                    virtual_router_id,
                    priority,
                    initial_master,
                    (version, advert_int),
                    auth,
                    nopreempt,
                ),
                (addresses, excluded, garp, mcast_src_ip, mut track_interfaces, dont_track_primary),
            )| {
                track_interfaces.sort();
                track_interfaces.dedup();
                track_interfaces.retain(|t| *t != interface);
                VrrpInstance {
                    nopreempt: nopreempt && !initial_master && priority != 255,
                    auth: if version == VrrpVersion::V3 {
                        Auth::None
                    } else {
                        auth
                    },
                    name,
                    interface,
                    virtual_router_id,
                    priority,
                    initial_master,
                    version,
                    advert_int,
                    addresses,
                    excluded,
                    garp_master_delay: garp.0,
                    garp_master_repeat: garp.1,
                    garp_master_refresh: garp.2,
                    garp_master_refresh_repeat: garp.3,
                    garp_lower_prio_delay: garp.4,
                    garp_lower_prio_repeat: garp.5,
                    mcast_src_ip,
                    track_interfaces,
                    dont_track_primary,
                }
            },
        )
}

fn check() -> impl Strategy<Value = Check> {
    (
        ip(),
        1u16..,
        option::of(ip()),
        any::<u16>(),
        option::of(interface()),
        (timer(), timer(), 0u32..9, secs(9), secs(9)),
        any::<bool>(),
    )
        .prop_map(
            |(
                addr,
                port,
                bind_addr,
                bind_port,
                bind_if,
                (timeout, interval, retry, retry_delay, warmup),
                alpha,
            )| Check {
                kind: CheckKind::Tcp,
                addr,
                port,
                bind_addr,
                bind_port,
                bind_if,
                timeout,
                interval,
                retry,
                retry_delay,
                warmup,
                alpha,
            },
        )
}

fn service() -> impl Strategy<Value = Service> {
    let server = (ip(), any::<u16>(), any::<bool>(), vec(check(), 0..3));
    let sorry = option::of((ip(), any::<bool>()));
    let persistence =
        option::of(
            (1u64..=2_678_400, 1u8..=32).prop_map(|(s, prefix_len)| Persistence {
                timeout: Duration::from_secs(s),
                prefix_len,
            }),
        );
    (
        (
            ip(),
            1u16..,
            prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)],
        ),
        prop_oneof![
            Just(Scheduler::Rr),
            Just(Scheduler::Wrr),
            Just(Scheduler::Sh)
        ],
        persistence,
        any::<[bool; 4]>(),
        any::<[u32; 2]>(),
        sorry,
        vec(server, 1..4),
    )
        .prop_map(
            |((addr, port, protocol), scheduler, persistence, flags, quorum, sorry, servers)| {
                let mut real_servers: Vec<RealServer> = Vec::new();
                for (addr, weight, inhibit_on_failure, checks) in servers {
                    if !real_servers.iter().any(|r| r.addr == addr) {
                        real_servers.push(RealServer {
                            inhibit_on_failure,
                            checks,
                            ..RealServer::new(addr, port, weight)
                        });
                    }
                }
                let total = real_servers
                    .iter()
                    .map(|r| u32::from(r.weight))
                    .sum::<u32>()
                    .max(1);
                let q = quorum[0] % total + 1;
                Service {
                    scheduler,
                    persistence,
                    sloppy: flags[0],
                    alpha: flags[1],
                    omega: flags[2],
                    quorum: q,
                    hysteresis: quorum[1] % q,
                    sorry_server: sorry.map(|(addr, inhibit)| SorryServer {
                        addr,
                        port,
                        method: ForwardMethod::Dr,
                        inhibit,
                    }),
                    ha_suspend: flags[3],
                    real_servers,
                    ..Service::new(ServiceKey {
                        addr,
                        port,
                        protocol,
                    })
                }
            },
        )
}

fn model() -> impl Strategy<Value = Model> {
    let global =
        (option::of(name()), any::<bool>(), any::<bool>()).prop_map(|(router_id, a, b)| Global {
            router_id,
            higher_prio_send_advert: a,
            skip_check_adv_addr: b,
            ..Global::default()
        });
    (
        global,
        vec(instance(), 0..4),
        vec(service(), 0..4),
        any::<bool>(),
    )
        .prop_map(|(global, all, offered, grouped)| {
            let mut instances: Vec<VrrpInstance> = Vec::new();
            for i in all {
                let clash = |o: &VrrpInstance| {
                    o.name == i.name
                        || (o.interface == i.interface
                            && o.virtual_router_id == i.virtual_router_id)
                };
                if !instances.iter().any(clash) {
                    instances.push(i);
                }
            }
            let mut services: Vec<Service> = Vec::new();
            for s in offered {
                if !services.iter().any(|o| o.key == s.key) {
                    services.push(s);
                }
            }
            let members: Vec<String> = instances.iter().map(|i| i.name.clone()).collect();
            if grouped {
                instances
                    .iter_mut()
                    .filter(|i| i.priority != 255)
                    .for_each(|i| i.initial_master = false);
            }
            let sync_groups = if grouped && !members.is_empty() {
                vec![SyncGroup {
                    name: "G 1".to_owned(),
                    members,
                }]
            } else {
                Vec::new()
            };
            Model {
                global,
                instances,
                sync_groups,
                services,
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_model_survives_both_formats(m in model()) {
        there_and_back(&m);
    }
}

#[test]
fn the_examples_survive_both_formats_and_say_nothing() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).expect("examples") {
        let path = entry.expect("an entry").path().display().to_string();
        if !path.ends_with(".conf") && !path.ends_with(".toml") {
            continue;
        }
        let l = config::load(
            &path,
            &lb_userspace::io::files::RealFiles,
            &Options::default(),
        );
        assert_eq!(
            l.count(Severity::Error) + l.count(Severity::Warning),
            0,
            "{}",
            l.render(false)
        );
        there_and_back(&l.model.expect("a model"));
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} examples");
}
