//! Real servers that `lbctl realserver` alone has prepared, and leaves as they were.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lb_tests::director::binary;
use lb_tests::lab::{Lab, Real};
use lb_tests::namespace::Namespace;

/// Real servers that are up.
pub(super) struct Prepared {
    links: &'static [&'static str],
    before: Vec<String>,
    files: tempfile::TempDir,
}

/// Takes away what the lab has given the real servers, and has `lbctl` prepare them with the further
/// arguments that `up` gives for each. `links` are those that it may change.
pub(super) fn prepare(
    lab: &mut Lab,
    links: &'static [&'static str],
    up: impl Fn(usize) -> Vec<String>,
) -> Result<Prepared> {
    let pins = pins(lab)?;
    let files = tempfile::tempdir()?;
    let mut before = Vec::new();
    for (i, real) in lab.reals.iter_mut().enumerate() {
        real.stop();
        let ns = &real.host.ns;
        for vip in &lab.topology.vips {
            ns.delete_address("lo", *vip)?;
        }
        for scope in ["all", "eth0"] {
            for key in ["arp_ignore", "arp_announce"] {
                ns.sysctl(&format!("net/ipv4/conf/{scope}/{key}"), "0")?;
            }
        }
        let was = described(ns, links)?;
        let mut arguments = vec!["up".to_owned()];
        arguments.extend(up(i));
        lbctl(real, files.path(), &pins, &arguments)?;
        ensure!(described(ns, links)? != was, "{} is as it was", real.name());
        before.push(was);
        real.start()?;
    }
    Ok(Prepared {
        links,
        before,
        files,
    })
}

impl Prepared {
    /// `lbctl realserver down` leaves nothing.
    pub(super) fn undo(self, lab: &mut Lab) -> Result<()> {
        let pins = pins(lab)?;
        for (real, before) in lab.reals.iter_mut().zip(&self.before) {
            real.stop();
            lbctl(real, self.files.path(), &pins, &["down".to_owned()])?;
            let now = described(&real.host.ns, self.links)?;
            assert_eq!(&now, before, "{}", real.name());
        }
        Ok(())
    }
}

/// Where this lab's pins are.
fn pins(lab: &Lab) -> Result<PathBuf> {
    let pins = lab.directors[0].pins().parent();
    Ok(pins.context("the directory of pins")?.to_owned())
}

fn lbctl(real: &Real, files: &Path, pins: &Path, arguments: &[String]) -> Result<()> {
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
fn described(ns: &Namespace, links: &[&str]) -> Result<String> {
    let mut text = String::new();
    for link in links {
        text += &format!("{link} {:?}\n", ns.addresses(link)?);
        let attributes = ns.link(link)?.attributes;
        let xdp = attributes
            .iter()
            .filter(|a| matches!(a, rtnetlink::packet_route::link::LinkAttribute::Xdp(_)));
        text += &format!("{:?}\n", xdp.collect::<Vec<_>>());
    }
    for file in ["arp_ignore", "arp_announce", "rp_filter", "accept_local"] {
        for scope in ["all", "default"].iter().chain(links) {
            let path = format!("/proc/sys/net/ipv4/conf/{scope}/{file}");
            let value = ns.call(move || std::fs::read_to_string(path))?;
            text += &format!("{scope} {file} {value}");
        }
    }
    Ok(text)
}
