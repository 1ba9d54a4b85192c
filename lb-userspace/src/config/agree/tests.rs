//! A pair that agrees, and one difference after the other.

use super::*;
use crate::config::MemoryFiles;

/// A director: `instance` and `service` are further lines of its blocks.
fn conf(priority: u8, instance: &str, service: &str) -> String {
    format!(
        "vrrp_instance VI_1 {{\n  interface eth0\n  virtual_router_id 51\n  priority {priority}\n  \
         {instance}\n  virtual_ipaddress {{\n    192.0.2.1/24\n    192.0.2.2/24\n  }}\n}}\n\
         virtual_server 192.0.2.1 80 {{\n  lb_kind DR\n  protocol TCP\n  {service}\n  \
         real_server 10.0.0.1 80 {{\n    weight 1\n  }}\n  real_server 10.0.0.2 80 {{\n  }}\n}}\n"
    )
}

/// The findings: severity, message, and `file:line` of both places.
fn findings(a: &str, b: &str) -> Vec<String> {
    let mut files = MemoryFiles::one("a.conf", a);
    files
        .files
        .insert("b.conf".to_owned(), b.as_bytes().to_vec());
    let options = Options::default();
    let compared = compare(["a.conf", "b.conf"], &files, [&options, &options]);
    for side in &compared.sides {
        assert!(side.model.is_some(), "{}", side.render(false));
    }
    let at = |span: Span| {
        let file = compared.sources.get(span.source).map_or("", |f| &f.name);
        format!("{file}:{}", compared.sources.position(span).line)
    };
    let line = |d: &Diagnostic| {
        let labels = d.primary.iter().chain(&d.secondary);
        let places: Vec<String> = labels.map(|l| at(l.span)).collect();
        let severity = format!("{:?}", d.severity).to_lowercase();
        assert!(!d.help.is_empty());
        format!("{severity}: {} [{}]", d.message, places.join(" "))
    };
    compared.findings.iter().map(line).collect()
}

#[test]
fn a_pair_that_agrees_is_silent_though_names_interfaces_and_order_differ() {
    let a = conf(150, "", "lb_algo wrr");
    let b = conf(100, "", "lb_algo wrr")
        .replace("VI_1", "other")
        .replace("eth0", "bond0")
        .replace(
            "    192.0.2.1/24\n    192.0.2.2/24\n",
            "    192.0.2.2/24\n    192.0.2.1/24\n",
        );
    assert_eq!(findings(&a, &b), [""; 0]);
}

#[test]
fn each_difference_of_an_instance_is_named_with_both_places() {
    let plain = || conf(150, "", "lb_algo wrr");
    let pass = "authentication {\n    auth_type PASS\n    auth_pass";
    let unicast = |src: &str, peer: &str| {
        format!("unicast_src_ip {src}\n  unicast_peer {{\n    {peer}\n  }}")
    };
    for (a, b, want) in [
        (
            plain(),
            conf(100, "version 3", "lb_algo wrr"),
            "error: VI_1: the versions of VRRP differ [a.conf:1 b.conf:5]",
        ),
        (
            conf(150, &format!("{pass} secret\n  }}"), "lb_algo wrr"),
            conf(100, &format!("{pass} other\n  }}"), "lb_algo wrr"),
            "error: VI_1: authentication differs [a.conf:5 b.conf:5]",
        ),
        (
            conf(150, "advert_int 2", "lb_algo wrr"),
            conf(100, "", "lb_algo wrr"),
            "error: VI_1: advert_int differs [a.conf:5 b.conf:1]",
        ),
        (
            conf(150, "version 3\n  advert_int 2", "lb_algo wrr"),
            conf(100, "version 3\n  advert_int 1", "lb_algo wrr"),
            "warning: VI_1: advert_int differs [a.conf:6 b.conf:6]",
        ),
        (
            plain().replace("    192.0.2.2/24\n", ""),
            conf(100, "", "lb_algo wrr"),
            "error: VI_1: virtual_ipaddress differs [a.conf:6 b.conf:6]",
        ),
        (
            plain().replace("192.0.2.2/24", "192.0.2.2/32"),
            conf(100, "", "lb_algo wrr"),
            "warning: VI_1: the prefix length of an address differs [a.conf:6 b.conf:6]",
        ),
        (
            plain(),
            conf(150, "", "lb_algo wrr"),
            "warning: VI_1: the priorities are equal [a.conf:4 b.conf:4]",
        ),
        (
            conf(255, "", "lb_algo wrr"),
            conf(255, "", "lb_algo wrr"),
            "error: VI_1: the priorities are equal [a.conf:4 b.conf:4]",
        ),
        (
            plain(),
            conf(100, "nopreempt", "lb_algo wrr"),
            "warning: VI_1: nopreempt stands only with the lower priority [a.conf:4 b.conf:5]",
        ),
        (
            conf(150, "state MASTER", "lb_algo wrr"),
            conf(100, "state MASTER", "lb_algo wrr"),
            "warning: VI_1: both begin as MASTER [a.conf:5 b.conf:5]",
        ),
        (
            plain(),
            conf(100, &unicast("10.0.0.9", "10.0.0.8"), "lb_algo wrr"),
            "error: VI_1: adverts go different ways [a.conf:1 b.conf:6]",
        ),
        (
            conf(150, &unicast("10.0.0.8", "10.0.0.7"), "lb_algo wrr"),
            conf(100, &unicast("10.0.0.9", "10.0.0.8"), "lb_algo wrr"),
            "error: VI_1: unicast_peer does not name the other director [a.conf:6 b.conf:5]",
        ),
    ] {
        assert_eq!(findings(&a, &b), [want], "{a}\n{b}");
    }
    // Only the better one's counts.
    let better = conf(150, "nopreempt", "lb_algo wrr");
    assert_eq!(findings(&better, &conf(100, "", "lb_algo wrr")), [""; 0]);
    // Another VRID: neither has a partner.
    let other = conf(100, "", "lb_algo wrr").replace("51", "52");
    assert_eq!(
        findings(&plain(), &other),
        [
            "error: VI_1 (VRID 51) has no partner [a.conf:3]",
            "error: VI_1 (VRID 52) has no partner [b.conf:3]"
        ]
    );
}

