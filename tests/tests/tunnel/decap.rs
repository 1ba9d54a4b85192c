//! The real server's program takes off what the director's put on.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, Pod};
use lb_common::decap::{Address, Count, LOCAL, VIP_GRE, VIP_GUE, VIP_IPIP, key_v4, name};
use lb_common::maps::Forward;
use lb_tests::dataplane::{Director, test_run};

use crate::encapsulated::routed;
use crate::fixture::{
    GUE_PORT, OUT_MAC, SERVER_MAC, Sample, VIP, Way, checksum, director, set_way, words_v6,
};

const DROP: u32 = 1;
const PASS: u32 = 2;

#[repr(transparent)]
#[derive(Clone, Copy)]
struct RawAddress(Address);
// SAFETY: plain numbers without padding.
unsafe impl Pod for RawAddress {}

struct Server {
    ebpf: Ebpf,
    program: OwnedFd,
}

impl Server {
    fn new() -> Result<Server> {
        let mut ebpf = EbpfLoader::new().load(lb_userspace::io::program::DECAP_BYTES)?;
        let program: &mut Xdp = ebpf
            .program_mut(name::PROGRAM)
            .context("no program")?
            .try_into()?;
        program.load()?;
        let program = program.fd()?.as_fd().try_clone_to_owned()?;
        let settings: Array<_, u64> =
            Array::try_from(ebpf.map(name::SETTINGS).context("no settings")?)?;
        assert_eq!(settings.get(&0, 0)?, 0);
        let mut server = Server { ebpf, program };
        for way in [Way::tunnels()[0], Way::tunnels()[9]] {
            let key = match way.ends().1 {
                std::net::IpAddr::V4(v4) => key_v4(u32::from_ne_bytes(v4.octets())),
                std::net::IpAddr::V6(v6) => words_v6(v6),
            };
            server.know(key, LOCAL, 0)?;
        }
        Ok(server)
    }

    fn know(&mut self, key: [u32; 4], flags: u32, port: u16) -> Result<()> {
        let mut map: HashMap<_, [u32; 4], RawAddress> =
            HashMap::try_from(self.ebpf.map_mut(name::ADDRESSES).context("no addresses")?)?;
        let address = Address {
            flags,
            port: port.to_be(),
            reserved: 0,
        };
        Ok(map.insert(key, RawAddress(address), 0)?)
    }

    fn vip(&mut self, flags: u32, port: u16) -> Result<()> {
        self.know(key_v4(u32::from_ne_bytes(VIP.octets())), flags, port)
    }

    fn counts(&self) -> Result<Vec<u64>> {
        let map: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map(name::COUNTS).context("no counts")?)?;
        (0..Count::ALL.len() as u32)
            .map(|i| Ok(map.get(&i, 0)?.iter().sum()))
            .collect()
    }

    /// Verdict, frame and what was counted.
    fn run(&self, frame: &[u8]) -> Result<(u32, Vec<u8>, Vec<Count>)> {
        let before = self.counts()?;
        let (verdict, after) = test_run(self.program.as_fd(), frame)?;
        let now = self.counts()?;
        let counted = Count::ALL
            .iter()
            .filter(|&&count| now[count as usize] != before[count as usize])
            .copied()
            .collect();
        Ok((verdict, after, counted))
    }
}

fn flag(forward: Forward) -> (u32, Count) {
    match forward {
        Forward::Direct => panic!("not a tunnel"),
        Forward::Ipip => (VIP_IPIP, Count::Ipip),
        Forward::Gue => (VIP_GUE, Count::Gue),
        Forward::Gre => (VIP_GRE, Count::Gre),
    }
}

/// A frame as the director sends it.
fn sent(director: &Director, way: Way, sample: &Sample) -> Result<Vec<u8>> {
    set_way(director, way, 0);
    Ok(director.run(&sample.bytes())?.1)
}

/// The same with VLAN tags.
fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for tag in tags {
        out.extend(tag);
    }
    out.extend(&frame[12..]);
    out
}

