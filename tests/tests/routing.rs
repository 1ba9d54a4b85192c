//! Virtual and static routes, rules and addresses beside keepalived's.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{pause, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);
const VIRTUAL: &str = "  virtual_routes {
    src 10.77.0.100 to 198.51.100.0/24 via 10.77.0.21 dev eth0
    198.51.101.0/24 dev eth0 no_track
    198.51.102.0/24 nexthop via 10.77.0.21 dev eth0 nexthop via 10.77.0.22 dev eth0 weight 2
    blackhole 198.51.103.0/24
    default gw 10.77.0.21 table 100
    198.51.104.0/24 via 10.77.0.21 dev eth0 metric 7 mtu 1400
    198.51.105.0/24 via 10.77.0.21 dev eth0 append
    2001:db8:99::/64 dev eth0
    blackhole 2001:db8:98::/48
    2001:db8:96::/64 nexthop via fe80::21 dev eth0 nexthop via fe80::22 dev eth0 weight 2
    2001:db8:95::/64 via fe80::21 dev eth0
    2001:db8:95::/64 via fe80::22 dev eth0
  }
  virtual_rules {
    from 198.51.100.0/24 table 100 preference 500
    to 198.51.101.0/24 fwmark 0x10/0xff iif eth0 table 100 preference 501
    to 2001:db8:99::/64 table 100 preference 502
    from 198.51.102.0/24 table 100
  }
";
/// How many those are, the last two of the routes being one to the kernel, and the addresses.
const VIRTUALS: usize = 15 + ADDRESSES.len();
/// Virtual addresses with words that few need. (keepalived does not take one of IPv4 with a `peer` away.)
const ADDRESSES: [&str; 7] = [
    "203.0.113.1/24 dev eth0 noprefixroute",
    "203.0.113.3 dev eth0 scope link no_track",
    "2001:db8:97::1/64 dev eth0 home mngtmpaddr",
    "2001:db8:97::2/64 dev eth0 preferred_lft 0 noprefixroute",
    "2001:db8:97::3/128 dev eth0 preferred_lft forever",
    "2001:db8:97::4/128 dev eth0",
    "2001:db8:97::5 peer 2001:db8:97::85 dev eth0",
];
const PROMOTE: &str = "net/ipv4/conf/eth0/promote_secondaries";
const IGMP: &str = "net/ipv4/igmp_link_local_mcast_reports";
/// What the host itself has for packets for which it gets a virtual route.
const OWN: [&str; 2] = [
    "198.51.104.0/24 via 10.77.0.23 metric 7",
    "198.51.105.0/24 via 10.77.0.23",
];
/// Its four are there whoever is master.
const STATICS: usize = 4;
const STATIC: &str = "static_ipaddress {
  10.99.0.1/24 dev eth0
  10.99.0.5/24 dev eth0
}
static_routes {
  198.51.110.0/24 via 10.99.0.2 dev eth0
}
static_rules {
  from 10.99.0.0/24 table 110 preference 600
}
";

/// A route that cannot be set at first.
const GROUP: &str = "
track_group G {
  group {
    VI_1
  }
}
static_routes {
  198.51.111.0/24 via 10.98.0.2 dev eth0 track_group G
}
";

fn conf(kinds: [Kind; 2]) -> Spec {
    let mut conf = PairConf::http(2, ADVERT);
    let addresses = ADDRESSES.map(|a| format!("    {a}\n")).concat();
    conf.instance_lines = format!(
        "  promote_secondaries\n{VIRTUAL}  virtual_ipaddress_excluded {{\n{addresses}  }}\n"
    );
    conf.global_lines = "  disable_local_igmp\n".to_owned();
    let mut spec = Spec::pair(&conf, kinds);
    for text in &mut spec.confs {
        *text = text.replacen("vrrp_instance", &format!("{STATIC}\nvrrp_instance"), 1);
    }
    spec
}