#[test]
fn each_difference_of_a_service_is_named() {
    let with = |service: &str| conf(100, "", service);
    let a = conf(150, "", "lb_algo mh");
    let line = |what: &str, places: &str| format!("warning: TCP 192.0.2.1:80: {what} [{places}]");
    for (b, want) in [
        (
            with("lb_algo wrr"),
            line("the schedulers differ", "a.conf:14 b.conf:14"),
        ),
        (
            with("lb_algo mh\n  mh-port"),
            line("the schedulers differ", "a.conf:14 b.conf:14"),
        ),
        (
            with("lb_algo mh\n  persistence_timeout 60"),
            line("persistence differs", "a.conf:11 b.conf:15"),
        ),
        (
            with("lb_algo mh").replace("weight 1", "weight 7"),
            line("the weight of a real server differs", "a.conf:15 b.conf:15"),
        ),
        (
            with("lb_algo mh").replace("10.0.0.2", "10.0.0.3"),
            line("the real servers differ", "a.conf:15 b.conf:15"),
        ),
        (
            with("lb_algo mh\n  sorry_server 10.0.0.9 80"),
            line("the sorry servers differ", "a.conf:11 b.conf:15"),
        ),
    ] {
        assert_eq!(findings(&a, &b), [want], "{b}");
    }
    let other = with("lb_algo mh").replace("192.0.2.1 80", "192.0.2.1 81");
    let other = other
        .replace("10.0.0.1 80", "10.0.0.1 81")
        .replace("10.0.0.2 80", "10.0.0.2 81");
    assert_eq!(
        findings(&a, &other),
        [
            "error: only one of the directors has the service TCP 192.0.2.1:80 [a.conf:11]",
            "error: only one of the directors has the service TCP 192.0.2.1:81 [b.conf:11]"
        ]
    );
}

#[test]
fn each_side_is_read_with_its_own_id() {
    let text = conf(100, "", "lb_algo rr").replace(
        "  priority 100\n",
        "  @lb1 priority 150\n  @lb2 priority 100\n",
    );
    let files = MemoryFiles::one("one.conf", &text);
    let id = |id: &str| Options {
        config_id: Some(id.to_owned()),
        ..Options::default()
    };
    let count = |a: &str, b: &str| {
        let compared = compare(["one.conf"; 2], &files, [&id(a), &id(b)]);
        compared.findings.len()
    };
    assert_eq!(count("lb1", "lb2"), 0);
    assert_eq!(count("lb1", "lb1"), 1, "the priorities are equal");
}

