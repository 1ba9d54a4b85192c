//! A real server that answers its checks and lacks the virtual address: DR_PATH_CHECK finds it, on the
//! master and on the backup.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_tests::clock::wait_for;
use lb_tests::conf::PairConf;
use lb_tests::director::{Director, Kind};
use lb_tests::lab::{Lab, Real, Spec};
use lb_tests::namespace::Namespace;
use lb_userspace::control::status::CheckState;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(20);
const ADVERT: Duration = Duration::from_millis(50);
const VIPS: [&str; 2] = ["10.77.0.100", "fd77::100"];
const TCP: u16 = 8000;
const UDP: u16 = 5300;

/// The addresses of a real server, number 0 to 2.
fn addresses(n: usize) -> [IpAddr; 2] {
    let (v4, v6) = (format!("10.77.0.{}", 21 + n), format!("fd77::{}", 21 + n));
    [v4, v6].map(|a| a.parse().expect("an address"))
}

/// Services of either version and protocol, each server with a DR_PATH_CHECK alone: a TCP_CHECK would have
/// connections of its own, which the stack resets when they end late.
fn services() -> String {
    let mut text = String::new();
    for (version, vip) in VIPS.iter().enumerate() {
        for (port, protocol) in [(TCP, "TCP"), (UDP, "UDP")] {
            text += &format!(
                "\nvirtual_server {vip} {port} {{\n  lb_algo rr\n  lb_kind DR\n  protocol {protocol}\n  delay_loop 0.5\n  \
                 connect_timeout 0.3\n  retry 1\n  warmup 0\n  alpha\n  check_dr_path\n"
            );
            for real in 0..3 {
                let addr = addresses(real)[version];
                text += &format!("  real_server {addr} {port} {{\n  }}\n");
            }
            text += "}\n";
        }
    }
    text
}

/// Serves on these addresses and no other until it is stopped.
struct Serving(JoinHandle<()>);

impl Serving {
    fn start(real: &Real, on: &[IpAddr]) -> Result<Serving> {
        let (tcp, udp) = (on.to_vec(), on.to_vec());
        let bound = real.host.ns.block_on(async move {
            let (mut listeners, mut sockets) = (Vec::new(), Vec::new());
            for (addr, port) in tcp.into_iter().flat_map(|a| [(a, TCP), (a, UDP)]) {
                listeners.push(TcpListener::bind((addr, port)).await?);
            }
            for addr in udp {
                sockets.push(UdpSocket::bind((addr, UDP)).await?);
            }
            std::io::Result::Ok((listeners, sockets))
        });
        let (listeners, sockets) = bound.context("bind")?;
        Ok(Serving(real.host.ns.spawn(async move {
            // What is accepted is closed; what comes by UDP waits.
            let accept = async |l: &TcpListener| loop {
                let _ = l.accept().await;
            };
            futures::future::join_all(listeners.iter().map(accept)).await;
            drop(sockets);
        })))
    }

    fn stop(self, real: &Real) {
        self.0.abort();
        // It ends by being aborted.
        let _ = real.host.ns.block_on(self.0);
    }
}

/// Gives a real server the virtual addresses, or takes them.
fn virtual_addresses(real: &Real, there: bool) -> Result<()> {
    for (addr, len) in VIPS.into_iter().zip([32, 128]) {
        let (ns, addr) = (&real.host.ns, addr.parse::<IpAddr>()?);
        match there {
            true => ns.add_address("lo", addr, len)?,
            false => ns.delete_address("lo", addr)?,
        }
    }
    Ok(())
}

/// What the DR_PATH_CHECKs of server 1 said, once they are in a state, all other checks pass and the
/// server is used accordingly.
fn wait_for_path(director: &Director, what: &str, up: bool) -> Result<Vec<String>> {
    let what = format!("{what} at {}", director.name());
    director.wait_status(&what, LIMIT, |status| {
        let mut said = Vec::new();
        let ours = status
            .checks
            .iter()
            .filter(|c| [TCP, UDP].contains(&c.service.port));
        for check in ours {
            let of_path = check.kind == "DR_PATH_CHECK";
            let away = of_path && !up && addresses(1).contains(&check.server);
            let want = if away {
                CheckState::Down
            } else {
                CheckState::Up
            };
            if check.state != want {
                return None;
            }
            if of_path && addresses(1).contains(&check.server) {
                let service = status.services.iter().find(|s| s.key == check.service)?;
                let server = service.backends.iter().find(|b| b.addr == check.server)?;
                if server.listed != up {
                    return None;
                }
                said.push(check.last_result.clone()?);
            }
        }
        (said.len() == 4).then_some(said)
    })
}

