//! Path MTU discovery on either side of the directors, for either version, direct routing and each
//! tunnel: two links of 1400 bytes where hosts believe in 1500.
//!
//! ```text
//! far ==1400== router ── switch ── client
//!                          │ └───────────────┐ answers
//!                      directors ==1400== real servers
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::backend::Backend;
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_tests::namespace::Namespace;
use lb_tests::switch::{Host, Switch};
use lb_tests::topology::Port;
use lb_tests::transfer::{download, path_mtu, upload};
use lb_userspace::model::Protocol;

use super::prepared::prepare;
use super::{ADVERT, BYTES, LIMIT, counted, start, virtual_server};

/// The MTU of the narrow links.
const NARROW: u32 = 1400;

/// How each real server gets its packets.
const REALS: [&str; 5] = ["DR", "ipip", "gue", "gre", "ipip"];

/// Of each service: the IP version, the real server, the version in which that gets its packets, and
/// the longest packet for which the director's narrow link has room.
const SERVICES: [(u8, usize, u8, u32); 10] = [
    (4, 0, 4, 1400),
    (4, 1, 4, 1380),
    (4, 2, 4, 1368),
    (4, 3, 4, 1376),
    (4, 4, 6, 1360),
    (6, 0, 6, 1400),
    (6, 1, 6, 1360),
    (6, 2, 6, 1348),
    (6, 3, 6, 1356),
    (6, 4, 4, 1380),
];

const PORT: u16 = 80;
const FAR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// The real server's address on the narrow link, by which directors reach it.
const fn real(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, 0, 21 + i as u8)
}

const fn vip(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + i as u8)
}

/// The address of a host in a version of IP; the same numbers stand in both.
fn of_version(version: u8, addr: Ipv4Addr) -> IpAddr {
    let [_, net, _, last] = addr.octets().map(u16::from);
    match version {
        4 => addr.into(),
        _ => Ipv6Addr::new(0xfd00 | net, 0, 0, 0, 0, 0, 0, last).into(),
    }
}

fn add_v6(ns: &Namespace, link: &str, addr: Ipv4Addr) -> Result<()> {
    ns.allow_ipv6(link)?;
    ns.add_address(link, of_version(6, addr), 64)
}

/// The virtual addresses of the services for which `f` says so.
fn vips(f: impl Fn(u8, usize) -> bool) -> Vec<IpAddr> {
    let services = SERVICES.iter().enumerate();
    let services = services.filter(|(_, (version, real, _, _))| f(*version, *real));
    services
        .map(|(i, (version, ..))| of_version(*version, vip(i)))
        .collect()
}

fn spec() -> Spec {
    let mut conf = PairConf::http(2, ADVERT);
    conf.services.clear();
    conf.vips = (0..SERVICES.len())
        .filter(|i| SERVICES[*i].0 == 4)
        .map(vip)
        .collect();
    let six = vips(|version, _| version == 6);
    let six: String = six.iter().map(|vip| format!("    {vip}/128\n")).collect();
    conf.instance_lines = format!("  virtual_ipaddress_excluded {{\n{six}  }}\n");
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    for (i, (version, server, outer, _)) in SERVICES.iter().enumerate() {
        let vip = of_version(*version, vip(i));
        let text = virtual_server(
            vip,
            PORT,
            "TCP",
            REALS[*server],
            &[of_version(*outer, real(*server))],
        );
        spec.confs.iter_mut().for_each(|conf| conf.push_str(&text));
    }
    spec.topology.reals = (0..REALS.len())
        .map(|i| Ipv4Addr::new(10, 77, 0, 21 + i as u8))
        .collect();
    spec.topology.ports = vec![Port {
        vip: vip(0),
        port: PORT,
        protocol: Protocol::Tcp,
    }];
    spec.spare = true;
    spec
}

/// What the lab does not have by itself; the links are gone with their hosts.
struct Around {
    far: Host,
    _switches: [Switch; 2],
    _cables: Vec<lb_tests::switch::Port>,
}

