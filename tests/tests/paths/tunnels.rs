//! Real servers behind tunnels, prepared by `lbctl realserver` alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_tests::conf::PairConf;
use lb_tests::director::binary;
use lb_tests::lab::{Lab, Real};
use lb_tests::load;
use lb_tests::namespace::Namespace;
use lb_tests::transfer::{download, upload};
use lb_userspace::model::Protocol;

use super::router::{behind_a_router, downloads};
use super::{ADVERT, BYTES, LIMIT, counted, lab, start};

/// The pair's services through tunnels.
fn conf(kind: &str) -> PairConf {
    let mut conf = PairConf::http(2, ADVERT);
    for service in &mut conf.services {
        // GUE's port is the one that `lbctl realserver` takes by itself.
        let port = if kind == "gue" { " port 6080" } else { "" };
        service.kind = format!("TUN type {kind}{port}");
    }
    conf
}

/// Real servers that `lbctl realserver up` has prepared.
struct Prepared {
    before: Vec<String>,
    files: tempfile::TempDir,
}

/// Takes away what the lab has given the real servers, and has `lbctl` prepare them.
fn prepare(lab: &mut Lab, kind: &str) -> Result<Prepared> {
    let vip = lab.vip();
    let pins = pins(lab)?;
    let files = tempfile::tempdir()?;
    let mut before = Vec::new();
    for real in &mut lab.reals {
        real.stop();
        let ns = &real.host.ns;
        ns.delete_address("lo", vip)?;
        for scope in ["all", "eth0"] {
            for key in ["arp_ignore", "arp_announce"] {
                ns.sysctl(&format!("net/ipv4/conf/{scope}/{key}"), "0")?;
            }
        }
        before.push(described(ns)?);
        let vip = vip.to_string();
        lbctl(
            real,
            files.path(),
            &pins,
            &["up", "--vip", &vip, "--tun", kind],
        )?;
        ensure!(
            described(&real.host.ns)? != before[before.len() - 1],
            "{} is as it was",
            real.name()
        );
        real.start()?;
    }
    Ok(Prepared { before, files })
}

impl Prepared {
    /// `lbctl realserver down` leaves nothing.
    fn undo(self, lab: &mut Lab) -> Result<()> {
        let pins = pins(lab)?;
        for (real, before) in lab.reals.iter_mut().zip(&self.before) {
            real.stop();
            lbctl(real, self.files.path(), &pins, &["down"])?;
            assert_eq!(&described(&real.host.ns)?, before, "{}", real.name());
        }
        Ok(())
    }
}

/// Where this lab's pins are.
fn pins(lab: &Lab) -> Result<PathBuf> {
    let pins = lab.directors[0].pins().parent();
    Ok(pins.context("the directory of pins")?.to_owned())
}

fn lbctl(real: &Real, files: &Path, pins: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(binary("lbctl")?);
    command.arg("realserver").args(arguments);
    command.arg("--state-dir").arg(files.join(real.name()));
    command.arg("--pin").arg(pins.join(real.name()));
    let done = real.host.ns.call(move || command.output())?;
    ensure!(
        done.status.success(),
        "lbctl realserver {arguments:?} on {}: {}{}",
        real.name(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(())
}

/// The addresses, the XDP program and the ARP settings of a host.
fn described(ns: &Namespace) -> Result<String> {
    let mut text = format!("{:?}\n", ns.addresses("lo")?);
    text += &format!("{:?}\n", ns.addresses("eth0")?);
    let attributes = ns.link("eth0")?.attributes;
    let xdp = attributes
        .iter()
        .filter(|a| matches!(a, rtnetlink::packet_route::link::LinkAttribute::Xdp(_)));
    text += &format!("{:?}\n", xdp.collect::<Vec<_>>());
    for file in ["arp_ignore", "arp_announce", "rp_filter", "accept_local"] {
        for scope in ["all", "default", "lo", "eth0"] {
            let path = format!("/proc/sys/net/ipv4/conf/{scope}/{file}");
            let value = ns.call(move || std::fs::read_to_string(path))?;
            text += &format!("{scope} {file} {value}");
        }
    }
    Ok(text)
}

/// Requests, datagrams, and an upload in frames that the tunnel has no room for.
fn runs(kind: &str) -> Result<()> {
    let mut lab = lab(&conf(kind))?;
    let prepared = prepare(&mut lab, kind)?;
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
    for run in 0..3 {
        let up = upload(ns, tcp, BYTES, LIMIT);
        up.map_err(|e| anyhow::anyhow!("upload {run}: {e:?}\n{}", lab.logs()))?;
        let down = download(ns, tcp, BYTES, LIMIT);
        down.map_err(|e| anyhow::anyhow!("download {run}: {e:?}\n{}", lab.logs()))?;
    }
    // The client was told once, by the director.
    let told = counted(&lab.directors[0], "too_big_answered")?;
    assert!(told >= 1, "{told} told");
    assert_eq!(counted(&lab.directors[0], "internal")?, 0);
    prepared.undo(&mut lab)?;
    drop(ping);
    lab.finish()
}

/// An ICMP error about a connection goes through its tunnel too.
#[test]
fn a_download_through_a_tunnel_s_server_over_a_narrow_link_comes_through() -> Result<()> {
    let mut lab = lab(&conf("ipip"))?;
    let prepared = prepare(&mut lab, "ipip")?;
    let far = behind_a_router(&lab)?;
    let ping = start(&mut lab)?;
    lab.wait_services(LIMIT)?;
    downloads(&lab, &far)?;
    drop((ping, far));
    prepared.undo(&mut lab)?;
    lab.finish()
}

#[test]
fn ipip_carries_requests_datagrams_and_large_transfers() -> Result<()> {
    runs("ipip")
}

#[test]
fn gue_carries_requests_datagrams_and_large_transfers() -> Result<()> {
    runs("gue")
}

#[test]
fn gre_carries_requests_datagrams_and_large_transfers() -> Result<()> {
    runs("gre")
}
