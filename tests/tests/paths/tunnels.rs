//! Real servers behind tunnels, prepared by `lbctl realserver` alone.

use anyhow::Result;
use lb_tests::conf::PairConf;
use lb_tests::load;
use lb_tests::transfer::{download, path_mtu, upload};
use lb_userspace::model::Protocol;

use super::prepared::prepare;
use super::{ADVERT, BYTES, LIMIT, counted, lab, lb_kind, start};

/// Requests, datagrams, and an upload in frames that the tunnel has no room for: `mtu` bytes it has.
fn runs(kind: &str, mtu: u32) -> Result<()> {
    let mut conf = PairConf::http(2, ADVERT);
    for service in &mut conf.services {
        service.kind = lb_kind(kind);
    }
    let mut lab = lab(&conf)?;
    let vip = lab.vip().to_string();
    let arguments = ["--vip", &vip, "--tun", kind].map(str::to_owned);
    let prepared = prepare(&mut lab, &["lo", "eth0"], |_| arguments.to_vec())?;
    let ping = start(&mut lab)?;
    lab.wait_services(LIMIT)?;
    let (tcp, udp) = (lab.service(Protocol::Tcp)?, lab.service(Protocol::Udp)?);
    let ns = &lab.client.ns;
    for report in [
        load::requests(ns, tcp, 30, LIMIT),
        load::datagrams(ns, udp, 30, LIMIT),
    ] {
        println!("{kind}: {report:?}");
        assert_eq!(report.failed(), 0, "{report:?}\n{}", lab.logs());
        assert!(report.tally.values().all(|n| *n == 10), "{report:?}");
    }
    assert_eq!(path_mtu(ns, lab.vip())?, 1500);
    for run in 0..3 {
        let up = upload(ns, tcp, BYTES, LIMIT);
        up.map_err(|e| anyhow::anyhow!("upload {run}: {e:?}\n{}", lab.logs()))?;
        let down = download(ns, tcp, BYTES, LIMIT);
        down.map_err(|e| anyhow::anyhow!("download {run}: {e:?}\n{}", lab.logs()))?;
    }
    // The client was told once, by the director.
    let told = counted(&lab.directors[0], "too_big_answered")?;
    assert!(told >= 1, "{told} told");
    assert_eq!(path_mtu(ns, lab.vip())?, mtu);
    assert_eq!(counted(&lab.directors[0], "internal")?, 0);
    prepared.undo(&mut lab)?;
    drop(ping);
    lab.finish()
}

#[test]
fn ipip_carries_requests_datagrams_and_large_transfers() -> Result<()> {
    runs("ipip", 1480)
}

#[test]
fn gue_carries_requests_datagrams_and_large_transfers() -> Result<()> {
    runs("gue", 1468)
}

#[test]
fn gre_carries_requests_datagrams_and_large_transfers() -> Result<()> {
    runs("gre", 1476)
}
