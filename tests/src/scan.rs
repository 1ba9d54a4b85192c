//! Connections counted in the flow table itself.

use std::collections::BTreeMap;

use anyhow::Result;
use lb_userspace::io::bpf::{ConnCount, FlowScanner};

/// How many connections each backend index has, those without any left out: what
/// [`DataPlane::connections`](lb_userspace::io::bpf::DataPlane::connections) must say too.
///
/// # Errors
/// When the kernel's clock cannot be read.
pub fn connections(scanner: &FlowScanner) -> Result<BTreeMap<u16, ConnCount>> {
    let mut counts = BTreeMap::<u16, ConnCount>::new();
    for flow in scanner.flows()? {
        let count = counts.entry(flow.backend).or_default();
        if flow.state.is_active() {
            count.active += 1;
        } else {
            count.inactive += 1;
        }
    }
    Ok(counts)
}
