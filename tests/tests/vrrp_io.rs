//! The sockets beneath VRRP, on real interfaces.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lb_tests::recorder::{Recorder, What};
use lb_tests::switch::{Host, Switch};
use lb_userspace::io::arp::ArpSocket;
use lb_userspace::io::netlink::{Change, Control, LinkTable, NeighbourState, Watch};
use lb_userspace::io::vrrp::VrrpSockets;
use lb_userspace::model::{AddressOptions, Auth, Broadcast, Family, Transport, VrrpVersion};
use lb_userspace::vrrp::packet::{Advert, Envelope, View};
use lb_userspace::vrrp::{Address, Applied, LinkState, Listen};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
const LIMIT: Duration = Duration::from_secs(5);

fn address() -> Address {
    Address {
        iface: "eth0".into(),
        addr: IpAddr::V4(VIP),
        prefix_len: 32,
        label: None,
        broadcast: None,
        scope: 0,
        options: AddressOptions::default(),
    }
}

fn two_hosts() -> Result<(Switch, Host, Host)> {
    let mut switch = Switch::new()?;
    let host = |switch: &mut Switch, name: &str, last| {
        switch.host(name, "eth0", &[(Ipv4Addr::new(10, 77, 0, last), 24)], false)
    };
    let a = host(&mut switch, "a", 1)?;
    let b = host(&mut switch, "b", 2)?;
    Ok((switch, a, b))
}

/// Reads changes until one is what is waited for.
async fn until(watch: &mut Watch, what: &str, wanted: impl Fn(&Change) -> bool) -> Result<Change> {
    let search = async {
        loop {
            let change = watch.next().await?;
            if wanted(&change) {
                return Ok(change);
            }
        }
    };
    match tokio::time::timeout(LIMIT, search).await {
        Ok(found) => found,
        Err(_) => anyhow::bail!("no change came: {what}"),
    }
}

#[test]
fn addresses_are_set_as_asked_and_every_outcome_is_told() -> Result<()> {
    let (_switch, a, _b) = two_hosts()?;
    let index = a.ns.index("eth0")?;
    a.ns.block_on(async move {
        let mut watch = Watch::open()?;
        let mut control = Control::open()?;
        assert_eq!(control.add_address(index, &address())?, Applied::Present);
        assert_eq!(
            control.add_address(index, &address())?,
            Applied::Present,
            "again"
        );
        let is_vip = |c: &Change| matches!(c, Change::AddressAdded(a) if a.addr == VIP);
        until(&mut watch, "added", is_vip).await?;
        let listed = control.addresses()?;
        assert!(
            listed
                .iter()
                .any(|a| a.addr == VIP && a.prefix_len == 32 && a.index == index)
        );
        assert_eq!(
            control.del_address(index, VIP.into(), 32)?,
            Applied::Removed
        );
        assert_eq!(
            control.del_address(index, VIP.into(), 32)?,
            Applied::NotThere
        );
        let is_gone = |c: &Change| matches!(c, Change::AddressRemoved(a) if a.addr == VIP);
        until(&mut watch, "removed", is_gone).await?;
        // An interface that does not exist.
        ensure!(control.add_address(9999, &address()).is_err());
        assert_eq!(
            control.del_address(9999, VIP.into(), 32)?,
            Applied::NotThere
        );

        // In the subnet of another address the kernel wants that one's scope.
        let full = Address {
            addr: Ipv4Addr::new(10, 99, 0, 100).into(),
            prefix_len: 24,
            label: Some("eth0:vip".into()),
            broadcast: Some(Broadcast::HostBitsSet),
            scope: 253,
            ..address()
        };
        assert_eq!(control.add_address(index, &full)?, Applied::Present);
        let shown = std::process::Command::new("ip")
            .args(["-o", "-4", "addr", "show", "dev", "eth0"])
            .output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        let line = shown
            .lines()
            .find(|l| l.contains("10.99.0.100"))
            .unwrap_or_default();
        for word in [
            "10.99.0.100/24",
            "brd 10.99.0.255",
            "scope link",
            "eth0:vip",
        ] {
            ensure!(line.contains(word), "no {word:?} in {line:?}");
        }

        // One address with three prefixes and ends: each is removed by itself.
        let other_end = Address {
            prefix_len: 32,
            options: AddressOptions {
                peer: Some(Ipv4Addr::new(10, 99, 0, 7).into()),
                ..AddressOptions::default()
            },
            label: None,
            broadcast: None,
            ..full.clone()
        };
        let narrow = Address {
            prefix_len: 25,
            ..full.clone()
        };
        for address in [&narrow, &other_end] {
            assert_eq!(control.add_address(index, address)?, Applied::Present);
        }
        let mut left: BTreeSet<u8> = [24, 25, 32].into();
        for prefix_len in [25, 32, 24] {
            let removed = control.del_address(index, full.addr, prefix_len)?;
            assert_eq!(removed, Applied::Removed, "/{prefix_len}");
            left.remove(&prefix_len);
            let listed = control.addresses()?.into_iter();
            let listed = listed.filter(|a| a.addr == full.addr);
            assert_eq!(listed.map(|a| a.prefix_len).collect::<BTreeSet<_>>(), left);
        }
        Ok(())
    })
}

