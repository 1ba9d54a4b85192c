use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::backend::Backend;
use lb_tests::clock::{Instant, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Real, Spec};
use lb_tests::load::{self, Report};
use lb_userspace::model::Protocol;

use super::{ADVERT, LIMIT, start, virtual_server};

/// The hosts have the same last numbers as in their IPv4 addresses.
const fn addr(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, last)
}

const VIP: Ipv6Addr = addr(0x100);
const SERVERS: [u16; 3] = [0x21, 0x22, 0x23];

fn services() -> String {
    let reals = SERVERS.map(|last| addr(last).into());
    [(80, "TCP"), (5000, "UDP")]
        .map(|(port, protocol)| virtual_server(VIP.into(), port, protocol, "DR", &reals))
        .concat()
}

fn serve(real: &Real) -> Result<Backend> {
    let ports = [(80, Protocol::Tcp), (5000, Protocol::Udp)];
    let ports = ports.map(|(port, protocol)| (SocketAddr::from((VIP, port)), protocol));
    Backend::serve(&real.host.ns, real.name(), ports.to_vec())
}

#[test]
fn an_ipv6_client_is_served_while_a_server_dies_and_returns() -> Result<()> {
    let mut spec = Spec::pair(&PairConf::http(2, ADVERT), [Kind::Lbd; 2]);
    for conf in &mut spec.confs {
        conf.push_str(&services());
    }
    let mut lab = Lab::new(&spec)?;
    let directors = [0x10, 0x11].into_iter().zip(lab.directors.iter());
    let hosts = directors.map(|(last, d)| (last, &d.host.ns));
    let reals = SERVERS.into_iter().zip(lab.reals.iter());
    let hosts = hosts.chain(reals.map(|(last, r)| (last, &r.host.ns)));
    for (last, ns) in hosts.chain([(0x12, &lab.client.ns)]) {
        ns.allow_ipv6("eth0")?;
        ns.add_address("eth0", addr(last), 64)?;
    }
    lab.directors[0].host.ns.add_virtual_address("eth0", VIP)?;
    let mut backends = Vec::new();
    for real in &lab.reals {
        real.host.ns.allow_ipv6("lo")?;
        real.host.ns.add_address("lo", VIP, 128)?;
        backends.push(Some(serve(real)?));
    }
    let begin = Instant::now();
    let ping = start(&mut lab)?;
    let (tcp, udp) = (SocketAddr::from((VIP, 80)), SocketAddr::from((VIP, 5000)));
    let once = Duration::from_millis(500);
    let each = |n| -> [Report; 2] {
        let ns = &lab.client.ns;
        [
            load::requests(ns, tcp, n, once),
            load::datagrams(ns, udp, n, once),
        ]
    };
    let served_by = |names: &[&str]| {
        wait_for(&format!("service by {names:?} alone"), LIMIT, || {
            let fits = |r: &Report| r.failed() == 0 && r.tally.keys().eq(names);
            each(6).iter().all(fits).then_some(())
        })
        .with_context(|| lab.logs())
    };
    served_by(&["rs1", "rs2", "rs3"])?;
    for report in each(30) {
        assert_eq!(report.failed(), 0, "{report:?}");
        assert!(report.tally.values().all(|n| *n == 10), "{report:?}");
    }
    backends[1] = None;
    served_by(&["rs1", "rs3"])?;
    backends[1] = Some(serve(&lab.reals[1])?);
    served_by(&["rs1", "rs2", "rs3"])?;
    assert_eq!(lab.director_resets(begin), [], "a RST from a director");
    drop((ping, backends));
    lab.finish()
}
