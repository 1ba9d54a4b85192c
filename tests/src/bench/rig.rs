//! The programs under test in the kernel, with filled maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::EbpfLoader;
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, Xdp};
use lb_common::bench::{Driver, name};
use lb_common::maps;
use lb_userspace::io::bpf::{Config, DataPlane, ModeWish, test_run};
use lb_userspace::io::{clock, program};
use lb_userspace::model::{ForwardMethod, Protocol, Scheduler, ServiceKey};
use lb_userspace::plan::{DesiredBackend, DesiredService, Link, Refs, Tables};
use nix::time::{ClockId, clock_gettime};

use super::{Case, Flows, Offer, Order};
use crate::frame::{frame, frame_v6};

/// The virtual address of the frames.
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The same of IPv6 services, and the clients' prefix.
const VIP_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x80);
const CLIENTS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0);
const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 2];
const XDP_TX: u32 = 3;
/// Steps over the flows for [`Order::Scattered`]: odd, so that all come.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;
/// Where flows begin that nobody has used, when each packet is one of its own.
const UNUSED: u64 = 1 << 30;

/// Where frames come in and go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The interface.
    pub ifindex: u32,
    /// The director's MAC, to which the frames come.
    pub mac: [u8; 6],
}

impl Port {
    /// Test runs happen on the loopback interface.
    pub const TEST_RUN: Port = Port {
        ifindex: 1,
        mac: [2, 0, 0, 0, 0, 1],
    };
}

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Does nothing: the driver alone.
    Nothing,
    /// Makes room for an outer header in front and sends: what a tunnel costs driver and kernel.
    Room,
    /// Swaps the MACs and sends.
    Swap,
    /// Service and backend lookup only.
    Lookup,
    /// The driver alone with the frames of [`Target::Direct`].
    Idle,
    /// The balancer with the usual service (IPv4, direct routing), beside one that takes more.
    Direct,
    /// The balancer.
    Balance,
}

impl Target {
    /// All of them; the driver alone first.
    pub const ALL: [Target; 7] = [
        Target::Nothing,
        Target::Room,
        Target::Swap,
        Target::Lookup,
        Target::Idle,
        Target::Direct,
        Target::Balance,
    ];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Target::Nothing => "nothing",
            Target::Room => "room",
            Target::Swap => "swap+send",
            Target::Lookup => "lookup",
            Target::Idle => "idle",
            Target::Direct => "direct",
            Target::Balance => "balance",
        }
    }

    /// The case that it does in a row.
    fn of(self, case: &Case) -> Case {
        match self {
            Target::Idle | Target::Direct => case.beside().unwrap_or(*case),
            Target::Nothing | Target::Room | Target::Swap | Target::Lookup | Target::Balance => {
                *case
            }
        }
    }

    /// Whether it can do the case: the floor with a lookup knows IPv4 alone.
    fn takes(self, case: &Case) -> bool {
        match self {
            Target::Lookup => !case.offer.v6 && case.offer.tunnel.is_none(),
            Target::Idle | Target::Direct => case.beside().is_some(),
            Target::Room => case.offer.tunnel.is_some(),
            Target::Nothing | Target::Swap | Target::Balance => true,
        }
    }
}

/// Everything that a measurement needs.
pub struct Rig {
    data_plane: DataPlane,
    driver: OwnedFd,
    orders: Array<MapData, [u64; size_of::<Driver>() / 8]>,
    target: ProgramArray<MapData>,
    programs: Vec<ProgramFd>,
    next_unused: u64,
}

