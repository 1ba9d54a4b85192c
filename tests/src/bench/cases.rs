//! What is measured.

use lb_userspace::model::{Scheduler, Tunnel};

use crate::frame::{self, Kind};

/// How many flows a case has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// So many, again and again; a power of two.
    Of(u64),
    /// Every packet is a new flow.
    New,
}

/// In which order the flows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One port of a client after the other, then the next client.
    Turn,
    /// Packets that follow each other are of clients and ports far apart.
    Scattered,
}

/// A service that the rig offers, with TCP and UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its port; which one it is.
    pub port: u16,
    /// How it is scheduled.
    pub scheduler: Scheduler,
    /// How many real servers it has.
    pub servers: u16,
    /// IPv6, its real servers too.
    pub v6: bool,
    /// How its real servers are reached, unless by direct routing.
    pub tunnel: Option<Tunnel>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// For people.
    pub name: &'static str,
    /// The service.
    pub offer: Offer,
    /// The frame.
    pub kind: Kind,
    /// How many flows.
    pub flows: Flows,
    /// In which order.
    pub order: Order,
}

impl Case {
    /// The same flows of the usual service, where this one is IPv6 or a tunnel; new flows are compared
    /// with no others, for whose places they would fight.
    #[must_use]
    pub fn beside(&self) -> Option<Case> {
        let takes_more = self.offer.v6 || self.offer.tunnel.is_some();
        (takes_more && self.flows != Flows::New).then_some(Case {
            name: "direct",
            offer: USUAL,
            ..*self
        })
    }

    /// How many of so many packets are enough: a scheduler that compares all its servers for each new
    /// flow is as much slower as they are more.
    #[must_use]
    pub fn enough(&self, packets: u32) -> u32 {
        let compares = self.flows == Flows::New && self.offer.scheduler == Scheduler::Wlc;
        if compares {
            packets / u32::from(self.offer.servers).div_ceil(16)
        } else {
            packets
        }
    }
}

/// The usual service.
const USUAL: Offer = Offer {
    port: 80,
    scheduler: Scheduler::Rr,
    servers: 64,
    v6: false,
    tunnel: None,
};

const V6: Offer = Offer { v6: true, ..USUAL };

const fn offer(port: u16, scheduler: Scheduler, servers: u16) -> Offer {
    Offer {
        port,
        scheduler,
        servers,
        ..USUAL
    }
}

const fn tunnelled(port: u16, tunnel: Tunnel) -> Offer {
    Offer {
        port,
        tunnel: Some(tunnel),
        ..USUAL
    }
}

const fn case(name: &'static str, offer: Offer, kind: Kind, flows: Flows) -> Case {
    Case {
        name,
        offer,
        kind,
        flows,
        order: Order::Turn,
    }
}

const fn wlc(name: &'static str, port: u16, servers: u16) -> Case {
    let offer = offer(port, Scheduler::Wlc, servers);
    case(name, offer, frame::ACK, Flows::New)
}

const fn scattered(case: Case) -> Case {
    Case {
        order: Order::Scattered,
        ..case
    }
}

/// The cases in an order in which none disturbs the next: a flow that a SYN has opened is
/// established by the ACKs that follow, and what fills the flow table comes last.
pub const CASES: [Case; 28] = [
    case("SYN, 4,096 flows", USUAL, frame::SYN, Flows::Of(4_096)),
    case("UDP, 4,096 flows", USUAL, Kind::Udp, Flows::Of(4_096)),
    case("TCP, 1 flow", USUAL, frame::ACK, Flows::Of(1)),
    case("TCP, 4,096 flows", USUAL, frame::ACK, Flows::Of(4_096)),
    case("TCP, 65,536 flows", USUAL, frame::ACK, Flows::Of(65_536)),
    scattered(case(
        "  in scattered order",
        USUAL,
        frame::ACK,
        Flows::Of(65_536),
    )),
    case("TCP, 524,288 flows", USUAL, frame::ACK, Flows::Of(524_288)),
    scattered(case(
        "  in scattered order",
        USUAL,
        frame::ACK,
        Flows::Of(524_288),
    )),
    case("IPv6 TCP, 1 flow", V6, frame::ACK, Flows::Of(1)),
    case("IPv6 TCP, 4,096 flows", V6, frame::ACK, Flows::Of(4_096)),
    case("IPv6 TCP, 65,536 flows", V6, frame::ACK, Flows::Of(65_536)),
    case(
        "IPIP, 4,096 flows",
        tunnelled(90, Tunnel::Ipip),
        frame::ACK,
        Flows::Of(4_096),
    ),
    case(
        "GUE, 4,096 flows",
        tunnelled(
            91,
            Tunnel::Gue {
                port: 6080,
                csum: false,
            },
        ),
        frame::ACK,
        Flows::Of(4_096),
    ),
    case(
        "GRE, 4,096 flows",
        tunnelled(92, Tunnel::Gre { csum: false }),
        frame::ACK,
        Flows::Of(4_096),
    ),
    case(
        "1 real server",
        offer(81, Scheduler::Rr, 1),
        frame::ACK,
        Flows::Of(4_096),
    ),
    case(
        "100 real servers",
        offer(82, Scheduler::Rr, 100),
        frame::ACK,
        Flows::Of(4_096),
    ),
    case(
        "4,096 real servers",
        offer(83, Scheduler::Rr, 4_096),
        frame::ACK,
        Flows::Of(4_096),
    ),
    case(
        "new flows, sh",
        offer(84, Scheduler::Sh, 64),
        frame::ACK,
        Flows::New,
    ),
    case(
        "new flows, wrr",
        offer(85, Scheduler::Wrr, 64),
        frame::ACK,
        Flows::New,
    ),
    case(
        "new flows, rr of 4,096",
        offer(83, Scheduler::Rr, 4_096),
        frame::ACK,
        Flows::New,
    ),
    case("new flows, IPv6 rr", V6, frame::ACK, Flows::New),
    wlc("new flows, wlc of 1", 93, 1),
    wlc("new flows, wlc of 16", 94, 16),
    wlc("new flows, wlc of 64", 86, 64),
    wlc("new flows, wlc of 256", 95, 256),
    wlc("new flows, wlc of 1,024", 96, 1_024),
    wlc("new flows, wlc of 4,096", 97, 4_096),
    case("new flows, rr", USUAL, frame::ACK, Flows::New),
];

/// Cases beside so many other services.
pub const MANY: [(u32, Case); 3] = [
    (0, case("1 service", USUAL, frame::ACK, Flows::Of(4_096))),
    (
        99,
        case("100 services", USUAL, frame::ACK, Flows::Of(4_096)),
    ),
    (
        9_999,
        case("10,000 services", USUAL, frame::ACK, Flows::Of(4_096)),
    ),
];
