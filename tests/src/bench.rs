//! Nanoseconds per packet by `BPF_PROG_TEST_RUN`: the balancer beside floor programs of its own.
//!
//! The driver program writes a fresh 64-byte frame each time and tail-calls the program under test
//! (see `lb-ebpf/src/bench.rs`). Runs of the programs are interleaved, so that a busy neighbour
//! hits all alike; the median of each counts, less the median of a program that does nothing.

mod report;
mod rig;

pub use report::{HEAD, Report, Row};
pub use rig::{Rig, Target, filled};

use anyhow::Result;

use crate::frame::{self, Kind};

/// How many flows a case has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// So many, again and again; a power of two.
    Of(u64),
    /// Every packet is a new flow.
    New,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// The frame.
    pub kind: Kind,
    /// How many flows.
    pub flows: Flows,
}

/// The cases in an order in which none disturbs the next: a flow that a SYN has opened is
/// established by the ACKs that follow, and what fills the flow table comes last.
pub const CASES: [Case; 7] = [
    Case {
        name: "SYN, 4,096 flows",
        kind: frame::SYN,
        flows: Flows::Of(4_096),
    },
    Case {
        name: "UDP, 4,096 flows",
        kind: Kind::Udp,
        flows: Flows::Of(4_096),
    },
    Case {
        name: "established TCP, 1 flow",
        kind: frame::ACK,
        flows: Flows::Of(1),
    },
    Case {
        name: "established TCP, 4,096 flows",
        kind: frame::ACK,
        flows: Flows::Of(4_096),
    },
    Case {
        name: "established TCP, 65,536 flows",
        kind: frame::ACK,
        flows: Flows::Of(65_536),
    },
    Case {
        name: "established TCP, 524,288 flows",
        kind: frame::ACK,
        flows: Flows::Of(524_288),
    },
    Case {
        name: "every packet a new flow",
        kind: frame::ACK,
        flows: Flows::New,
    },
];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Runs of each program in each case; the median counts.
    pub runs: usize,
    /// Packets of a run.
    pub repeat: u32,
}

/// Measures every case.
///
/// # Errors
/// When the kernel refuses, or a program does not do with the frames what it must.
pub fn measure(rig: &mut Rig, effort: Effort, mut done: impl FnMut(&Row)) -> Result<Report> {
    let mut rows = Vec::new();
    for case in CASES {
        let mut times: [Vec<f64>; Target::ALL.len()] = Default::default();
        rig.prepare(&case)?;
        for run in 0..=effort.runs {
            for (target, times) in Target::ALL.into_iter().zip(&mut times) {
                // The first run fills the tables and is not counted.
                let repeat = match case.flows {
                    Flows::Of(n) if run == 0 => effort.repeat.max(n as u32),
                    Flows::Of(_) | Flows::New => effort.repeat,
                };
                let nanos = rig.run(&case, target, repeat)?;
                if run > 0 {
                    times.push(nanos);
                }
            }
        }
        let row = Row::new(case.name, times);
        done(&row);
        rows.push(row);
    }
    Ok(Report { rows })
}
