//! The XDP program under `BPF_PROG_TEST_RUN`: single packets as a table, random frames against a

#[path = "dataplane/cases.rs"]
mod cases;
#[path = "dataplane/flows.rs"]
mod flows;
#[path = "dataplane/frame.rs"]
mod frame;
#[path = "dataplane/ring.rs"]
mod ring;
#[path = "dataplane/world.rs"]
mod world;