#[test]
fn an_address_operation_takes_less_than_a_millisecond() -> Result<()> {
    let (_switch, a, _b) = two_hosts()?;
    let index = a.ns.index("eth0")?;
    a.ns.call(move || {
        let mut control = Control::open()?;
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            control.add_address(index, &address())?;
            times.push(start.elapsed());
            control.del_address(index, VIP.into(), 32)?;
        }
        times.sort_unstable();
        let median = times[times.len() / 2];
        println!("add address: median {median:?}, worst {:?}", times[99]);
        ensure!(median < Duration::from_millis(1), "{median:?}");
        Ok(())
    })
}

#[test]
fn links_are_followed_when_they_go_down_are_renamed_or_vanish() -> Result<()> {
    let (switch, a, _b) = two_hosts()?;
    let index = a.ns.index("eth0")?;
    let ip = |args: &'static [&'static str]| {
        a.ns.call(move || {
            let status = std::process::Command::new("ip").args(args).status()?;
            ensure!(status.success(), "ip {args:?}");
            Ok(())
        })
    };
    let (mut watch, mut links) = a.ns.block_on(async {
        let watch = Watch::open()?;
        let links = LinkTable::new(Control::open()?.links()?);
        anyhow::Ok((watch, links))
    })?;
    assert_eq!(links.state("eth0"), LinkState::Up);
    assert_eq!(links.state("eth9"), LinkState::Gone);

    let mut expect = |watch: Watch, what: &'static str, wanted: Vec<(&'static str, LinkState)>| {
        let mut table = links.clone();
        let (watch, table) = a.ns.block_on(async move {
            let mut watch = watch;
            let search = async {
                loop {
                    let told = table.apply(&watch.next().await?);
                    let told: Vec<_> = told.iter().map(|(n, s)| (n.as_str(), *s)).collect();
                    if told == wanted {
                        return anyhow::Ok(());
                    }
                }
            };
            tokio::time::timeout(LIMIT, search)
                .await
                .map_err(|_| anyhow::anyhow!("{what}: not told"))??;
            anyhow::Ok((watch, table))
        })?;
        links = table;
        anyhow::Ok(watch)
    };

    switch.port_down(&a.port)?;
    watch = expect(watch, "carrier lost", vec![("eth0", LinkState::Down)])?;
    switch.port_up(&a.port)?;
    watch = expect(watch, "carrier back", vec![("eth0", LinkState::Up)])?;
    a.ns.link_down("eth0")?;
    watch = expect(watch, "set down", vec![("eth0", LinkState::Down)])?;
    ip(&["link", "set", "eth0", "name", "lan"])?;
    watch = expect(
        watch,
        "renamed",
        vec![("eth0", LinkState::Gone), ("lan", LinkState::Down)],
    )?;
    a.ns.link_up("lan")?;
    watch = expect(watch, "up again", vec![("lan", LinkState::Up)])?;
    ip(&["link", "del", "lan"])?;
    watch = expect(watch, "vanished", vec![("lan", LinkState::Gone)])?;
    drop(watch);
    ensure!(links.get(index).is_none());
    Ok(())
}

