//! Interfaces that come late, go, come back, are renamed or replaced while the daemon runs.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, pause, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_tests::namespace::Mac;
use lb_tests::recorder::{Frame, What};
use lb_userspace::control::status::VrrpState;
use lb_userspace::model::Protocol;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_millis(100);
const REQUESTS: u32 = 20;

fn ip(lab: &Lab, director: usize, arguments: &str) -> Result<()> {
    let path = lab.directors[director].host.ns.path();
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={path}")).arg("ip");
    let out = command.args(arguments.split(' ')).output()?;
    ensure!(out.status.success(), "ip {arguments}: {out:?}");
    Ok(())
}

fn conf(lines: &str) -> PairConf {
    let mut conf = PairConf::http(3, ADVERT);
    conf.instance_lines = lines.to_owned();
    conf
}

/// On which links of a director the virtual address is.
fn places(lab: &Lab, director: usize) -> Result<Vec<String>> {
    let ns = &lab.directors[director].host.ns;
    let mut places = Vec::new();
    for link in ns.links()? {
        if ns.addresses(&link)?.iter().any(|(a, _)| *a == lab.vip()) {
            places.push(link);
        }
    }
    Ok(places)
}

/// A director alone has the virtual address, on this link, and forwards to every real server.
fn wait_sole(lab: &Lab, director: usize, link: &str) -> Result<()> {
    let what = format!("the address on {link} of {director} alone");
    wait_for(&what, LIMIT, || {
        let both = places(lab, director).and_then(|a| Ok((a, places(lab, 1 - director)?)));
        match both {
            Ok((here, there)) => (here == [link] && there.is_empty()).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    })
    .with_context(|| format!("{:?} {:?}\n{}", places(lab, 0), places(lab, 1), lab.logs()))??;
    if lab.directors[director].kind == Kind::Lbd && !lab.topology.ports.is_empty() {
        let to = lab.service(Protocol::Tcp)?;
        let all = || {
            let got = load::requests(&lab.client.ns, to, REQUESTS, Duration::from_millis(300));
            (got.answered() == u64::from(REQUESTS)).then_some(())
        };
        wait_for("every request to be answered", LIMIT, all).with_context(|| lab.logs())?;
        ensure!(lab.director_resets(Instant(0)).is_empty(), "{}", lab.logs());
    }
    Ok(())
}

/// `lbd` says that its first instance is in FAULT, for a reason with these words.
fn wait_fault(lab: &Lab, director: usize, words: &str) -> Result<()> {
    lab.directors[director].wait_status(words, LIMIT, |status| {
        let first = status.vrrp.first()?;
        (first.state == VrrpState::Fault && first.last_transition.as_ref()?.reason.contains(words))
            .then_some(())
    })
}

#[test]
fn an_interface_that_comes_late_and_is_replaced() -> Result<()> {
    for (kinds, lines, link) in [
        ([Kind::Lbd, Kind::Lbd], "", "eth0"),
        ([Kind::Lbd, Kind::Keepalived], "", "eth0"),
        ([Kind::Lbd, Kind::Lbd], "  use_vmac\n", "vrrp.62"),
    ] {
        let mut lab = Lab::new(&Spec::pair(&conf(lines), kinds))?;
        lab.switch.unplug(&lab.directors[0].host)?;
        lab.start_directors()?;
        wait_fault(&lab, 0, "eth0")?;
        wait_sole(&lab, 1, link)?;
        for _ in 0..2 {
            lab.switch.replug(&mut lab.directors[0].host, true)?;
            wait_sole(&lab, 0, link)?;
            // Gone for long, and for no time at all.
            lab.switch.unplug(&lab.directors[0].host)?;
            wait_sole(&lab, 1, link)?;
            lab.switch.replug(&mut lab.directors[0].host, true)?;
            wait_sole(&lab, 0, link)?;
            lab.switch.unplug(&lab.directors[0].host)?;
        }
        lab.switch.replug(&mut lab.directors[0].host, true)?;
        wait_sole(&lab, 0, link)?;
        assert!(
            !lab.directors[0].log().contains("taken off"),
            "{}",
            lab.logs()
        );
        lab.finish()?;
    }
    Ok(())
}

#[test]
fn a_renamed_interface_is_gone_and_keeps_nothing() -> Result<()> {
    let lines = "  mcast_src_ip 10.77.0.77\n  track_src_ip\n";
    let mut spec = Spec::pair(&conf(""), [Kind::Lbd, Kind::Keepalived]);
    let with_source = Spec::pair(&conf(lines), [Kind::Lbd; 2]);
    spec.confs[0].clone_from(&with_source.confs[0]);
    let mut lab = Lab::new(&spec)?;
    lab.start_directors()?;
    wait_fault(&lab, 0, "source address 10.77.0.77")?;
    wait_sole(&lab, 1, "eth0")?;
    ip(&lab, 0, "link add side type veth peer name far")?;
    ip(&lab, 0, "address add 10.77.0.77/32 dev side")?;
    wait_sole(&lab, 0, "eth0")?;
    // Nobody follows this one, and it has the address under either name.
    ip(&lab, 0, "link set side name aside")?;
    for _ in 0..2 {
        ip(&lab, 0, "link set eth0 name old0")?;
        wait_fault(&lab, 0, "eth0")?;
        wait_sole(&lab, 1, "eth0")?;
        ip(&lab, 0, "link set old0 name eth0")?;
        wait_sole(&lab, 0, "eth0")?;
    }
    // And back before anybody has looked.
    ip(&lab, 0, "link set eth0 name old0")?;
    ip(&lab, 0, "link set old0 name eth0")?;
    wait_sole(&lab, 0, "eth0")?;
    // Another one has the name.
    ip(&lab, 0, "link set eth0 name old0")?;
    ip(&lab, 0, "link add eth0 type veth peer name other")?;
    ip(&lab, 0, "link set eth0 up")?;
    wait_sole(&lab, 1, "eth0")?;
    wait_fault(&lab, 0, "eth0")?;
    ip(&lab, 0, "link del eth0")?;
    ip(&lab, 0, "link set old0 name eth0")?;
    wait_sole(&lab, 0, "eth0")?;
    let log = lab.directors[0].log();
    assert_eq!(log.matches("FAULT: source address").count(), 1, "{log}");
    ip(&lab, 0, "link del aside")?;
    wait_fault(&lab, 0, "source address 10.77.0.77")?;
    wait_sole(&lab, 1, "eth0")?;
    lab.finish()
}

#[test]
fn an_interface_that_is_missing_is_the_fault_of_its_instance_alone() -> Result<()> {
    const SIDE: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 100);
    let mut spec = Spec::pair(&conf(""), [Kind::Lbd; 2]);
    let second = format!(
        "\nvrrp_instance SIDE {{\n  interface side\n  virtual_router_id 7\n  version 3\n  advert_int 0.1\n  \
         virtual_ipaddress {{\n    {SIDE}\n  }}\n}}\n"
    );
    spec.confs[0] += &second;
    let mut lab = Lab::new(&spec)?;
    let director = 0;
    lab.directors[director].start()?;
    wait_sole(&lab, 0, "eth0")?;
    let states = |lab: &Lab, wanted: [VrrpState; 2]| {
        lab.directors[director].wait_status(&format!("{wanted:?}"), LIMIT, |status| {
            let found: Vec<_> = status.vrrp.iter().map(|v| v.state).collect();
            (found == wanted).then(|| status.clone())
        })
    };
    let before = states(&lab, [VrrpState::Master, VrrpState::Fault])?;
    for _ in 0..2 {
        ip(&lab, 0, "link add side type veth peer name other")?;
        ip(&lab, 0, "address add 10.88.0.1/24 dev side")?;
        ip(&lab, 0, "link set other up")?;
        ip(&lab, 0, "link set side up")?;
        let status = states(&lab, [VrrpState::Master, VrrpState::Master])?;
        let on = status.data_plane.interfaces.iter();
        let on: Vec<_> = on
            .filter(|i| i.program_id != 0)
            .map(|i| i.name.as_str())
            .collect();
        assert_eq!(on, ["eth0", "side"], "MASTER only with the program");
        ip(&lab, 0, "link del side")?;
        states(&lab, [VrrpState::Master, VrrpState::Fault])?;
    }
    let after = states(&lab, [VrrpState::Master, VrrpState::Fault])?;
    assert_eq!(
        before.vrrp[0].became_master,
        after.vrrp[0].became_master,
        "the other one is untouched\n{}",
        lab.logs()
    );
    wait_sole(&lab, 0, "eth0")?;
    lab.finish()
}

