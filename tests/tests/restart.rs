//! The daemon is killed, restarted, reloaded, stopped: what clients notice of it. Nothing.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::{Instant, pause};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use lb_tests::load::{self, Failure};
use lb_tests::prober::{Prober, let_answers_in};
use lb_userspace::model::Protocol;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);
const PER_SECOND: u32 = 1000;
const LONG_LIVED: u32 = 50;

/// A pair under load: what `during` does to it must not be noticed.
fn unnoticed(during: impl FnOnce(&mut Lab, &Prober) -> Result<()>) -> Result<()> {
    let conf = PairConf::http(2, ADVERT);
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Lbd; 2]))?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    lab.wait_services(LIMIT)?;

    let begin = Instant::now();
    let to = lab.service(Protocol::Tcp)?;
    let ns = &lab.client.ns;
    let requests = load::steady(ns, &[], to, PER_SECOND, Duration::from_secs(5));
    let long = load::long_lived(
        ns,
        to,
        LONG_LIVED,
        Duration::from_millis(100),
        Duration::from_secs(5),
    );
    let udp = load::steady_udp(
        ns,
        &[],
        lab.service(Protocol::Udp)?,
        20,
        200,
        Duration::from_secs(2),
    );
    pause(Duration::from_secs(1))?;
    let done = during(&mut lab, &ping);
    pause(Duration::from_secs(1))?;
    let (requests, long, udp) = (requests.stop()?, long.stop()?, udp.stop()?);
    let end = Instant::now();
    let_answers_in()?;
    println!("requests {requests:?}\nlong-lived {long:?}\nudp {udp:?}");
    done?;
    let said = lab.logs();
    assert_eq!(requests.failed(), 0, "{requests:?}\n{said}");
    assert_eq!(long.failed(), 0, "{long:?}\n{said}");
    assert_eq!(
        long.opened,
        u64::from(LONG_LIVED),
        "a connection was opened again"
    );
    assert_eq!(udp.failed(), 0, "{udp:?}\n{said}");
    assert!(requests.answered() > u64::from(PER_SECOND), "{requests:?}");
    assert_eq!(lab.director_resets(begin), [], "a RST from a director");
    let outage = ping.outage(&lab.recorder, begin, end);
    assert_eq!(outage.lost, 0, "{outage:?}\n{said}");
    drop(ping);
    lab.finish()
}

/// Waits until the daemon answers its control socket.
fn wait_control(lab: &Lab, director: usize) -> Result<()> {
    lab.directors[director].wait_status("the control socket", LIMIT, |_| Some(()))
}

#[test]
fn a_daemon_that_is_killed_and_started_again_is_not_noticed() -> Result<()> {
    unnoticed(|lab, ping| {
        for _ in 0..3 {
            lab.directors[0].kill()?;
            // Without a daemon, but not for so long that the backup takes over.
            pause(Duration::from_millis(500))?;
            lab.directors[0].start()?;
            wait_control(lab, 0)?;
            pause(ADVERT)?;
        }
        lab.settle(0, None, ADVERT, ping, LIMIT)
    })
}

#[test]
fn a_reload_is_not_noticed_whatever_it_changes_elsewhere() -> Result<()> {
    unnoticed(|lab, ping| {
        let mut conf = PairConf::http(2, ADVERT);
        for round in 0u16..6 {
            // Another service comes and goes, and with it a real server's other port.
            if round % 2 == 0 {
                let mut more = conf.services[0].clone();
                more.port = 8080;
                conf.services.push(more);
            } else {
                conf.services.pop();
            }
            lab.directors[0].write_conf(&conf.text(0))?;
            lab.directors[0].signal(Signal::SIGHUP)?;
            let there = conf.services.len();
            lab.directors[0].wait_status("the reload", LIMIT, |s| {
                (s.services.len() == there).then_some(())
            })?;
        }
        // A bad file changes nothing.
        lab.directors[0].write_conf("vrrp_instance VI_1 {\n  state MASTER\n")?;
        lab.directors[0].signal(Signal::SIGHUP)?;
        let there = conf.services.len();
        lab.directors[0].wait_status("the refusal", LIMIT, |s| {
            assert_eq!(s.services.len(), there);
            s.config.refused.clone()
        })?;
        // Nor does one whose misspelt word would take the address away, or its service.
        let whole = conf.text(0);
        for (word, misspelt) in [
            ("virtual_ipaddress", "virtual_ipadress"),
            ("virtual_server", "virtual_servr"),
        ] {
            lab.directors[0].write_conf(&whole.replacen(word, misspelt, 1))?;
            lab.directors[0].signal(Signal::SIGHUP)?;
            lab.directors[0].wait_status("the refusal", LIMIT, |s| {
                assert_eq!(s.services.len(), there);
                let why = s.config.refused.as_ref()?;
                why.contains(misspelt).then_some(())
            })?;
        }
        lab.settle(0, None, ADVERT, ping, LIMIT)
    })
}

#[test]
fn the_backup_s_end_and_return_is_not_noticed() -> Result<()> {
    unnoticed(|lab, ping| {
        lab.directors[1].terminate()?;
        lab.directors[1].wait_stopped(LIMIT)?;
        lab.directors[1].start()?;
        wait_control(lab, 1)?;
        pause(ADVERT * 2)?;
        lab.settle(0, None, ADVERT, ping, LIMIT)
    })
}

/// The flow table of the dead master is lost. What a hash had placed, the other one places alike;
/// what rr had placed is silent, but not reset.
#[test]
fn a_failover_resets_nothing_and_keeps_what_a_hash_had_placed() -> Result<()> {
    let mut conf = PairConf::http(2, ADVERT);
    let mut hashed = conf.services[0].clone();
    hashed.port = 8080;
    hashed.scheduler = "sh".into();
    conf.services.push(hashed);
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Lbd; 2]))?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    lab.wait_services(LIMIT)?;

    let begin = Instant::now();
    let by_turn = lab.service(Protocol::Tcp)?;
    let by_hash = std::net::SocketAddrV4::new(*by_turn.ip(), 8080);
    let ns = &lab.client.ns;
    let every = Duration::from_millis(100);
    let kept = load::long_lived(ns, by_hash, LONG_LIVED, every, LIMIT);
    let lost = load::long_lived(ns, by_turn, LONG_LIVED, every, Duration::from_secs(3));
    let new = load::steady(ns, &[], by_turn, 200, LIMIT);
    pause(Duration::from_secs(1))?;
    let done = [Event::CleanStop, Event::PowerLoss]
        .into_iter()
        .try_for_each(|event| {
            let at = lab.strike(event, 0)?;
            let second = lab.directors[1].host.mac;
            ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)?;
            pause(Duration::from_secs(1))?;
            lab.recover(event, 0)?;
            lab.settle(0, None, ADVERT, &ping, LIMIT)?;
            pause(Duration::from_secs(1))
        });
    let (kept, lost, new) = (kept.stop()?, lost.stop()?, new.stop()?);
    println!("sh {kept:?}\nrr {lost:?}\nnew {new:?}");
    done.with_context(|| lab.logs())?;
    let said = lab.logs();
    assert_eq!(kept.failed(), 0, "{kept:?}\n{said}");
    assert_eq!(kept.opened, u64::from(LONG_LIVED));
    for report in [&lost, &new] {
        assert_eq!(
            report.failures.get(&Failure::Reset),
            None,
            "{report:?}\n{said}"
        );
    }
    assert!(
        new.answered() > 1000 && new.failed() <= 10,
        "{new:?}\n{said}"
    );
    assert_eq!(lab.director_resets(begin), [], "a RST from a director");
    drop(ping);
    lab.finish()
}
