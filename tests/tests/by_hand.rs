//! What an operator sets by hand for a real server: what clients and `lbctl` see of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::clock::pause;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::load::{self, Report};
use lb_userspace::control::status::VrrpState;
use lb_userspace::health::ByHand;
use lb_userspace::model::Protocol;
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_secs(1);

fn conf() -> PairConf {
    let mut conf = PairConf::http(2, ADVERT);
    conf.global_lines += "  lvs_timeouts tcpfin 2\n";
    conf
}

/// Runs `lbctl` on the first director; what it printed, and its exit status.
fn lbctl(lab: &Lab, args: &[&str]) -> Result<(String, Option<i32>)> {
    let out = lab.directors[0].lbctl(args)?;
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((said, out.status.code()))
}

fn done(lab: &Lab, args: &[&str]) -> Result<String> {
    let (said, status) = lbctl(lab, args)?;
    ensure!(status == Some(0), "lbctl {args:?}: {status:?} {said}");
    Ok(said)
}

/// Thirty new connections, all of which must be answered.
fn new_ones(lab: &Lab) -> Result<Report> {
    let to = lab.service(Protocol::Tcp)?;
    let report = load::requests(&lab.client.ns, to, 30, LIMIT);
    ensure!(report.failed() == 0, "{report:?}\n{}", lab.logs());
    Ok(report)
}

fn to(report: &Report, real: usize, lab: &Lab) -> u64 {
    let name = lab.reals[real].name();
    report.tally.get(name).copied().unwrap_or(0)
}

/// Waits until the first director is master and knows the way to all real servers. Nothing is asked
/// before: a SYN that is lost then would be a connection for a minute.
fn serving(lab: &Lab) -> Result<()> {
    lab.directors[0].wait_status("a master that serves", LIMIT, |s| {
        let master = s.vrrp.iter().all(|v| v.state == VrrpState::Master);
        let mut servers = s.services.iter().flat_map(|s| &s.backends);
        let known = servers.all(|b| b.mac.is_some());
        (master && known && !s.services.is_empty()).then_some(())
    })
}

/// By hand, of the real servers of the TCP service.
fn by_hand(lab: &Lab) -> Result<Vec<ByHand>> {
    let status = lab.directors[0].status()?;
    let mut services = status.services.iter();
    let tcp = services.find(|s| s.key.protocol == Protocol::Tcp);
    Ok(tcp.map_or_else(Vec::new, |s| s.backends.iter().map(|b| b.by_hand).collect()))
}

#[test]
fn a_drained_server_keeps_what_it_has_and_gets_nothing_new() -> Result<()> {
    let mut lab = Lab::new(&Spec::pair(&conf(), [Kind::Lbd; 2]))?;
    lab.directors[0].start()?;
    serving(&lab)?;
    let service = lab.service(Protocol::Tcp)?;
    let name = format!("{service}/tcp");
    let reals: Vec<String> = conf().services[0]
        .reals
        .iter()
        .map(|(addr, _)| addr.to_string())
        .collect();
    let before = new_ones(&lab)?;
    assert!(to(&before, 0, &lab) >= 9, "{before:?}");

    let ns = &lab.client.ns;
    let long = load::long_lived(ns, service, 30, Duration::from_millis(50), LIMIT);
    pause(Duration::from_secs(1))?;
    let said = done(&lab, &["drain", &name, &reals[0]])?;
    assert!(
        said.contains("draining (weight 0) (configured weight 1)"),
        "{said}"
    );
    let after = new_ones(&lab)?;
    assert_eq!(to(&after, 0, &lab), 0, "{after:?}");
    let (said, status) = lbctl(
        &lab,
        &["drain", &name, &reals[0], "--wait", "--timeout", "0.5"],
    )?;
    assert_eq!(status, Some(1), "connections are left: {said}");
    assert!(!said.contains("(0 active)"), "{said}");
    let long = long.stop()?;
    assert_eq!((long.failed(), long.opened), (0, 30), "{long:?}");
    assert!(
        to(&long, 0, &lab) > 100,
        "the drained server went on: {long:?}"
    );
    let said = done(
        &lab,
        &["drain", &name, &reals[0], "--wait", "--timeout", "30"],
    )?;
    assert!(said.lines().any(|l| l.starts_with("0 left")), "{said}");

    // Another one is out of the pool; the third has the weight of two, all by abbreviations.
    let (short, all) = (&name[..name.len() - 2], "set weight by hand");
    done(&lab, &["disable", short, &reals[1]])?;
    done(&lab, &["set", "weight", short, &reals[2], "2"])?;
    let shown = done(&lab, &["show"])?;
    assert_eq!(shown.matches("by hand:").count(), 3, "{all}: {shown}");
    let alone = new_ones(&lab)?;
    assert_eq!(to(&alone, 2, &lab), 30, "{alone:?}");

    // A killed daemon's successor knows; so does nobody else.
    let set = by_hand(&lab)?;
    lab.directors[0].kill()?;
    lab.directors[0].start()?;
    serving(&lab)?;
    assert_eq!(by_hand(&lab)?, set);
    let alone = new_ones(&lab)?;
    assert_eq!(to(&alone, 2, &lab), 30, "{alone:?}");

    // A reload ends the weight that it changes, `enable` the rest.
    let mut changed = conf();
    changed.services[0].reals[2].1 = 3;
    lab.directors[0].write_conf(&changed.text(0))?;
    lab.directors[0].signal(Signal::SIGHUP)?;
    lab.directors[0].wait_status("the reload", LIMIT, |s| {
        (s.config.reloads == 1).then_some(())
    })?;
    assert_eq!(by_hand(&lab)?[2], ByHand::default());
    done(&lab, &["enable", &name, &reals[0]])?;
    done(&lab, &["enable", &name, &reals[1]])?;
    assert_eq!(by_hand(&lab)?, [ByHand::default(); 3]);
    let again = new_ones(&lab)?;
    assert!(
        to(&again, 0, &lab) > 0 && to(&again, 1, &lab) > 0,
        "{again:?}"
    );

    // What is not there is refused, with what there is.
    let (said, status) = lbctl(&lab, &["drain", "10.77.0.99:80", &reals[0]])?;
    assert_eq!(status, Some(2));
    assert!(
        said.contains("choose from: ") && said.contains(&name),
        "{said}"
    );
    let (said, status) = lbctl(&lab, &["drain", &name, "10.77.0.2"])?;
    assert_eq!(status, Some(2));
    assert!(said.contains(&reals[2]), "{said}");
    lab.finish()
}
