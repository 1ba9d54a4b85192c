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

fn transport() -> impl Strategy<Value = Transport> {
    let host = (1u32..0x7f00_0000).prop_map(Ipv4Addr::from);
    let limits = (any::<u8>(), any::<u8>());
    let peer = (host, limits).prop_map(|(addr, (a, b))| UnicastPeer {
        addr,
        min_ttl: a.min(b),
        max_ttl: a.max(b),
    });
    let old = prop_oneof![
        Just(OldChecksum::Auto),
        Just(OldChecksum::Always),
        Just(OldChecksum::Never)
    ];
    let unicast = (vec(peer, 0..4), any::<u8>(), any::<bool>(), old);
    prop_oneof![
        Just(Transport::default()),
        (0xe000_0000u32..0xf000_0000).prop_map(|g| Transport::Multicast(g.into())),
        unicast.prop_map(|(mut peers, ttl, check, old_checksum)| {
            peers.sort_by_key(|p| p.addr);
            peers.dedup_by_key(|p| p.addr);
            let limited = peers.iter().any(|p| (p.min_ttl, p.max_ttl) != (0, 255));
            Transport::Unicast(Unicast {
                peers,
                ttl,
                check_source: check || limited,
                old_checksum,
            })
        })
    ]
}

fn user() -> impl Strategy<Value = User> {
    (name(), option::of(name())).prop_map(|(name, group)| User { name, group })
}

/// A command with any arguments. What has no user gets that of `script_user`.
fn script() -> impl Strategy<Value = Script> {
    (
        name(),
        vec(
            prop_oneof![
                name(),
                "[ -~]{0,9}".prop_filter("no placeholder of a template", |s| {
                    !["{{", "{%", "<%"].iter().any(|p| s.contains(p))
                })
            ],
            0..3,
        ),
        option::of(user()),
    )
        .prop_map(|(program, arguments, user)| Script {
            command: [vec![program], arguments].concat(),
            user,
        })
}

fn notify() -> impl Strategy<Value = VrrpNotify> {
    vec(option::weighted(0.2, script()), 7).prop_map(|s| VrrpNotify {
        master: s[0].clone(),
        backup: s[1].clone(),
        fault: s[2].clone(),
        stop: s[3].clone(),
        deleted: s[4].is_some() || s[0].is_some(),
        deleted_script: s[4].clone(),
        any: s[5].clone(),
        master_rx_lower_pri: s[6].clone(),
    })
}

fn vrrp_script() -> impl Strategy<Value = VrrpScript> {
    let time = || secs(4000).prop_map(|d| d.max(Duration::from_millis(10)));
    let counts = (1u32..9, 1u32..9, any::<bool>());
    (name(), script(), time(), option::of(time()), counts).prop_map(
        |(name, script, interval, timeout, (rise, fall, init_fail))| VrrpScript {
            name,
            script,
            interval,
            timeout: timeout.unwrap_or(interval),
            rise,
            fall,
            init_fail,
        },
    )
}

/// Which scripts are tracked, with which weights.
fn tracks() -> impl Strategy<Value = Vec<(i16, bool)>> {
    vec((-253i16..=253, any::<bool>()), 0..3)
}

/// The tracks of somebody: of the first scripts of the model.
fn tracked(scripts: &[VrrpScript], tracks: &[(i16, bool)], weighted: bool) -> Vec<Track> {
    let all = scripts.iter().zip(tracks);
    all.map(|(s, &(weight, reverse))| Track {
        name: s.name.clone(),
        weight: if weighted { weight } else { 0 },
        reverse,
    })
    .collect()
}

fn fifo(path: &'static str) -> impl Strategy<Value = Option<Fifo>> {
    option::of(
        (option::of(user()), option::of(script())).prop_map(|(user, script)| Fifo {
            path: path.to_owned(),
            user,
            script,
        }),
    )
}

