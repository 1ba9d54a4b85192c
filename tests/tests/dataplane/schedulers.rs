//! Which server the program chooses, beside the choices of a real IPVS
//! (`lb-common/testdata/ipvs-6.1.txt`, which says how to read it), and what it counts.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use lb_common::maps::{
    BACKEND_RESOLVED, Backend, Load, Remote, SERVICE_COUNTS, SERVICE_HASH_FALLBACK,
    SERVICE_HASH_PORT, SERVICE_ONE_PACKET, SERVICE_SLOPPY, Sched, ServiceSlot, load_word,
    service_key, split_load,
};
use lb_common::sched::{
    MAX_TABLE, MH_SIZE, MhServer, SH_SIZE, fill_dh, fill_mh, fill_rr, fill_sh, fill_wrr,
};
use lb_common::tcp::{ACK, FIN, RST, SYN};
use lb_tests::dataplane::{Action, Director, IFINDEX};

use crate::frame::{Frame, OWN, TCP, UDP};
use crate::world::addr;

const RECORD: &str = include_str!("../../../lb-common/testdata/ipvs-6.1.txt");

/// A server of the record.
#[derive(Clone, Copy, Debug)]
struct Server {
    number: u16,
    weight: u16,
    upper: u32,
    lower: u32,
}

/// A line `turns` of the record.
struct Turns {
    scheduler: &'static str,
    flags: u32,
    kind: &'static str,
    service: SocketAddrV4,
    /// In the order in which they were added.
    servers: Vec<Server>,
    choices: &'static str,
    counts: &'static str,
}

fn lines(word: &str) -> impl Iterator<Item = Vec<&'static str>> {
    RECORD.lines().filter_map(move |line| {
        let mut words = line.split(' ');
        (words.next() == Some(word)).then(|| words.collect())
    })
}

fn clients() -> Result<Vec<SocketAddrV4>> {
    lines("clients4")
        .flatten()
        .map(|text| Ok(text.parse()?))
        .collect()
}

fn turns() -> Result<Vec<Turns>> {
    lines("turns")
        .map(|words| {
            let [scheduler, flags, kind, service, servers, choices, counts] = words[..] else {
                anyhow::bail!("{words:?}");
            };
            let service: SocketAddr = service.parse()?;
            let SocketAddr::V4(service) = service else {
                anyhow::bail!("{service}");
            };
            let mut bits = 0;
            for flag in flags.split(',') {
                bits |= match flag {
                    "-" => 0,
                    "sh-port" | "mh-port" => SERVICE_HASH_PORT,
                    "sh-fallback" | "mh-fallback" => SERVICE_HASH_FALLBACK,
                    _ => anyhow::bail!("{flag}"),
                };
            }
            Ok(Turns {
                scheduler,
                flags: bits,
                kind,
                service,
                servers: servers
                    .split(',')
                    .zip(1..)
                    .map(|(text, number)| server(text, number))
                    .collect::<Result<_>>()?,
                choices,
                counts,
            })
        })
        .collect()
}

fn server(text: &str, number: u16) -> Result<Server> {
    let mut numbers = text.split('/');
    let weight = numbers.next().context("no weight")?.parse()?;
    let mut threshold = || numbers.next().map_or(Ok(0), str::parse);
    Ok(Server {
        number,
        weight,
        upper: threshold()?,
        lower: threshold()?,
    })
}

/// A service's scheduler and table: the servers in list order, the last one added first.
fn table(turns: &Turns) -> Result<(Sched, Vec<u16>)> {
    let mut servers = turns.servers.clone();
    servers.reverse();
    let pairs: Vec<(u16, u16)> = servers.iter().map(|s| (s.number, s.weight)).collect();
    let mut table = vec![0; MAX_TABLE];
    let all = pairs.iter().map(|&(number, _)| number).collect();
    let (sched, len) = match turns.scheduler {
        "rr" => (Sched::Turn, fill_rr(&pairs, &mut table)),
        "wrr" => (Sched::Turn, fill_wrr(&pairs, &mut table)),
        "sh" => {
            let mut slots = [0; SH_SIZE];
            let len = fill_sh(&pairs, &mut slots);
            table[..SH_SIZE].copy_from_slice(&slots);
            (Sched::SourceHash, len)
        }
        "mh" => {
            let mut slots = [0; MH_SIZE];
            let servers: Vec<MhServer> = servers.iter().map(mh_server).collect();
            let len = fill_mh(&servers, &mut slots);
            table[..MH_SIZE].copy_from_slice(&slots);
            (Sched::Maglev, len)
        }
        "dh" => {
            let vip = [addr(*turns.service.ip()), 0, 0, 0];
            table[0] = fill_dh(vip, &pairs).context("no server")?;
            (Sched::DestHash, 1)
        }
        "lc" => return Ok((Sched::LeastConn, all)),
        "wlc" => return Ok((Sched::WeightedLeastConn, all)),
        "sed" => return Ok((Sched::ShortestDelay, all)),
        "nq" => return Ok((Sched::NeverQueue, all)),
        "fo" => return Ok((Sched::Failover, all)),
        "ovf" => return Ok((Sched::Overflow, all)),
        "lblc" => return Ok((Sched::Lblc, all)),
        "lblcr" => return Ok((Sched::Lblcr, all)),
        other => anyhow::bail!("{other}"),
    };
    table.truncate(len);
    Ok((sched, table))
}

