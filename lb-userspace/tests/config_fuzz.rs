//! Random and mutated texts through the reader: whatever comes in, it answers, and quickly.
//!
//! `LB_FUZZ_CONFIGS` is the number of texts (5,000 if unset), `LB_FUZZ_SEED` the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_userspace::config::keywords::Block;
use lb_userspace::config::{self, MemoryFiles, Options, Severity};
use lb_userspace::io::clock;
use nix::time::{ClockId, clock_gettime};

/// A small generator, so that a seed gives the same texts everywhere (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "{\n",
    "\n}\n",
    " ",
    "\n",
    "\\",
    "\\\n",
    "\"",
    "'",
    "#",
    "!",
    "$",
    "${",
    "$A=",
    "${A}",
    "$A",
    "$A= \\\n",
    "$B=${A}${A}",
    "${B}",
    "@a ",
    "@^a ",
    "~SEQ(A, 1, 9) ",
    "~SEQx(A, 0x10, -1, 3) ",
    "~SEQ(A, 1, 99999999999) ",
    "~LST(A, 1, 2) ",
    "~LST({A, B}, {1, 2}, {3, 4}) ",
    "include x.conf\n",
    "include *.conf\n",
    "includea none\n",
    "${_PWD}",
    "${_RANDOM 1 5}",
    "${_HASH}",
    "{{ x }}",
    "<x>",
    "0",
    "1",
    "-1",
    "255",
    "65536",
    "4294967296",
    "99999999999999999999",
    "1.5",
    "0.000001",
    "1e9",
    "3s",
    "on",
    "off",
    "MASTER",
    "PASS",
    "DR",
    "rr",
    "192.0.2.1",
    "192.0.2.1/24",
    "::1",
    "fe80::1/64",
    "\u{feff}",
    "\r\n",
    "\u{0435}",
    "\u{200b}",
    "\0",
    "dev",
    "label",
    "brd +",
    "scope link",
    "=",
    "[",
    "]",
    "[[virtual_server]]\n",
    "port = 80\n",
    "\u{10ffff}",
];

fn seeds() -> Vec<String> {
    let examples = [
        "http-rr.conf",
        "http-rr.toml",
        "active-active.conf",
        "turn-udp.toml",
    ];
    let mut out: Vec<String> = examples
        .iter()
        .map(|e| {
            std::fs::read_to_string(format!("{}/../examples/{e}", env!("CARGO_MANIFEST_DIR")))
                .expect("an example")
        })
        .collect();
    let odd = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/keepalived/odd-values.conf"
    );
    out.push(std::fs::read_to_string(odd).expect("odd-values.conf"));
    out
}

