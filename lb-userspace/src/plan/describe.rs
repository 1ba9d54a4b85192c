//! What changes, for people.

use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, SERVICE_SLOPPY, ServiceSlot,
};

use super::desired::DesiredService;
use super::op::Change;

/// Which parameters of a service change.
pub(super) fn describe(
    desired: &DesiredService,
    old: &ServiceSlot,
    new: &ServiceSlot,
) -> Vec<Change> {
    let mut what = Vec::new();
    if old.sched != new.sched {
        what.push(format!("scheduler becomes {}", desired.scheduler.name()));
    }
    if (old.flags ^ new.flags) & SERVICE_SLOPPY != 0 {
        what.push(format!(
            "sloppy {}",
            if desired.sloppy { "on" } else { "off" }
        ));
    }
    if (old.persist_ticks, old.persist_mask) != (new.persist_ticks, new.persist_mask) {
        what.push(match desired.persistence {
            Some(p) => format!("persistence {} s /{}", p.timeout.as_secs(), p.prefix_len),
            None => "persistence off".to_owned(),
        });
    }
    what.into_iter()
        .map(|what| Change::ServiceChanged {
            service: desired.key,
            what,
        })
        .collect()
}

/// What changes of a real server, for people.
pub(super) fn describe_backend(old: &Backend, new: &Backend) -> Option<String> {
    let mut what = Vec::new();
    if old.weight != new.weight {
        what.push(format!("weight {} -> {}", old.weight, new.weight));
    }
    if (old.flags ^ new.flags) & BACKEND_DOWN != 0 {
        what.push(
            if new.flags & BACKEND_DOWN == 0 {
                "up"
            } else {
                "down"
            }
            .to_owned(),
        );
    }
    let mac = |b: &Backend| b.dmac.map(|byte| format!("{byte:02x}")).join(":");
    match (
        old.flags & BACKEND_RESOLVED != 0,
        new.flags & BACKEND_RESOLVED != 0,
    ) {
        (false, true) => what.push(format!("MAC {}", mac(new))),
        (true, false) => what.push("MAC lost".to_owned()),
        (true, true) if old.dmac != new.dmac => {
            what.push(format!("MAC {} -> {}", mac(old), mac(new)))
        }
        (true, true) if (old.smac, old.ifindex) != (new.smac, new.ifindex) => {
            what.push(format!(
                "outgoing interface index {} -> {}",
                old.ifindex, new.ifindex
            ));
        }
        (true, true) | (false, false) => {}
    }
    if (old.flags ^ new.flags) & BACKEND_LOCAL != 0 {
        what.push(
            if new.flags & BACKEND_LOCAL == 0 {
                "no longer this host"
            } else {
                "is this host"
            }
            .to_owned(),
        );
    }
    (!what.is_empty()).then(|| what.join(", "))
}
