//! A client behind a router whose link is narrow: the router's ICMP errors are addressed to the VIP.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use lb_tests::conf::PairConf;
use lb_tests::lab::Lab;
use lb_tests::switch::{Host, Switch};
use lb_tests::transfer::download;
use lb_userspace::model::Protocol;

use super::{ADVERT, BYTES, LIMIT, NARROW, counted, lab, start};

const BEHIND: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];

#[test]
fn a_download_over_a_narrow_link_of_the_client_s_router_comes_through() -> Result<()> {
    let mut lab = lab(&PairConf::http(2, ADVERT))?;
    let far = behind_a_router(&lab)?;
    let ping = start(&mut lab)?;
    lab.wait_services(LIMIT)?;
    downloads(&lab, &far)?;
    drop((ping, far));
    lab.finish()
}

/// A client behind the lab's spare host, which routes over a narrow link to it.
pub(super) struct Far {
    client: Host,
    _switch: Switch,
}

pub(super) fn behind_a_router(lab: &Lab) -> Result<Far> {
    let router = lab.spare.as_ref().context("the spare host")?;
    let mut switch = Switch::another(1)?;
    let client = switch.host("far", "eth0", &[(BEHIND[1], 24)], false)?;
    client.ns.default_route(BEHIND[0])?;
    switch.cable(&router.ns, "eth1", &[(BEHIND[0], 24)], false)?;
    router.ns.set_mtu("eth1", NARROW)?;
    router.ns.sysctl("net/ipv4/ip_forward", "1")?;
    for real in &lab.reals {
        real.host.ns.default_route(router.address())?;
    }
    Ok(Far {
        client,
        _switch: switch,
    })
}

/// Twice from each server.
pub(super) fn downloads(lab: &Lab, far: &Far) -> Result<()> {
    let to = lab.service(Protocol::Tcp)?;
    let mut names: Vec<String> = Vec::new();
    for run in 0..6 {
        let name = download(&far.client.ns, to, BYTES, LIMIT);
        let name = name.map_err(|e| anyhow::anyhow!("download {run}: {e:?}\n{}", lab.logs()))?;
        names.push(name);
    }
    println!("{names:?}");
    // A server learns the path's MTU once.
    let passed = counted(&lab.directors[0], "icmp_error")?;
    assert!(passed >= 3, "{passed} ICMP errors");
    names.sort();
    names.dedup();
    assert_eq!(names, ["rs1", "rs2", "rs3"]);
    Ok(())
}
