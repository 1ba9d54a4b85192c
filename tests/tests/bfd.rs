//! BFD: ours and keepalived's with each other, what VRRP and checks make of it, and what others send.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind, Process};
use lb_tests::lab::{Lab, Real, Spec};
use lb_tests::random::Random;
use lb_tests::switch::Host;
use lb_userspace::bfd::{Diag, PORT, Packet, SOURCE_PORTS, State};
use lb_userspace::control::status::{BfdStatus, Status, VrrpState};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);
const PING: Duration = Duration::from_millis(2);
const ADVERT: Duration = Duration::from_millis(100);
/// Three times 50 ms, as all sessions here have it.
const DETECTION: Duration = Duration::from_millis(150);
/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(150);

/// A session from `here` to `there`.
fn session(name: &str, here: Ipv4Addr, there: Ipv4Addr, lines: &str) -> String {
    format!(
        "bfd_instance {name} {{\n  neighbor_ip {there}\n  source_ip {here}\n  min_rx 50\n  min_tx 50\n  \
         multiplier 3\n{lines}}}\n"
    )
}

fn first(list: &[(Ipv4Addr, u8)]) -> Result<Ipv4Addr> {
    list.first().map(|(a, _)| *a).context("an address")
}

/// A pair whose first director follows its session `router` with the spare host, and that host's
/// address and the director's.
fn spec(kind: Kind, track: &str) -> Result<(Spec, Ipv4Addr, Ipv4Addr)> {
    let mut conf = PairConf::http(3, ADVERT);
    conf.services.clear();
    let mut spec = Spec::pair(&conf, [kind, Kind::Lbd]);
    spec.spare = true;
    let plan = spec.topology.plan()?;
    let (director, router) = (first(&plan.directors[0])?, first(&plan.spare)?);
    let tracks = format!("  track_bfd {{\n    router {track}\n  }}\n  virtual_ipaddress");
    spec.confs[0] = session("router", director, router, "")
        + &spec.confs[0].replace("  virtual_ipaddress", &tracks);
    Ok((spec, director, router))
}

/// The spare host as a router with a session to the first director.
fn router(lab: &mut Lab, kind: Kind, conf: &str) -> Result<Director> {
    let host = lab.spare.take().context("a spare host")?;
    let beside = |path: &Path| path.parent().map(|p| p.join("router"));
    let dir = beside(&lab.directors[0].control());
    let pins = beside(lab.directors[0].pins());
    let (dir, pins) = dir.zip(pins).context("directories")?;
    Director::new(host, kind, conf, &dir, &pins)
}

fn bfd(status: &Status) -> Option<&BfdStatus> {
    status.bfd.first()
}

/// The first director hands over when its router is not reached any more, and takes back.
fn follow(kinds: [Kind; 2], track: &str, takeover: Duration) -> Result<()> {
    println!("{kinds:?} {track}");
    let (spec, here, there) = spec(kinds[0], track)?;
    let mut lab = Lab::new(&spec)?;
    let conf = session("director", there, here, "");
    let mut router = router(&mut lab, kinds[1], &conf)?;
    router.start()?;
    lab.start_directors()?;
    let ping = lab.ping(lab.vip(), PING)?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)
        .with_context(|| format!("{}\n{}", lab.logs(), router.log_tail()))?;
    // A session begins with intervals of a second.
    for (kind, speaker) in kinds.iter().zip([&mut lab.directors[0], &mut router]) {
        if *kind == Kind::Lbd {
            speaker.wait_status("the agreed intervals", LIMIT, |s| {
                let b = bfd(s)?;
                (b.interval_us == Some(50_000) && b.detection_us == 150_000).then_some(())
            })?;
        }
    }
    let second = lab.directors[1].host.mac;
    let at = Instant::now();
    lab.switch.cut(&router.host.port)?;
    if kinds[0] == Kind::Lbd {
        lab.directors[0].wait_status("the end of the session", LIMIT, |s| {
            (bfd(s)?.counts_as_up == Some(false)).then_some(())
        })?;
        let took = Instant::now().since(at);
        println!("  missed after {took:?}");
        ensure!(took <= DETECTION + SLACK, "{took:?}");
        // What was under way when the cable was cut, and the last packet's interval before it.
        ensure!(took >= DETECTION - Duration::from_millis(55), "{took:?}");
    }
    let answered = ping
        .wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)
        .with_context(|| lab.logs())?;
    let took = answered.since(at);
    println!("  handed over after {took:?}");
    ensure!(took <= DETECTION + takeover + SLACK, "{took:?}");
    if kinds[0] == Kind::Lbd {
        let status = lab.directors[0].status()?;
        let (b, v) = (bfd(&status).context("a session")?, &status.vrrp[0]);
        assert_eq!(b.diagnostic, "control detection time expired");
        assert_eq!((b.state, b.came_up, b.went_down), (State::Down, 1, 1));
        match track {
            "" => assert_eq!(v.state, VrrpState::Fault),
            _ => assert_eq!((v.state, v.effective_priority), (VrrpState::Backup, 50)),
        }
    }
    lab.switch.plug(&router.host.port)?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)
        .with_context(|| lab.logs())?;
    drop(ping);
    drop(router);
    lab.finish()
}