fn text(r: &mut Random, seeds: &[String], words: &[&str]) -> Vec<u8> {
    let mut bytes: Vec<u8> = match r.below(4) {
        // Bytes without any sense.
        0 => (0..r.below(300)).map(|_| r.next() as u8).collect(),
        // Words of the grammar in any order.
        1 => {
            let mut s = String::new();
            for _ in 0..r.below(120) {
                s.push_str(if r.below(2) == 0 {
                    r.pick(words)
                } else {
                    r.pick(PIECES)
                });
                s.push_str(r.pick(&[" ", " ", "\n", ""]));
            }
            s.into_bytes()
        }
        _ => seeds[r.below(seeds.len())].clone().into_bytes(),
    };
    for _ in 0..r.below(8) {
        let at = r.below(bytes.len() + 1);
        match r.below(6) {
            0 if !bytes.is_empty() => {
                let i = at.min(bytes.len() - 1);
                bytes[i] = r.next() as u8;
            }
            1 => {
                let end = (at + r.below(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            2 => {
                let end = (at + r.below(200)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = r.below(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            3 => {
                let w = r.pick(words).as_bytes().to_vec();
                bytes.splice(at..at, w);
            }
            4 => bytes.truncate(at),
            _ => {
                let p = r.pick(PIECES).as_bytes().to_vec();
                bytes.splice(at..at, p);
            }
        }
    }
    bytes
}

#[test]
fn no_text_breaks_the_reader() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .ok()
            .map_or(default, |v| v.parse().expect("a number"))
    };
    let (count, seed) = (
        number("LB_FUZZ_CONFIGS", 5_000),
        number("LB_FUZZ_SEED", 0x6c62_6420_6c62_6374),
    );
    let seeds = seeds();
    let words: Vec<&str> = Block::ALL
        .iter()
        .flat_map(|b| b.keywords())
        .map(|k| k.name)
        .collect();
    let mut r = Random(seed | 1);
    let (mut models, mut refused, mut said) = (0u64, 0u64, 0u64);
    let mut slowest = (Duration::ZERO, Vec::new());
    for n in 0..count {
        let bytes = text(&mut r, &seeds, &words);
        let path = if r.below(4) == 0 {
            "/etc/lbd.toml"
        } else {
            "/etc/x.conf"
        };
        let files = MemoryFiles {
            files: BTreeMap::from([
                (path.to_owned(), bytes.clone()),
                (
                    "/etc/y.conf".to_owned(),
                    b"vrrp_instance y {\n include z.conf\n".to_vec(),
                ),
            ]),
            host: "a".to_owned(),
        };
        let options = Options {
            skip_unsupported: n % 2 == 0,
            ..Options::default()
        };
        let start = clock::now();
        let l = config::load(path, &files, &options);
        let took = clock::now().since(start);
        assert_eq!(
            l.model.is_none(),
            l.count(Severity::Error) > 0,
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        said += l.diagnostics.len() as u64;
        // Rendering is the slower part: a sample of it is enough.
        if n % 16 == 0 {
            assert_eq!(l.render(false).is_empty(), l.diagnostics.is_empty());
        }
        match &l.model {
            Some(m) => {
                models += 1;
                if n % 16 == 0 {
                    for (p, again) in [
                        ("m.conf", config::to_keepalived(m)),
                        ("m.toml", config::to_toml(m)),
                    ] {
                        let back =
                            config::load(p, &MemoryFiles::one(p, &again), &Options::default());
                        assert_eq!(
                            back.model.as_ref(),
                            Some(m),
                            "{}\nas {p}:\n{again}",
                            String::from_utf8_lossy(&bytes)
                        );
                    }
                }
            }
            None => refused += 1,
        }
        if took > slowest.0 {
            slowest = (took, bytes);
        }
    }
    println!(
        "{count} texts (seed {seed:#x}): {models} models, {refused} refused, {said} diagnostics, the slowest {:?}",
        slowest.0
    );
    // Far above what any of them takes, and far below what anything quadratic would.
    assert!(
        slowest.0 < Duration::from_secs(5),
        "{:?}: {}",
        slowest.0,
        String::from_utf8_lossy(&slowest.1)
    );
}

/// The time that this thread has worked, which does not run while others are at work.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("every Linux has it")
        .into()
}

/// How many times as long the second text is. What grows with the square takes so many times too long;
/// a machine that others use is never that much slower.
const LONGER: u32 = 32;
const TOO_LONG: u32 = 8;

/// Reads a text of `n` repetitions, and again one of [`LONGER`] times as many: the time may grow by
/// [`LONGER`], not by its square.
fn grows(what: &str, path: &str, piece: &str, n: usize) {
    let time = |n: usize| {
        let text = piece.repeat(n);
        let files = MemoryFiles::one(path, &text);
        (0..3)
            .map(|_| {
                let start = worked();
                let l = config::load(path, &files, &Options::default());
                drop(l);
                worked() - start
            })
            .min()
            .expect("three")
    };
    let (small, large) = (time(n), time(n * LONGER as usize));
    println!("{what:?}: {small:?} becomes {large:?}");
    assert!(
        large < small * LONGER * TOO_LONG,
        "{what}: {small:?} becomes {large:?}"
    );
}

#[test]
fn time_grows_with_the_length_and_not_with_its_square() {
    for piece in [
        "{",
        "}",
        "a {\n",
        "${",
        "$A ",
        "${A",
        "<a",
        "\"",
        "'",
        "x ",
        "xx\n",
        "\\",
        "@",
        "{{",
        "vrrp_instance a {\n",
        "virtual_server {\n",
        "state\n",
        "global_defs {\n}\n",
    ] {
        grows(piece, "a.conf", piece, 1000);
    }
    grows("unknown words", "a.conf", "vrrp_instanze a\n", 1000);
    grows(
        "services",
        "a.conf",
        "virtual_server 192.0.2.1 80 {\n lb_kind DR\n lb_algo rr\n real_server 192.0.2.2 80 {\n }\n}\n",
        100,
    );
    grows(
        "addresses",
        "a.toml",
        "[[vrrp_instance]]\nname = 'a'\n",
        200,
    );
}
