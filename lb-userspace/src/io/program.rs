//! The compiled XDP program.

/// The object file with the programs and maps that `lb_common::maps::name` lists, as aya loads it.
pub static BYTES: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb"));