/// Gratuitous ARPs for the address that came from this MAC since then.
fn announced(lab: &Lab, addr: Ipv4Addr, from: Mac, since: Instant) -> usize {
    let frames = lab.recorder.since(since);
    let is_one =
        |f: &&Frame| matches!(f.what, What::Arp { spa, tpa, .. } if spa == addr && tpa == addr);
    frames
        .iter()
        .filter(|f| f.src == from)
        .filter(is_one)
        .count()
}

#[test]
fn switches_hear_of_the_other_interfaces_from_time_to_time() -> Result<()> {
    const SIDE: Mac = Mac([2, 0, 0, 0, 0x77, 1]);
    const VIRTUAL: Mac = Mac([0, 0, 0x5e, 0, 1, 62]);
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 101);
    for kind in [Kind::Lbd, Kind::Keepalived] {
        for (lines, addr, mac) in [
            ("  garp_extra_if all 1\n", OTHER, SIDE),
            (
                "  use_vmac\n  vmac_xmit_base\n  garp_extra_if 1\n",
                Ipv4Addr::new(10, 77, 0, 100),
                VIRTUAL,
            ),
        ] {
            // Its firewall keeps what it sends on the macvlan.
            if (kind, mac) == (Kind::Keepalived, VIRTUAL) {
                continue;
            }
            let mut conf = conf(&format!(
                "  garp_master_refresh 3600\n  garp_master_repeat 1\n  garp_master_delay 0\n{lines}  \
                 virtual_ipaddress_excluded {{\n    {OTHER} dev side\n  }}\n"
            ));
            conf.services.clear();
            let mut lab = Lab::new(&Spec::pair(&conf, [kind; 2]))?;
            ip(
                &lab,
                0,
                &format!("link add side link eth0 address {SIDE} type macvlan"),
            )?;
            ip(&lab, 0, "link set side up")?;
            lab.directors[0].start()?;
            let heard = |since, count: usize| {
                let what = format!("{count} for {addr} from {mac}, {kind}");
                let done = || (announced(&lab, addr, mac, since) >= count).then_some(());
                wait_for(&what, LIMIT, done).with_context(|| lab.logs())
            };
            // The one with which it comes, and then one a second.
            heard(Instant(0), 1)?;
            let since = Instant::now();
            heard(since, 3)?;
            let took = Instant::now().since(since);
            assert!(
                (Duration::from_secs(2)..Duration::from_secs(6)).contains(&took),
                "{took:?}"
            );
            lab.finish()?;
        }
    }
    Ok(())
}

