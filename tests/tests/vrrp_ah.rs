//! Version 2 in IPsec AH: ours and keepalived's in every pairing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lb_tests::clock::{Instant, pause};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};

const LIMIT: Duration = Duration::from_secs(30);
const PING: Duration = Duration::from_millis(5);
const ADVERT: Duration = Duration::from_secs(1);
const EVERY: [[Kind; 2]; 3] = [
    [Kind::Lbd, Kind::Keepalived],
    [Kind::Keepalived, Kind::Lbd],
    [Kind::Lbd, Kind::Lbd],
];

fn spec(kinds: [Kind; 2]) -> Spec {
    let mut spec = Spec::pair(&PairConf::http(2, ADVERT), kinds);
    for text in &mut spec.confs {
        *text = text.replace("auth_type PASS", "auth_type AH");
    }
    spec
}

/// They agree on the master, the other takes over whatever happens, and the first takes back although
/// it knows nothing of the sequence any more.
#[test]
fn every_pairing_agrees_in_ah() -> Result<()> {
    for kinds in EVERY {
        println!("{kinds:?}");
        let mut lab = Lab::new(&spec(kinds))?;
        lab.start_directors()?;
        let ping = lab.ping(lab.vip(), PING)?;
        lab.settle(0, None, ADVERT, &ping, LIMIT)?;
        let second = lab.directors[1].host.mac;
        // Three intervals and the skew of priority 99, and what a busy machine adds.
        let limit = ADVERT.mul_f64(3.62) + Duration::from_millis(300);
        for event in [Event::PowerLoss, Event::CleanStop] {
            let at = lab.strike(event, 0)?;
            ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)
                .with_context(|| format!("{}: {}", event.words(), lab.logs()))?;
            if event == Event::CleanStop {
                lab.directors[0].wait_ended(LIMIT)?;
            }
            pause(Duration::from_millis(200))?;
            let lost = ping.outage(&lab.recorder, at, Instant::now());
            println!("  {}: {:?}", event.words(), lost.longest);
            ensure!(lost.longest <= limit, "{}: {lost:?}", lab.logs());
            lab.recover(event, 0)?;
            lab.settle(0, None, ADVERT, &ping, LIMIT)
                .with_context(|| format!("return after {}", event.words()))?;
        }
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}

/// A daemon that is killed and started again goes on with its sequence: the peer takes its adverts.
#[test]
fn a_killed_master_goes_on_where_it_was() -> Result<()> {
    for kinds in [EVERY[0], EVERY[2]] {
        let mut lab = Lab::new(&spec(kinds))?;
        lab.start_directors()?;
        let ping = lab.ping(lab.vip(), PING)?;
        lab.settle(0, None, ADVERT, &ping, LIMIT)?;
        let at = lab.strike(Event::KillRestart, 0)?;
        pause(ADVERT * 5)?;
        let first = lab.directors[0].host.mac;
        let others = ping
            .answers(&lab.recorder.since(at))
            .filter(|a| a.from != first)
            .count();
        ensure!(others == 0, "{others} answers of another: {}", lab.logs());
        lab.wait_sole_advertiser(0, None, ADVERT, at, LIMIT)?;
        drop(ping);
        lab.finish()?;
    }
    Ok(())
}

#[test]
fn another_password_is_counted_and_elects_nobody() -> Result<()> {
    let mut spec = spec([Kind::Lbd; 2]);
    spec.confs[1] = spec.confs[1].replace("auth_pass 1111", "auth_pass 1112");
    let mut lab = Lab::new(&spec)?;
    lab.start_directors()?;
    for director in &lab.directors {
        director.wait_status("what is not authentic to be counted", LIMIT, |status| {
            let discarded = &status.vrrp.first()?.discarded;
            discarded
                .iter()
                .find(|d| d.reason == "auth_data" && d.count > 2)?;
            Some(())
        })?;
    }
    lab.finish()
}