/// Every script that has no user has that of `script_user`, as in a model that was read.
fn inherit_user(model: &mut Model) {
    let Some(user) = model.global.script_user.clone() else {
        return;
    };
    let give = |script: &mut Option<Script>| {
        if let Some(s) = script {
            s.user.get_or_insert_with(|| user.clone());
        }
    };
    let notifies = model.instances.iter_mut().map(|i| &mut i.notify);
    for n in notifies.chain(model.sync_groups.iter_mut().map(|g| &mut g.notify)) {
        let VrrpNotify {
            master,
            backup,
            fault,
            stop,
            deleted: _,
            deleted_script,
            any,
            master_rx_lower_pri,
        } = n;
        for s in [
            master,
            backup,
            fault,
            stop,
            deleted_script,
            any,
            master_rx_lower_pri,
        ] {
            give(s);
        }
    }
    for s in &mut model.vrrp_scripts {
        s.script.user.get_or_insert_with(|| user.clone());
    }
    for s in &mut model.services {
        give(&mut s.quorum_up);
        give(&mut s.quorum_down);
        for r in &mut s.real_servers {
            give(&mut r.notify_up);
            give(&mut r.notify_down);
        }
    }
    let Fifos { all, vrrp, lvs } = &mut model.global.fifos;
    for f in [all, vrrp, lvs].into_iter().flatten() {
        f.user.get_or_insert_with(|| user.clone());
        give(&mut f.script);
    }
}

fn garp_groups() -> impl Strategy<Value = Vec<GarpGroup>> {
    vec((vec("[t-z][0-9]", 1..3), secs(9)), 0..3).prop_map(|groups| {
        let mut seen = std::collections::BTreeSet::new();
        let mut out = Vec::new();
        for (mut interfaces, garp_interval) in groups {
            interfaces.retain(|i| seen.insert(i.clone()));
            if !interfaces.is_empty() {
                out.push(GarpGroup {
                    interfaces,
                    garp_interval,
                });
            }
        }
        out
    })
}

fn election() -> impl Strategy<Value = Election> {
    let flags = (any::<bool>(), any::<bool>());
    (1u32..=100, secs(999), flags).prop_map(|(adverts, delay, flags)| Election {
        down_timer_adverts: adverts,
        preempt_delay: delay,
        lower_prio_no_advert: flags.0,
        skip_check_adv_addr: flags.1,
    })
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
            (option::of(ip()), transport(), election(), any::<bool>()),
            vec("[t-z][0-9]", 0..3),
            any::<bool>(),
            notify(),
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
                (
                    addresses,
                    excluded,
                    garp,
                    (mcast_src_ip, transport, mut election, v3_checksum_as_v2),
                    mut track_interfaces,
                    dont_track_primary,
                    notify,
                ),
            )| {
                if initial_master || nopreempt && priority != 255 {
                    election.preempt_delay = Duration::ZERO;
                }
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
                    transport,
                    v3_checksum_as_v2,
                    election,
                    track_interfaces,
                    dont_track_primary,
                    track_scripts: Vec::new(),
                    notify,
                }
            },
        )
}

fn udp() -> impl Strategy<Value = UdpCheck> {
    (
        option::of(vec(any::<u8>(), 1..40)),
        option::of("[0-9A-Fa-fxX ]{0,40}"),
        any::<[u16; 2]>(),
    )
        .prop_map(|(payload, reply, lengths)| UdpCheck {
            payload,
            require_reply: reply.map(|r| Pattern::parse(&r).expect("hexadecimal")),
            min_reply_length: lengths[0].min(lengths[1]),
            max_reply_length: lengths[0].max(lengths[1]),
        })
}

fn regex() -> impl Strategy<Value = HttpRegex> {
    let text = prop_oneof![
        Just("^(up|ok)\\.$".to_owned()),
        Just("a{2,3} [\"'#!]\\d\\<b".to_owned()),
        "[a-zäöü0-9 ./%-]{1,12}"
    ];
    let options = prop::sample::subsequence(RegexOption::ALL.to_vec(), 0..4);
    let offsets = option::of((0u64..900, option::of(0u64..900)));
    (text, options, any::<bool>(), offsets).prop_filter_map(
        "a pattern",
        |(text, options, no_match, offsets)| {
            let (min_offset, more) = offsets.unwrap_or((0, None));
            HttpRegex::new(HttpRegexText {
                text,
                options,
                no_match,
                min_offset,
                max_offset: more.map(|m| min_offset + m),
            })
            .ok()
        },
    )
}

fn url() -> impl Strategy<Value = Url> {
    let code = || (100u16..=599, 0u16..100).prop_map(|(from, n)| (from, (from + n).min(599)));
    (
        "/[!-z|~]{0,20}".prop_filter("no placeholder of a template", |s| !s.contains("<%")),
        option::of("[a-z.:0-9-]{1,12}"),
        vec(code(), 0..4),
        option::of(any::<[u8; 16]>()),
        option::of(regex()),
    )
        .prop_map(|(path, host, codes, digest, regex)| Url {
            path,
            host,
            status: match codes.is_empty() {
                true => StatusCodes::default(),
                false => StatusCodes::from(codes),
            },
            digest: digest.map(HttpDigest),
            regex,
        })
}