#[test]
fn a_link_that_is_down_for_a_moment_changes_nothing() -> Result<()> {
    for kind in [Kind::Lbd, Kind::Keepalived] {
        let mut conf = conf("");
        conf.advert = Duration::from_secs(1);
        conf.services.clear();
        let mut spec = Spec::pair(&conf, [kind, Kind::Lbd]);
        let delays = "interface_up_down_delays {\n  eth0 1\n}\n";
        spec.confs[0] =
            spec.confs[0].replacen("vrrp_instance", &format!("{delays}vrrp_instance"), 1);
        let mut lab = Lab::new(&spec)?;
        lab.start_directors()?;
        wait_sole(&lab, 0, "eth0")?;
        let port = &lab.directors[0].host.port;
        lab.switch.port_down(port)?;
        pause(Duration::from_millis(500))?;
        lab.switch.port_up(port)?;
        pause(Duration::from_millis(1500))?;
        let log = lab.directors[0].log();
        assert!(!log.to_lowercase().contains("fault"), "{log}");
        lab.switch.port_down(port)?;
        wait_for("a fault", LIMIT, || {
            let log = lab.directors[0].log().to_lowercase();
            log.contains("fault").then_some(())
        })
        .with_context(|| lab.logs())?;
        lab.finish()?;
    }
    Ok(())
}

#[test]
fn no_igmp_reports_for_local_groups_while_the_daemon_runs() -> Result<()> {
    const REPORTS: &str = "net/ipv4/igmp_link_local_mcast_reports";
    let mut conf = conf("");
    conf.services.clear();
    conf.global_lines = "  disable_local_igmp\n".to_owned();
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Lbd; 2]))?;
    let read = |lab: &Lab| lab.directors[0].host.ns.read_sysctl(REPORTS);
    assert_eq!(read(&lab)?, "1");
    lab.directors[0].start()?;
    wait_for("it to be off", LIMIT, || {
        read(&lab).map(|v| (v == "0").then_some(())).transpose()
    })??;
    lab.directors[0].terminate()?;
    lab.directors[0].wait_stopped(LIMIT)?;
    assert_eq!(read(&lab)?, "1");
    lab.finish()
}
