//! Rules that hold over many packets. Single ones are in the table of `packets.rs`.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_common::maps::{Template, template_key};
use lb_common::reason::Reason;
use lb_common::tcp::SYN;
use lb_tests::dataplane::Action;

use crate::frame::{Frame, OWN};
use crate::world::{self, PERSISTENT, RR, addr};

#[test]
fn rr_takes_turns_exactly_and_wrr_by_its_table() -> Result<()> {
    let director = world::director(1024)?;
    let mut to = Vec::new();
    for n in 0..300u16 {
        let frame = Frame::tcp((Ipv4Addr::new(10, 0, 0, 1), 1000 + n), RR, SYN);
        let (action, out) = director.run(&frame.bytes())?;
        assert_eq!(action, Action::Transmit);
        to.push(u16::from(out[5]));
    }
    let wanted: Vec<u16> = (0..300).map(|n| n % 3 + 1).collect();
    assert_eq!(to, wanted);
    Ok(())
}

#[test]
fn a_client_keeps_its_server_for_all_its_connections() -> Result<()> {
    let director = world::director(1024)?;
    let go = |client: [u8; 4], port| -> Result<u8> {
        Ok(director
            .run(&Frame::tcp((client.into(), port), PERSISTENT, SYN).bytes())?
            .1[5])
    };
    let first = go([10, 0, 0, 1], 1)?;
    let second = go([10, 0, 1, 1], 1)?;
    assert_ne!(first, second, "another network, another turn");
    for port in 2..50 {
        assert_eq!(
            go([10, 0, 0, port as u8], port)?,
            first,
            "the same /24, port {port}"
        );
        assert_eq!(go([10, 0, 1, port as u8], port)?, second);
    }
    let template =
        director.template(template_key(9, [addr(Ipv4Addr::new(10, 0, 0, 0)), 0, 0, 0]))?;
    assert_eq!(
        template.map(|t| Template(t).backend()),
        Some(u16::from(first))
    );
    Ok(())
}

#[test]
fn only_frames_on_a_known_interface_are_balanced() -> Result<()> {
    let mut director = world::director(64)?;
    let frame = |port| Frame::tcp((Ipv4Addr::new(10, 1, 2, 3), 40000), port, SYN);
    let unknown = Reason::UnknownIface as usize;
    director.remove_iface(lb_tests::dataplane::IFINDEX);
    let before = director.reasons()?[unknown];
    assert_eq!(director.run(&frame(RR).bytes())?.0, Action::Drop);
    assert_eq!(director.reasons()?[unknown], before + 1);
    assert_eq!(
        director.run(&frame(22).bytes())?.0,
        Action::Pass,
        "what is no service is not touched"
    );
    director.set_iface(lb_tests::dataplane::IFINDEX, OWN, &[])?;
    assert_eq!(director.run(&frame(RR).bytes())?.0, Action::Transmit);
    Ok(())
}
