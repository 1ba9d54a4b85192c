//! Others that answer for the virtual address: masters that cannot hear each other, plain hosts, and real
//! servers that should be silent.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::lab::{Lab, Spec};
use lb_tests::six;
use lb_userspace::control::status::ClaimStatus;

const LIMIT: Duration = Duration::from_secs(30);
const ADVERT: Duration = Duration::from_millis(100);
const NAMED: &str = "TWO MASTERS or a duplicate address";

fn conf() -> PairConf {
    let mut conf = PairConf::http(3, ADVERT);
    conf.state_master = false;
    conf
}

fn wait_master(director: &Director) -> Result<()> {
    director.wait_status("MASTER", LIMIT, |s| {
        let state = s.vrrp.first()?.state;
        (state.name() == "MASTER").then_some(())
    })
}

/// Waits until a master shows a claim, and its MAC is this.
fn wait_claim(director: &Director, mac: [u8; 6]) -> Result<ClaimStatus> {
    let claim = director.wait_status("a claim", LIMIT, |s| {
        s.vrrp.first()?.claims.first().cloned()
    });
    let claim = claim.with_context(|| director.log_tail())?;
    let mac = lb_userspace::vrrp::mac_text(mac);
    ensure!(claim.mac == mac, "{claim:?}, and not {mac}");
    Ok(claim)
}

fn wait_none(director: &Director) -> Result<()> {
    director.wait_status("no claims", LIMIT, |s| {
        s.vrrp.iter().all(|v| v.claims.is_empty()).then_some(())
    })
}

/// How often the log says so.
fn said(director: &Director, what: &str) -> usize {
    director.log().matches(what).count()
}

/// The switch floods no multicast from one director to the other: both are master, and each hears of the
/// other by ARP alone.
#[test]
fn masters_that_do_not_hear_each_other_are_named() -> Result<()> {
    for other in [Kind::Lbd, Kind::Keepalived] {
        let mut lab = Lab::new(&Spec::pair(&conf(), [Kind::Lbd, other]))?;
        for director in &lab.directors {
            lab.switch.flood_multicast(&director.host.port, false)?;
        }
        lab.start_directors()?;
        wait_master(&lab.directors[0])?;
        let vip = lab.vip();
        wait_for("both to have the address", LIMIT, || {
            let has = |d: &Director| d.has_address(vip).unwrap_or(false);
            lab.directors.iter().all(has).then_some(())
        })?;
        let [first, second] = &lab.directors;
        let claim = wait_claim(first, second.host.mac.0)?;
        ensure!(claim.server.is_none() && claim.address == vip, "{claim:?}");
        ensure!(said(first, NAMED) == 1, "{}", first.log_tail());
        if other == Kind::Lbd {
            wait_claim(second, first.host.mac.0)?;
        }
        // The switch is mended: one of them yields, and the alarm ends.
        for director in &lab.directors {
            lab.switch.flood_multicast(&director.host.port, true)?;
        }
        wait_none(&lab.directors[0])?;
        let first = &lab.directors[0];
        ensure!(said(first, NAMED) == 1, "{}", first.log_tail());
        ensure!(
            said(first, "no longer answers for") == 1,
            "{}",
            first.log_tail()
        );
        lab.finish()?;
    }
    Ok(())
}

/// A host was given the address, and a real server answers for it.
#[test]
fn a_host_and_a_real_server_that_answer_are_named() -> Result<()> {
    let mut spec = Spec::pair(&conf(), [Kind::Lbd; 2]);
    spec.spare = true;
    spec.confs[0] += &format!(
        "vrrp_instance VI_6 {{\n  interface eth0\n  virtual_router_id 6\n  virtual_ipaddress {{\n    {}\n    {}\n  }}\n}}\n",
        six::LINK_LOCAL,
        six::VIP
    );
    let mut lab = Lab::new(&spec)?;
    six::speak(&lab)?;
    lab.directors[0].start()?;
    wait_master(&lab.directors[0])?;
    lab.wait_services(LIMIT)?;
    let (vip, director) = (lab.vip(), &lab.directors[0]);
    let spare = lab.spare.as_ref().context("a spare host")?;
    spare.ns.allow_ipv6("eth0")?;
    spare.ns.add_address("eth0", vip, 32)?;
    spare.ns.add_address("eth0", six::VIP, 128)?;
    let claims = director.wait_status("claims of both families", LIMIT, |s| {
        let all = s.vrrp.iter().flat_map(|v| v.claims.clone());
        let all: Vec<ClaimStatus> = all.collect();
        (all.len() == 2).then_some(all)
    })?;
    let mac = lb_userspace::vrrp::mac_text(spare.mac.0);
    for (claim, address) in claims.iter().zip([IpAddr::from(vip), six::VIP.into()]) {
        let right = claim.address == address && claim.mac == mac && claim.server.is_none();
        ensure!(right, "{claim:?}");
    }
    ensure!(said(director, NAMED) == 2, "{}", director.log_tail());
    spare.ns.delete_address("eth0", vip)?;
    spare.ns.delete_address("eth0", six::VIP)?;
    wait_none(director)?;

    let real = &lab.reals[0].host;
    for scope in ["all", "eth0"] {
        let path = format!("net/ipv4/conf/{scope}/arp_ignore");
        real.ns.sysctl(&path, "0")?;
    }
    let claim = wait_claim(director, real.mac.0)?;
    ensure!(claim.server == Some(real.address().into()), "{claim:?}");
    let shown = director.lbctl(&["show", "vrrp"])?;
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(
        shown.contains("set arp_ignore 1, arp_announce 2"),
        "{shown}"
    );
    ensure!(
        said(director, "set arp_ignore 1 and arp_announce 2 there") == 1,
        "{}",
        director.log_tail()
    );
    real.ns.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
    wait_none(director)?;
    lab.finish()
}