#[test]
fn a_neighbour_is_resolved_on_request_and_its_silence_is_told() -> Result<()> {
    let (_switch, a, b) = two_hosts()?;
    let (index, mac) = (a.ns.index("eth0")?, b.mac.0);
    let there = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 2));
    let silent = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 77));
    a.ns.sysctl("net/ipv4/neigh/eth0/retrans_time_ms", "50")?;
    a.ns.block_on(async move {
        let mut watch = Watch::open()?;
        let mut control = Control::open()?;
        let hop = control.route_to(there)?;
        assert_eq!((hop.index, hop.addr, hop.local), (index, there, false));
        assert!(control.route_to(Ipv4Addr::new(10, 77, 0, 1).into())?.local);
        ensure!(
            control
                .route_to(Ipv4Addr::new(192, 0, 2, 1).into())
                .is_err(),
            "no route"
        );

        control.resolve(index, there)?;
        let found = until(
            &mut watch,
            "resolved",
            |c| matches!(c, Change::Neighbour(n) if n.addr == there && n.state == NeighbourState::Valid),
        )
        .await?;
        assert!(matches!(found, Change::Neighbour(n) if n.mac == Some(mac)));
        let listed = control.neighbours()?;
        ensure!(
            listed
                .iter()
                .any(|n| n.addr == there && n.mac == Some(mac))
        );

        control.resolve(index, silent)?;
        let failed = |c: &Change| matches!(c, Change::Neighbour(n) if n.addr == silent && n.state == NeighbourState::Failed);
        until(&mut watch, "failed", failed).await?;
        Ok(())
    })
}

/// 224.0.0.18.
fn multicast() -> Listen {
    Listen::to(&Transport::default(), Family::V4)
}

fn advert(source: [u8; 4], vrid: u8) -> Vec<u8> {
    Advert {
        source: source.into(),
        envelope: Envelope::MULTICAST,
        version: VrrpVersion::V2,
        vrid,
        priority: 100,
        interval: Duration::from_secs(1),
        auth: Auth::Pass(b"1111".to_vec()),
        addresses: vec![VIP.into()],
    }
    .emit(u16::from(vrid))
}

#[test]
fn adverts_arrive_whole_with_the_senders_mac_and_not_our_own() -> Result<()> {
    let (_switch, a, b) = two_hosts()?;
    let (index_a, index_b) = (a.ns.index("eth0")?, b.ns.index("eth0")?);
    let begun = lb_userspace::io::clock::now();
    let open = |host: &Host, index| {
        host.ns.block_on(async move {
            let mut sockets = VrrpSockets::new()?;
            sockets.open("eth0", index, &multicast())?;
            sockets.open("eth0", index, &multicast())?;
            anyhow::Ok(sockets)
        })
    };
    let (mut receiver, mut sender) = (open(&a, index_a)?, open(&b, index_b)?);
    // The kernel begins to stamp what arrives a while after it was asked; until then it stamps what is read.
    let mut stamped = false;
    for _ in 0..1000 {
        sender.send("eth0", &advert([10, 77, 0, 2], 1))?;
        ensure!(receiver.wait(LIMIT)?, "adverts do not arrive");
        let there = lb_userspace::io::clock::now();
        receiver.drain(1, |r| stamped = r.at < there);
        if stamped {
            break;
        }
    }
    ensure!(stamped, "adverts have no time of arrival");
    let mut witness = open(&a, index_a)?;
    for vrid in 1..=200 {
        sender.send("eth0", &advert([10, 77, 0, 2], vrid))?;
    }
    ensure!(
        sender.drain(1000, |_| ()).packets == 0,
        "what one sends oneself is not received"
    );
    ensure!(sender.send("eth1", &[]).is_err());
    let mac = b.mac.0;
    a.ns.block_on(async move {
        // A busy kernel hands on what was sent when it comes to it.
        let mut seen = 0;
        while seen < 200 {
            ensure!(witness.wait(LIMIT)?, "adverts do not arrive");
            seen += witness.drain(64, |_| ()).packets;
        }
        let all_there = lb_userspace::io::clock::now();
        let (mut next, mut last) = (1, begun);
        while next <= 200 {
            ensure!(receiver.wait(LIMIT)?, "adverts do not arrive");
            let before = last;
            let drained = receiver.drain(64, |r| {
                assert_eq!((r.iface, r.src_mac), ("eth0", mac));
                assert_eq!(r.packet, advert([10, 77, 0, 2], next));
                assert_eq!(View::parse(r.packet).unwrap().vrid(), next);
                assert!(last <= r.at, "in the order and with the time of arrival");
                last = r.at;
                next += 1;
            });
            // They were all there before this socket was looked at.
            ensure!(last < all_there, "{last:?} is after {all_there:?}");
            let more = next <= 200;
            assert_eq!(drained.until, more.then_some(last), "after {before:?}");
        }
        // Nothing more: the descriptor is quiet again.
        let quiet = !receiver.wait(Duration::from_millis(50))?;
        ensure!(quiet, "ready without a packet");
        receiver.close("eth0");
        ensure!(receiver.open_interfaces().next().is_none());
        Ok(())
    })
}