fn http() -> impl Strategy<Value = Http> {
    (
        any::<[bool; 3]>(),
        prop::sample::select(HttpVersion::ALL.to_vec()),
        vec(url(), 1..4),
    )
        .prop_map(|([tls, sni, fast_recovery], version, urls)| Http {
            tls,
            sni: sni && tls,
            version,
            fast_recovery,
            urls,
        })
}

fn kind() -> impl Strategy<Value = CheckKind> {
    let dns = (
        0..DnsType::ALL.len(),
        "[a-z0-9_#-]{1,9}(\\.[a-zA-Z]{1,9}){0,2}|\\.",
    );
    let dns = dns.prop_map(|(record, name)| DnsCheck {
        record: DnsType::ALL[record],
        name,
    });
    let smtp = "[ -~]{1,20}".prop_filter("no placeholder of a template", |s| {
        !["{{", "{%", "<%"].iter().any(|p| s.contains(p))
    });
    let smtp = smtp.prop_map(|helo_name| SmtpCheck { helo_name });
    prop_oneof![
        Just(CheckKind::Tcp),
        udp().prop_map(CheckKind::Udp),
        dns.prop_map(CheckKind::Dns),
        Just(CheckKind::Ping),
        smtp.prop_map(CheckKind::Smtp),
        http().prop_map(CheckKind::Http),
    ]
}

fn check() -> impl Strategy<Value = Check> {
    (
        (kind(), ip(), 1u16..),
        (
            option::of(ip()),
            any::<u16>(),
            option::of(interface()),
            any::<u32>(),
        ),
        (timer(), timer(), 0u32..9, secs(9), secs(9)),
        any::<[bool; 2]>(),
    )
        .prop_map(|(to, from, times, [alpha, log_all_failures])| {
            let (kind, addr, port) = to;
            let (bind_addr, bind_port, bind_if, fwmark) = from;
            let (timeout, interval, retry, retry_delay, warmup) = times;
            Check {
                kind,
                addr,
                port,
                bind_addr,
                bind_port,
                bind_if,
                fwmark,
                timeout,
                interval,
                retry,
                retry_delay,
                warmup,
                alpha,
                log_all_failures,
            }
        })
}

fn v6() -> impl Strategy<Value = IpAddr> {
    any::<u128>().prop_map(|n| IpAddr::V6(n.into()))
}

fn tunnel() -> impl Strategy<Value = ForwardMethod> {
    prop_oneof![
        Just(Tunnel::Ipip),
        (1u16.., any::<bool>()).prop_map(|(port, csum)| Tunnel::Gue { port, csum }),
        any::<bool>().prop_map(|csum| Tunnel::Gre { csum }),
    ]
    .prop_map(ForwardMethod::Tun)
}

fn method() -> impl Strategy<Value = ForwardMethod> {
    prop_oneof![Just(ForwardMethod::Dr), tunnel()]
}

fn timeouts() -> impl Strategy<Value = Timeouts> {
    vec(option::of(1u32..=2_678_400), 9).prop_map(|t| Timeouts {
        established: t[0],
        syn_recv: t[1],
        fin_wait: t[2],
        time_wait: t[3],
        close: t[4],
        close_wait: t[5],
        last_ack: t[6],
        udp: t[7],
        sctp: t[8],
    })
}

