mod against_ipvs;

use super::*;

/// `ip_vs_wrr_schedule` as a machine that is asked for one server after the other.
struct KernelWrr<'a> {
    servers: &'a [(u16, u16)],
    /// Index of the last server chosen; None: the head of the list.
    last: Option<usize>,
    current: i64,
    max: i64,
    step: i64,
}

impl<'a> KernelWrr<'a> {
    fn new(servers: &'a [(u16, u16)]) -> Self {
        let mut step = 0;
        for &(_, weight) in servers {
            let (mut a, mut b) = (step, i64::from(weight));
            while b != 0 {
                (a, b) = (b, a % b);
            }
            step = a;
        }
        let step = step.max(1);
        let max = servers.iter().map(|s| i64::from(s.1)).max().unwrap_or(0) - (step - 1);
        KernelWrr {
            servers,
            last: None,
            current: max,
            max,
            step,
        }
    }

    fn next(&mut self) -> u16 {
        loop {
            let start = self.last.map_or(0, |last| last + 1);
            for i in start..self.servers.len() {
                if i64::from(self.servers[i].1) >= self.current {
                    self.last = Some(i);
                    return self.servers[i].0;
                }
            }
            self.last = None;
            self.current -= self.step;
            if self.current <= 0 {
                self.current = self.max;
            }
        }
    }
}

#[test]
fn wrr_is_the_sequence_of_ipvs() {
    let lists: &[&[(u16, u16)]] = &[
        &[(1, 1), (2, 3)],
        &[(1, 3), (2, 1)],
        &[(1, 4), (2, 3), (3, 2)],
        &[(1, 100), (2, 50), (3, 150)],
        &[(1, 1), (2, 1), (3, 1)],
        &[(1, 0), (2, 2), (3, 4), (4, 0)],
        &[(1, 7), (2, 11), (3, 13), (4, 1), (5, 29)],
        &[(9, 65535)],
    ];
    for servers in lists {
        let mut table = [0; MAX_TABLE];
        let len = fill_wrr(servers, &mut table);
        assert_eq!(len, wrr_len(servers));
        let mut kernel = KernelWrr::new(servers);
        for turn in 0..3 * len {
            assert_eq!(table[turn % len], kernel.next(), "{servers:?}, turn {turn}");
        }
    }
}

#[test]
fn wrr_of_weights_without_a_common_divisor_fits_and_keeps_their_ratio() {
    let servers: [(u16, u16); 64] = core::array::from_fn(|i| (i as u16 + 1, 65535 - 7 * i as u16));
    let mut table = [0; MAX_TABLE];
    let len = fill_wrr(&servers, &mut table);
    assert!(len <= MAX_TABLE && len > MAX_TABLE / 2, "{len}");
    let sum: f64 = servers.iter().map(|s| f64::from(s.1)).sum();
    for (backend, weight) in servers {
        let got = table[..len].iter().filter(|&&b| b == backend).count() as f64 / len as f64;
        let want = f64::from(weight) / sum;
        assert!(
            (got / want - 1.0).abs() < 0.005,
            "{backend}: {got} instead of {want}"
        );
    }
    // A server of a tiny weight beside a huge one still has its turn.
    let servers = [(1, 65535), (2, 1)];
    let len = fill_wrr(&servers, &mut table);
    assert!(len <= MAX_TABLE);
    assert_eq!(table[..len].iter().filter(|&&b| b == 2).count(), 1);
}

#[test]
fn nothing_with_a_weight_is_an_empty_table() {
    let mut table = [0; MAX_TABLE];
    let mut sh = [0; SH_SIZE];
    for servers in [&[][..], &[(1, 0), (2, 0)]] {
        assert_eq!(fill_rr(servers, &mut table), 0);
        assert_eq!(fill_wrr(servers, &mut table), 0);
        assert_eq!(fill_sh(servers, &mut sh), 0);
    }
}

#[test]
fn rr_leaves_out_weight_0() {
    let mut table = [0; 4];
    let len = fill_rr(&[(1, 1), (2, 0), (3, 5)], &mut table);
    assert_eq!(table[..len], [1, 3]);
}

#[test]
fn sh_gives_each_server_its_weight_in_slots_and_refuses_at_weight_0() {
    let mut table = [0; SH_SIZE];
    assert_eq!(fill_sh(&[(1, 2), (2, 0), (3, 1)], &mut table), SH_SIZE);
    assert_eq!(table[..9], [1, 1, NOBODY, 3, 1, 1, NOBODY, 3, 1]);
    assert_eq!(fill_sh(&[(1, 1000), (2, 1)], &mut table), SH_SIZE);
    assert!(
        table.iter().all(|&b| b == 1),
        "IPVS does not scale the weights either"
    );
}

#[test]
fn sh_hashes_like_the_kernel() {
    // hash_32(v, 8) of include/linux/hash.h, written out with 64-bit arithmetic.
    for client in [0u32, 1, 0x0a00_0001, 0xc0a8_0101, 0xffff_ffff] {
        let product = (u64::from(client) * 0x61c8_8647) & 0xffff_ffff;
        assert_eq!(u64::from(sh_hash(client.to_be())), product >> 24);
    }
}

#[test]
fn a_clients_address_and_port_are_one_number() {
    assert_eq!(
        client_key([0x0a00_0001u32.to_be(), 0, 0, 0], 80u16.to_be()),
        0x0a00_0051
    );
    let six = [0x2001_0db8u32, 1, 2, 0xff].map(u32::to_be);
    assert_eq!(client_key(six, 0), 0x2001_0db8 ^ 1 ^ 2 ^ 0xff);
    assert_eq!(client_key([u32::MAX, 0, 0, 0], 2u16.to_be()), 1, "it wraps");
    assert_eq!(sh_slot(0xc000_0201, 0), sh_hash(0xc000_0201u32.to_be()));
    assert_eq!(sh_slot(7, 255), (sh_slot(7, 0) + 255) % 256);
}
