//! Many virtual routers, and virtual routers with many addresses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::topology::Topology;

const LIMIT: Duration = Duration::from_secs(20);
const OURS: [Kind; 2] = [Kind::Lbd, Kind::Lbd];
const MIXED: [Kind; 2] = [Kind::Lbd, Kind::Keepalived];

/// A virtual router of both directors.
struct Router {
    vrid: u8,
    addresses: Vec<IpAddr>,
    excluded: Vec<IpAddr>,
    /// Who is to be its master while both live.
    prefers: usize,
}

fn block(name: &str, addresses: &[IpAddr]) -> String {
    let lines: String = addresses.iter().map(|a| format!("    {a}\n")).collect();
    if lines.is_empty() {
        lines
    } else {
        format!("  {name} {{\n{lines}  }}\n")
    }
}

fn lab(routers: &[Router], kinds: [Kind; 2]) -> Result<Lab> {
    let text = |director: usize| {
        let mut text = format!("global_defs {{\n  router_id ds{director}\n}}\n");
        for r in routers {
            let priority = if r.prefers == director { 150 } else { 100 };
            let _ = write!(
                text,
                "vrrp_instance V{} {{\n  interface eth0\n  virtual_router_id {}\n  version 3\n  advert_int 0.3\n  \
                 priority {priority}\n  garp_master_delay 1\n  garp_master_repeat 1\n{}{}}}\n",
                r.vrid,
                r.vrid,
                block("virtual_ipaddress", &r.addresses),
                block("virtual_ipaddress_excluded", &r.excluded)
            );
        }
        text
    };
    let topology = Topology {
        link: "eth0".to_owned(),
        vips: vec![Ipv4Addr::new(10, 77, 0, 100)],
        ..Topology::default()
    };
    let lab = Lab::new(&Spec {
        topology,
        kinds,
        confs: [text(0), text(1)],
        files: Vec::new(),
        spare: false,
    })?;
    for director in &lab.directors {
        director.host.ns.allow_ipv6("eth0")?;
    }
    Ok(lab)
}

/// On how many directors, and on which last, each address is.
fn places(lab: &Lab) -> Result<BTreeMap<IpAddr, (usize, usize)>> {
    let mut places = BTreeMap::new();
    for (director, d) in lab.directors.iter().enumerate() {
        let v4 = d.host.ns.addresses("eth0")?.into_iter();
        let v6 = d.host.ns.v6_addresses("eth0")?.into_iter();
        let all = v4.map(|(a, _)| a.into()).chain(v6.map(|(a, _)| a.into()));
        for addr in all {
            let place: &mut (usize, usize) = places.entry(addr).or_default();
            *place = (place.0 + 1, director);
        }
    }
    Ok(places)
}

/// Waits until every address is on the director that `of` names, and on no other; nowhere for none.
fn wait_places(
    lab: &Lab,
    routers: &[Router],
    what: &str,
    of: impl Fn(&Router) -> Option<usize>,
) -> Result<()> {
    let wrong = || {
        let places = places(lab)?;
        let mut wrong: Vec<&IpAddr> = Vec::new();
        for router in routers {
            let wanted = of(router).map(|director| (1, director));
            let addresses = router.addresses.iter().chain(&router.excluded);
            wrong.extend(addresses.filter(|a| places.get(a).copied() != wanted));
        }
        Ok::<_, anyhow::Error>(wrong.len())
    };
    wait_for(what, LIMIT, || {
        wrong().map(|n| (n == 0).then_some(())).transpose()
    })
    .with_context(|| format!("{what}: {:?} wrong\n{}", wrong(), lab.logs()))?
}

/// Elected, handed over, taken back, over a partition, and gone.
fn live(routers: &[Router], kinds: [Kind; 2]) -> Result<()> {
    let mut lab = lab(routers, kinds)?;
    lab.start_directors()?;
    let preferred = |r: &Router| Some(r.prefers);
    wait_places(&lab, routers, "each where it belongs", preferred)?;
    lab.directors[0].terminate()?;
    let ended = lab.directors[0].wait_stopped(LIMIT)?;
    assert!(ended.success(), "{ended}");
    wait_places(&lab, routers, "all on the second", |_| Some(1))?;
    lab.directors[0].start()?;
    wait_places(&lab, routers, "each where it belongs again", preferred)?;
    lab.switch.cut(&lab.directors[0].host.port)?;
    lab.directors[0].kill()?;
    let second = |lab: &Lab| {
        let places = places(lab)?;
        let addresses = routers
            .iter()
            .flat_map(|r| r.addresses.iter().chain(&r.excluded));
        let is_there = |a: &IpAddr| places.get(a).is_some_and(|(_, last)| *last == 1);
        Ok::<_, anyhow::Error>(addresses.into_iter().all(is_there))
    };
    let done = || second(&lab).map(|all| all.then_some(())).transpose();
    wait_for("all on the second, without the first", LIMIT, done).with_context(|| lab.logs())??;
    lab.switch.plug(&lab.directors[0].host.port)?;
    lab.directors[0].start()?;
    wait_places(&lab, routers, "each where it belongs, healed", preferred)?;
    for director in [1, 0] {
        lab.directors[director].terminate()?;
        lab.directors[director].wait_stopped(LIMIT)?;
    }
    wait_places(&lab, routers, "none left", |_| None)?;
    lab.finish()
}

fn sixty_four(kinds: [Kind; 2]) -> Result<()> {
    let router = |n: u8| Router {
        vrid: n,
        addresses: vec![Ipv4Addr::new(10, 77, 0, 100 + n).into()],
        excluded: Vec::new(),
        prefers: usize::from(n % 2),
    };
    let routers: Vec<Router> = (1..=64).map(router).collect();
    live(&routers, kinds)
}

fn more_than_an_advert_carries(kinds: [Kind; 2]) -> Result<()> {
    let v4 = |c: u8, n: u8| IpAddr::from(Ipv4Addr::new(10, 78, c, n));
    let v6 = |c: u16, n: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, c, 0, 0, 0, n));
    let link_local = IpAddr::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100));
    let routers = [
        Router {
            vrid: 4,
            addresses: (0..=255)
                .map(|n| v4(0, n))
                .chain((0..40).map(|n| v4(1, n)))
                .collect(),
            excluded: (0..60).map(|n| v4(2, n)).collect(),
            prefers: 0,
        },
        Router {
            vrid: 6,
            addresses: [link_local]
                .into_iter()
                .chain((1..120).map(|n| v6(6, n)))
                .collect(),
            excluded: (1..=60).map(|n| v6(7, n)).collect(),
            prefers: 0,
        },
    ];
    live(&routers, kinds)
}

#[test]
fn sixty_four_virtual_routers() -> Result<()> {
    sixty_four(OURS)
}

#[test]
fn sixty_four_virtual_routers_beside_keepalived() -> Result<()> {
    sixty_four(MIXED)
}

#[test]
fn more_addresses_than_an_advert_carries() -> Result<()> {
    more_than_an_advert_carries(OURS)
}

#[test]
fn more_addresses_than_an_advert_carries_beside_keepalived() -> Result<()> {
    more_than_an_advert_carries(MIXED)
}