fn mh_server(server: &Server) -> MhServer {
    let ip = std::net::Ipv4Addr::new(198, 51, 100, server.number as u8);
    MhServer {
        backend: server.number,
        weight: server.weight,
        last_weight: server.weight,
        addr: [addr(ip), 0, 0, 0],
        port_be: 80u16.to_be(),
    }
}

/// Stores servers, and forgets whatever was.
fn set_servers(director: &Director, servers: &[Server]) {
    director.clear_flows();
    director.clear_cursors();
    director.clear_loads();
    for server in servers {
        let backend = Backend {
            dmac: [2, 0xaa, 0, 0, 0, server.number as u8],
            smac: OWN,
            ifindex: IFINDEX,
            flags: BACKEND_RESOLVED,
            service: 1,
            weight: server.weight,
            counted: 1,
            ..Backend::default()
        };
        director.set_backend(server.number, backend);
        let remote = Remote {
            upper: server.upper,
            lower: server.lower,
            ..Remote::default()
        };
        director.set_remote(server.number, remote);
    }
}

fn set_service(director: &mut Director, turns: &Turns) -> Result<usize> {
    let (sched, table) = table(turns)?;
    let proto = if matches!(turns.kind, "syn" | "churn") {
        TCP
    } else {
        UDP
    };
    let mut flags = turns.flags;
    if turns.kind == "ops" {
        flags |= SERVICE_ONE_PACKET;
    }
    if turns.servers.iter().any(|server| server.upper != 0) {
        flags |= SERVICE_COUNTS;
    }
    let slot = ServiceSlot {
        key: service_key(
            addr(*turns.service.ip()),
            turns.service.port().to_be(),
            proto,
        ),
        id: 1,
        sched: sched as u8,
        flags,
        ..ServiceSlot::default()
    };
    director.set_service(slot, &table)?;
    Ok(table.len())
}

/// The server to which the frame goes: `-` if it is dropped.
fn go(director: &Director, frame: &Frame) -> Result<char> {
    let (action, out) = director.run(&frame.bytes())?;
    Ok(match action {
        Action::Transmit => char::from_digit(out[5].into(), 36).context("no server")?,
        Action::Drop => '-',
        other => anyhow::bail!("{other:?}"),
    })
}

/// The choices of the program, as the record has IPVS's.
fn choices(director: &Director, turns: &Turns, clients: &[SocketAddrV4]) -> Result<String> {
    let tcp = |n: usize, flags| Frame {
        dst: (*turns.service.ip(), turns.service.port()),
        ..Frame::tcp((*clients[n].ip(), clients[n].port()), 0, flags)
    };
    let mut choices: Vec<char> = Vec::new();
    for n in 0..turns.choices.len() {
        let choice = match turns.kind {
            "syn" | "churn" => go(director, &tcp(n, SYN))?,
            "udp" | "ops" => {
                let n = if turns.kind == "ops" { n % 3 } else { n };
                let client = (*clients[n].ip(), clients[n].port());
                let frame = Frame {
                    dst: (*turns.service.ip(), turns.service.port()),
                    ..Frame::udp(client, 0)
                };
                go(director, &frame)?
            }
            other => anyhow::bail!("{other}"),
        };
        choices.push(choice);
        if turns.kind != "churn" {
            continue;
        }
        if choice != '-' {
            ensure!(go(director, &tcp(n, ACK))? == choice, "ACK {n}");
        }
        if let Some(old) = n.checked_sub(10)
            && choices[old] != '-'
        {
            let flags = if n % 2 == 0 { FIN | ACK } else { RST };
            ensure!(go(director, &tcp(old, flags))? == choices[old], "end {old}");
        }
    }
    Ok(choices.into_iter().collect())
}

