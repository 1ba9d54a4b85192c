//! The tables and hashes against the choices of a real IPVS, recorded in `testdata/ipvs-6.1.txt`
//! (which says how to read it and what makes it).

extern crate std;

use std::format;
use std::net::{IpAddr, SocketAddr};
use std::string::String;
use std::vec::Vec;

use super::*;

const RECORD: &str = include_str!("../../../testdata/ipvs-6.1.txt");

/// The lines that begin with a word, without it.
fn lines(word: &str) -> impl Iterator<Item = Vec<&'static str>> {
    RECORD.lines().filter_map(move |line| {
        let mut words = line.split(' ');
        (words.next() == Some(word)).then(|| words.collect())
    })
}

fn clients(word: &str) -> Vec<SocketAddr> {
    let clients: Vec<SocketAddr> = lines(word)
        .flatten()
        .map(|text| text.parse().unwrap())
        .collect();
    assert_eq!(clients.len(), 1000);
    clients
}

/// An address as it lies in a packet.
fn words(addr: IpAddr) -> [u32; 4] {
    match addr {
        IpAddr::V4(addr) => [addr.to_bits().to_be(), 0, 0, 0],
        IpAddr::V6(addr) => {
            let bytes = addr.octets();
            core::array::from_fn(|i| {
                u32::from_ne_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap())
            })
        }
    }
}

/// The servers in list order: the last one that was added is the first.
fn servers(list: &str, service: SocketAddr) -> Vec<MhServer> {
    let mut servers: Vec<MhServer> = list
        .split(',')
        .zip(1..)
        .map(|(weights, number)| {
            let (first, now) = weights.split_once('>').unwrap_or((weights, weights));
            let addr: IpAddr = if service.is_ipv6() {
                format!("2001:db8:2::{number:x}").parse().unwrap()
            } else {
                format!("198.51.100.{number}").parse().unwrap()
            };
            MhServer {
                backend: number,
                weight: now.parse().unwrap(),
                last_weight: first.parse().unwrap(),
                addr: words(addr),
                port_be: service.port().to_be(),
            }
        })
        .collect();
    servers.reverse();
    servers
}

fn pairs(servers: &[MhServer]) -> Vec<(u16, u16)> {
    servers.iter().map(|s| (s.backend, s.weight)).collect()
}

fn letter(backend: u16) -> char {
    match backend {
        NOBODY => '-',
        number => char::from_digit(number.into(), 36).unwrap(),
    }
}

/// Whom a hash scheduler chooses, by its table; an empty one refuses.
fn choose(table: &[u16], slot: impl Fn(u32) -> u32, fallback: bool) -> u16 {
    if table.is_empty() {
        return NOBODY;
    }
    let first = slot(0);
    let direct = table[first as usize];
    if direct != NOBODY || !fallback {
        return direct;
    }
    let size = table.len() as u32;
    (0..size)
        .map(|n| table[slot((n + first) % size) as usize])
        .find(|&backend| backend != NOBODY)
        .unwrap_or(NOBODY)
}

fn hash_choices(
    scheduler: &str,
    flags: &str,
    servers: &[MhServer],
    clients: &[SocketAddr],
) -> String {
    let mut table = [NOBODY; MH_SIZE];
    let len = match scheduler {
        "sh" => {
            let mut sh = [NOBODY; SH_SIZE];
            let len = fill_sh(&pairs(servers), &mut sh);
            table[..SH_SIZE].copy_from_slice(&sh);
            len
        }
        "mh" => fill_mh(servers, &mut table),
        _ => panic!("{scheduler}"),
    };
    clients
        .iter()
        .map(|client| {
            let port = if flags.ends_with("-port") {
                client.port().to_be()
            } else {
                0
            };
            let key = client_key(words(client.ip()), port);
            let fallback = flags.ends_with("-fallback");
            letter(match scheduler {
                "sh" => choose(&table[..len], |offset| sh_slot(key, offset), fallback),
                _ => choose(&table[..len], |offset| mh_slot(key, offset), fallback),
            })
        })
        .collect()
}

#[test]
fn sh_and_mh_send_every_client_where_ipvs_sends_it() {
    let (clients4, clients6) = (clients("clients4"), clients("clients6"));
    let mut compared = 0;
    for line in lines("hash") {
        let [scheduler, flags, service, list, choices] = line[..] else {
            panic!("{line:?}");
        };
        let service: SocketAddr = service.parse().unwrap();
        let clients = if service.is_ipv6() {
            &clients6
        } else {
            &clients4
        };
        let ours = hash_choices(scheduler, flags, &servers(list, service), clients);
        assert_eq!(ours, choices, "{scheduler} {flags} {service} {list}");
        compared += choices.len();
    }
    // Two schedulers with three sets of flags each, seven sets of weights, four of them for IPv6
    // too, and two for another port.
    assert_eq!(compared, (2 * 3 * (7 + 4) + 2) * 1000);
}

#[test]
fn dh_sends_every_address_where_ipvs_sends_it() {
    let mut compared = 0;
    for line in lines("destination") {
        let [family, list, choices] = line[..] else {
            panic!("{line:?}");
        };
        let ours: String = (1..=choices.len())
            .map(|number| {
                let vip = match family {
                    "4" => format!("192.0.2.{number}:80"),
                    _ => format!("[2001:db8:1::{number:x}]:80"),
                };
                let vip: SocketAddr = vip.parse().unwrap();
                letter(fill_dh(words(vip.ip()), &pairs(&servers(list, vip))).unwrap())
            })
            .collect();
        assert_eq!(ours, choices, "{family} {list}");
        compared += choices.len();
    }
    assert_eq!(compared, 2 * 2 * 200);
}

#[test]
fn rr_and_wrr_take_turns_as_ipvs_does() {
    let mut compared = 0;
    for line in lines("turns") {
        let [scheduler, "-", _, service, list, choices, _] = line[..] else {
            continue;
        };
        // Thresholds are looked at when a connection comes, not in the table.
        if list.contains('/') {
            continue;
        }
        let servers = pairs(&servers(list, service.parse().unwrap()));
        let mut table = [NOBODY; MAX_TABLE];
        let len = match scheduler {
            "rr" => fill_rr(&servers, &mut table),
            "wrr" => fill_wrr(&servers, &mut table),
            _ => continue,
        };
        // Where in its round wrr begins depends on the order in which the servers were added (each of
        // them changes the highest weight); what follows what does not.
        let starts = if scheduler == "rr" { 1 } else { len };
        let equal = (0..starts).any(|start| {
            let turns = table[..len].iter().cycle().skip(start);
            turns
                .map(|&backend| letter(backend))
                .zip(choices.chars())
                .all(|(ours, ipvs)| ours == ipvs)
        });
        assert!(equal, "{line:?}: {:?}", &table[..len]);
        compared += choices.len();
    }
    // Two schedulers, three sets of weights, four kinds of connections.
    assert_eq!(compared, 2 * 3 * 4 * 200);
}
