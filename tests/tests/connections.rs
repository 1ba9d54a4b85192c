//! Ten thousand connections are held open while the set of servers, the configuration, the daemon
//! and the master change. Each is used after every change, and its server is still the same one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::Instant;
use lb_tests::conf::PairConf;
use lb_tests::crowd::{Crowd, allow_descriptors};
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use lb_tests::load::Failure;
use lb_userspace::model::Protocol;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);
const CONNECTIONS: usize = 10_000;
/// A hash of the source address chooses the server, so there are many.
const CLIENTS: usize = 100;

/// The pair with its first `servers` real servers, of these weights.
fn conf(weights: &[u16]) -> PairConf {
    let mut conf = PairConf::http(2, ADVERT);
    conf.services.truncate(1);
    let service = &mut conf.services[0];
    service.scheduler = "mh".into();
    service.reals = (1u8..)
        .map(|i| [10, 77, 0, 20 + i].into())
        .zip(weights.iter().copied())
        .collect();
    conf
}

/// Both directors read another file and have all of its servers ready.
fn reload(lab: &Lab, conf: &PairConf) -> Result<()> {
    for (i, director) in lab.directors.iter().enumerate() {
        director.write_conf(&conf.text(i))?;
        director.signal(Signal::SIGHUP)?;
    }
    ready(lab, conf)
}

/// Waits until both directors have the servers of the file, up and resolved.
fn ready(lab: &Lab, conf: &PairConf) -> Result<()> {
    let want: Vec<_> = conf.services[0].reals.iter().map(|(_, w)| *w).collect();
    for director in &lab.directors {
        director.wait_status("all servers", LIMIT, |status| {
            let backends = &status.services.first()?.backends;
            let have: Vec<_> = backends.iter().map(|b| b.effective_weight).collect();
            let up = backends.iter().all(|b| b.up && b.listed && b.mac.is_some());
            (up && have == want).then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn ten_thousand_connections_outlive_every_change() -> Result<()> {
    allow_descriptors(CONNECTIONS as u64 + 1000)?;
    let three = conf(&[1, 1, 1]);
    let four = conf(&[1, 1, 1, 1]);
    let mut spec = Spec::pair(&three, [Kind::Lbd; 2]);
    // The fourth host is there from the beginning.
    spec.topology = four.topology();
    let mut lab = Lab::new(&spec)?;
    lab.serve_apart()?;
    let clients = lab.client_addresses(CLIENTS)?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    ready(&lab, &three)?;

    let begin = Instant::now();
    let to = lab.service(Protocol::Tcp)?;
    let mut crowd = Crowd::open(&lab.client.ns, &clients, to, CONNECTIONS, LIMIT)
        .with_context(|| lab.logs())?;
    let opened = crowd.tally();
    println!(
        "{:.1} s to open {opened:?}",
        Instant::now().since(begin).as_secs_f64()
    );
    assert_eq!(opened.len(), 3, "{opened:?}");
    let mut all_kept = |lab: &Lab, after: &str| {
        let start = Instant::now();
        let used = crowd.exercise(&lab.client.ns, LIMIT);
        let took = Instant::now().since(start);
        println!("{after}: {:?} in {:.1} s", used.kept, took.as_secs_f64());
        assert_eq!(used.kept, opened, "{after}: {used:?}\n{}", lab.logs());
    };

    reload(&lab, &four)?;
    all_kept(&lab, "a server added");
    reload(&lab, &three)?;
    all_kept(&lab, "a server removed");
    reload(&lab, &conf(&[5, 1, 3]))?;
    all_kept(&lab, "weights changed");
    // What a hash chooses after a failover is what it chose before if the servers are the same.
    reload(&lab, &three)?;
    all_kept(&lab, "weights changed back");

    lab.directors[0].kill()?;
    all_kept(&lab, "no daemon");
    lab.directors[0].start()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    ready(&lab, &three)?;
    all_kept(&lab, "daemon killed and started again");

    for event in [Event::CleanStop, Event::PowerLoss] {
        let at = lab.strike(event, 0)?;
        let second = lab.directors[1].host.mac;
        ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)?;
        all_kept(&lab, event.words());
        lab.recover(event, 0)?;
        lab.settle(0, None, ADVERT, &ping, LIMIT)?;
        all_kept(&lab, "the first director is back");
    }

    reload(&lab, &conf(&[1, 1]))?;
    let used = crowd.exercise(&lab.client.ns, Duration::from_secs(2));
    println!("the third server removed: {used:?}");
    // Its connections may fall silent, and no more.
    for (name, n) in &opened {
        let silent = (name.clone(), Failure::Timeout);
        let silent = used.lost.get(&silent).filter(|_| name == "rs3");
        let kept = used.kept.get(name).copied().unwrap_or_default();
        assert_eq!(kept + silent.copied().unwrap_or_default(), *n, "{used:?}");
    }
    assert_eq!(lab.director_resets(begin), [], "a RST from a director");
    drop((ping, crowd));
    lab.finish()
}