#[test]
fn the_group_is_joined_while_the_sockets_are_open() -> Result<()> {
    let (_switch, a, _b) = two_hosts()?;
    let index = a.ns.index("eth0")?;
    a.ns.block_on(async move {
        // 224.0.0.18 as /proc/net/igmp writes it on a little-endian machine.
        let group = format!("{:08X}", u32::from_ne_bytes([224, 0, 0, 18]));
        let joined = || -> Result<bool> {
            let text = std::fs::read_to_string("/proc/thread-self/net/igmp")?;
            Ok(text.contains(&group))
        };
        ensure!(!joined()?);
        let mut sockets = VrrpSockets::new()?;
        sockets.open("eth0", index, &multicast())?;
        ensure!(joined()?);
        sockets.close("eth0");
        ensure!(!joined()?);
        Ok(())
    })
}

#[test]
fn a_gratuitous_arp_is_seen_by_the_others() -> Result<()> {
    let (_switch, a, b) = two_hosts()?;
    let recorder = Recorder::start(&b.ns, "eth0")?;
    let (index, mac) = (a.ns.index("eth0")?, a.mac);
    let start = lb_tests::clock::Instant::now();
    a.ns.call(move || ArpSocket::open()?.send_garp(index, mac.0, VIP))?;
    let frame = recorder.wait("the ARP", start, LIMIT, |frames| {
        frames
            .iter()
            .copied()
            .find(|f| matches!(f.what, What::Arp { spa, .. } if spa == VIP))
    })?;
    assert_eq!(frame.src, mac);
    assert_eq!(frame.dst.0, [0xff; 6]);
    let wanted = What::Arp {
        op: 1,
        spa: VIP,
        tpa: VIP,
    };
    assert_eq!(frame.what, wanted);
    recorder.finish()
}

#[test]
fn a_flood_on_another_protocol_does_not_reach_the_daemon() -> Result<()> {
    let (_switch, a, b) = two_hosts()?;
    let index_a = a.ns.index("eth0")?;
    let mut receiver = a.ns.block_on(async move {
        let mut sockets = VrrpSockets::new()?;
        sockets.open("eth0", index_a, &multicast())?;
        anyhow::Ok(sockets)
    })?;
    let index_b = b.ns.index("eth0")?;
    b.ns.block_on(async move {
        let mut sockets = VrrpSockets::new()?;
        sockets.open("eth0", index_b, &multicast())?;
        let mut other = advert([10, 77, 0, 2], 1);
        other[9] = 113;
        for _ in 0..1000 {
            sockets.send("eth0", &other)?;
        }
        // To another group than that of VRRP.
        let mut other = advert([10, 77, 0, 2], 2);
        other[19] = 19;
        for _ in 0..1000 {
            sockets.send("eth0", &other)?;
        }
        sockets.send("eth0", &advert([10, 77, 0, 2], 3))?;
        anyhow::Ok(())
    })?;
    let seen: Arc<std::sync::Mutex<Vec<u8>>> = Arc::default();
    let into = Arc::clone(&seen);
    a.ns.block_on(async move {
        ensure!(receiver.wait(LIMIT)?, "the advert does not arrive");
        receiver.drain(10, |r| {
            let vrid = View::parse(r.packet).unwrap().vrid();
            into.lock().unwrap().push(vrid);
        });
        anyhow::Ok(())
    })?;
    assert_eq!(*seen.lock().unwrap(), [3]);
    Ok(())
}