fn around(lab: &Lab) -> Result<Around> {
    let router = lab.spare.as_ref().context("the spare host")?;
    let directors = lab.directors.iter().map(|d| &d.host);
    let hosts = directors.chain(lab.reals.iter().map(|r| &r.host));
    for host in hosts.chain([&lab.client, router]) {
        add_v6(&host.ns, "eth0", host.address())?;
    }
    let mut behind = Switch::another(1)?;
    let far = behind.host("far", "eth0", &[(FAR, 24)], false)?;
    behind.cable(&router.ns, "eth1", &[(ROUTER, 24)], false)?;
    add_v6(&far.ns, "eth0", FAR)?;
    add_v6(&router.ns, "eth1", ROUTER)?;
    router.ns.set_mtu("eth1", NARROW)?;
    router.ns.sysctl("net/ipv4/ip_forward", "1")?;
    router.ns.sysctl("net/ipv6/conf/all/forwarding", "1")?;

    let mut between = Switch::another(2)?;
    let mut cables = Vec::new();
    for (i, director) in lab.directors.iter().enumerate() {
        let addr = Ipv4Addr::new(10, 88, 0, 10 + i as u8);
        let ns = &director.host.ns;
        cables.push(between.cable(ns, "eth1", &[(addr, 24)], true)?.1);
        add_v6(ns, "eth1", addr)?;
        ns.set_mtu("eth1", NARROW)?;
    }
    for (i, server) in lab.reals.iter().enumerate() {
        let ns = &server.host.ns;
        cables.push(between.cable(ns, "eth1", &[(real(i), 24)], false)?.1);
        add_v6(ns, "eth1", real(i))?;
        ns.allow_ipv6("lo")?;
        // What comes in by one link is answered by the other.
        for scope in ["all", "eth1"] {
            ns.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
    }
    for version in [4, 6] {
        far.ns.default_route(of_version(version, ROUTER))?;
        for server in &lab.reals {
            let via = of_version(version, router.address());
            server.host.ns.default_route(via)?;
        }
    }
    Ok(Around {
        far,
        _switches: [behind, between],
        _cables: cables,
    })
}

#[test]
fn each_side_learns_the_mtu_of_a_narrow_link() -> Result<()> {
    let mut lab = Lab::new(&spec())?;
    let around = around(&lab)?;
    let prepared = prepare(&mut lab, &["lo", "eth0", "eth1"], |i| {
        let vips: Vec<_> = vips(|_, real| real == i)
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut arguments = vec!["--vip".to_owned(), vips.join(",")];
        if REALS[i] != "DR" {
            let tunnel = ["--tun", REALS[i], "--iface", "eth1"];
            arguments.extend(tunnel.map(str::to_owned));
        }
        arguments
    })?;
    let mut backends = Vec::new();
    for real in &lab.reals {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let ports = vec![(any, Protocol::Tcp)];
        backends.push(Backend::serve(&real.host.ns, real.name(), ports)?);
    }
    let ping = start(&mut lab)?;
    for (i, (version, server, outer, mtu)) in SERVICES.into_iter().enumerate() {
        let what = format!("IPv{version} by {} over IPv{outer}", REALS[server]);
        let to = SocketAddr::new(of_version(version, vip(i)), PORT);
        wait_for(&format!("{what} to be served"), LIMIT, || {
            let once = Duration::from_millis(300);
            (load::requests(&lab.client.ns, to, 1, once).answered() == 1).then_some(())
        })
        .with_context(|| lab.logs())?;
        // The director tells the client; the router tells the real server, to which the director
        // hands it on.
        let far = of_version(version, FAR);
        let real = &lab.reals[server];
        let ways = [
            ("upload", &lab.client.ns, to.ip(), mtu, "too_big_answered"),
            ("download", &real.host.ns, far, NARROW, "icmp_error"),
        ];
        for (way, sender, receiver, mtu, counter) in ways {
            let what = format!("{way}, {what}");
            let before = counted(&lab.directors[0], counter)?;
            ensure!(path_mtu(sender, receiver)? == 1500, "{what}: before");
            let name = match way {
                "upload" => upload(&lab.client.ns, to, BYTES, LIMIT),
                _ => download(&around.far.ns, to, BYTES, LIMIT),
            };
            let name = name.map_err(|e| anyhow::anyhow!("{what}: {e:?}\n{}", lab.logs()))?;
            assert_eq!(name, real.name(), "{what}");
            assert_eq!(path_mtu(sender, receiver)?, mtu, "{what}");
            let told = counted(&lab.directors[0], counter)? - before;
            assert!(told >= 1, "{what}: {told} {counter}");
        }
    }
    assert_eq!(counted(&lab.directors[0], "internal")?, 0);
    drop((ping, backends));
    prepared.undo(&mut lab)?;
    drop(around);
    lab.finish()
}
