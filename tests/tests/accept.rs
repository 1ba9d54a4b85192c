//! Addresses that are not to be talked to (`no_accept`): the services behind them go on.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::clock::{Instant, wait_for};
use lb_tests::conf::{PairConf, without_services};
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_millis(100);

fn refused(lab: &Lab) -> Result<u64> {
    let status = lab.directors[0].status()?;
    let reason = status.reasons.iter().find(|r| r.name == "not_accepted");
    Ok(reason.map_or(0, |r| r.count))
}

/// Waits until the VIP answers an echo request (true), or 20 more of them were refused.
fn answers(lab: &Lab) -> Result<bool> {
    let before = refused(lab)?;
    let since = Instant::now();
    let mac = lab.directors[0].host.mac;
    let ping = lab.ping(lab.vip(), Duration::from_millis(20))?;
    wait_for("an answer, or a refusal", LIMIT, || {
        let answer = lab.recorder.with(|frames| {
            let mut answers = ping.answers(frames);
            answers.any(|a| a.from == mac && a.at >= since)
        });
        let refused = refused(lab).is_ok_and(|now| now >= before + 20);
        (answer || refused).then_some(answer)
    })
}

fn start_master(lab: &mut Lab) -> Result<()> {
    lab.directors[0].start()?;
    lab.directors[0].wait_status("MASTER", LIMIT, |s| {
        let state = s.vrrp.first()?.state;
        (state.name() == "MASTER").then_some(())
    })
}

/// The program is there for it alone.
#[test]
fn an_address_without_services_is_not_answered_either() -> Result<()> {
    let mut conf = PairConf::http(3, ADVERT);
    conf.instance_lines = "  no_accept\n".to_owned();
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    spec.confs = [0, 1].map(|i| without_services(&conf.text(i)));
    let mut lab = Lab::new(&spec)?;
    start_master(&mut lab)?;
    ensure!(!answers(&lab)?, "it answers\n{}", lab.logs());
    lab.finish()
}

#[test]
fn only_services_are_accepted_and_a_reload_changes_that() -> Result<()> {
    let mut conf = PairConf::http(3, ADVERT);
    conf.instance_lines = "  no_accept\n".to_owned();
    let mut lab = Lab::new(&Spec::pair(&conf, [Kind::Lbd; 2]))?;
    start_master(&mut lab)?;
    lab.wait_services(LIMIT)?;
    ensure!(!answers(&lab)?, "it answers\n{}", lab.logs());
    // Whoever asks for the address finds it all the same.
    let mac = lab.client.ns.neighbour(lab.vip())?;
    ensure!(mac == Some(lab.directors[0].host.mac), "{mac:?}");
    lab.wait_services(LIMIT)?;

    conf.instance_lines.clear();
    lab.directors[0].write_conf(&conf.text(0))?;
    let reloaded = lab.directors[0].lbctl(&["reload"])?;
    ensure!(reloaded.status.success(), "{reloaded:?}");
    ensure!(answers(&lab)?, "it does not answer\n{}", lab.logs());
    lab.finish()
}
