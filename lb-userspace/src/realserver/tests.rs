use super::*;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn sysctl(iface: &str, name: &str) -> Sysctl {
    Sysctl::of(Some(iface))
        .into_iter()
        .find(|s| s.path() == format!("net/ipv4/conf/{iface}/{name}"))
        .unwrap()
}

/// A host with one card, as it comes.
fn host() -> Observed {
    let link = |index, name: &str| Link {
        index,
        name: name.to_owned(),
        ethernet: name != "lo",
    };
    Observed {
        links: vec![link(1, "lo"), link(2, "eth0")],
        addresses: vec![
            ("lo".to_owned(), addr("127.0.0.1"), 8),
            ("eth0".to_owned(), addr("198.51.100.5"), 24),
        ],
        sysctls: Sysctl::of(Some("eth0"))
            .into_iter()
            .map(|s| (s, 0))
            .collect(),
        ..Observed::default()
    }
}

fn wish(vips: &[&str], tunnel: Option<Tunnel>) -> Wish {
    Wish {
        vips: vips.iter().map(|v| addr(v)).collect(),
        dev: "lo".to_owned(),
        tunnel,
        iface: None,
    }
}

/// The host after the operations.
fn after(mut host: Observed, plan: &Plan) -> Observed {
    for op in &plan.ops {
        match op.clone() {
            Op::Set { sysctl, value } => {
                assert!(host.sysctls.insert(sysctl, value).is_some());
            }
            Op::Attach { index, .. } => assert!(host.attached.insert(index)),
            Op::Know { entries } => host.known = entries,
            Op::Add { dev, addr } => host.addresses.push((dev, addr, host_prefix(addr))),
            Op::Remove { dev, addr } => {
                let before = host.addresses.len();
                host.addresses
                    .retain(|a| *a != (dev.clone(), addr, host_prefix(addr)));
                assert_eq!(host.addresses.len(), before - 1);
            }
            Op::Detach { index, .. } => assert!(host.attached.remove(&index)),
            Op::Forget => host.known.clear(),
        }
    }
    host
}

#[test]
fn the_host_is_silent_before_it_has_the_address() {
    let plan = up(&State::default(), &host(), &wish(&["192.0.2.1"], None)).unwrap();
    let is_add = |op: &Op| matches!(op, Op::Add { .. });
    let add = plan.ops.iter().position(is_add).unwrap();
    assert_eq!(add, plan.ops.len() - 1, "{:?}", plan.ops);
    let host = after(host(), &plan);
    for iface in ["all", "eth0"] {
        assert_eq!(host.sysctls[&sysctl(iface, "arp_ignore")], 1);
        assert_eq!(host.sysctls[&sysctl(iface, "arp_announce")], 2);
        assert_eq!(host.sysctls[&sysctl(iface, "rp_filter")], 0);
    }
}

#[test]
fn down_leaves_the_host_as_it_was_and_both_are_safe_to_repeat() {
    for tunnel in [None, Some(Tunnel::Ipip), Some(Tunnel::Gue { port: 6080 })] {
        let mut before = host();
        before.sysctls.insert(sysctl("all", "rp_filter"), 1);
        before.sysctls.insert(sysctl("eth0", "arp_announce"), 1);
        let wish = wish(&["192.0.2.1", "2001:db8::1"], tunnel);
        let plan = up(&State::default(), &before, &wish).unwrap();
        let there = after(before.clone(), &plan);
        assert_eq!(drift(&plan.state, &there), []);
        let again = up(&plan.state, &there, &wish).unwrap();
        assert_eq!((&again.ops[..], &again.state), (&[][..], &plan.state));
        let back = down(&plan.state, &there, &[]);
        let restored = after(there, &back);
        assert_eq!(restored, before, "{tunnel:?}");
        assert_eq!(back.state.vips.len() + back.state.sysctls.len(), 0);
        assert_eq!(back.state.attached.len(), 0);
        assert_eq!(down(&back.state, &restored, &[]).ops, []);
    }
}

#[test]
fn two_addresses_do_not_depend_on_each_other() {
    let first = up(&State::default(), &host(), &wish(&["192.0.2.1"], None)).unwrap();
    let one = after(host(), &first);
    let tunnel = Some(Tunnel::Gre);
    let second = up(&first.state, &one, &wish(&["192.0.2.2"], tunnel)).unwrap();
    let both = after(one.clone(), &second);
    let known = &both.known[&addr("192.0.2.2")];
    assert_eq!((known.local, known.tunnel), (false, tunnel));
    assert!(both.known[&addr("198.51.100.5")].local);
    assert!(!both.known.contains_key(&addr("192.0.2.1")));
    // The first leaves: all that the second needs stays.
    let plan = down(&second.state, &both, &[addr("192.0.2.1")]);
    assert_eq!(plan.ops.len(), 1, "{:?}", plan.ops);
    let left = after(both.clone(), &plan);
    assert_eq!(drift(&plan.state, &left), []);
    let end = down(&plan.state, &left, &[addr("192.0.2.2")]);
    assert_eq!(after(left, &end), host());
    // The other order: the tunnel goes, the ARP settings stay.
    let plan = down(&second.state, &both, &[addr("192.0.2.2")]);
    assert_eq!(after(both, &plan), one);
}