fn counts(director: &Director, servers: &[Server]) -> String {
    let counts: Vec<String> = servers
        .iter()
        .map(|server| {
            let (active, inactive) = split_load(director.load_of(server.number).counts);
            format!("{active}/{inactive}")
        })
        .collect();
    counts.join(",")
}

#[test]
fn every_scheduler_chooses_and_counts_like_ipvs() -> Result<()> {
    let clients = clients()?;
    let mut director = Director::load(1 << 12)?;
    director.never_expire();
    director.set_iface(IFINDEX, OWN, &[])?;
    let mut seen = std::collections::BTreeMap::new();
    let mut wrong = Vec::new();
    for turns in turns()? {
        let len = set_service(&mut director, &turns)?;
        let label = format!(
            "{} {} {} {:?}",
            turns.scheduler, turns.flags, turns.kind, turns.servers
        );
        // Where in its round wrr begins depends on how the servers were added.
        let starts = if turns.scheduler == "wrr" { len } else { 1 };
        let mut tried = Vec::new();
        let is_right = (0..starts).any(|start| {
            set_servers(&director, &turns.servers);
            director.set_cursor(1, start as u64);
            let ours = choices(&director, &turns, &clients).unwrap_or_else(|e| e.to_string());
            let counts = counts(&director, &turns.servers);
            let is_right = ours == turns.choices && counts == turns.counts;
            tried.push((ours, counts));
            is_right
        });
        if !is_right {
            wrong.push(format!(
                "{label}\nIPVS {} {}\nours {} {}",
                turns.choices, turns.counts, tried[0].0, tried[0].1
            ));
        }
        *seen.entry(turns.scheduler).or_insert(0) += turns.choices.len();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen.len(), 13, "all schedulers but twos, which draws lots");
    println!("choices equal to IPVS's: {seen:?}");
    Ok(())
}

/// 50 active connections.
fn fifty() -> Load {
    Load {
        counts: load_word(50, 0),
        marks: 0,
    }
}

#[test]
fn twos_takes_the_less_loaded_of_two_drawn_by_weight() -> Result<()> {
    let server = |number, weight| Server {
        number,
        weight,
        upper: 0,
        lower: 0,
    };
    let mut director = Director::load(1 << 12)?;
    director.set_iface(IFINDEX, OWN, &[])?;
    let service = SocketAddrV4::new(crate::frame::VIP, 80);
    let slot = ServiceSlot {
        key: service_key(addr(*service.ip()), 80u16.to_be(), UDP),
        id: 1,
        sched: Sched::PowerOfTwo as u8,
        flags: SERVICE_ONE_PACKET | SERVICE_SLOPPY,
        ..ServiceSlot::default()
    };
    director.set_service(slot, &[1, 2, 3])?;
    let shares = |director: &Director| -> Result<[f64; 3]> {
        let mut shares = [0.0; 3];
        for n in 0..4000u16 {
            let frame = Frame::udp((std::net::Ipv4Addr::new(10, 0, 0, 1), 1024 + n), 80);
            let choice = go(director, &frame)?.to_digit(10).context("dropped")?;
            shares[choice as usize - 1] += 1.0 / 4000.0;
        }
        Ok(shares)
    };
    // Server 3 has weight 0. Without load both are equal by weight, and the first drawn is taken.
    set_servers(&director, &[server(1, 3), server(2, 1), server(3, 0)]);
    let idle = shares(&director)?;
    assert!((idle[0] - 0.75).abs() < 0.08 && idle[2] == 0.0, "{idle:?}");
    // A loaded one is taken only when it is drawn twice.
    director.set_load(1, fifty());
    let loaded = shares(&director)?;
    assert!((loaded[0] - 0.5625).abs() < 0.12, "{loaded:?}");
    set_servers(&director, &[server(1, 1), server(2, 1), server(3, 0)]);
    director.set_load(1, fifty());
    let equal = shares(&director)?;
    // IPVS draws from 0 to the sum of the weights, both included, so the first has two of three.
    assert!((equal[0] - 4.0 / 9.0).abs() < 0.06, "{equal:?}");
    Ok(())
}
