//! A data plane as the daemon makes it, with services of many real servers.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::Result;
use lb_tests::dataplane::test_run_into;
use lb_tests::frame::{self, Kind, frame};
use lb_tests::scratch::Scratch;
use lb_userspace::io::bpf::{Config, DataPlane, ModeWish, buckets_for};
use lb_userspace::io::clock;
use lb_userspace::model::{Protocol, Scheduler, ServiceKey};
use lb_userspace::plan::{DesiredBackend, DesiredService, Link, Refs, Tables};
use std::os::fd::AsFd as _;

/// The verdict for a frame that is sent.
const XDP_TX: u32 = 3;
/// The interface of test runs.
const LO: u32 = 1;
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// The data plane, its books, and the directory that holds its pins.
pub(crate) struct Bench {
    pub(crate) dp: DataPlane,
    pub(crate) tables: Tables,
    _scratch: Scratch,
}

impl Bench {
    /// New maps, with room for so many connections.
    pub(crate) fn new(flows: u32) -> Result<Bench> {
        let scratch = Scratch::new()?;
        let config = Config {
            pin: scratch.pins().join("d"),
            flow_buckets: buckets_for(flows),
            mode: ModeWish::Auto,
        };
        let mut dp = DataPlane::open(&config)?;
        dp.set_iface("lo", LO, OWN)?;
        let tables = Tables::new(dp.hz());
        Ok(Bench {
            dp,
            tables,
            _scratch: scratch,
        })
    }

    /// Makes the services what they should be.
    pub(crate) fn to(&mut self, desired: &[DesiredService]) -> Result<()> {
        let plan = self.tables.plan(desired, &Refs::default(), clock::now());
        assert_eq!(plan.refused, []);
        self.dp.apply(&plan.ops)?;
        Ok(())
    }

    /// Sends a frame of a connection; returns the number of the server that gets it, if one does.
    pub(crate) fn send(
        &self,
        client: Client,
        vip: SocketAddrV4,
        kind: Kind,
    ) -> Result<Option<u16>> {
        let frame = frame(OWN, CLIENT, client.addr(), vip, kind);
        let mut out = [0; 2 * frame::LEN];
        let (verdict, _) = test_run_into(self.dp.program().as_fd(), &frame, &mut out)?;
        Ok((verdict == XDP_TX).then(|| u16::from_be_bytes([out[4], out[5]])))
    }
}

/// The n-th connection of many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) u32);

impl Client {
    /// Connections that follow each other are of clients that do: 2^17 of them, then the next port.
    pub(crate) fn addr(self) -> SocketAddrV4 {
        let port = 1024 + (self.0 >> 17) as u16;
        SocketAddrV4::new(Ipv4Addr::from(0x0a00_0000 | self.0 & 0x1_ffff), port)
    }
}

/// The address of the n-th service, for TCP.
pub(crate) fn vip(n: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0xc612_0000 | u32::from(n)), 80)
}

/// A server that is up; its number is the end of its address and its MAC.
pub(crate) fn server(n: u16) -> DesiredBackend {
    let [high, low] = n.to_be_bytes();
    DesiredBackend {
        link: Some(Link::new([2, 0xaa, 0, 0, high, low], OWN, LO)),
        ..DesiredBackend::new(Ipv4Addr::from(0xc633_0000 | u32::from(n)).into(), 80, 1)
    }
}

/// The n-th service.
pub(crate) fn service(n: u16, scheduler: Scheduler, servers: &[u16]) -> DesiredService {
    let key = ServiceKey {
        addr: (*vip(n).ip()).into(),
        port: vip(n).port(),
        protocol: Protocol::Tcp,
    };
    DesiredService {
        backends: servers.iter().map(|n| server(*n)).collect(),
        ..DesiredService::new(key, scheduler)
    }
}
