//! Two directors that are each other's real servers: what one has forwarded the other one serves,
//! and never forwards again.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::backend::Backend;
use lb_tests::clock::{Instant, pause, spell};
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_tests::tap::Tap;
use lb_userspace::model::Protocol;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);
const CLIENTS: usize = 60;

/// Services whose real servers are both directors and one more, with persistence.
fn spec() -> Result<Spec> {
    let mut conf = PairConf::http(2, ADVERT);
    for service in &mut conf.services {
        service.reals.truncate(1);
        service.lines = "  persistence_timeout 50\n".into();
    }
    let topology = conf.topology();
    for director in topology.plan()?.directors {
        for service in &mut conf.services {
            service.reals.push((director[0].0, 1));
        }
    }
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    spec.topology = topology;
    Ok(spec)
}

/// Makes a director a real server.
fn serve(director: &Director, lab: &Lab) -> Result<Backend> {
    let ns = &director.host.ns;
    for scope in ["all", "eth0"] {
        ns.sysctl(&format!("net/ipv4/conf/{scope}/arp_ignore"), "1")?;
        ns.sysctl(&format!("net/ipv4/conf/{scope}/arp_announce"), "2")?;
    }
    ns.add_address("lo", lab.vip(), 32)?;
    Backend::start(ns, director.name(), &lab.topology.ports)
}

/// How often a director has counted a frame under a name.
fn counted(director: &Director, reason: &str) -> Result<u64> {
    let status = director.status()?;
    let found = status.reasons.iter().find(|r| r.name == reason);
    found
        .map(|r| r.count)
        .with_context(|| format!("no counter {reason}"))
}

#[test]
fn directors_that_serve_each_other_forward_no_frame_twice() -> Result<()> {
    let load_for = spell(Duration::from_secs(9), Duration::from_secs(60));
    let mut lab = Lab::new(&spec()?)?;
    let clients: Vec<Ipv4Addr> = lab.client_addresses(CLIENTS)?;
    let _backends = [
        serve(&lab.directors[0], &lab)?,
        serve(&lab.directors[1], &lab)?,
    ];
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    for director in &lab.directors {
        director.wait_status("all servers", LIMIT, |status| {
            let mut backends = status.services.iter().flat_map(|s| &s.backends);
            let ready = backends.all(|b| b.up && b.listed && (b.local || b.mac.is_some()));
            (ready && status.services.len() == 2).then_some(())
        })?;
    }

    let hosts = [&lab.directors[0].host, &lab.directors[1].host];
    let tap = Tap::start(&lab.switch, &lab.client, hosts, lab.vip())?;
    let ns = &lab.client.ns;
    let (tcp, udp) = (lab.service(Protocol::Tcp)?, lab.service(Protocol::Udp)?);
    let short = Duration::from_secs(1);
    let requests = load::steady(ns, &clients, tcp, 300, short);
    let datagrams = load::steady_udp(ns, &clients, udp, 2 * CLIENTS as u32, 300, short);
    pause(load_for / 3)?;
    // Without its daemon the first director's program goes on and is a real server of the second.
    let at = Instant::now();
    lab.directors[0].kill()?;
    let second = lab.directors[1].host.mac;
    let moved = ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT);
    pause(load_for / 3)?;
    lab.directors[0].start()?;
    let back = lab.settle(0, None, ADVERT, &ping, LIMIT);
    pause(load_for / 3)?;
    let (requests, datagrams) = (requests.stop()?, datagrams.stop()?);
    println!("requests {requests:?}\ndatagrams {datagrams:?}");
    let crossings = tap.stop()?;
    println!(
        "{} packets sent, forwarded by {:?}",
        crossings.sent, crossings.forwarded
    );
    moved.and(back).with_context(|| lab.logs())?;

    let shown = crossings.repeated.iter().take(10).collect::<Vec<_>>();
    assert_eq!(
        crossings.repeated.len(),
        0,
        "forwarded twice, among others {shown:?}"
    );
    for director in &lab.directors {
        let name = director.name();
        assert!(crossings.forwarded[name] > 1000, "{crossings:?}");
        assert!(
            counted(director, "peer_local")? > 100,
            "{name} did not serve the other one"
        );
        for never in ["peer_director", "internal"] {
            assert_eq!(counted(director, never)?, 0, "{name}: {never}");
        }
        assert!(requests.tally.contains_key(name), "{requests:?}");
    }
    for report in [&requests, &datagrams] {
        assert!(report.answered() > 10 * report.failed(), "{report:?}");
    }
    drop(ping);
    lab.finish()
}