#[test]
fn an_instance_follows_its_session_whoever_speaks_with_whom() -> Result<()> {
    // The skew of priority 99.
    let skew = ADVERT * 157 / 256;
    for kinds in [
        [Kind::Lbd, Kind::Keepalived],
        [Kind::Keepalived, Kind::Lbd],
        [Kind::Lbd, Kind::Lbd],
    ] {
        follow(kinds, "", skew)?;
    }
    // The other one waits until the better one would have been heard.
    follow(
        [Kind::Lbd, Kind::Keepalived],
        "weight -50",
        3 * ADVERT + skew,
    )
}

/// The real-time priority of a thread of a process (field 40 of its `stat`).
fn real_time_priority(pid: u32, thread: &str) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        let field = fields.split_whitespace().nth(40 - 3)?;
        (name == thread).then(|| field.parse().ok()).flatten()
    })
}

/// The CPUs that a thread of a process may run on, as the kernel lists them.
fn cpus(pid: u32, thread: &str) -> Option<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|l| Some(l.strip_prefix(name)?.trim().to_owned()))
        };
        (field("Name:")? == thread).then(|| field("Cpus_allowed_list:"))?
    })
}

/// Other intervals while the session is up: keepalived is asked, and the session goes on.
/// Threads go to the CPUs that they are given.
#[test]
fn a_reload_keeps_the_session_and_changes_its_intervals() -> Result<()> {
    let (spec, here, there) = spec(Kind::Lbd, "")?;
    let mut lab = Lab::new(&spec)?;
    let conf = session("director", there, here, "");
    let mut router = router(&mut lab, Kind::Keepalived, &conf)?;
    router.start()?;
    let director = &mut lab.directors[0];
    director.start()?;
    let up = |interval: u64, detection: u64| {
        move |s: &Status| {
            let b = bfd(s)?;
            let right = b.interval_us == Some(interval) && b.detection_us == detection;
            let up = b.state == State::Up && s.vrrp[0].state == VrrpState::Master;
            (right && up).then(|| b.clone())
        }
    };
    let before = director.wait_status("the session", LIMIT, up(50_000, 150_000))?;
    let pid = director.pid().context("its process")?;
    assert_eq!(real_time_priority(pid, "bfd"), Some(1));
    let anywhere = cpus(pid, "lbd");
    let threads = ["vrrp", "bfd", "lbd-checks"];
    assert!(threads.iter().all(|t| cpus(pid, t) == anywhere));
    let slower = spec.confs[0]
        .replace(
            "global_defs {",
            "global_defs {\n  bfd_rt_priority 7\n  vrrp_cpu_affinity 0 1023\n  \
             bfd_cpu_affinity 0\n  checker_cpu_affinity 0",
        )
        .replace("min_tx 50", "min_tx 120.5")
        .replace("min_rx 50", "min_rx 80");
    director.write_conf(&slower)?;
    director.signal(Signal::SIGHUP)?;
    let after = director.wait_status("slower", LIMIT, up(120_500, 240_000))?;
    assert_eq!(after.discriminator, before.discriminator);
    assert_eq!(real_time_priority(pid, "bfd"), Some(7));
    assert!(threads.iter().all(|t| cpus(pid, t).as_deref() == Some("0")));
    assert_eq!(cpus(pid, "lbd"), anywhere);
    director.write_conf(&spec.confs[0])?;
    director.signal(Signal::SIGHUP)?;
    let after = director.wait_status("as before", LIMIT, up(50_000, 150_000))?;
    assert_eq!(after.discriminator, before.discriminator);
    assert_eq!((after.came_up, after.went_down), (1, 0));
    assert!(threads.iter().all(|t| cpus(pid, t) == anywhere));
    assert!(!router.log().contains("Entering Down"), "{}", router.log());
    // Followed by nobody, then gone.
    let track = spec.confs[0].find("  track_bfd").context("the track")?;
    let end = spec.confs[0]
        .find("  virtual_ipaddress")
        .context("the end")?;
    let alone = [&spec.confs[0][..track], &spec.confs[0][end..]].concat();
    director.write_conf(&alone)?;
    director.signal(Signal::SIGHUP)?;
    director.wait_status("a reload", LIMIT, |s| (s.config.reloads == 3).then_some(()))?;
    let again = bfd(&director.status()?).cloned().context("a session")?;
    assert_eq!(again.discriminator, before.discriminator);
    assert_eq!((again.state, again.went_down), (State::Up, 0));
    let block = alone.find("}\n").context("its end")? + 2;
    director.write_conf(&alone[block..])?;
    director.signal(Signal::SIGHUP)?;
    director.wait_status("no session", LIMIT, |s| {
        (s.bfd.is_empty() && s.vrrp[0].state == VrrpState::Master).then_some(())
    })?;
    drop(router);
    lab.finish()
}

