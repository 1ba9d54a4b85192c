//! Virtual routers of IPv6, by unicast and beside one of IPv4. (That every pairing agrees by multicast, the
//! matrix shows.)

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, pause, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use lb_tests::prober::Prober;
use lb_tests::recorder::What;
use lb_tests::six::{self, LINK_LOCAL, VIP, global};

const LIMIT: Duration = Duration::from_secs(20);
const PING: Duration = Duration::from_millis(2);
const ADVERT: Duration = Duration::from_millis(50);
const EVERY: [[Kind; 2]; 3] = [
    [Kind::Lbd, Kind::Keepalived],
    [Kind::Keepalived, Kind::Lbd],
    [Kind::Lbd, Kind::Lbd],
];

/// An instance of IPv6 alone; `lines` for each director.
fn conf(director: usize, lines: &str) -> String {
    let state = ["MASTER", "BACKUP"][director];
    let priority = [100, 99][director];
    let seconds = ADVERT.as_secs_f64();
    format!(
        "vrrp_instance VI_6 {{\n  state {state}\n  interface eth0\n  virtual_router_id 62\n  priority {priority}\n  \
         advert_int {seconds}\n{lines}  virtual_ipaddress {{\n    {LINK_LOCAL}\n    {VIP}\n  }}\n}}\n"
    )
}

/// A lab in which the client and the directors speak IPv6 too.
fn lab(kinds: [Kind; 2], confs: [String; 2]) -> Result<Lab> {
    let mut spec = Spec::pair(&PairConf::http(3, ADVERT), kinds);
    spec.confs = confs;
    let lab = Lab::new(&spec)?;
    six::speak(&lab)?;
    Ok(lab)
}

/// The virtual address is on one director and the client's neighbour entry names that one's MAC.
fn holds(lab: &Lab, master: usize) -> Result<()> {
    let there = || {
        let has = |at: usize, addr| lab.directors[at].has_address(addr).ok();
        let all = [VIP, LINK_LOCAL]
            .into_iter()
            .all(|vip| has(master, vip) == Some(true) && has(1 - master, vip) == Some(false));
        all.then_some(())
    };
    wait_for("the addresses on the master alone", LIMIT, there).with_context(|| lab.logs())?;
    let known = lab.client.ns.neighbour(VIP)?;
    let wanted = lab.directors[master].host.mac;
    ensure!(
        known == Some(wanted),
        "the client has {known:?}, not {wanted}"
    );
    Ok(())
}

/// They agree on the master, the other takes over whatever happens, and the first takes back.
fn agree(lab: &mut Lab, ping: &Prober) -> Result<()> {
    lab.settle(0, None, ADVERT, ping, LIMIT)?;
    holds(lab, 0)?;
    let second = lab.directors[1].host.mac;
    // Three intervals and the skew of priority 99, and what a busy machine adds.
    let limit = ADVERT.mul_f64(3.62) + Duration::from_millis(300);
    for event in [Event::PowerLoss, Event::CleanStop] {
        let at = lab.strike(event, 0)?;
        let first = ping
            .wait_answer(&lab.recorder, Some(second), 1, at, LIMIT)
            .with_context(|| format!("{}: {}", event.words(), lab.logs()))?;
        // Right after the first answer: not because it asked anew.
        ensure!(
            lab.client.ns.neighbour(VIP)? == Some(second),
            "the neighbour entry, {:?} after the first answer",
            Instant::now().since(first)
        );
        if event == Event::CleanStop {
            lab.directors[0].wait_ended(LIMIT)?;
        }
        pause(Duration::from_millis(200))?;
        let lost = ping.outage(&lab.recorder, at, Instant::now());
        println!("  {}: {:?}", event.words(), lost.longest);
        ensure!(lost.longest <= limit, "{}: {lost:?}", lab.logs());
        let told = |f: &lb_tests::recorder::Frame| {
            // Override, and no router: the directors do not forward.
            let wanted = What::Neighbour {
                target: VIP,
                flags: 0x20,
            };
            f.src == second && f.what == wanted
        };
        let told = lab.recorder.since(at).into_iter().filter(told).count();
        ensure!(told >= 5, "{told} neighbour advertisements: {}", lab.logs());
        lab.recover(event, 0)?;
        lab.settle(0, None, ADVERT, ping, LIMIT)
            .with_context(|| format!("return after {}", event.words()))?;
        holds(lab, 0)?;
    }
    Ok(())
}

