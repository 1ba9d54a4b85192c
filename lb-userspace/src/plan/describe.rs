//! What changes, for people.

use lb_common::maps::{
    BACKEND_DOWN, BACKEND_LOCAL, BACKEND_RESOLVED, Backend, Forward, REMOTE_CHECKSUM, Remote,
    SERVICE_EXPIRE_NODEST, SERVICE_EXPIRE_QUIESCENT, SERVICE_HASH_FALLBACK, SERVICE_HASH_PORT,
    SERVICE_ONE_PACKET, SERVICE_SLOPPY, ServiceSlot,
};

use super::desired::DesiredService;
use super::op::Change;
use super::tables::Row;

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
    for (flag, word) in [
        (SERVICE_SLOPPY, "sloppy"),
        (SERVICE_ONE_PACKET, "ops"),
        (SERVICE_HASH_PORT, "hashing of the client's port"),
        (SERVICE_HASH_FALLBACK, "fallback to another server"),
        (SERVICE_EXPIRE_NODEST, "expire_nodest_conn"),
        (SERVICE_EXPIRE_QUIESCENT, "expire_quiescent_template"),
    ] {
        if (old.flags ^ new.flags) & flag != 0 {
            let state = if new.flags & flag != 0 { "on" } else { "off" };
            what.push(format!("{word} {state}"));
        }
    }
    if old.timeouts != new.timeouts {
        what.push("other timeouts".to_owned());
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
pub(super) fn describe_backend(row: &Row, new: &Backend, remote: &Remote) -> Option<String> {
    let (old, was) = (&row.value, &row.remote);
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
    let tunnel = |b: &Backend, r: &Remote| (b.forward, r.tunnel_port, r.flags & REMOTE_CHECKSUM);
    if tunnel(old, was) != tunnel(new, remote) {
        what.push(format!(
            "{} -> {}",
            forward_word(old, was),
            forward_word(new, remote)
        ));
    }
    if (was.upper, was.lower) != (remote.upper, remote.lower) {
        what.push(format!(
            "uthreshold {}, lthreshold {}",
            remote.upper, remote.lower
        ));
    }
    (!what.is_empty()).then(|| what.join(", "))
}

fn forward_word(backend: &Backend, remote: &Remote) -> String {
    let csum = if remote.flags & REMOTE_CHECKSUM != 0 {
        " csum"
    } else {
        ""
    };
    let port = u16::from_be(remote.tunnel_port);
    match backend.forward {
        f if f == Forward::Ipip as u8 => "TUN ipip".to_owned(),
        f if f == Forward::Gue as u8 => format!("TUN gue port {port}{csum}"),
        f if f == Forward::Gre as u8 => format!("TUN gre{csum}"),
        _ => "DR".to_owned(),
    }
}