#[test]
fn what_the_director_puts_in_the_server_takes_out() -> Result<()> {
    let director = director(Way::DIRECT, 0)?;
    let mut server = Server::new()?;
    let tags: [&[[u8; 4]]; 3] = [
        &[],
        &[[0x81, 0, 0x20, 5]],
        &[[0x88, 0xa8, 0, 9], [0x81, 0, 0x20, 5]],
    ];
    for way in Way::tunnels() {
        let (flag, count) = flag(way.forward);
        server.vip(flag, GUE_PORT)?;
        for sample in [
            Sample::default(),
            Sample {
                payload: 0,
                padding: 6,
                ..Sample::default()
            },
            Sample {
                payload: 1401,
                tcp: false,
                df: false,
                tos: 0x2a,
                ..Sample::default()
            },
        ] {
            let frame = sent(&director, way, &sample)?;
            let original = sample.bytes();
            let packet = routed(&original, original.len() - 14 - sample.padding);
            for tags in tags {
                let what = format!("{way:?} {sample:?} {tags:?}");
                let (verdict, after, counted) = server.run(&tagged(&frame, tags))?;
                assert_eq!((verdict, counted), (PASS, vec![count]), "{what}");
                let mut expected = [SERVER_MAC, OUT_MAC].concat();
                expected.extend(tags.concat());
                expected.extend([8, 0]);
                expected.extend(&packet);
                expected.extend(std::iter::repeat_n(0xee, sample.padding));
                assert_eq!(after, expected, "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_not_for_a_virtual_address_by_this_tunnel_is_not_touched() -> Result<()> {
    let director = director(Way::DIRECT, 0)?;
    let mut server = Server::new()?;
    for way in Way::tunnels() {
        let frame = sent(&director, way, &Sample::default())?;
        let untouched = |server: &Server, frame: &[u8], counted: &[Count]| -> Result<()> {
            let (verdict, after, counts) = server.run(frame)?;
            assert_eq!((verdict, &counts[..]), (PASS, counted), "{way:?}");
            assert_eq!(after, frame, "{way:?}");
            Ok(())
        };
        let (flag, _) = flag(way.forward);
        // Known, but not as a virtual address; by another tunnel; on another port.
        server.vip(LOCAL, 0)?;
        untouched(&server, &frame, &[])?;
        server.vip((VIP_IPIP | VIP_GUE | VIP_GRE) & !flag, GUE_PORT)?;
        untouched(&server, &frame, &[])?;
        if way.forward == Forward::Gue {
            server.vip(flag, GUE_PORT + 1)?;
            untouched(&server, &frame, &[])?;
        }
        server.vip(flag, GUE_PORT)?;
        let mut elsewhere = frame.clone();
        elsewhere[if way.v6 { 14 + 39 } else { 14 + 19 }] ^= 1;
        untouched(&server, &elsewhere, &[Count::NotLocal])?;
        if !way.v6 {
            let mut fragment = frame.clone();
            fragment[20] = 0x20;
            untouched(&server, &fragment, &[Count::Fragment])?;
        }
        let mut cut = frame.clone();
        cut.truncate(frame.len() - 1);
        untouched(&server, &cut, &[Count::Unknown])?;
        // The plain packet, as direct routing would send it.
        untouched(&server, &Sample::default().bytes(), &[])?;
        // Every cut: never a verdict but to pass, never a change before it is whole.
        for len in 14..frame.len() {
            let (verdict, after, _) = server.run(&frame[..len])?;
            assert_eq!(
                (verdict, after),
                (PASS, frame[..len].to_vec()),
                "{way:?} {len}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_wrong_checksum_of_the_tunnel_is_noticed() -> Result<()> {
    let director = director(Way::DIRECT, 0)?;
    let mut server = Server::new()?;
    for way in Way::tunnels() {
        let (flag, count) = flag(way.forward);
        server.vip(flag, GUE_PORT)?;
        for payload in [100, 101, 600] {
            let mut frame = sent(
                &director,
                way,
                &Sample {
                    payload,
                    ..Sample::default()
                },
            )?;
            *frame.last_mut().context("empty")? ^= 1;
            let (verdict, _, counted) = server.run(&frame)?;
            let expected = if way.checksum {
                (DROP, vec![Count::Checksum])
            } else {
                // The packet's own checksum is the stack's to look at.
                (PASS, vec![count])
            };
            assert_eq!((verdict, counted), expected, "{way:?} {payload}");
        }
    }
    Ok(())
}

#[test]
fn a_mark_of_congestion_on_the_tunnel_is_the_packets() -> Result<()> {
    let director = director(Way::DIRECT, 0)?;
    let mut server = Server::new()?;
    for way in [Way::tunnels()[0], Way::tunnels()[5]] {
        server.vip(VIP_IPIP, 0)?;
        let marked = |tos: u8| -> Result<Vec<u8>> {
            let mut frame = sent(
                &director,
                way,
                &Sample {
                    tos,
                    ..Sample::default()
                },
            )?;
            frame[15] |= if way.v6 { 0x30 } else { 3 };
            Ok(frame)
        };
        for tos in [1, 2, 0xb9] {
            let (verdict, after, counted) = server.run(&marked(tos)?)?;
            assert_eq!((verdict, counted), (PASS, vec![Count::Ipip]), "{tos:#x}");
            assert_eq!(after[15], tos | 3);
            assert_eq!(checksum(&[&after[14..34]]), 0, "{tos:#x}");
        }
        let (verdict, _, counted) = server.run(&marked(0)?)?;
        assert_eq!((verdict, counted), (DROP, vec![Count::Ecn]));
    }
    Ok(())
}
