//! The compiled XDP program.

/// The object file with the programs and maps that `lb_common::maps::name` lists, as aya loads it.
pub static BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb"));

/// The program that takes tunnels off on a real server, see `lb_common::decap`.
pub static DECAP_BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-decap"));

/// The driver and the floors of the benchmark, see `lb_common::bench`.
pub static BENCH_BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-bench"));