#[test]
fn every_pairing_agrees_over_ipv6_by_unicast() -> Result<()> {
    for kinds in EVERY {
        println!("{kinds:?}");
        // Over IPv6 keepalived leaves the hop limit to the kernel, which takes 64.
        let lines = |at: u16| {
            let (own, other, client) = (global(1 + at), global(2 - at), global(9));
            format!(
                "  check_unicast_src\n  unicast_ttl 255\n  unicast_src_ip {own}\n  unicast_peer {{\n    {other} min_ttl 255\n    \
                 {client}\n  }}\n"
            )
        };
        let mut lab = lab(kinds, [conf(0, &lines(0)), conf(1, &lines(1))])?;
        lab.start_directors()?;
        let ping = lab.ping(VIP, PING)?;
        agree(&mut lab, &ping)?;
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}

/// As is usual: one instance of each family, with the same number.
#[test]
fn the_same_vrid_serves_both_families() -> Result<()> {
    for kinds in EVERY {
        println!("{kinds:?}");
        let four = PairConf::http(3, ADVERT);
        // The directors of IPv6 are the other way round.
        let confs = [0, 1].map(|at| four.text(at) + &conf(1 - at, ""));
        let mut lab = lab(kinds, confs)?;
        lab.start_directors()?;
        let (ping4, ping6) = (lab.ping(lab.vip(), PING)?, lab.ping(VIP, PING)?);
        let macs = [0, 1].map(|at| lab.directors[at].host.mac);
        let start = Instant(0);
        ping4.wait_answer(&lab.recorder, Some(macs[0]), 50, start, LIMIT)?;
        ping6
            .wait_answer(&lab.recorder, Some(macs[1]), 50, start, LIMIT)
            .with_context(|| lab.logs())?;
        holds(&lab, 1)?;
        let at = lab.strike(Event::PowerLoss, 0)?;
        for ping in [&ping4, &ping6] {
            ping.wait_answer(&lab.recorder, Some(macs[1]), 50, at, LIMIT)
                .with_context(|| lab.logs())?;
        }
        drop((ping4, ping6));
        lab.finish()?;
    }
    Ok(())
}

/// The kernel takes the addresses of an interface that is set down, and gives a new link-local one.
#[test]
fn without_a_link_local_address_the_other_takes_over() -> Result<()> {
    let mut lab = lab([Kind::Lbd; 2], [conf(0, ""), conf(1, "")])?;
    lab.start_directors()?;
    let ping = lab.ping(VIP, PING)?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    let macs = [0, 1].map(|at| lab.directors[at].host.mac);
    let at = lab.strike(Event::LinkDownLocal, 0)?;
    ping.wait_answer(&lab.recorder, Some(macs[1]), 5, at, LIMIT)?;
    let at = lab.recover(Event::LinkDownLocal, 0)?;
    let host = &lab.directors[0].host;
    host.ns.add_address(&host.link, global(1), 64)?;
    ping.wait_answer(&lab.recorder, Some(macs[0]), 5, at, LIMIT)
        .with_context(|| lab.logs())?;
    holds(&lab, 0)?;

    let own = lab.directors[0].host.ns.v6_addresses("eth0")?;
    let own = own
        .into_iter()
        .find(|(a, len)| a.is_unicast_link_local() && *len < 128);
    let (own, len) = own.context("no link-local address")?;
    let at = Instant::now();
    lab.directors[0].host.ns.delete_address("eth0", own)?;
    ping.wait_answer(&lab.recorder, Some(macs[1]), 5, at, LIMIT)?;
    lab.directors[0].wait_status("the reason to be told", LIMIT, |status| {
        let v = status.vrrp.first()?;
        let told = v.last_transition.as_ref()?.reason.contains("link-local");
        told.then_some(())
    })?;
    let at = Instant::now();
    lab.directors[0].host.ns.add_address("eth0", own, len)?;
    ping.wait_answer(&lab.recorder, Some(macs[0]), 5, at, LIMIT)?;
    holds(&lab, 0)?;
    drop(ping);
    lab.finish()
}
