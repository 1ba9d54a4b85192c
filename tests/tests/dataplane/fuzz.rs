//! Random and mutated frames: the verdict, the frame and the counters must be those of the rules.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use lb_common::maps::{BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, split_load};
use lb_common::reason::Reason;
use lb_tests::dataplane::{Action, Director, IFINDEX, test_run_into};

#[path = "fuzz/connections.rs"]
mod connections;
#[expect(dead_code, reason = "the table of packets uses the rest")]
#[path = "../packets/frame.rs"]
mod frame;
#[path = "fuzz/generate.rs"]
mod generate;
#[path = "fuzz/model.rs"]
mod model;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/output.rs"]
mod output;
#[path = "fuzz/packet.rs"]
mod packet;
#[path = "fuzz/states.rs"]
mod states;
#[path = "fuzz/world.rs"]
mod world;

use frame::{OWN, PEER};
use generate::Random;
use model::{Expected, Model};
use world::Service;

/// Frames of each kind, half of them in each of two threads with a director of their own; the
/// environment may ask for another number (`LB_FUZZ_FRAMES`), for a machine that is emulated.
const FRAMES: u32 = 1_000_000;
const THREADS: u32 = 2;
/// How many frames come between two changes to the world.
const SEASON: u32 = 1024;
/// Differences that are told before it is enough.
const ENOUGH: usize = 8;

/// Writes frame `n` of all services into a buffer that has the one before.
type Make = fn(&mut Random, &[Service], u32, &mut Vec<u8>);

/// How often each reason was met.
type Histogram = Vec<u64>;

/// Whether frames alone lead to it, however the table of flows and the other CPUs are.
fn is_reached_by_frames(reason: Reason) -> bool {
    match reason {
        Reason::NotIp
        | Reason::OtherProtocol
        | Reason::NoService
        | Reason::OtherMac
        | Reason::Malformed
        | Reason::BadHeaderLength
        | Reason::BadTotalLength
        | Reason::Truncated
        | Reason::ExtensionHeaders
        | Reason::LaterFragment
        | Reason::IcmpNoFlow
        | Reason::PeerLocal
        | Reason::Land
        | Reason::SourceRoute
        | Reason::ShortHeader
        | Reason::UnknownIface
        | Reason::VirtualMac
        | Reason::PeerDirector
        | Reason::TtlExpired
        | Reason::TooBig
        | Reason::TooBigAnswered
        | Reason::NoServer
        | Reason::BackendUnresolved
        | Reason::TcpNoFlow
        | Reason::SctpNoFlow
        | Reason::BackendSkipped
        | Reason::FragmentFollowed
        | Reason::IcmpError
        | Reason::Rescheduled => true,
        // The last of these only for addresses that are refused.
        Reason::FlowBusy
        | Reason::Internal
        | Reason::EvictedClosing
        | Reason::EvictedHalfOpen
        | Reason::EvictedLive
        | Reason::FlowMoved
        | Reason::FloodHashed
        | Reason::NotAccepted => false,
    }
}

struct Run {
    director: Director,
    model: Model,
    services: Vec<Service>,
    random: Random,
    actions: [u32; 5],
    differences: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Result<Run> {
        Ok(Run {
            director: world::director()?,
            model: Model::new(),
            services: world::services(),
            random: Random(seed),
            actions: [0; 5],
            differences: Vec::new(),
        })
    }

    fn frames(&mut self, name: &str, make: Make) -> Result<()> {
        let mut frame = Vec::new();
        let mut out = vec![0; 4096];
        for n in 0..frames() / THREADS {
            if n % SEASON == 0 {
                self.counters_agree()?;
                self.change()?;
            }
            make(&mut self.random, &self.services, n, &mut frame);
            // Before the frame, but read only if the model asks.
            let now = OnceCell::new();
            let (action, len) = test_run_into(self.director.program(), &frame, &mut out)?;
            let director = &self.director;
            let read = || *now.get_or_init(|| director.now().expect("the clock"));
            let expected = self.model.expect(&frame, read, &out[..len]);
            self.actions[action as usize] += 1;
            let mut differs = action != expected.action as u32 || out[..len] != expected.frame[..];
            if let Some(reason) = expected.reason {
                differs |= self.director.reason(reason)? != self.model.reasons[reason as usize];
            }
            if differs {
                let difference = self.difference(&frame, action, &out[..len], &expected)?;
                self.differences
                    .push(format!("{name} frame {n}: {difference}"));
                if self.differences.len() == ENOUGH {
                    break;
                }
            }
        }
        assert!(
            self.differences.is_empty(),
            "{}",
            self.differences.join("\n\n")
        );
        self.counters_agree()
    }

    /// Tells of one; from here on the model counts what the program has counted.
    fn difference(
        &mut self,
        frame: &[u8],
        action: u32,
        out: &[u8],
        expected: &Expected,
    ) -> Result<String> {
        let counted = self.director.reasons()?;
        let more: Vec<String> = Reason::ALL
            .iter()
            .map(|&reason| (reason, reason as usize))
            .filter(|&(_, i)| counted[i] != self.model.reasons[i])
            .map(|(reason, i)| {
                let more = counted[i] as i64 - self.model.reasons[i] as i64;
                format!("{} {more:+}", reason.name())
            })
            .collect();
        self.model.reasons = counted;
        let shown = |bytes: &[u8]| {
            if bytes == frame {
                "as it was".to_owned()
            } else {
                hex(bytes)
            }
        };
        Ok(format!(
            "{}\n gave {action}, {}\n not {} ({}), {}; counted otherwise: {more:?}",
            hex(frame),
            shown(out),
            expected.action as u32,
            expected.reason.map_or("forwarded", Reason::name),
            shown(&expected.frame),
        ))
    }

