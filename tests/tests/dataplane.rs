//! The XDP program under `BPF_PROG_TEST_RUN`: random frames against a model of the rules, the flow
//! table filled and fought for, two directors in a ring. Single packets are in `packets.rs`.

#[path = "dataplane/cases.rs"]
mod cases;
#[path = "dataplane/flood.rs"]
mod flood;
#[path = "dataplane/flows.rs"]
mod flows;
#[path = "dataplane/frame.rs"]
mod frame;
#[path = "dataplane/fuzz.rs"]
mod fuzz;
#[path = "dataplane/life.rs"]
mod life;
#[path = "dataplane/ring.rs"]
mod ring;
#[path = "dataplane/schedulers.rs"]
mod schedulers;
#[path = "dataplane/verifier.rs"]
mod verifier;
#[path = "dataplane/world.rs"]
mod world;
