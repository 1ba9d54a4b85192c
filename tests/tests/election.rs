//! keepalived's words for the election, ours and keepalived's beside each other.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::{Instant, pause};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use lb_tests::prober::Prober;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_millis(50);
const MIXED: [[Kind; 2]; 2] = [[Kind::Lbd, Kind::Keepalived], [Kind::Keepalived, Kind::Lbd]];

/// A pair that is settled, with further lines in both instances.
fn settled(kinds: [Kind; 2], lines: &str) -> Result<(Lab, Prober)> {
    let mut conf = PairConf::http(3, ADVERT);
    conf.state_master = false;
    conf.instance_lines = lines.to_owned();
    let mut lab = Lab::new(&Spec::pair(&conf, kinds))?;
    lab.start_directors()?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(2))?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)
        .with_context(|| format!("{kinds:?}"))?;
    Ok((lab, ping))
}

/// The first loses its power; the outage until the second answers.
fn power_loss(lab: &mut Lab, ping: &Prober) -> Result<Duration> {
    let at = lab.strike(Event::PowerLoss, 0)?;
    let second = lab.directors[1].host.mac;
    ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)?;
    pause(Duration::from_millis(100))?;
    Ok(ping.outage(&lab.recorder, at, Instant::now()).longest)
}

#[test]
fn a_preempt_delay_is_as_long_as_keepalived_s() -> Result<()> {
    for kinds in MIXED {
        let (mut lab, ping) = settled(kinds, "  preempt_delay 3\n")?;
        power_loss(&mut lab, &ping)?;
        let first = lab.directors[0].host.mac;
        let at = lab.recover(Event::PowerLoss, 0)?;
        let back = ping.wait_answer(&lab.recorder, Some(first), 1, at, LIMIT)?;
        let took = back.since(at);
        println!("{kinds:?}: back after {took:?}");
        // It begins with the first advert that is heard; a start comes to it, and the down timer of the
        // last advert within the delay.
        let (least, most) = (Duration::from_secs(3), Duration::from_millis(4500));
        assert!(
            (least..most).contains(&took),
            "{kinds:?}: {took:?}\n{}",
            lab.logs()
        );
        lab.settle(0, None, ADVERT, &ping, LIMIT)?;
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}

#[test]
fn a_silent_master_is_down_after_the_adverts_that_keepalived_waits_for() -> Result<()> {
    for kinds in MIXED {
        let (mut lab, ping) = settled(kinds, "  down_timer_adverts 20\n")?;
        let outage = power_loss(&mut lab, &ping)?;
        println!("{kinds:?}: {outage:?}");
        // 20 intervals and the skew of priority 99, less the phase.
        let (least, most) = (ADVERT * 19, ADVERT * 21 + Duration::from_millis(300));
        assert!(
            (least..most).contains(&outage),
            "{kinds:?}: {outage:?}\n{}",
            lab.logs()
        );
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}

#[test]
fn another_group_is_that_of_both() -> Result<()> {
    for kinds in MIXED {
        let mut conf = PairConf::http(3, ADVERT);
        conf.global_lines = "  vrrp_mcast_group4 224.0.0.180\n".to_owned();
        let mut lab = Lab::new(&Spec::pair(&conf, kinds))?;
        lab.start_directors()?;
        let ping = lab.ping(lab.vip(), Duration::from_millis(2))?;
        lab.settle(0, None, ADVERT, &ping, LIMIT)
            .with_context(|| format!("{kinds:?}"))?;
        power_loss(&mut lab, &ping)?;
        lab.recover(Event::PowerLoss, 0)?;
        lab.settle(0, None, ADVERT, &ping, LIMIT)?;
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}