#[test]
fn groups_bind_the_same_routers() {
    let two = |priority, group: &str| {
        let second = conf(priority, "", "lb_algo rr");
        let second = second.split("virtual_server").next().unwrap_or_default();
        let second = second
            .replace("VI_1", "VI_2")
            .replace("51", "52")
            .replace("192.0.2.", "192.0.3.");
        format!("{}{second}{group}", conf(priority, "", "lb_algo rr"))
    };
    let group = "vrrp_sync_group G {\n  group {\n    VI_1\n    VI_2\n  }\n}\n";
    assert_eq!(findings(&two(150, group), &two(100, group)), [""; 0]);
    let said = findings(&two(150, group), &two(100, ""));
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("warning: sync group G has no like"),
        "{said:?}"
    );
}

#[test]
fn a_file_that_is_refused_is_not_compared() {
    let mut files = MemoryFiles::one("a.conf", &conf(100, "", "lb_algo rr"));
    files
        .files
        .insert("b.conf".to_owned(), b"vrrp_instance VI_1 {\n".to_vec());
    let options = Options::default();
    let compared = compare(["a.conf", "b.conf"], &files, [&options, &options]);
    assert!(compared.sides[1].model.is_none());
    assert!(compared.findings.is_empty());
}

#[test]
fn of_two_with_one_number_each_is_compared_with_its_like() {
    let side = |priority: u8, names: [&str; 2]| {
        let one = |name: &str, peer: u8, vip: u8| {
            format!(
                "vrrp_instance {name} {{\n  interface eth0\n  virtual_router_id 7\n  priority {priority}\n  \
                 unicast_peer {{\n    10.0.0.{peer}\n  }}\n  virtual_ipaddress {{\n    192.0.2.{vip}\n  }}\n}}\n"
            )
        };
        one(names[0], 1, 1) + &one(names[1], 2, 2)
    };
    for names in [["A", "B"], ["C", "D"]] {
        assert_eq!(findings(&side(150, ["A", "B"]), &side(100, names)), [""; 0]);
    }
}

#[test]
fn modes_that_differ_are_named() {
    let of = |priority, lines: &str| conf(priority, lines, "lb_algo wrr");
    for (a, b, want) in [
        (
            of(150, "no_accept"),
            of(100, ""),
            "warning: VI_1: only one of them accepts what is for the addresses and for no service [a.conf:5 b.conf:1]",
        ),
        (
            of(150, "version 3"),
            of(100, "version 3\n  v3_checksum_as_v2"),
            "error: VI_1: the checksums of adverts differ [a.conf:1 b.conf:6]",
        ),
    ] {
        assert_eq!(findings(&a, &b), [want]);
    }
    // The owner accepts in any case.
    assert_eq!(findings(&of(255, ""), &of(100, "no_accept")), [""; 0]);
}

#[test]
fn ends_of_a_bfd_session_that_do_not_meet_are_named() {
    let of = |priority, session: &str| {
        let session = session.replace(';', "\n");
        let bfd = format!("bfd_instance other {{\n{session}\n}}\n");
        format!("{bfd}{}", conf(priority, "", "lb_algo wrr"))
    };
    let a = |more: &str| {
        of(
            150,
            &format!("neighbor_ip 10.0.0.2;source_ip 10.0.0.1;{more}"),
        )
    };
    let b = |more: &str| {
        of(
            100,
            &format!("neighbor_ip 10.0.0.1;source_ip 10.0.0.2;{more}"),
        )
    };
    assert_eq!(
        findings(&a(""), &b("min_rx 500;multiplier 9;passive")),
        [""; 0]
    );
    // Sessions with a router each.
    let router =
        |priority, own: &str| of(priority, &format!("neighbor_ip 10.0.0.254;source_ip {own}"));
    assert_eq!(
        findings(&router(150, "10.0.0.1"), &router(100, "10.0.0.2")),
        [""; 0]
    );
    for (a, b, want) in [
        (
            a(""),
            router(100, "10.0.0.2"),
            "error: bfd_instance other has no other end [a.conf:1]",
        ),
        (
            a(""),
            of(100, "neighbor_ip 10.0.0.1;source_ip 10.0.0.3"),
            "error: bfd_instance other has no other end [b.conf:1]",
        ),
        (
            a("passive"),
            b("passive"),
            "error: bfd_instance other: both ends are passive [a.conf:1 b.conf:1]",
        ),
        (
            a("ttl 64"),
            b(""),
            "error: bfd_instance other: packets arrive with too small a TTL [a.conf:1 b.conf:1]",
        ),
        (
            a(""),
            b("ttl 64;max_hops 5"),
            "error: bfd_instance other: packets arrive with too small a TTL [b.conf:1 a.conf:1]",
        ),
    ] {
        assert_eq!(findings(&a, &b), [want], "{a}{b}");
    }
}