/// keepalived with a session to the director and nothing else, on a real server.
fn neighbour(real: &Real, conf: &str, dir: &Path) -> Result<Process> {
    let file = |what: &str| dir.join(format!("{}.{what}", real.name()));
    std::fs::write(file("conf"), conf)?;
    let mut command = Command::new("keepalived");
    command
        .args(["-n", "-l", "-D", "-P", "-f"])
        .arg(file("conf"));
    for (flag, what) in [
        ("-p", "pid"),
        ("-r", "vrrp"),
        ("-c", "check"),
        ("-b", "bfd"),
    ] {
        command.arg(flag).arg(file(what));
    }
    Process::start(&real.host.ns, command, &file("log"))
}

#[test]
fn a_real_server_leaves_the_pool_with_its_session_and_returns() -> Result<()> {
    let mut spec = Spec::pair(&PairConf::http(2, Duration::from_secs(1)), [Kind::Lbd; 2]);
    let plan = spec.topology.plan()?;
    let here = first(&plan.directors[0])?;
    let servers: Vec<Ipv4Addr> = plan.reals.iter().map(|(a, _)| *a).collect();
    // The third one by IPv6.
    let v6: [IpAddr; 2] = ["fd77::10".parse()?, "fd77::23".parse()?];
    let times = "  min_rx 50\n  min_tx 50\n  multiplier 3\n";
    let mut text = session("rs1", here, servers[0], "") + &session("rs2", here, servers[1], "");
    text += &format!("bfd_instance rs3 {{\n  neighbor_ip {}\n{times}}}\n", v6[1]);
    let vip = spec.topology.vips[0];
    text += &format!(
        "virtual_server {vip} 5300 {{\n  lb_algo rr\n  lb_kind DR\n  protocol UDP\n  alpha\n"
    );
    for (n, server) in servers.iter().enumerate() {
        let name = n + 1;
        text += &format!(
            "  real_server {server} 5300 {{\n    BFD_CHECK {{\n      name rs{name}\n    }}\n  }}\n"
        );
    }
    spec.confs[0] += &(text + "}\n");
    let mut lab = Lab::new(&spec)?;
    for (host, addr) in [(&lab.directors[0].host, v6[0]), (&lab.reals[2].host, v6[1])] {
        host.ns.allow_ipv6("eth0")?;
        host.ns.add_address("eth0", addr, 64)?;
    }
    let dir = tempfile::tempdir()?;
    let mut neighbours = Vec::new();
    for (n, real) in lab.reals.iter().enumerate() {
        let conf = match n {
            2 => format!("bfd_instance d {{\n  neighbor_ip {}\n{times}}}\n", v6[0]),
            _ => session("d", servers[n], here, ""),
        };
        neighbours.push(neighbour(real, &conf, dir.path())?);
    }
    lab.directors[0].start()?;
    let wait = |lab: &Lab, want: [bool; 3]| {
        let what = format!("servers {want:?}");
        lab.directors[0].wait_status(&what, LIMIT, |s| {
            let service = s.services.iter().find(|s| s.key.port == 5300)?;
            let listed = service.backends.iter().map(|b| b.listed);
            let up = s.checks.iter().filter(|c| c.kind == "BFD_CHECK");
            let up = up.map(|c| c.last_result.as_deref() == Some("ok"));
            (listed.eq(want) && up.eq(want)).then_some(())
        })
    };
    wait(&lab, [true; 3])?;
    lab.directors[0].wait_status("the agreed intervals", LIMIT, |s| {
        let mut all = s.bfd.iter();
        all.all(|b| b.detection_us == 150_000).then_some(())
    })?;
    for n in [1, 2] {
        let mut want = [true; 3];
        want[n] = false;
        let at = Instant::now();
        lab.switch.cut(&lab.reals[n].host.port)?;
        wait(&lab, want)?;
        let took = Instant::now().since(at);
        println!("server {n} has left after {took:?}");
        ensure!(took <= DETECTION + 2 * SLACK, "{took:?}");
        lab.switch.plug(&lab.reals[n].host.port)?;
        wait(&lab, [true; 3])?;
    }
    let shown = lab.directors[0].lbctl(&["show", "bfd"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert_eq!(shown.matches(" Up ").count(), 6, "{shown}");
    drop(neighbours);
    lab.finish()
}

/// The spare host as a neighbour that is driven by hand.
struct ByHand {
    socket: UdpSocket,
    to: Ipv4Addr,
}

impl ByHand {
    fn new(host: &Host, to: Ipv4Addr) -> Result<ByHand> {
        let from = first(&host.addresses)?;
        let socket = host.ns.call(move || UdpSocket::bind((from, 50_000)))?;
        socket.set_ttl(255)?;
        Ok(ByHand { socket, to })
    }

    fn send(&self, payload: &[u8]) -> Result<()> {
        self.socket.send_to(payload, (self.to, PORT))?;
        Ok(())
    }
}

#[test]
fn what_others_send_is_counted_and_changes_nothing() -> Result<()> {
    let (spec, here, there) = spec(Kind::Lbd, "")?;
    let mut lab = Lab::new(&spec)?;
    lab.directors[0].start()?;
    let spare = lab.spare.as_ref().context("a spare host")?;
    let by_hand = ByHand::new(spare, here)?;
    let stranger = ByHand::new(&lab.client, here)?;
    // What the director sends.
    let heard = spare.ns.call(move || UdpSocket::bind((there, PORT)))?;
    heard.set_read_timeout(Some(LIMIT))?;
    let mut buffer = [0; 100];
    let (length, from) = heard.recv_from(&mut buffer)?;
    let (first, _) = Packet::parse(&buffer[..length]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    assert_eq!((first.state, first.min_tx), (State::Down, 1_000_000));
    assert_eq!(from.ip(), IpAddr::V4(here));
    assert!(SOURCE_PORTS.contains(&from.port()), "{from}");
    // A neighbour that need not be heard for long.
    let good = Packet {
        diag: Diag::NONE,
        state: State::Down,
        poll: false,
        last: false,
        demand: false,
        multiplier: 255,
        my_discriminator: 77,
        your_discriminator: 0,
        min_tx: 1_000_000,
        min_rx: 1_000_000,
    };
    by_hand.send(&good.emit())?;
    let known = |state| Packet {
        state,
        your_discriminator: first.my_discriminator,
        ..good
    };
    by_hand.send(&known(State::Init).emit())?;
    let last = Packet {
        last: true,
        ..known(State::Up)
    };
    by_hand.send(&last.emit())?;
    let is_up = |s: &Status| {
        let b = bfd(s)?;
        let up = b.state == State::Up && b.received == 3 && s.vrrp[0].state == VrrpState::Master;
        (up && b.came_up == 1 && b.went_down == 0).then_some(())
    };
    let director = &lab.directors[0];
    director.wait_status("the session", LIMIT, is_up)?;
    let (down, up) = (good.emit(), known(State::Up).emit());
    let with = |at: usize, value: u8| {
        let mut packet = up;
        packet[at] = value;
        packet.to_vec()
    };
    let mut want = BTreeMap::new();
    let cases: Vec<(&str, Vec<u8>, u32, &ByHand)> = vec![
        ("length", up[..23].to_vec(), 255, &by_hand),
        ("length", with(3, 25), 255, &by_hand),
        ("version", with(0, 0), 255, &by_hand),
        ("detect_mult", with(2, 0), 255, &by_hand),
        ("multipoint", with(1, up[1] | 1), 255, &by_hand),
        (
            "my_discriminator",
            Packet {
                my_discriminator: 0,
                ..good
            }
            .emit()
            .to_vec(),
            255,
            &by_hand,
        ),
        (
            "your_discriminator",
            Packet {
                state: State::Up,
                ..good
            }
            .emit()
            .to_vec(),
            255,
            &by_hand,
        ),
        ("poll_final", with(1, up[1] | 0x30), 255, &by_hand),
        ("authentication", with(1, up[1] | 4), 255, &by_hand),
        ("ttl", down.to_vec(), 254, &by_hand),
        ("ttl", down.to_vec(), 1, &by_hand),
        ("unknown_session", down.to_vec(), 255, &stranger),
        (
            "unknown_session",
            Packet {
                your_discriminator: first.my_discriminator ^ 1,
                ..known(State::Down)
            }
            .emit()
            .to_vec(),
            255,
            &by_hand,
        ),
    ];
    for (reason, payload, ttl, who) in cases {
        who.socket.set_ttl(ttl)?;
        for _ in 0..10 {
            who.send(&payload)?;
            *want.entry(reason.to_owned()).or_insert(0) += 1;
        }
        who.socket.set_ttl(255)?;
    }
    director.wait_status("everything to be counted", LIMIT, |s| {
        let counted = s.bfd_refused.iter().map(|d| (d.reason.clone(), d.count));
        (counted.collect::<BTreeMap<_, u64>>() == want).then_some(())
    })?;
    ensure!(
        is_up(&director.status()?).is_some(),
        "{}",
        director.log_tail()
    );
    let mut random = Random::new(1);
    for _ in 0..20_000 {
        let length = random.figure() % 64;
        let payload: Vec<u8> = (0..length).map(|_| random.figure() as u8).collect();
        by_hand.send(&payload)?;
    }
    // It still hears what is said, in order.
    by_hand.socket.set_ttl(254)?;
    by_hand.send(&down)?;
    let ttl = want["ttl"];
    wait_for("the last one", LIMIT, || {
        by_hand.send(&down).ok()?;
        let refused = director.status().ok()?.bfd_refused;
        let found = refused.iter().find(|d| d.reason == "ttl")?;
        (found.count > ttl).then_some(())
    })?;
    ensure!(
        is_up(&director.status()?).is_some(),
        "{}",
        director.log_tail()
    );
    // The neighbour's operator takes it down: nobody acts on that.
    by_hand.socket.set_ttl(255)?;
    by_hand.send(&known(State::AdminDown).emit())?;
    director.wait_status("AdminDown", LIMIT, |s| {
        let b = bfd(s)?;
        (b.remote_state == State::AdminDown && b.state == State::Down).then_some(())
    })?;
    let status = director.status()?;
    assert_eq!(bfd(&status).and_then(|b| b.counts_as_up), Some(true));
    assert_eq!(status.vrrp[0].state, VrrpState::Master);
    lab.finish()
}