    /// Servers go and come back, and the interface.
    fn change(&mut self) -> Result<()> {
        let is_known = !self.random.one_in(16);
        if is_known != self.model.knows_iface {
            if is_known {
                self.director.set_iface(IFINDEX, OWN, &[PEER])?;
            } else {
                self.director.remove_iface(IFINDEX);
            }
            self.model.knows_iface = is_known;
        }
        let service = &self.services[self.random.below(self.services.len())];
        for server in &service.servers {
            let there = self.model.connections.servers.get_mut(&server.index);
            let there = there.context("a server of the model")?;
            there.flags = server.flags;
            // The table stays: only what has a connection looks at the weight.
            let is_quiesced = service.expires_nodest && self.random.one_in(3);
            there.weight = if is_quiesced { 0 } else { server.weight };
            if server.flags & BACKEND_LOCAL == 0 {
                match self.random.below(4) {
                    0 => there.flags |= BACKEND_DOWN,
                    1 => there.flags ^= BACKEND_RESOLVED,
                    _ => {}
                }
            }
            there.put(&self.director);
        }
        Ok(())
    }

    /// What is counted besides the verdicts.
    fn counters_agree(&self) -> Result<()> {
        let counted = self.director.reasons()?;
        let count = |reasons: &[u64]| -> BTreeMap<&str, u64> {
            Reason::ALL
                .iter()
                // Where a flow lies is not the model's concern.
                .filter(|&&reason| reason != Reason::FlowMoved)
                .map(|&reason| (reason.name(), reasons[reason as usize]))
                .collect()
        };
        assert_eq!(count(&counted), count(&self.model.reasons));
        let mut wrong = Vec::new();
        for server in self.services.iter().flat_map(|service| &service.servers) {
            let index = server.index;
            let counters = self.director.counters(index)?;
            let (packets, bytes) = self.model.packets.get(&index).copied().unwrap_or_default();
            let connections = &self.model.connections;
            let scheduled = connections.scheduled.get(&index).copied();
            let load = connections.loads.get(&index).filter(|_| server.is_counted);
            let load = load.copied().unwrap_or_default();
            let expected = (packets, bytes, scheduled.unwrap_or_default(), load);
            let counted = (
                counters.packets,
                counters.bytes,
                counters.conns,
                split_load(self.director.load_of(index).counts),
            );
            if counted != expected {
                wrong.push(format!("{server:?}: {counted:?}, not {expected:?}"));
            }
        }
        assert!(
            wrong.is_empty(),
            "packets, bytes, scheduled, active and inactive connections: {wrong:#?}"
        );
        Ok(())
    }
}

fn frames() -> u32 {
    let asked = std::env::var("LB_FUZZ_FRAMES").ok();
    asked.map_or(FRAMES, |n| n.parse().expect("a number of frames"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run(name: &str, seed: u64, make: Make) -> Result<Histogram> {
    let one = |thread: u32| -> Result<([u32; 5], Histogram)> {
        let mut run = Run::new(seed ^ u64::from(thread))?;
        run.frames(name, make)?;
        Ok((run.actions, run.model.reasons))
    };
    let runs = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || one(thread)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("see above"))
            .collect::<Result<Vec<_>>>()
    })?;
    let mut actions = [0; 5];
    let mut histogram = vec![0; Reason::COUNT];
    for (run_actions, run_histogram) in runs {
        for (sum, n) in actions.iter_mut().zip(run_actions) {
            *sum += n;
        }
        for (sum, n) in histogram.iter_mut().zip(run_histogram) {
            *sum += n;
        }
    }
    println!(
        "{name}: drop {}, pass {}, transmit {}, redirect {}",
        actions[1], actions[2], actions[3], actions[4]
    );
    for &reason in Reason::ALL {
        println!("{:>9} {}", histogram[reason as usize], reason.name());
    }
    assert_eq!(actions[Action::Aborted as usize], 0);
    assert!(
        actions[1..4].iter().all(|&n| n > frames() / 1000),
        "every verdict was met: {actions:?}"
    );
    Ok(histogram)
}

#[test]
fn a_million_random_frames_are_treated_as_the_rules_say() -> Result<()> {
    let seed = 0x1234_5678_9abc_def1;
    run("random", seed, |random, services, n, frame| {
        mutate::random_bytes(random, services, n, frame);
    })?;
    Ok(())
}

#[test]
fn a_million_mutated_frames_are_treated_as_the_rules_say() -> Result<()> {
    let seed = 0x0fed_cba9_8765_4321;
    let histogram = run("mutated", seed, |random, services, n, frame| {
        let last = std::mem::take(frame);
        mutate::mutated(random, services, n, &last, frame);
    })?;
    let unmet: Vec<&str> = Reason::ALL
        .iter()
        .filter(|&&reason| is_reached_by_frames(reason) && histogram[reason as usize] == 0)
        .map(|reason| reason.name())
        .collect();
    assert!(
        unmet.is_empty() || frames() < FRAMES,
        "never met: {unmet:?}"
    );
    Ok(())
}