/// The addresses and ports of a service, the first one its key's: one, or those of a group.
fn members() -> impl Strategy<Value = (bool, Vec<(IpAddr, u16)>)> {
    let port = || prop_oneof![1 => Just(0u16), 4 => any::<u16>()];
    let one = |ip: BoxedStrategy<IpAddr>| (ip, port()).prop_map(|m| (false, vec![m]));
    // Runs of neighbours, so that there are ranges to write.
    let run = |ip: BoxedStrategy<IpAddr>| {
        (ip, port(), 1u8..6).prop_map(|(ip, port, len)| {
            let next = |n: u8| match ip {
                IpAddr::V4(a) => IpAddr::V4(u32::from(a).saturating_add(n.into()).into()),
                IpAddr::V6(a) => IpAddr::V6(u128::from(a).saturating_add(n.into()).into()),
            };
            (0..len).map(|n| (next(n), port)).collect::<Vec<_>>()
        })
    };
    let several = |ip: fn() -> BoxedStrategy<IpAddr>| {
        vec(run(ip()), 1..4).prop_map(|runs| {
            let mut all: Vec<(IpAddr, u16)> = Vec::new();
            for m in runs.concat() {
                if !all.contains(&m) {
                    all.push(m);
                }
            }
            (true, all)
        })
    };
    prop_oneof![
        one(ip().boxed()),
        one(v6().boxed()),
        several(|| ip().boxed()),
        several(|| v6().boxed()),
        several(|| prop_oneof![ip(), v6()].boxed()),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![
        Just(Protocol::Tcp),
        Just(Protocol::Udp),
        Just(Protocol::Sctp)
    ]
}

fn server() -> impl Strategy<Value = RealServer> {
    (
        prop_oneof![ip(), v6()],
        any::<u16>(),
        method(),
        any::<bool>(),
        any::<[u32; 2]>(),
        vec(check(), 0..3).prop_map(|mut all| {
            all.sort_by_key(|c| c.kind.name());
            all
        }),
        vec(option::weighted(0.2, script()), 2),
    )
        .prop_map(
            |(addr, weight, method, inhibit_on_failure, limits, checks, scripts)| RealServer {
                method,
                uthreshold: limits[0].max(limits[1]),
                lthreshold: limits[0].min(limits[1]),
                inhibit_on_failure,
                checks,
                notify_up: scripts[0].clone(),
                notify_down: scripts[1].clone(),
                ..RealServer::new(addr, 0, weight)
            },
        )
}

fn service() -> impl Strategy<Value = Service> {
    let sorry = option::of((prop_oneof![ip(), v6()], method(), any::<bool>()));
    (
        (members(), protocol(), method()),
        prop::sample::select(Scheduler::ALL.to_vec()),
        option::of((1u64..=2_678_400, 1u8..=128)),
        any::<[bool; 9]>(),
        any::<[u32; 2]>(),
        sorry,
        vec(server(), 1..4),
        timeouts(),
        vec(option::weighted(0.2, script()), 2),
    )
        .prop_map(
            |(
                ((grouped, members), protocol, method),
                scheduler,
                persistence,
                flags,
                quorum,
                sorry,
                servers,
                timeouts,
                scripts,
            )| {
                let keys: Vec<ServiceKey> = members
                    .iter()
                    .map(|&(addr, port)| ServiceKey {
                        addr,
                        port,
                        protocol,
                    })
                    .collect();
                let key = keys[0];
                let one_family = keys.iter().all(|k| k.addr.is_ipv4() == key.addr.is_ipv4());
                let any_port = keys.iter().any(|k| k.port == 0);
                let bits = if key.addr.is_ipv4() { 32 } else { 128 };
                // What a server of another family needs.
                let way = |addr: IpAddr, method: ForwardMethod| {
                    let same = one_family && addr.is_ipv4() == key.addr.is_ipv4();
                    match method {
                        ForwardMethod::Dr if !same => ForwardMethod::Tun(Tunnel::Ipip),
                        method => method,
                    }
                };
                let mut real_servers: Vec<RealServer> = Vec::new();
                for r in servers {
                    if !real_servers.iter().any(|o| o.addr == r.addr) {
                        real_servers.push(RealServer {
                            port: key.port,
                            method: way(r.addr, r.method),
                            ..r
                        });
                    }
                }
                let total = real_servers
                    .iter()
                    .map(|r| u32::from(r.weight))
                    .sum::<u32>()
                    .max(1);
                let q = quorum[0] % total + 1;
                let hashes = matches!(scheduler, Scheduler::Sh | Scheduler::Mh);
                Service {
                    group: grouped.then(|| Group {
                        name: String::new(),
                        others: keys[1..].to_vec(),
                    }),
                    scheduler,
                    sched_flags: SchedFlags {
                        port: flags[4] && hashes,
                        fallback: flags[5] && hashes,
                    },
                    method,
                    ops: flags[6] && protocol == Protocol::Udp,
                    timeouts,
                    expire_nodest_conn: flags[7],
                    expire_quiescent_template: flags[8],
                    persistence: persistence.or(any_port.then_some((360, 128))).map(
                        |(secs, len)| Persistence {
                            timeout: Duration::from_secs(secs),
                            prefix_len: len.min(bits),
                        },
                    ),
                    sloppy: flags[0],
                    alpha: flags[1],
                    omega: flags[2],
                    quorum_up: scripts[0].clone(),
                    quorum_down: scripts[1].clone(),
                    quorum: q,
                    hysteresis: quorum[1] % q,
                    sorry_server: sorry.map(|(addr, method, inhibit)| SorryServer {
                        addr,
                        port: key.port,
                        method: way(addr, method),
                        inhibit,
                    }),
                    ha_suspend: flags[3],
                    real_servers,
                    ..Service::new(key)
                }
            },
        )
        .prop_filter("persistence is for one family", |s| {
            let same = |k: ServiceKey| k.addr.is_ipv4() == s.key.addr.is_ipv4();
            s.persistence.is_none() || s.keys().all(same)
        })
}

fn model() -> impl Strategy<Value = Model> {
    let global = (
        option::of(name()),
        (secs(9), secs(9), garp_groups()),
        any::<bool>(),
        timeouts(),
        option::of(any::<u32>()),
        (option::of(user()), any::<[bool; 2]>()),
        (fifo("/run/a"), fifo("/run/b c"), fifo("relative")),
    )
        .prop_map(
            |(
                router_id,
                garp,
                log_unknown_vrids,
                timeouts,
                flood_rate,
                (script_user, flags),
                fifos,
            )| Global {
                router_id,
                startup_delay: garp.0,
                garp_interval: garp.1,
                garp_groups: garp.2,
                log_unknown_vrids,
                timeouts,
                flood_rate,
                script_user,
                script_security: flags[0],
                fifos: Fifos {
                    all: fifos.0,
                    vrrp: fifos.1,
                    lvs: fifos.2,
                },
                fifo_states_on_reload: flags[1],
            },
        );
    (
        global,
        vec(instance(), 0..4),
        vec(service(), 0..4),
        vec(name(), 4),
        any::<bool>(),
        notify(),
        (vec(vrrp_script(), 0..3), tracks(), tracks(), any::<bool>()),
    )
        .prop_map(
            |(
                global,
                all,
                offered,
                names,
                grouped,
                notify,
                (mut vrrp_scripts, own, of_group, tracking_weight),
            )| {
                vrrp_scripts.sort_by(|a, b| a.name.cmp(&b.name));
                vrrp_scripts.dedup_by(|a, b| a.name == b.name);
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
                for (mut s, name) in offered.into_iter().zip(names) {
                    if let Some(g) = &mut s.group {
                        if services
                            .iter()
                            .any(|o| o.group.as_ref().is_some_and(|g| g.name == name))
                        {
                            continue;
                        }
                        g.name = name;
                    }
                    let clash = |o: &Service| o.keys().any(|k| s.keys().any(|l| k == l));
                    if services.iter().any(clash) {
                        continue;
                    }
                    // The same group again, for another protocol.
                    let other = Protocol::Sctp;
                    let again = (s.group.is_some() && s.key.protocol == Protocol::Tcp).then(|| {
                        let key = |k: ServiceKey| ServiceKey {
                            protocol: other,
                            ..k
                        };
                        let mut again = s.clone();
                        again.key = key(again.key);
                        if let Some(g) = &mut again.group {
                            g.others = g.others.iter().copied().map(key).collect();
                        }
                        again
                    });
                    services.push(s);
                    services.extend(again.filter(|a| {
                        let clash = |o: &Service| o.keys().any(|k| a.keys().any(|l| k == l));
                        !services.iter().any(clash)
                    }));
                }
                let members: Vec<String> = instances.iter().map(|i| i.name.clone()).collect();
                if grouped {
                    instances
                        .iter_mut()
                        .filter(|i| i.priority != 255)
                        .for_each(|i| i.initial_master = false);
                }
                for i in &mut instances {
                    let weighted = i.priority != 255 && (!grouped || tracking_weight);
                    i.track_scripts = tracked(&vrrp_scripts, &own, weighted);
                }
                let sync_groups = if grouped && !members.is_empty() {
                    vec![SyncGroup {
                        name: "G 1".to_owned(),
                        members,
                        track_scripts: tracked(&vrrp_scripts, &of_group, true),
                        tracking_weight,
                        // Groups have fewer.
                        notify: VrrpNotify {
                            deleted: false,
                            deleted_script: None,
                            master_rx_lower_pri: None,
                            ..notify
                        },
                    }]
                } else {
                    Vec::new()
                };
                let mut model = Model {
                    global,
                    vrrp_scripts,
                    instances,
                    sync_groups,
                    services,
                };
                inherit_user(&mut model);
                model
            },
        )
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