/// How many resets a host's own stack has sent.
fn resets(ns: &Namespace) -> Result<u64> {
    let text = ns.call(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let mut lines = text.lines().filter(|l| l.starts_with("Tcp:"));
    let (names, values) = lines.next().zip(lines.next()).context("no TCP counters")?;
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both.find(|(n, _)| *n == "OutRsts").context("no OutRsts")?;
    Ok(value.parse()?)
}

/// Connections that a host has granted to somebody who has not taken them.
fn half_open(ns: &Namespace) -> Result<usize> {
    let text = ns.call(|| std::fs::read_to_string("/proc/thread-self/net/tcp"))?;
    let state = |line: &&str| line.split_whitespace().nth(3) == Some("03");
    Ok(text.lines().filter(state).count())
}

#[test]
fn a_server_without_the_virtual_address_is_found() -> Result<()> {
    let mut spec = Spec::pair(&PairConf::http(2, ADVERT), [Kind::Lbd; 2]);
    for text in &mut spec.confs {
        text.push_str(&services());
    }
    let mut lab = Lab::new(&spec)?;
    for (n, director) in lab.directors.iter().enumerate() {
        let ns = &director.host.ns;
        ns.allow_ipv6("eth0")?;
        let addr: IpAddr = format!("fd77::1{n}").parse()?;
        ns.add_address("eth0", addr, 64)?;
    }
    // The first is master; of IPv6 it is told so.
    lab.directors[0]
        .host
        .ns
        .add_virtual_address("eth0", VIPS[1].parse()?)?;
    let all = |n: usize| {
        let vips = VIPS.map(|a| a.parse().expect("an address"));
        [addresses(n), vips].concat()
    };
    let mut serving = Vec::new();
    for (n, real) in lab.reals.iter().enumerate() {
        let ns = &real.host.ns;
        ns.allow_ipv6("eth0")?;
        ns.allow_ipv6("lo")?;
        ns.add_address("eth0", addresses(n)[1], 64)?;
        ns.add_address("lo", VIPS[1].parse::<IpAddr>()?, 128)?;
        serving.push(Serving::start(real, &all(n))?);
    }
    let ping = lab.ping(lab.vip(), Duration::from_millis(5))?;
    lab.start_directors()?;
    lab.settle(0, None, ADVERT, &ping, LIMIT)?;
    let both = |lab: &Lab, what: &str, up: bool| -> Result<Vec<String>> {
        let said = lab.directors.iter().map(|d| wait_for_path(d, what, up));
        Ok(said.collect::<Result<Vec<_>>>()?.concat())
    };
    both(&lab, "all servers", true)?;
    let before: Vec<u64> = lab
        .directors
        .iter()
        .map(|d| resets(&d.host.ns))
        .collect::<Result<_>>()?;

    let missing: Vec<String> = VIPS
        .iter()
        .map(|v| format!("{v} is not answered: is it on the server's lo?"))
        .collect();
    virtual_addresses(&lab.reals[1], false)?;
    let said = both(&lab, "a server without the address", false)?;
    assert!(said.iter().all(|s| missing.contains(s)), "{said:?}");
    virtual_addresses(&lab.reals[1], true)?;
    let said = both(&lab, "the address", true)?;
    assert_eq!(said, ["ok"; 8]);

    // A server that sends on what is not its own must not be taken for one that answers.
    let ns = &lab.reals[1].host.ns;
    ns.sysctl("net/ipv4/ip_forward", "1")?;
    ns.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    virtual_addresses(&lab.reals[1], false)?;
    let said = both(&lab, "a router without the address", false)?;
    assert!(said.iter().all(|s| missing.contains(s)), "{said:?}");
    virtual_addresses(&lab.reals[1], true)?;
    both(&lab, "the router's address", true)?;

    // One that serves its own address only.
    serving.remove(1).stop(&lab.reals[1]);
    serving.insert(1, Serving::start(&lab.reals[1], &addresses(1))?);
    let said = both(&lab, "a server that does not listen", false)?;
    let refused = "is refused: does the server listen on it?";
    assert!(said.iter().all(|s| s.ends_with(refused)), "{said:?}");
    serving.remove(1).stop(&lab.reals[1]);
    serving.insert(1, Serving::start(&lab.reals[1], &all(1))?);
    both(&lab, "a server that listens", true)?;

    let after: Vec<u64> = lab
        .directors
        .iter()
        .map(|d| resets(&d.host.ns))
        .collect::<Result<_>>()?;
    assert_eq!(before, after, "a director's stack reset a connection");
    for director in &mut lab.directors {
        director.terminate()?;
        director.wait_stopped(LIMIT)?;
    }
    for real in &lab.reals {
        let ns = &real.host.ns;
        wait_for("no connection to wait at a server", LIMIT, || {
            (half_open(ns).ok()? == 0).then_some(())
        })?;
    }
    drop((ping, serving));
    lab.finish()
}