#[test]
fn what_was_there_before_stays() {
    let mut before = host();
    before
        .addresses
        .push(("lo".to_owned(), addr("192.0.2.1"), 32));
    for iface in ["all", "eth0"] {
        before.sysctls.insert(sysctl(iface, "arp_ignore"), 2);
        before.sysctls.insert(sysctl(iface, "arp_announce"), 2);
    }
    let plan = up(&State::default(), &before, &wish(&["192.0.2.1"], None)).unwrap();
    assert_eq!(plan.ops, []);
    let back = down(&plan.state, &before, &[]);
    assert_eq!(back.ops, []);
    assert_eq!(back.notes.len(), 1, "{:?}", back.notes);
}

#[test]
fn what_somebody_else_changed_meanwhile_stays() {
    let plan = up(&State::default(), &host(), &wish(&["192.0.2.1"], None)).unwrap();
    let mut there = after(host(), &plan);
    there.sysctls.insert(sysctl("all", "arp_ignore"), 8);
    let back = down(&plan.state, &there, &[]);
    let restored = after(there, &back);
    assert_eq!(restored.sysctls[&sysctl("all", "arp_ignore")], 8);
    assert_eq!(restored.sysctls[&sysctl("eth0", "arp_ignore")], 0);
    assert_eq!(back.notes.len(), 1, "{:?}", back.notes);
}

#[test]
fn a_change_behind_our_back_is_noticed_and_mended_by_another_up() {
    let wish = wish(&["192.0.2.1"], Some(Tunnel::Ipip));
    let plan = up(&State::default(), &host(), &wish).unwrap();
    let mut there = after(host(), &plan);
    there.sysctls.insert(sysctl("all", "arp_ignore"), 0);
    there.attached.clear();
    there.addresses.retain(|(_, a, _)| *a != addr("192.0.2.1"));
    there
        .addresses
        .push(("eth0".to_owned(), addr("198.51.100.6"), 24));
    assert_eq!(drift(&plan.state, &there).len(), 4);
    let again = up(&plan.state, &there, &wish).unwrap();
    let mended = after(there, &again);
    assert_eq!(drift(&again.state, &mended), []);
    assert!(mended.known[&addr("198.51.100.6")].local);
}

#[test]
fn the_filter_of_sources_is_loosened_for_tunnels_only_where_it_is_strict() {
    for (all, own, expected) in [
        (0, 0, 0),
        (1, 0, 2),
        (0, 1, 2),
        (1, 1, 2),
        (2, 1, 1),
        (0, 2, 2),
    ] {
        let mut before = host();
        before.sysctls.insert(sysctl("all", "rp_filter"), all);
        before.sysctls.insert(sysctl("eth0", "rp_filter"), own);
        let wish = wish(&["192.0.2.1"], Some(Tunnel::Ipip));
        let plan = up(&State::default(), &before, &wish).unwrap();
        let now = after(before, &plan);
        assert_eq!(now.sysctls[&sysctl("eth0", "rp_filter")], expected);
        assert_eq!(now.sysctls[&sysctl("all", "rp_filter")], all);
    }
}

#[test]
fn values_of_arp_ignore_that_answer_are_changed() {
    for (value, expected) in [(0, 1), (1, 1), (2, 2), (3, 1), (4, 1), (8, 8)] {
        let mut before = host();
        before.sysctls.insert(sysctl("eth0", "arp_ignore"), value);
        let plan = up(&State::default(), &before, &wish(&["192.0.2.1"], None)).unwrap();
        let now = after(before, &plan);
        assert_eq!(now.sysctls[&sysctl("eth0", "arp_ignore")], expected);
    }
}

#[test]
fn what_would_do_harm_is_refused() {
    let mut elsewhere = host();
    elsewhere
        .addresses
        .push(("eth0".to_owned(), addr("192.0.2.1"), 24));
    let mut subnet = host();
    subnet
        .addresses
        .push(("lo".to_owned(), addr("192.0.2.1"), 24));
    let mut two = host();
    two.links.push(Link {
        index: 3,
        name: "eth1".to_owned(),
        ethernet: true,
    });
    let plain = wish(&["192.0.2.1"], None);
    let tunnel = wish(&["192.0.2.1"], Some(Tunnel::Ipip));
    let on = |dev: &str, iface: &str| Wish {
        dev: dev.to_owned(),
        iface: Some(iface.to_owned()),
        ..plain.clone()
    };
    for (observed, wish, text) in [
        (&elsewhere, &plain, "already on eth0"),
        (&subnet, &plain, "all of that subnet"),
        (&two, &tunnel, "are eth0, eth1"),
        (&host(), &on("dummy0", "eth0"), "no interface dummy0"),
        (&host(), &on("lo", "eth9"), "no interface eth9"),
        (&host(), &on("eth0", "eth0"), "belongs on lo"),
        (
            &host(),
            &self::wish(&["127.0.0.2"], None),
            "no address of a host",
        ),
    ] {
        let refusal = up(&State::default(), observed, wish).unwrap_err();
        assert!(refusal.to_string().contains(text), "{refusal}");
    }
    // Direct routing does not need to know.
    assert!(up(&State::default(), &two, &plain).is_ok());
}

#[test]
fn the_state_survives_its_file() {
    let wish = wish(&["192.0.2.1", "2001:db8::1"], Some(Tunnel::Gue { port: 7 }));
    let state = up(&State::default(), &host(), &wish).unwrap().state;
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
}
