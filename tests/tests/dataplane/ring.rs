//! Two directors that are each other's real server: one frame in, at most one frame out.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_common::flow::FlowValue;
use lb_common::maps::{BACKEND_RESOLVED, Backend, SERVICE_LOCAL, Sched, ServiceSlot, service_key};
use lb_common::tcp::{ACK, SYN, State};
use lb_tests::dataplane::{Action, Director, IFINDEX};

use crate::frame::{Frame, OWN, PEER, TCP, VIP};
use crate::world::addr;

const PORT: u16 = 80;

/// A director whose only real server is the other one.
fn director(own: [u8; 6], other: [u8; 6], flags: u32) -> Result<Director> {
    let mut director = Director::load(64)?;
    director.set_iface(IFINDEX, own, &[other])?;
    director.set_backend(
        1,
        Backend {
            dmac: other,
            smac: own,
            ifindex: IFINDEX,
            flags: BACKEND_RESOLVED,
            service: 1,
            ..Backend::default()
        },
    );
    let slot = ServiceSlot {
        key: service_key(addr(VIP), PORT.to_be(), TCP),
        id: 1,
        sched: Sched::Turn as u8,
        flags,
        ..ServiceSlot::default()
    };
    director.set_service(slot, &[1])?;
    Ok(director)
}

#[test]
fn directors_that_point_at_each_other_do_not_loop() -> Result<()> {
    for (flags, last) in [(0, Action::Drop), (SERVICE_LOCAL, Action::Pass)] {
        let directors = [director(OWN, PEER, flags)?, director(PEER, OWN, flags)?];
        for (n, tcp_flags) in [(0, SYN), (1, ACK), (2, SYN | ACK)] {
            let frame = Frame::tcp((Ipv4Addr::new(10, 0, 0, 1), 1000 + n), PORT, tcp_flags);
            // Both have the flow: nothing is to be scheduled any more.
            for director in &directors {
                let value = FlowValue::new(1, State::Established as u8, director.now()?);
                director.put_flow(frame.tag(1), value)?;
            }
            let mut bytes = frame.bytes();
            let mut sent = 0;
            let mut at = 0;
            let end = loop {
                let (action, out) = directors[at].run(&bytes)?;
                if action != Action::Transmit {
                    break action;
                }
                sent += 1;
                assert!(sent < 300, "a loop");
                bytes = out;
                at = 1 - at;
            };
            assert_eq!((sent, end), (1, last), "one frame in, one frame out");
        }
    }
    Ok(())
}
