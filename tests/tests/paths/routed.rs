//! A real server of direct routing behind a router: its packets go to the router's MAC, as with IPVS,
//! and the operator is told.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_tests::backend::Backend;
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind, binary};
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_tests::switch::{Host, Switch};
use lb_userspace::model::Protocol;

use super::{ADVERT, LIMIT, start};

const NET: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 0);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 21);
const NAME: &str = "beyond";

/// The lab's spare host becomes a router, and behind it is the real server.
fn behind_a_router(lab: &Lab, switch: &mut Switch) -> Result<Host> {
    let (vip, router) = (lab.vip(), lab.spare.as_ref().context("the spare host")?);
    let server = switch.host(NAME, "eth0", &[(SERVER, 24)], false)?;
    switch.cable(&router.ns, "eth1", &[(ROUTER, 24)], false)?;
    router.ns.sysctl("net/ipv4/ip_forward", "1")?;
    for director in &lab.directors {
        director.host.ns.route(NET, 24, router.address())?;
    }
    // What the operator of a router must see to.
    router.ns.route(vip, 32, SERVER)?;
    server.ns.add_address("lo", vip, 32)?;
    server.ns.default_route(ROUTER)?;
    Ok(server)
}

/// `lbctl show status`, as the operator sees it.
fn shown(director: &Director) -> Result<String> {
    let mut command = Command::new(binary("lbctl")?);
    command.args(["show", "status", "--color", "never", "--socket"]);
    let done = command.arg(director.control()).output()?;
    let text = String::from_utf8(done.stdout)?;
    ensure!(done.status.success(), "lbctl show status: {}", done.status);
    Ok(text)
}

#[test]
fn a_router_before_a_server_of_direct_routing_gets_its_packets_and_the_operator_is_told()
-> Result<()> {
    let mut conf = PairConf::http(2, ADVERT);
    for service in &mut conf.services {
        service.reals.clear();
    }
    let topology = conf.topology();
    for service in &mut conf.services {
        service.reals.push((SERVER, 1));
    }
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    spec.topology = topology;
    spec.spare = true;
    let mut lab = Lab::new(&spec)?;
    let mut switch = Switch::another(1)?;
    let server = behind_a_router(&lab, &mut switch)?;
    let backend = Backend::start(&server.ns, NAME, &lab.topology.ports)?;
    let ping = start(&mut lab)?;
    let router = lab.spare.as_ref().context("the spare host")?;

    lab.wait_services(LIMIT)?;
    let (tcp, udp) = (lab.service(Protocol::Tcp)?, lab.service(Protocol::Udp)?);
    for report in [
        load::requests(&lab.client.ns, tcp, 30, LIMIT),
        load::datagrams(&lab.client.ns, udp, 30, LIMIT),
    ] {
        assert_eq!(report.tally.get(NAME), Some(&30), "{report:?}");
    }

    let router = router.mac.to_string();
    for service in lab.directors[0].status()?.services {
        let [backend] = &service.backends[..] else {
            panic!("{service:?}")
        };
        assert!(backend.routed, "{backend:?}");
        assert_eq!(backend.mac.as_ref(), Some(&router), "{backend:?}");
    }
    let told = format!("real server {SERVER} is behind a router ({router})");
    let log = lab.directors[0].log();
    assert_eq!(log.matches(&told).count(), 1, "{log}");
    for port in [tcp.port(), udp.port()] {
        let told = format!("{SERVER}:{port} is behind a router");
        let shown = shown(&lab.directors[0])?;
        assert!(shown.contains(&told), "{shown}");
    }
    drop((ping, backend, server));
    lab.finish()
}
