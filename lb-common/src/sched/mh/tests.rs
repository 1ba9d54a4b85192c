extern crate std;

use std::hash::Hasher as _;
use std::println;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::sched::client_key;

fn servers(weights: &[(u16, u16)]) -> Vec<MhServer> {
    weights
        .iter()
        .zip(1..)
        .map(|(&(weight, last_weight), backend)| MhServer {
            backend,
            weight,
            last_weight,
            addr: [(0xc633_6400 + u32::from(backend)).to_be(), 0, 0, 0],
            port_be: 80u16.to_be(),
        })
        .collect()
}

fn equal(n: usize) -> Vec<MhServer> {
    servers(&vec![(1, 1); n])
}

fn table(servers: &[MhServer]) -> [u16; MH_SIZE] {
    let mut table = [NOBODY; MH_SIZE];
    assert_eq!(fill_mh(servers, &mut table), MH_SIZE);
    table
}

fn slots(table: &[u16], backend: u16) -> usize {
    table.iter().filter(|&&entry| entry == backend).count()
}

#[test]
fn the_hash_is_siphash_1_3() {
    // The standard library's has the key 0.
    for data in [0u32, 1, 0x0a00_0001, 0xc000_0201, u32::MAX] {
        let mut other = std::hash::DefaultHasher::new();
        other.write(&data.to_le_bytes());
        assert_eq!(hsiphash(data, 0), other.finish() as u32);
    }
}

/// The paper's algorithm with each server's whole list of preferences written down first.
fn by_lists_of_preferences(servers: &[MhServer], turns: &[usize]) -> Vec<u16> {
    let lists: Vec<Vec<usize>> = servers
        .iter()
        .map(|server| {
            let key = u32::from_be(server.addr[0]) + u32::from(u16::from_be(server.port_be));
            let offset = hsiphash(key, KEY) as usize % MH_SIZE;
            let skip = hsiphash(key, SKIP_KEY) as usize % (MH_SIZE - 1) + 1;
            (0..MH_SIZE)
                .map(|j| (offset + j * skip) % MH_SIZE)
                .collect()
        })
        .collect();
    let mut table = vec![None; MH_SIZE];
    let mut left = MH_SIZE;
    while left > 0 {
        for (i, server) in servers.iter().enumerate() {
            for _ in 0..turns[i] {
                let Some(slot) = lists[i].iter().find(|&&slot| table[slot].is_none()) else {
                    break;
                };
                table[*slot] = Some(server.backend);
                left -= 1;
            }
        }
    }
    table.into_iter().flatten().collect()
}

#[test]
fn the_table_follows_each_servers_list_of_preferences() {
    type Case = (&'static [(u16, u16)], &'static [usize]);
    let cases: [Case; 5] = [
        (&[(1, 1), (1, 1), (1, 1)], &[1, 1, 1]),
        (&[(10, 10), (20, 20), (50, 50)], &[1, 2, 5]),
        // 7 bits of 100 / 1: one is shifted out, and who has nothing left keeps one turn.
        (&[(100, 100), (1, 1), (3, 3)], &[50, 1, 1]),
        (&[(0, 0), (4, 4), (2, 2)], &[0, 2, 1]),
        (&[(65535, 65535), (32768, 32768)], &[63, 32]),
    ];
    for (weights, turns) in cases {
        let servers = servers(weights);
        let right = by_lists_of_preferences(&servers, turns);
        assert_eq!(table(&servers)[..], right[..], "{weights:?}");
    }
}

#[test]
fn a_quiesced_server_keeps_its_slots_and_refuses() {
    let before = table(&servers(&[(2, 2), (3, 3), (1, 1)]));
    let after = table(&servers(&[(2, 2), (0, 3), (1, 1)]));
    for (was, is) in before.into_iter().zip(after) {
        assert_eq!(is, if was == 2 { NOBODY } else { was });
    }
    let mut out = [7; MH_SIZE];
    assert_eq!(fill_mh(&[], &mut out), 0);
    assert_eq!(fill_mh(&servers(&[(0, 3), (0, 0)]), &mut out), 0);
}

#[test]
fn shares_follow_the_weights() {
    let weights = [1u16, 2, 3, 5, 8];
    let table = table(&servers(&weights.map(|weight| (weight, weight))));
    for (backend, weight) in (1..).zip(weights) {
        let fair = MH_SIZE as f64 * f64::from(weight) / 19.0;
        assert!((slots(&table, backend) as f64 - fair).abs() <= f64::from(weight));
    }
}

#[test]
fn more_servers_than_slots_is_no_panic() {
    let table = table(&equal(MH_SIZE + 3));
    assert!((1..=MH_SIZE as u16).all(|backend| slots(&table, backend) == 1));
}

/// How many fair shares of 100,000 clients another server has after `leave` changed one of 100: the
/// mean over all servers and the most. `after` finds a client's server in the new table.
fn moved(leave: fn(&mut Vec<MhServer>, usize), after: fn(&[u16], u32, u32) -> u16) -> (f64, f64) {
    const CLIENTS: u32 = 100_000;
    let clients: Vec<(u32, u32)> = (0..CLIENTS)
        .map(|n| client_key([(0x0a00_0000 + n * 97).to_be(), 0, 0, 0], 0))
        .map(|key| (key, mh_slot(key, 0)))
        .collect();
    let all = equal(100);
    let before = table(&all);
    let (mut most, mut sum) = (0.0f64, 0.0);
    for leaver in 0..all.len() {
        let mut rest = all.clone();
        leave(&mut rest, leaver);
        let now = table(&rest);
        let moved = clients
            .iter()
            .filter(|&&(key, home)| before[home as usize] != after(&now, key, home))
            .count();
        let shares = moved as f64 / (f64::from(CLIENTS) / all.len() as f64);
        most = most.max(shares);
        sum += shares;
    }
    (sum / all.len() as f64, most)
}

#[test]
fn whoever_is_quiesced_moves_its_own_clients_alone() {
    let with_fallback = |table: &[u16], key: u32, home: u32| {
        if table[home as usize] != NOBODY {
            return table[home as usize];
        }
        let offsets = (0..MH_SIZE as u32).map(|offset| (offset + home) % MH_SIZE as u32);
        offsets
            .map(|offset| table[mh_slot(key, offset) as usize])
            .find(|&entry| entry != NOBODY)
            .unwrap_or(NOBODY)
    };
    let (mean, most) = moved(|servers, leaver| servers[leaver].weight = 0, with_fallback);
    println!(
        "one of 100 with weight 0 and mh-fallback: {mean:.3} fair shares move, at most {most:.3}"
    );
    assert!(most <= 1.3, "{most}");
}

#[test]
fn whoever_is_removed_moves_what_the_paper_says() {
    // Some 41 slots a server: when one is gone, the turns of all others come sooner. IPVS's table is
    // as long (open connections do not move: they have their entries).
    let (mean, most) = moved(
        |servers, leaver| {
            servers.remove(leaver);
        },
        |table, _, home| table[home as usize],
    );
    println!("one of 100 removed: {mean:.3} fair shares move, at most {most:.3}");
    assert!((1.0..6.0).contains(&mean) && most < 8.0, "{mean} {most}");
}
