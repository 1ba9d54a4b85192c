use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::conf::PairConf;
use lb_tests::load;
use lb_tests::transfer;
use lb_userspace::model::Protocol;

use super::{ADVERT, LIMIT, counted, lab, start};

#[test]
fn large_pings_and_datagrams_are_answered() -> Result<()> {
    let mut lab = lab(&PairConf::http(2, ADVERT))?;
    let ping = start(&mut lab)?;
    lab.wait_services(LIMIT)?;
    let ns = &lab.client.ns;
    ensure!(
        transfer::ping(ns, lab.vip(), 3000, LIMIT)?,
        "no answer to a ping of 3000 bytes"
    );
    let udp = lab.service(Protocol::Udp)?;
    let report = load::large_datagrams(ns, udp, 4096, 30, Duration::from_secs(2));
    println!("{report:?}");
    assert_eq!(report.failed(), 0, "{report:?}\n{}", lab.logs());
    assert!(report.tally.values().all(|n| *n == 10), "{report:?}");
    assert_eq!(report.tally.len(), 3, "{report:?}");
    // Each has two fragments after the first.
    let followed = counted(&lab.directors[0], "fragment_followed")?;
    assert!(followed >= 60, "{followed} fragments followed the first");
    drop(ping);
    lab.finish()
}
