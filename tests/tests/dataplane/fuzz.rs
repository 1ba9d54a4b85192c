//! Random and mutated frames: the verdict, the frame and the counters must be those of the rules.

use anyhow::Result;
use lb_common::reason::Reason;
use lb_common::tcp::{ACK, FIN, RST, SYN};
use lb_tests::dataplane::{Action, Director, test_run_into};

use crate::frame::{Frame, OWN, PEER, ROUTER, TCP, UDP};
use crate::model::Model;
use crate::world;

/// Frames of each kind.
const FRAMES: u32 = 1_000_000;

/// xorshift64*: the same frames in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next() as u8;
        }
    }
}

/// Random bytes, most of them behind as much of a header as lets them get past the first look.
fn random_frame(random: &mut Random, frame: &mut Vec<u8>) {
    let len = if random.one_in(50) {
        14 + random.below(1500)
    } else {
        14 + random.below(100)
    };
    frame.resize(len, 0);
    random.fill(frame);
    let depth = random.below(6);
    if depth >= 1 {
        frame[12..14].copy_from_slice(&[8, 0]);
    }
    if depth >= 2 && len >= 34 {
        frame[14] = 0x40 | random.pick(&[5, 5, 5, 6, 15, 4]);
        let total = if random.one_in(2) {
            len - 14
        } else {
            random.below(len)
        };
        frame[16..18].copy_from_slice(&(total as u16).to_be_bytes());
        frame[23] = random.pick(&[TCP, UDP]);
    }
    if depth >= 3 && len >= 34 {
        frame[20..22].fill(0);
        frame[30..34].copy_from_slice(&crate::frame::VIP.octets());
    }
    if depth >= 4 && len >= 38 {
        let services = world::services();
        let port = services[random.below(services.len())].port;
        let at = 14 + usize::from(frame[14] & 15) * 4 + 2;
        if at + 2 <= len {
            frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
        }
        // Few clients, or the flow table would fill up.
        frame[26..30].copy_from_slice(&[10, 0, random.below(4) as u8, random.below(16) as u8]);
        if at >= 4 && at - 2 + 2 <= len {
            frame[at - 2] = 1;
        }
    }
    if depth >= 5 {
        frame[..6].copy_from_slice(&OWN);
    }
}

/// A frame as a client sends it, with up to three things changed.
fn mutated_frame(random: &mut Random, frame: &mut Vec<u8>) {
    let services = world::services();
    let service = &services[random.below(services.len())];
    let client = (
        [10, 0, random.below(4) as u8, random.below(16) as u8].into(),
        1024 + random.below(32) as u16,
    );
    let mut plain = if service.proto == TCP {
        let flags = random.pick(&[
            SYN,
            ACK,
            ACK,
            ACK | 8,
            FIN | ACK,
            RST,
            RST | ACK,
            SYN | ACK,
            0,
            SYN | FIN,
        ]);
        Frame::tcp(client, service.port, flags)
    } else {
        Frame::udp(client, service.port)
    };
    plain.payload = random.below(40);
    plain.ttl = random.pick(&[64, 64, 255, 2, 1, 0]);
    plain.smac = random.pick(&[ROUTER, ROUTER, ROUTER, PEER]);
    plain.dmac = random.pick(&[OWN, OWN, OWN, [0, 0, 0x5e, 0, 1, 9], [2, 9, 9, 9, 9, 9]]);
    if random.one_in(8) {
        plain.options = vec![1; 4 * (1 + random.below(10))];
    }
    if random.one_in(16) {
        plain.fragment = random.pick(&[0x2000, 0x2001, 0x0001, 0x8000, 0x6000]);
    }
    *frame = plain.bytes();
    for _ in 0..random.below(4) {
        // The client's address and port are left alone: the table holds so many flows.
        let at = random.below(frame.len());
        if (26..30).contains(&at) || (34..36).contains(&at) {
            continue;
        }
        match random.below(6) {
            0 => frame[at] ^= 1 << random.below(8),
            1 => frame[at] = random.next() as u8,
            2 => frame[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            3 if at >= 14 => frame.truncate(at),
            4 => frame.extend_from_slice(&[0; 7][..random.below(7)]),
            _ => {}
        }
    }
}

fn run(name: &str, seed: u64, make: impl Fn(&mut Random, &mut Vec<u8>)) -> Result<()> {
    let mut director = world::director(1 << 17)?;
    director.never_expire();
    let mut model = Model::new();
    let mut random = Random(seed);
    let mut frame = Vec::new();
    let mut out = vec![0; 4096];
    let mut actions = [0u32; 5];
    for n in 0..FRAMES {
        make(&mut random, &mut frame);
        // Other families, tags and ICMP errors are cases of their own; see `packets`.
        let kind = u16::from_be_bytes([frame[12], frame[13]]);
        if matches!(kind, 0x86dd | 0x8100 | 0x88a8) || frame.len() > 23 && frame[23] == 1 {
            frame[12] = 0xff;
        }
        let is_fragment = frame.len() > 21 && (frame[20] & 0x3f, frame[21]) != (0, 0);
        let now = if is_fragment { director.now()? } else { 0 };
        let expected = model.expect(&frame, now);
        let (action, len) = test_run_into(director.program(), &frame, &mut out)?;
        actions[action as usize] += 1;
        assert!(
            action == expected.action as u32 && out[..len] == expected.frame[..],
            "{name} frame {n}: {frame:02x?}\n gave {action} {:02x?},\n not {expected:02x?}",
            &out[..len]
        );
    }
    println!(
        "{name}: drop {}, pass {}, transmit {}, redirect {}",
        actions[1], actions[2], actions[3], actions[4]
    );
    assert_eq!(actions[Action::Aborted as usize], 0);
    assert!(
        actions[1..4].iter().all(|&n| n > FRAMES / 1000),
        "every verdict was met: {actions:?}"
    );
    counters_agree(&director, &model)
}

fn counters_agree(director: &Director, model: &Model) -> Result<()> {
    for (reason, (counted, expected)) in Reason::ALL
        .iter()
        .zip(director.reasons()?.into_iter().zip(&model.reasons))
    {
        // Where a flow lies is not the model's concern.
        if *reason != Reason::FlowMoved {
            assert_eq!(counted, *expected, "{}", reason.name());
        }
    }
    for (index, _) in world::backends() {
        let counters = director.counters(index)?;
        let expected = model.packets.get(&index).copied().unwrap_or_default();
        assert_eq!(
            (counters.packets, counters.bytes, counters.conns),
            expected,
            "backend {index}"
        );
    }
    Ok(())
}

#[test]
fn a_million_random_frames_are_treated_as_the_rules_say() -> Result<()> {
    run("random", 0x1234_5678_9abc_def1, random_frame)
}

#[test]
fn a_million_mutated_frames_are_treated_as_the_rules_say() -> Result<()> {
    run("mutated", 0x0fed_cba9_8765_4321, mutated_frame)
}
