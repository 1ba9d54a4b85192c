//! What happens to real servers, to addresses, and between directors that point at each other. What happens
//! to directors is the matrix's.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::{Instant, pause, wait_for};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::load;
use lb_userspace::control::status::{CheckState, CheckStatus};
use lb_userspace::model::Protocol;

const LIMIT: Duration = Duration::from_secs(20);
const FAST: Duration = Duration::from_millis(50);

#[test]
fn a_dead_real_server_leaves_and_comes_back() -> Result<()> {
    let conf = PairConf::http(3, FAST);
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Lbd; 2]))?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, FAST, &ping, LIMIT)?;
    lab.wait_services(LIMIT)?;
    let to = lab.service(Protocol::Tcp)?;
    let once = Duration::from_secs(2);
    let all = load::requests(&lab.client.ns, to, 30, once);
    assert_eq!((all.failed(), all.tally.len()), (0, 3), "{all:?}");
    for (how, down) in [("its program ends", true), ("it loses its power", false)] {
        if down {
            lab.reals[1].stop();
        } else {
            lab.switch.cut(&lab.reals[1].host.port)?;
        }
        let without = |r: &load::Report| r.failed() == 0 && !r.tally.contains_key("rs2");
        let ask = |lab: &Lab, n| load::requests(&lab.client.ns, to, n, Duration::from_millis(500));
        wait_for("rs2 to leave", LIMIT, || {
            without(&ask(&lab, 6)).then_some(())
        })
        .with_context(|| format!("{how}; {}", lab.logs()))?;
        // One without power is passed over as soon as its MAC is not known any more; counted is what holds
        // when its checks have failed too.
        let dead = lab.reals[1].host.address();
        lab.directors[0].wait_status("its checks to fail", LIMIT, |status| {
            let of_dead = |c: &&CheckStatus| c.server == dead;
            let mut own = status.checks.iter().filter(of_dead);
            own.all(|c| c.state == CheckState::Down).then_some(())
        })?;
        let rest = ask(&lab, 100);
        assert!(without(&rest), "{how}: {rest:?}");
        assert_eq!(
            rest.tally.values().copied().collect::<Vec<_>>(),
            [50, 50],
            "{how}: {rest:?}; {}",
            lab.logs()
        );
        if down {
            lab.reals[1].start()?;
        } else {
            lab.switch.plug(&lab.reals[1].host.port)?;
        }
        wait_for("rs2 to return", LIMIT, || {
            let r = ask(&lab, 6);
            (r.failed() == 0 && r.tally.len() == 3).then_some(())
        })
        .with_context(|| format!("{how}; {}", lab.logs()))?;
    }
    assert_eq!(lab.director_resets(Instant(0)), []);
    drop(ping);
    lab.finish()
}

#[test]
fn an_address_that_somebody_takes_away_is_put_back() -> Result<()> {
    let conf = PairConf::http(3, FAST);
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Lbd; 2]))?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(2))?;
    lab.start_directors()?;
    lab.settle(0, None, FAST, &ping, LIMIT)?;
    let (ns, link) = (&lab.directors[0].host.ns, &lab.directors[0].host.link);
    for _ in 0..3 {
        ns.delete_address(link, lab.vip())?;
        wait_for("the address to be back", Duration::from_secs(3), || {
            lab.directors[0]
                .has_address(lab.vip())
                .ok()
                .filter(|back| *back)
        })
        .with_context(|| lab.logs())?;
    }
    lab.settle(0, None, FAST, &ping, LIMIT)?;
    let log = lab.directors[0].log();
    assert!(
        log.contains(&lab.vip().to_string()),
        "nothing in the log: {log}"
    );
    drop(ping);
    lab.finish()
}

#[test]
fn two_directors_that_are_each_other_s_real_servers_make_no_loop() -> Result<()> {
    let mut conf = PairConf::http(3, FAST);
    let addresses = Spec::pair(&conf, [Kind::Lbd; 2]).topology.plan()?.directors;
    // A frame for the virtual address that one forwards to the other is one that the other would
    // forward back.
    let mut texts = [String::new(), String::new()];
    for (i, text) in texts.iter_mut().enumerate() {
        for service in &mut conf.services {
            service.reals = vec![(addresses[1 - i][0].0, 1)];
            service.lines = "  sloppy\n".into();
        }
        // Nobody answers a check there, and a server that is down would hide a loop.
        *text = without_checks(&conf.text(i));
    }
    let mut spec = Spec::pair(&PairConf::http(3, FAST), [Kind::Lbd; 2]);
    spec.confs = texts;
    let mut lab = Lab::new(&spec)?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, FAST, &ping, LIMIT)?;
    let to = lab.service(Protocol::Tcp)?;
    let before = lab.switch.frames(&lab.directors[1].host.port)?;
    let start = Instant::now();
    let report = load::requests(&lab.client.ns, to, 5, Duration::from_millis(300));
    pause(Duration::from_millis(500))?;
    let after = lab.switch.frames(&lab.directors[1].host.port)?;
    let seconds = Instant::now().since(start).as_secs_f64();
    // The first director forwarded at all, or there would be nothing to see.
    let sent = after.1 - before.1;
    assert!(sent > 0);
    // Adverts every 50 ms, a few ARPs, and the segments: a loop makes 100,000s of frames a second.
    let frames = (after.0 - before.0) + sent;
    println!("{frames} frames in {seconds:.1} s; {report:?}");
    assert!(
        (frames as f64) < 1000.0 * seconds,
        "{frames} frames in {seconds:.1} s"
    );
    drop(ping);
    lab.finish()
}

/// Takes the TCP_CHECK blocks out.
fn without_checks(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        inside |= line.trim_start().starts_with("TCP_CHECK");
        if !inside {
            out.push_str(line);
            out.push('\n');
        }
        inside &= line.trim() != "}";
    }
    out
}