impl Rig {
    /// Loads balancer, floors and driver, with these services and so many others beside, and a flow
    /// table of so many buckets; the pins lie in `dir`, on a bpf filesystem.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new(dir: &Path, offers: &[Offer], others: u32, flow_buckets: u32) -> Result<Rig> {
        let (data_plane, _) = filled(dir, Port::TEST_RUN, offers, others, flow_buckets)?;
        let params = maps::Params::default();
        let words: [u64; 2] = zerocopy::transmute!(params);
        let mut loader = EbpfLoader::new();
        loader.override_global(maps::name::PARAMS, &words, false);
        for name in maps::name::ALL {
            loader.map_pin_path(name, dir.join(name));
        }
        let mut ebpf = loader
            .load(program::BENCH_BYTES)
            .context("load the driver")?;
        let mut load = |name: &str| -> Result<ProgramFd> {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .with_context(|| format!("no program {name}"))?
                .try_into()?;
            program.load().with_context(|| format!("load {name}"))?;
            Ok(program.fd()?.try_clone()?)
        };
        let driver = load(name::PROGRAM)?.as_fd().try_clone_to_owned()?;
        let mut programs = vec![
            load(name::NOTHING)?,
            load(name::ROOM)?,
            load(name::SWAP)?,
            load(name::LOOKUP)?,
        ];
        programs.push(programs[0].try_clone()?);
        for _balance in [Target::Direct, Target::Balance] {
            programs.push(data_plane.program().try_clone()?);
        }
        let orders = Array::try_from(ebpf.take_map(name::DRIVER).context("no map of orders")?)?;
        let target = ProgramArray::try_from(
            ebpf.take_map(name::TARGET)
                .context("no map of the target")?,
        )?;
        Ok(Rig {
            data_plane,
            driver,
            orders,
            target,
            programs,
            next_unused: UNUSED,
        })
    }

    /// Checks that every program sends a frame of the case.
    ///
    /// # Errors
    /// When one does not.
    pub fn prepare(&mut self, case: &Case) -> Result<()> {
        for (target, fd) in Target::ALL.into_iter().zip(&self.programs) {
            if !target.takes(case) {
                continue;
            }
            let run = test_run(fd.as_fd(), &template(&target.of(case)), 1)?;
            ensure!(
                run.verdict == XDP_TX,
                "{} answers {} instead of XDP_TX",
                target.name(),
                run.verdict
            );
        }
        Ok(())
    }

    /// One run: CPU time of a packet, in nanoseconds, the driver's included. `None` when the case is
    /// nothing for the program.
    ///
    /// # Errors
    /// When the kernel refuses or a frame did not reach the program.
    pub fn run(&mut self, case: &Case, target: Target, repeat: u32) -> Result<Option<f64>> {
        if !target.takes(case) {
            return Ok(None);
        }
        let case = &target.of(case);
        let index = Target::ALL.iter().position(|t| *t == target).unwrap_or(0);
        self.target.set(0, &self.programs[index], 0)?;
        let (next, mask) = match case.flows {
            Flows::Of(n) => (0, n - 1),
            Flows::New => (self.next_unused, u64::MAX),
        };
        let frame = template(case);
        let mut orders = Driver {
            frame: [0; _],
            next,
            mask,
            stride: match case.order {
                Order::Turn => 1,
                Order::Scattered => STRIDE,
            },
            lost: 0,
            reserved: 0,
        };
        orders.frame[..frame.len()].copy_from_slice(&frame);
        let words: [u64; size_of::<Driver>() / 8] = zerocopy::transmute!(orders);
        self.orders.set(0, words, 0)?;
        let begin = cpu_nanos()?;
        let run = test_run(&self.driver, &frame, repeat)?;
        let nanos = cpu_nanos()? - begin;
        ensure!(
            run.verdict == XDP_TX,
            "{} answers {} instead of XDP_TX",
            target.name(),
            run.verdict
        );
        let after: Driver = zerocopy::transmute!(self.orders.get(&0, 0)?);
        ensure!(
            after.lost == 0 && after.next == next + u64::from(repeat),
            "frames were lost on their way"
        );
        if case.flows == Flows::New {
            self.next_unused = after.next;
        }
        Ok(Some(nanos as f64 / f64::from(repeat)))
    }

    /// The balancer and its maps.
    #[must_use]
    pub fn data_plane(&self) -> &DataPlane {
        &self.data_plane
    }

    /// Removes the pins.
    ///
    /// # Errors
    /// When one cannot be removed.
    pub fn close(self) -> Result<()> {
        Ok(self.data_plane.unload()?)
    }
}

