//! Generic mode: the program sees segments that are still one packet, longer than the MTU, since the
//! client leaves it to its link to cut them. That is done on their way out, and they must not be
//! answered as too long.

use anyhow::{Result, ensure};
use lb_tests::conf::PairConf;
use lb_tests::lab::Lab;
use lb_tests::switch::tx_checksum;
use lb_tests::transfer::{path_mtu, upload};
use lb_userspace::control::status::XdpMode;
use lb_userspace::model::Protocol;

use super::{ADVERT, BYTES, LIMIT, counted, lab, start};

/// An MTU of a veth's other end that native mode has no room for.
const JUMBO: u32 = 9000;

/// Bytes and packets that came in for the services.
fn balanced(lab: &Lab) -> Result<(u64, u64)> {
    let status = lab.directors[0].status()?;
    let counts = status.services.iter().map(|s| s.counts);
    Ok(counts.fold((0, 0), |(b, p), c| (b + c.bytes, p + c.packets)))
}

#[test]
fn joined_segments_are_not_too_long_in_generic_mode() -> Result<()> {
    let mut lab = lab(&PairConf::http(2, ADVERT))?;
    let (host, switch) = (&lab.directors[0].host, &lab.switch);
    switch.ns().set_mtu(host.port.name(), JUMBO)?;
    tx_checksum(&lab.client.ns, "eth0", true)?;
    let ping = start(&mut lab)?;
    lab.wait_services(LIMIT)?;
    let status = lab.directors[0].status()?;
    let modes: Vec<_> = status
        .data_plane
        .interfaces
        .iter()
        .map(|i| i.mode)
        .collect();
    assert_eq!(modes, [Some(XdpMode::Generic)]);

    let to = lab.service(Protocol::Tcp)?;
    let (bytes, packets) = balanced(&lab)?;
    for run in 0..3 {
        let up = upload(&lab.client.ns, to, BYTES, LIMIT);
        up.map_err(|e| anyhow::anyhow!("upload {run}: {e:?}\n{}", lab.logs()))?;
    }
    for counter in ["too_big", "too_big_answered"] {
        assert_eq!(counted(&lab.directors[0], counter)?, 0, "{counter}");
    }
    assert_eq!(path_mtu(&lab.client.ns, lab.vip())?, 1500);
    let (more_bytes, more_packets) = balanced(&lab)?;
    let (bytes, packets) = (more_bytes - bytes, more_packets - packets);
    ensure!(
        bytes > 1500 * packets,
        "nothing came joined: {bytes} bytes in {packets} packets"
    );
    drop(ping);
    lab.finish()
}
