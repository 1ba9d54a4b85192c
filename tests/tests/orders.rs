//! An operator moves the role of master by `lbctl vrrp release` and `takeover`.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::clock::{Instant, pause};
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::prober::{Prober, let_answers_in};

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);
/// What a client may miss when keepalived is in the pair, which takes its address off before the other
/// one was heard.
const WITH_KEEPALIVED: Duration = Duration::from_millis(200);

/// Gives an order to our director `at`; then `master` must have the address alone, and stay so.
fn order(lab: &Lab, ping: &Prober, at: usize, order: &str, master: usize) -> Result<()> {
    let out = lab.directors[at].lbctl(&["vrrp", order, "VI_1"])?;
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    ensure!(
        out.status.success(),
        "{order}: {said} {:?}\n{}",
        out.stderr,
        lab.logs()
    );
    println!("{order}: {said}");
    lab.settle(master, None, ADVERT, ping, LIMIT)?;
    // Nobody takes it back.
    pause(ADVERT * 4)?;
    lab.settle(master, None, ADVERT, ping, LIMIT)
}

/// Goes through the orders; the longest time without an answer.
fn story(kinds: [Kind; 2], orders: &[(usize, &str, usize)]) -> Result<Duration> {
    let conf = PairConf::http(2, ADVERT);
    let mut lab = Lab::new(&Spec::pair(&conf, kinds))?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(2))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    let begin = Instant::now();
    for &(at, what, master) in orders {
        order(&lab, &ping, at, what, master)?;
    }
    let_answers_in()?;
    let outage = ping.outage(&lab.recorder, begin, Instant::now());
    println!("{outage:?}");
    drop(ping);
    lab.finish()?;
    Ok(outage.longest)
}

#[test]
fn between_ours_no_client_notices() -> Result<()> {
    let orders = [
        (0, "release", 1),
        (0, "takeover", 0),
        (1, "takeover", 1),
        (1, "release", 0),
    ];
    let longest = story([Kind::Lbd; 2], &orders)?;
    assert!(longest <= Duration::from_millis(10), "{longest:?}");
    Ok(())
}

#[test]
fn ours_releases_to_keepalived_and_takes_back() -> Result<()> {
    let orders = [(0, "release", 1), (0, "takeover", 0)];
    let longest = story([Kind::Lbd, Kind::Keepalived], &orders)?;
    assert!(longest <= WITH_KEEPALIVED, "{longest:?}");
    Ok(())
}

#[test]
fn ours_takes_over_from_a_keepalived_of_higher_priority_and_gives_it_back() -> Result<()> {
    let orders = [(1, "takeover", 1), (1, "release", 0)];
    let longest = story([Kind::Keepalived, Kind::Lbd], &orders)?;
    assert!(longest <= WITH_KEEPALIVED, "{longest:?}");
    Ok(())
}