fn template(case: &Case) -> Vec<u8> {
    let port = case.offer.port;
    if case.offer.v6 {
        let client = SocketAddrV6::new(CLIENTS_V6, 1024, 0, 0);
        let service = SocketAddrV6::new(VIP_V6, port, 0, 0);
        return frame_v6(Port::TEST_RUN.mac, CLIENT, client, service, case.kind).to_vec();
    }
    let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 0), 1024);
    frame(
        Port::TEST_RUN.mac,
        CLIENT,
        client,
        SocketAddrV4::new(VIP, port),
        case.kind,
    )
    .to_vec()
}

/// CPU time of this thread: what a neighbour takes away does not count.
fn cpu_nanos() -> Result<u64> {
    let t = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(t.tv_sec() as u64 * 1_000_000_000 + t.tv_nsec() as u64)
}

/// A data plane with these services and so many others beside, its maps new and pinned in `dir`, a
/// flow table of so many buckets among them, and the path of its pinned program.
///
/// # Errors
/// When the kernel refuses.
pub fn filled(
    dir: &Path,
    port: Port,
    offers: &[Offer],
    others: u32,
    flow_buckets: u32,
) -> Result<(DataPlane, PathBuf)> {
    let config = Config {
        pin: dir.to_owned(),
        mode: ModeWish::Auto,
        flow_buckets,
    };
    let mut data_plane = DataPlane::open(&config)?;
    if data_plane.adopted() {
        data_plane.unload()?;
        data_plane = DataPlane::open(&config)?;
    }
    let mut services: Vec<DesiredService> = offers
        .iter()
        .flat_map(|offer| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| service(port, offer, protocol))
        })
        .collect();
    services.extend((0..others).map(|n| other(port, n)));
    let plan = Tables::new(data_plane.hz()).plan(&services, &Refs::default(), clock::now());
    ensure!(plan.refused.is_empty(), "{:?}", plan.refused);
    data_plane.apply(&plan.ops)?;
    data_plane.set_iface("in", port.ifindex, port.mac)?;
    let path = data_plane.pin_program("prog")?;
    Ok((data_plane, path))
}

fn service(port: Port, offer: &Offer, protocol: Protocol) -> DesiredService {
    let server = |n: u16| -> IpAddr {
        if offer.v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, n).into()
        } else {
            Ipv4Addr::from(0xc633_0000 + u32::from(n)).into()
        }
    };
    let key = ServiceKey {
        addr: if offer.v6 { VIP_V6.into() } else { VIP.into() },
        port: offer.port,
        protocol,
    };
    DesiredService {
        sloppy: true,
        backends: (1..=offer.servers)
            .map(|n| DesiredBackend {
                method: offer.tunnel.map_or(ForwardMethod::Dr, ForwardMethod::Tun),
                ..backend(port, server(n), offer.port, n)
            })
            .collect(),
        ..DesiredService::new(key, offer.scheduler)
    }
}

/// A service that no frame is for.
fn other(port: Port, n: u32) -> DesiredService {
    let vip = Ipv4Addr::from(0xc612_0000 + n);
    let key = ServiceKey {
        addr: vip.into(),
        port: 80,
        protocol: Protocol::Tcp,
    };
    DesiredService {
        backends: [1, 2]
            .map(|n| backend(port, Ipv4Addr::new(198, 51, 101, n as u8).into(), 80, n))
            .to_vec(),
        ..DesiredService::new(key, Scheduler::Rr)
    }
}

fn backend(egress: Port, addr: IpAddr, port: u16, n: u16) -> DesiredBackend {
    let [high, low] = n.to_be_bytes();
    let dmac = [2, 0xaa, 0, 0, high, low];
    DesiredBackend {
        link: Some(Link {
            source: Some(if addr.is_ipv4() {
                Ipv4Addr::new(198, 51, 100, 250).into()
            } else {
                Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 0xfffa).into()
            }),
            ..Link::new(dmac, egress.mac, egress.ifindex)
        }),
        ..DesiredBackend::new(addr, port, 1)
    }
}
