//! `virtual_routes`, `virtual_rules`, `static_ipaddress`, `static_routes`, `static_rules`.

use lb_userspace::config::{self, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::{Fate, Model, Prefix, Routing};

fn load(text: &str) -> Loaded {
    config::load(
        "a.conf",
        &MemoryFiles::one("a.conf", text),
        &Options::default(),
    )
}

fn model(text: &str) -> Model {
    let l = load(text);
    let problems = l.count(Severity::Error) + l.count(Severity::Warning);
    assert_eq!(problems, 0, "{}", l.render(false));
    let model = l.model.expect("a model");
    for (path, text) in [
        ("m.conf", config::to_keepalived(&model)),
        ("m.toml", config::to_toml(&model)),
    ] {
        let again = config::load(path, &MemoryFiles::one(path, &text), &Options::default());
        assert_eq!(
            again.model.as_ref(),
            Some(&model),
            "{text}\n{}",
            again.render(false)
        );
    }
    model
}

fn instance(routes: &str, rules: &str) -> String {
    format!(
        "vrrp_instance A {{\n  interface eth0\n  virtual_router_id 1\n  virtual_ipaddress {{\n    192.0.2.1\n  }}\n  \
         virtual_routes {{\n{routes}  }}\n  virtual_rules {{\n{rules}  }}\n}}\n"
    )
}

#[test]
fn the_lines_that_real_files_have() {
    let routes = "    src 192.0.2.1 to 198.51.100.0/24 via 192.0.2.254 dev eth1\n    \
                  198.51.101.0/24 via 192.0.2.254 dev eth1\n    198.51.102.0/24 dev eth2 no_track\n    \
                  198.51.103.0/24 via 192.0.2.254\n    \
                  198.51.104.0/24 via 192.0.2.253 or 192.0.2.254 dev eth1\n    \
                  blackhole 198.51.105.0/24\n    0.0.0.0/0 gw 192.0.2.254 table 100\n    \
                  default gw 192.0.2.253 metric 7\n    default via 2001:db8::9 dev eth0 onlink\n    \
                  198.51.106.0/24 table 6909 nexthop via 192.0.2.8 dev eth0 onlink weight 1 nexthop via 192.0.2.9 dev eth1 weight 2\n    \
                  198.51.107.0/24 dev eth0 scope link mtu 1400 advmss 1300 tos 0x10\n    \
                  inet6 default dev eth4 append\n";
    let rules = "    from 198.51.100.0/24 table 1\n    to 198.51.100.0/24 table 1 no_track\n    \
                 from 192.0.2.0/28 to 192.0.2.32/28 table 9 iif eth0 oif eth1 tos 16 fwmark 24/12 preference 39\n    \
                 to 2001:db8::/112 from 2001:db8:1::/96 table 6908\n    not from all blackhole\n";
    let m = model(&instance(routes, rules));
    let i = &m.instances[0];
    assert_eq!((i.routes.len(), i.rules.len()), (12, 5));
    let via = |n: usize| {
        let hops = i.routes[n].hops.iter();
        let all = hops.map(|h| (h.via.map(|v| v.to_string()), h.dev.as_deref(), h.weight));
        all.collect::<Vec<_>>()
    };
    let to = |last: u8, dev| (Some(format!("192.0.2.{last}")), dev, 1);
    assert_eq!(via(0), [to(254, Some("eth1"))]);
    assert_eq!(
        i.routes[0].source.map(|s| s.to_string()).as_deref(),
        Some("192.0.2.1")
    );
    assert_eq!(via(3), [to(254, None)]);
    assert_eq!(via(4), [to(253, Some("eth1")), to(254, Some("eth1"))]);
    assert_eq!((i.routes[5].fate, via(5)), (Fate::Blackhole, vec![]));
    assert_eq!((i.routes[6].table, i.routes[6].to.len), (100, 0));
    assert_eq!(i.routes[7].metric, Some(7));
    assert!(i.routes[8].to.addr.is_ipv6() && i.routes[8].hops[0].on_link);
    assert_eq!(via(9)[1].2, 2);
    assert_eq!((i.routes[10].mtu, i.routes[10].tos), (Some(1400), 16));
    assert!(i.routes[11].to.addr.is_ipv6() && i.routes[11].append);
    let routed: Vec<&str> = i.routed().collect();
    assert_eq!(
        routed.join(" "),
        "eth1 eth1 eth1 eth1 eth0 eth0 eth1 eth0 eth4 eth0"
    );
    assert!(i.routes[2].no_track && i.rules[1].no_track);
    assert_eq!(
        (i.rules[2].mark, i.rules[2].preference),
        (Some((24, 12)), 39)
    );
    assert!(i.rules[3].is_ipv6 && i.rules[4].not);
    // keepalived's own for those that say nothing.
    assert_eq!(i.rules[0].preference, 16384);
}

#[test]
fn a_network_has_no_bits_behind_its_prefix() {
    for (addr, len, network) in [
        ("10.3.3.3", 8, "10.0.0.0"),
        ("10.3.3.3", 0, "0.0.0.0"),
        ("10.3.3.3", 32, "10.3.3.3"),
        ("2001:db8::ff", 124, "2001:db8::f0"),
        ("2001:db8::ff", 0, "::"),
        ("2001:db8::ff", 128, "2001:db8::ff"),
    ] {
        let found = Prefix::of(addr.parse().unwrap(), len);
        assert_eq!(found.addr.to_string(), network, "{addr}/{len}");
    }
    let text = instance("    10.3.3.3/8 dev eth0\n", "");
    let files = MemoryFiles::one("m.conf", &text);
    let l = config::load("m.conf", &files, &Options::default());
    assert!(
        l.render(false).contains("taken as 10.0.0.0/8"),
        "{}",
        l.render(false)
    );
}

#[test]
fn statics_and_those_of_an_instance_are_set_in_their_order() {
    let text = "global_defs {\n  default_interface eth7\n}\nstatic_ipaddress {\n  192.0.2.9/24 dev eth1\n  192.0.2.8\n}\n\
                static_routes {\n  198.51.100.0/24 via 192.0.2.7\n}\nstatic_rules {\n  from 192.0.2.9 table 7\n}\n"
        .to_owned()
        + &instance("    198.51.101.0/24 dev eth0\n", "    from 192.0.2.1 table 8\n");
    let m = model(&text);
    let devs: Vec<_> = m
        .statics
        .addresses
        .iter()
        .filter_map(|a| a.dev.as_deref())
        .collect();
    assert_eq!(devs, ["eth1", "eth7"]);
    let kinds = |all: &mut dyn Iterator<Item = Routing>| -> String {
        let kind = |r| match r {
            Routing::Address(_) => 'a',
            Routing::Route(_) => 'r',
            Routing::Rule(_) => 'p',
        };
        all.map(kind).collect()
    };
    assert_eq!(kinds(&mut m.statics.routing()), "aarp");
    assert_eq!(kinds(&mut m.instances[0].routing()), "rp");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (routes, rules, place, word) in [
        ("    198.51.100.0/24\n", "", "8:", "via"),
        ("    via 192.0.2.9\n", "", "8:", "destination"),
        ("    198.51.100.0/33 dev eth0\n", "", "8:5", "network"),
        (
            "    198.51.100.0/24 dev eth0 table upstream\n",
            "",
            "8:36",
            "table",
        ),
        (
            "    198.51.100.0/24 via 2001:db8::1 src 2001:db8::2\n",
            "",
            "8:",
            "family",
        ),
        ("    198.51.100.0/24 dev\n", "", "8:21", "value"),
        ("", "    from 192.0.2.0/24\n", "10:", "table"),
        (
            "",
            "    from 192.0.2.0/24 uidrange 1-2 table 5\n",
            "10:23",
            "not supported",
        ),
    ] {
        let l = load(&instance(routes, rules));
        let text = l.render(false);
        assert!(
            text.contains(word) && text.contains(&format!("a.conf:{place}")),
            "{text}"
        );
    }
}

#[test]
fn instances_follow_the_static_entries_of_a_group() {
    let group = "track_group G1 {\n  group {\n    A\n  }\n}\n";
    let m = model(&format!(
        "{}{group}static_ipaddress {{\n  192.0.2.7/24 dev eth1 track_group G1\n}}\n\
         static_routes {{\n  198.51.100.0/24 dev eth1 track_group G1\n  198.51.101.0/24 dev eth1\n}}\n\
         static_rules {{\n  from 198.51.100.0/24 table 7 preference 9 track_group G1\n}}\n",
        instance("", "")
    ));
    assert_eq!(m.instances[0].tracks.statics, ["G1"]);
    let groups: Vec<Option<String>> = m
        .statics
        .routing()
        .map(|r| r.group().map(str::to_owned))
        .collect();
    let g1 = || Some("G1".to_owned());
    assert_eq!(groups, [g1(), g1(), None, g1()]);
    for (text, words) in [
        (
            "static_routes {\n  198.51.100.0/24 dev eth1 track_group G2\n}\n",
            "there is no `track_group G2`",
        ),
        (
            "static_rules {\n  from 198.51.100.0/24 table 7 preference 9 no_track track_group G1\n}\n",
            "`no_track` does not go together with `track_group`",
        ),
        (
            "vrrp_instance B {\n  interface eth0\n  virtual_router_id 2\n  virtual_ipaddress {\n    192.0.2.2 track_group \
             G1\n  }\n}\n",
            "`track_group` is for static addresses, routes and rules",
        ),
        (
            "track_group G3 {\n  group {\n    C\n  }\n}\n",
            "there is no `vrrp_instance C`",
        ),
        (
            "track_group \"a b\" {\n  group {\n    A\n  }\n}\n",
            "a name of letters",
        ),
    ] {
        let l = load(&format!("{}{group}{text}", instance("", "")));
        assert!(l.render(false).contains(words), "{}", l.render(false));
        let model = l.model.expect("a model");
        assert!(model.statics.routing().all(|r| r.group().is_none()));
        assert_eq!(model.instances[0].tracks.statics, ["G1"]);
    }
}

#[test]
fn a_delay_that_is_too_long_for_an_instance_is_named() {
    let text = "interface_up_down_delays {\n  eth0 9 1\n  eth0 1.5 3\n  eth1 3\n  eth2 1 2.5\n  eth9 200\n}\n".to_owned()
        + &instance("    198.51.100.0/24 dev eth1\n    198.51.101.0/24 dev eth2 no_track\n", "");
    let files = MemoryFiles::one("m.conf", &text);
    let l = config::load("m.conf", &files, &Options::default());
    let text = l.render(false);
    for (place, holds) in [("m.conf:3:12", "taken as 2"), ("m.conf:4:8", "taken as 2")] {
        assert!(text.contains(place) && text.contains(holds), "{text}");
    }
    assert_eq!(
        text.matches("waits for its master").count(),
        3 - 1,
        "{text}"
    );
}
