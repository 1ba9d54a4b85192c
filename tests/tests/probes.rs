//! Checkers that do without TCP, while a real server leaves and returns.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use lb_tests::backend::Backend;
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::lab::{Lab, Real, Spec};
use lb_userspace::control::status::CheckState;
use lb_userspace::model::Protocol;

const LIMIT: Duration = Duration::from_secs(20);
const PORT: u16 = 5300;
const VIPS: [&str; 2] = ["10.77.0.100", "fd77::100"];

/// The addresses of a real server, number 0 to 2.
fn addresses(n: usize) -> [IpAddr; 2] {
    let (v4, v6) = (format!("10.77.0.{}", 21 + n), format!("fd77::{}", 21 + n));
    [v4, v6].map(|a| a.parse().expect("an address"))
}

/// A service of either version, with one checker.
fn services(checker: &str) -> String {
    let mut text = String::new();
    for (version, vip) in VIPS.iter().enumerate() {
        text += &format!(
            "\nvirtual_server {vip} {PORT} {{\n  lb_algo rr\n  lb_kind DR\n  protocol UDP\n  delay_loop 0.5\n  \
             connect_timeout 0.4\n  delay_before_retry 0.1\n  retry 1\n  warmup 0\n  alpha\n"
        );
        for real in 0..3 {
            let addr = addresses(real)[version];
            text += &format!("  real_server {addr} {PORT} {{\n    {checker}\n  }}\n");
        }
        text += "}\n";
    }
    text
}

/// Answers by UDP on a real server's own addresses.
fn serve(real: &Real, n: usize) -> Result<Backend> {
    let ports = addresses(n).map(|addr| (SocketAddr::new(addr, PORT), Protocol::Udp));
    Backend::serve(&real.host.ns, real.name(), ports.to_vec())
}

fn address(real: &Real, n: usize) -> Result<()> {
    let [_, v6] = addresses(n);
    real.host.ns.add_address("eth0", v6, 64)
}

/// A director that runs, and its real servers, with both versions.
fn lab(checker: &str) -> Result<Lab> {
    let mut spec = Spec::pair(&PairConf::http(2, Duration::from_secs(1)), [Kind::Lbd; 2]);
    spec.confs[0].push_str(&services(checker));
    let mut lab = Lab::new(&spec)?;
    let director = &lab.directors[0].host.ns;
    director.allow_ipv6("eth0")?;
    director.add_address("eth0", "fd77::10".parse::<IpAddr>()?, 64)?;
    for (n, real) in lab.reals.iter().enumerate() {
        real.host.ns.allow_ipv6("eth0")?;
        address(real, n)?;
    }
    lab.directors[0].start()?;
    lab.directors[0].wait_ready(LIMIT)?;
    Ok(lab)
}

/// Waits until the checks of `kind` of server 1 are in a state, and those of the others pass, and the
/// servers are used accordingly; gives what the last runs of server 1 said.
fn wait_for_server(director: &Director, kind: &str, up: bool) -> Result<Vec<String>> {
    let (state, word) = match up {
        true => (CheckState::Up, "up"),
        false => (CheckState::Down, "down"),
    };
    director.wait_status(&format!("{kind} of server 1 {word}"), LIMIT, |status| {
        let mut said = Vec::new();
        for n in 0..3 {
            for addr in addresses(n) {
                let check = status
                    .checks
                    .iter()
                    .find(|c| c.kind == kind && c.server == addr)?;
                let service = status.services.iter().find(|s| s.key == check.service)?;
                let server = service.backends.iter().find(|b| b.addr == addr)?;
                let (want, used) = if n == 1 {
                    (state, up)
                } else {
                    (CheckState::Up, true)
                };
                if check.state != want || server.listed != used {
                    return None;
                }
                if n == 1 {
                    said.extend(check.last_result.clone());
                }
            }
        }
        Some(said)
    })
}

#[test]
fn udp_check_follows_the_port() -> Result<()> {
    let lab =
        lab("UDP_CHECK {\n payload 68 65 79\n require_reply 68xx79\n min_reply_length 4\n }")?;
    let director = &lab.directors[0];
    let mut backends = Vec::new();
    for (n, real) in lab.reals.iter().enumerate() {
        backends.push(Some(serve(real, n)?));
    }
    wait_for_server(director, "UDP_CHECK", true)?;
    backends[1] = None;
    let said = wait_for_server(director, "UDP_CHECK", false)?;
    assert_eq!(said, ["connection refused"; 2]);
    backends[1] = Some(serve(&lab.reals[1], 1)?);
    let said = wait_for_server(director, "UDP_CHECK", true)?;
    assert_eq!(said, ["ok"; 2]);
    drop(backends);
    lab.finish()
}

#[test]
fn ping_check_follows_the_host() -> Result<()> {
    let lab = lab("PING_CHECK {\n }")?;
    let (director, real) = (&lab.directors[0], &lab.reals[1]);
    wait_for_server(director, "PING_CHECK", true)?;
    real.host.ns.link_down("eth0")?;
    let said = wait_for_server(director, "PING_CHECK", false)?;
    let known = ["no answer in time", "host unreachable"];
    assert!(said.iter().all(|s| known.contains(&s.as_str())), "{said:?}");
    real.host.ns.link_up("eth0")?;
    // IPv6 addresses go with the link.
    address(real, 1)?;
    let said = wait_for_server(director, "PING_CHECK", true)?;
    assert_eq!(said, ["ok"; 2]);
    lab.finish()
}

/// What has a mark in the kernel's rules goes another way than what has none.
#[test]
fn a_check_has_its_mark() -> Result<()> {
    let lab = lab("PING_CHECK {\n fwmark 77\n }\n TCP_CHECK {\n }")?;
    let director = &lab.directors[0];
    let mut backends = Vec::new();
    for (n, real) in lab.reals.iter().enumerate() {
        backends.push(serve(real, n)?);
    }
    let up = |kind: &str| wait_for_server(director, kind, true);
    up("TCP_CHECK")?;
    up("PING_CHECK")?;
    let rules = |verb: &'static str| -> Result<()> {
        for version in ["-4", "-6"] {
            let out = director.host.ns.call(move || {
                let mut command = std::process::Command::new("ip");
                let rule = ["rule", verb, "fwmark", "77", "unreachable"];
                command.arg(version).args(rule).output()
            })?;
            anyhow::ensure!(out.status.success(), "{out:?}");
        }
        Ok(())
    };
    let marked = |state: CheckState| {
        director.wait_status("what is marked", LIMIT, |status| {
            let want = |kind: &str| match kind {
                "PING_CHECK" => state,
                _ => CheckState::Up,
            };
            let ours = || status.checks.iter().filter(|c| c.service.port == PORT);
            let all = ours().all(|c| c.state == want(&c.kind));
            (all && ours().count() == 12).then_some(())
        })
    };
    rules("add")?;
    marked(CheckState::Down)?;
    rules("del")?;
    marked(CheckState::Up)?;
    drop(backends);
    lab.finish()
}