fn lab(kinds: [Kind; 2]) -> Result<Lab> {
    let lab = Lab::new(&conf(kinds))?;
    for (i, director) in lab.directors.iter().enumerate() {
        director.host.ns.allow_ipv6("eth0")?;
        director.host.ns.sysctl(PROMOTE, "0")?;
        director.host.ns.sysctl(IGMP, "1")?;
        for route in OWN {
            ip(&lab, i, &format!("route add {route}"))?;
        }
    }
    Ok(lab)
}

fn ip(lab: &Lab, director: usize, arguments: &str) -> Result<String> {
    let path = lab.directors[director].host.ns.path();
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={path}")).arg("ip");
    let out = command
        .args(arguments.split(' '))
        .output()
        .context("nsenter")?;
    ensure!(
        out.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// What the daemon of a director has set, without who says so.
fn found(lab: &Lab, director: usize) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    let mut text = String::new();
    for family in ["-4", "-6"] {
        text += &ip(lab, director, &format!("-o {family} route show table all"))?;
        text += &ip(lab, director, &format!("{family} rule show"))?;
    }
    for line in text.lines() {
        let line = line.replace("proto keepalived", "proto 76");
        if line.contains("proto 76") {
            let words: Vec<&str> = line.split_whitespace().collect();
            all.insert(
                words
                    .join(" ")
                    .replace(" proto 76", "")
                    .replace(" linkdown", "")
                    // As `ip route` has it; keepalived leaves it at global.
                    .replace(" scope link", ""),
            );
        }
    }
    let addresses = lab.directors[director].host.ns.addresses("eth0")?;
    let fixed = addresses.iter().filter(|(a, _)| a.octets()[1] == 99);
    all.extend(fixed.map(|(a, len)| format!("{a}/{len}")));
    let shown = ip(lab, director, "-o address show dev eth0")?;
    let lines = shown
        .lines()
        .filter(|l| l.contains(" 203.0.113.") || l.contains(" 2001:db8:97:"));
    all.extend(lines.map(|line| {
        let words: Vec<&str> = line.split_whitespace().skip(2).collect();
        words.join(" ").replace("\\ ", "")
    }));
    Ok(all)
}

fn wait_count(lab: &Lab, director: usize, count: usize) -> Result<BTreeSet<String>> {
    let what = format!("{count} routes, rules and addresses of {director}");
    let done = || {
        found(lab, director)
            .map(|f| (f.len() == count).then_some(f))
            .transpose()
    };
    let all = wait_for(&what, LIMIT, done);
    all.with_context(|| format!("{:?}\n{}", found(lab, director), lab.logs()))?
}

/// The router of packets for which the host has a route of its own.
fn ways(lab: &Lab) -> Result<Vec<String>> {
    let way = |to| {
        let line = ip(lab, 0, &format!("route get {to}"))?;
        let mut words = line.split_whitespace().skip_while(|w| *w != "via");
        words.nth(1).map(str::to_owned).context(line.clone())
    };
    ["198.51.104.1", "198.51.105.1"]
        .into_iter()
        .map(way)
        .collect()
}

/// What a daemon sets while it runs.
fn settings(lab: &Lab) -> Result<Vec<String>> {
    let ns = &lab.directors[0].host.ns;
    let read = |path| Ok(ns.read_sysctl(path)?.trim().to_owned());
    [PROMOTE, IGMP].into_iter().map(read).collect()
}

#[test]
fn a_master_has_the_routes_and_rules_that_keepalived_gives_it() -> Result<()> {
    let mut seen = Vec::new();
    for kind in [Kind::Keepalived, Kind::Lbd] {
        let mut lab = lab([kind; 2])?;
        lab.directors[0].start()?;
        seen.push(wait_count(&lab, 0, VIRTUALS + STATICS)?);
        // Before what the host has, or after it.
        assert_eq!(ways(&lab)?, ["10.77.0.21", "10.77.0.23"], "{kind:?}");
        assert_eq!(settings(&lab)?, ["1", "0"], "{kind:?}");
        lab.directors[0].terminate()?;
        lab.directors[0].wait_stopped(LIMIT)?;
        assert_eq!(found(&lab, 0)?, BTreeSet::new(), "{kind:?} leaves nothing");
        assert_eq!(ways(&lab)?, ["10.77.0.23"; 2], "{kind:?}");
        assert_eq!(settings(&lab)?, ["0", "1"], "{kind:?}");
        lab.finish()?;
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}

#[test]
fn what_is_taken_away_comes_back_and_goes_with_the_role() -> Result<()> {
    let mut lab = lab([Kind::Lbd, Kind::Keepalived])?;
    lab.start_directors()?;
    let all = wait_count(&lab, 0, VIRTUALS + STATICS)?;
    wait_count(&lab, 1, STATICS)?;
    ip(&lab, 0, "rule del preference 500")?;
    ip(&lab, 0, "route del 198.51.102.0/24")?;
    ip(&lab, 0, "route del 198.51.101.0/24")?;
    ip(
        &lab,
        0,
        "-6 route del 2001:db8:96::/64 nexthop via fe80::22 dev eth0",
    )?;
    ip(
        &lab,
        0,
        "-6 route del 2001:db8:95::/64 nexthop via fe80::22 dev eth0",
    )?;
    let mut kept = all.clone();
    kept.retain(|line| !line.starts_with("198.51.101.0/24"));
    assert_eq!(kept.len(), VIRTUALS + STATICS - 1);
    let is_back = || {
        found(&lab, 0)
            .map(|f| (f == kept).then_some(()))
            .transpose()
    };
    let is_back = wait_for("all but one to be back", LIMIT, is_back);
    is_back.with_context(|| format!("{:?}\n{}", found(&lab, 0), lab.logs()))??;
    // Killed and started again: it goes on, and what is no longer wanted goes.
    lab.directors[0].kill()?;
    for stray in [
        "route add 198.51.120.0/24 dev eth0 proto 76",
        "-6 route add 2001:db8:97::/64 dev eth0 proto 76",
        "route add 198.51.100.0/24 dev eth0 metric 9 proto 76",
        "rule add from 198.51.100.0/24 table 100 preference 499 proto 76",
        // Beside somebody's own, whose protocol the kernel shows.
        "-6 route add 2001:db8:94::/64 via fe80::23 dev eth0 proto static",
        "-6 route append 2001:db8:94::/64 via fe80::24 dev eth0 proto 76",
    ] {
        ip(&lab, 0, stray)?;
    }
    let left = found(&lab, 0)?.len();
    assert_eq!(left, VIRTUALS + STATICS + 3, "{:?}", found(&lab, 0)?);
    lab.directors[0].start()?;
    assert_eq!(wait_count(&lab, 0, VIRTUALS + STATICS)?, all);
    pause(ADVERT)?;
    assert_eq!(found(&lab, 0)?, all, "{}", lab.logs());
    let shared = ip(&lab, 0, "-6 route show 2001:db8:94::/64")?;
    assert!(
        shared.contains("via fe80::23 dev eth0 proto static"),
        "{shared}"
    );
    let logs = lab.logs();
    assert!(
        logs.contains(" 5 route(s) or rule(s) that are not wanted"),
        "{logs}"
    );
    // Another set, and back.
    let before = conf([Kind::Lbd; 2]).confs;
    let after = before[0]
        .replace("nexthop via 10.77.0.21 dev eth0 nexthop", "")
        .replace("preference 500", "preference 510")
        .replace(
            "static_routes {\n",
            "static_routes {\n  198.51.112.0/24 dev gone\n",
        )
        .replace("    blackhole 198.51.103.0/24\n", "")
        .replace(
            "198.51.110.0/24 via 10.99.0.2",
            "198.51.111.0/24 via 10.99.0.2",
        )
        .replace(
            "10.99.0.1/24 dev eth0",
            "10.99.0.1/24 dev eth0 label eth0:st track_group G",
        )
        .replace(
            "via 10.99.0.2 dev eth0",
            "via 10.99.0.2 dev eth0 track_group G",
        )
        + "\ntrack_group G {\n  group {\n    VI_1\n  }\n}\n";
    let reload = |text: &str| {
        lab.directors[0].write_conf(text)?;
        let done = lab.directors[0].lbctl(&["reload"])?;
        ensure!(done.status.success(), "{done:?}");
        found(&lab, 0)
    };
    let other = reload(&after)?;
    let new: BTreeSet<String> = other.difference(&all).cloned().collect();
    assert_eq!((other.len(), new.len()), (all.len() - 1, 3), "{new:?}");
    // The address of a tracked group, set anew under another label, was never missed.
    let labelled = ip(&lab, 0, "-o address show label eth0:st")?;
    assert!(labelled.contains(" 10.99.0.1/24 "), "{labelled}");
    let shown = lab.directors[0].lbctl(&["show", "vrrp"])?;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for line in [
        "route to 198.51.104.0/24 metric 7 mtu 1400 via 10.77.0.21 dev eth0\n",
        "route to 198.51.112.0/24 dev gone CANNOT BE SET: no interface gone\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert_eq!(reload(&before[0])?, all);
    let log = lab.directors[0].log();
    let missed =
        |l: &&str| l.contains("FAULT") || l.contains("10.99.0.") && l.contains("taken away");
    assert_eq!(log.lines().find(missed), None, "{log}");
    // Another word behind an address: it is set anew, and nobody else did it.
    reload(&before[0].replace(
        "203.0.113.1/24 dev eth0",
        "203.0.113.1/24 dev eth0 label eth0:w",
    ))?;
    wait_for("the label", LIMIT, || {
        let shown = ip(&lab, 0, "addr show dev eth0");
        shown
            .map(|s| s.contains("eth0:w").then_some(()))
            .transpose()
    })??;
    lab.directors[0].terminate()?;
    lab.directors[0].wait_stopped(LIMIT)?;
    let log = lab.directors[0].log();
    assert!(!log.contains("by another program"), "{log}");
    lab.directors[0].write_conf(&before[0])?;
    assert_eq!(found(&lab, 0)?, BTreeSet::new());
    assert_eq!(
        settings(&lab)?,
        ["0", "1"],
        "also of the one that was killed"
    );
    assert_eq!(wait_count(&lab, 1, VIRTUALS + STATICS)?, all);
    // Back again: the one has them, the other has not.
    lab.directors[0].start()?;
    wait_count(&lab, 1, STATICS)?;
    assert_eq!(wait_count(&lab, 0, VIRTUALS + STATICS)?, all);
    lab.finish()
}

#[test]
fn without_the_interface_of_a_route_or_a_static_route_an_instance_is_in_fault() -> Result<()> {
    for kind in [Kind::Lbd, Kind::Keepalived] {
        let mut conf = PairConf::http(3, Duration::from_millis(100));
        conf.services.clear();
        conf.instance_lines = "  virtual_routes {\n    198.51.100.0/24 dev side\n  }\n".to_owned();
        let mut spec = Spec::pair(&conf, [kind, Kind::Lbd]);
        let grouped = kind == Kind::Lbd;
        if grouped {
            spec.confs[0] += GROUP;
        }
        let mut lab = Lab::new(&spec)?;
        for i in 0..2 {
            ip(&lab, i, "link add side type veth peer name other")?;
            ip(&lab, i, "link set other up")?;
            ip(&lab, i, "link set side up")?;
        }
        lab.start_directors()?;
        let routes = |want: [usize; 2]| {
            let what = format!("{want:?} routes");
            let on = |i| Ok::<_, anyhow::Error>(found(&lab, i)?.len());
            wait_for(&what, LIMIT, || {
                let both = on(0).and_then(|a| Ok([a, on(1)?]));
                both.map(|b| (b == want).then_some(())).transpose()
            })
            .with_context(|| lab.logs())?
        };
        if grouped {
            // Until there is a way to the router of the static route.
            routes([0, 1])?;
            let log = lab.directors[0].log();
            assert!(log.contains("tracked static group G"), "{log}");
            ip(&lab, 0, "address add 10.98.0.1/24 dev eth0")?;
        }
        let fixed = usize::from(grouped);
        routes([fixed + 1, 0])?;
        ip(&lab, 0, "link set side down")?;
        routes([fixed, 1])?;
        ip(&lab, 0, "link set side up")?;
        routes([fixed + 1, 0])?;
        lab.finish()?;
    }
    Ok(())
}
