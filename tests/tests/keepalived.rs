//! The harness on a pair of keepalived, which is what `lbd` is compared with.

use std::time::Duration;

use lb_tests::clock::pause;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::events::Event;
use lb_tests::lab::{Lab, Spec};
use lb_tests::prober::let_answers_in;

const LIMIT: Duration = Duration::from_secs(15);

#[test]
fn the_client_sees_keepalived_fail_over_when_the_power_goes() -> anyhow::Result<()> {
    let advert = Duration::from_millis(50);
    let conf = PairConf::http(3, advert);
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Keepalived; 2]))?;
    lab.start_directors()?;
    let ping = lab.ping(lab.vip(), Duration::from_millis(2))?;
    lab.settle(0, None, advert, &ping, LIMIT)?;
    let at = lab.strike(Event::PowerLoss, 0)?;
    let second = lab.directors[1].host.mac;
    let taken = ping.wait_answer(&lab.recorder, Some(second), 10, at, LIMIT)?;
    let_answers_in()?;
    let outage = ping.outage(&lab.recorder, at, taken.plus(Duration::from_millis(100)));
    println!("{outage:?}");
    // Three intervals and the skew of priority 99, less the phase.
    assert!(
        (90..400).contains(&outage.longest.as_millis()),
        "{outage:?}"
    );
    lab.recover(Event::PowerLoss, 0)?;
    lab.settle(0, None, advert, &ping, LIMIT)?;
    drop(ping);
    pause(Duration::from_millis(1))?;
    lab.finish()
}
