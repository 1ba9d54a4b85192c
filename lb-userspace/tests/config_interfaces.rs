//! Words about interfaces and the addresses on them.

use lb_userspace::config::{self, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::AddressOptions;

fn load(text: &str) -> Loaded {
    config::load(
        "a.conf",
        &MemoryFiles::one("a.conf", text),
        &Options::default(),
    )
}

#[test]
fn what_an_advert_does_not_carry_is_excluded_from_it() {
    let v4 = |n: usize| format!("10.9.{}.{}", n / 256, n % 256);
    let v6 = |n: usize| format!("fe80::{n:x}");
    let numbers = |max: usize, of: &dyn Fn(usize) -> String| -> String {
        (1..=max).map(|n| format!("    {}\n", of(n))).collect()
    };
    for (list, words, counts) in [
        (numbers(255, &v4), "", (255, 1)),
        (numbers(300, &v4), "has 300 virtual addresses", (255, 46)),
        (numbers(89, &v6), "", (89, 1)),
        (numbers(90, &v6), "has 90 virtual addresses", (89, 2)),
    ] {
        let l = load(&format!(
            "vrrp_instance A {{\n  interface eth0\n  version 3\n  virtual_router_id 1\n  virtual_ipaddress {{\n{list}  }}\n  \
             virtual_ipaddress_excluded {{\n    192.0.2.1\n  }}\n}}\n"
        ));
        let i = &l.model.as_ref().expect("a model").instances[0];
        assert_eq!((i.addresses.len(), i.excluded.len()), counts);
        let problems = l.count(Severity::Warning) + l.count(Severity::Error);
        assert_eq!(problems > 0, !words.is_empty(), "{}", l.render(false));
        assert!(l.render(false).contains(words), "{}", l.render(false));
    }
}

#[test]
fn a_source_that_is_followed_must_be_named() {
    let of = |words: &str| {
        load(&format!(
            "vrrp_instance A {{\n  interface eth0\n  virtual_router_id 1\n  {words}\n  virtual_ipaddress {{\n    \
             192.0.2.1\n  }}\n}}\n"
        ))
    };
    for word in ["mcast_src_ip", "unicast_src_ip"] {
        let l = of(&format!("track_src_ip\n  {word} 192.0.2.9"));
        assert!(l.model.expect("a model").instances[0].track_src_ip);
        assert_eq!(l.diagnostics.len(), 0);
    }
    let l = of("track_src_ip");
    let text = l.render(false);
    assert!(!l.model.expect("a model").instances[0].track_src_ip);
    assert!(
        text.contains("means nothing without `mcast_src_ip`"),
        "{text}"
    );
}

#[test]
fn words_behind_an_address() {
    let of = |line: &str| {
        let l = load(&format!(
            "vrrp_instance A {{\n  interface eth0\n  virtual_router_id 1\n  virtual_ipaddress_excluded {{\n    \
             {line}\n  }}\n}}\n"
        ));
        let text = l.render(false);
        let model = l.model.expect("a model");
        let address = model.instances[0].excluded.first().cloned();
        (address.expect("an address"), text)
    };
    let usual = AddressOptions::default();
    for (line, prefix_len, options, words) in [
        (
            "192.0.2.1/24 noprefixroute",
            24,
            AddressOptions {
                noprefixroute: true,
                ..usual.clone()
            },
            "",
        ),
        (
            "192.0.2.1 peer 198.51.100.1",
            32,
            AddressOptions {
                peer: Some([198, 51, 100, 1].into()),
                ..usual.clone()
            },
            "",
        ),
        (
            "192.0.2.1/24 peer 198.51.100.1",
            32,
            AddressOptions {
                peer: Some([198, 51, 100, 1].into()),
                ..usual.clone()
            },
            "an address with a `peer` has no prefix",
        ),
        (
            "192.0.2.1/24 peer 198.51.100.1/32",
            24,
            usual.clone(),
            "without a prefix",
        ),
        (
            "192.0.2.1/24 peer 2001:db8::1",
            24,
            usual.clone(),
            "the IPv4 address of a peer",
        ),
        (
            "192.0.2.1/24 preferred_lft 7",
            24,
            usual.clone(),
            "`preferred_lft` is for IPv6",
        ),
        ("192.0.2.1/24 home", 24, usual.clone(), "`home` is for IPv6"),
        (
            "192.0.2.1/24 -nodad",
            24,
            usual.clone(),
            "`-nodad` is for IPv6",
        ),
        (
            "192.0.2.1/24 mngtmpaddr",
            24,
            usual.clone(),
            "`mngtmpaddr` is for IPv6",
        ),
        (
            "192.0.2.1/24 autojoin",
            24,
            usual.clone(),
            "for multicast addresses",
        ),
        ("2001:db8::1/64", 64, usual.clone(), ""),
        (
            "2001:db8::1",
            128,
            AddressOptions {
                preferred_lft: Some(0),
                ..usual.clone()
            },
            "",
        ),
        ("2001:db8::1 preferred_lft forever", 128, usual.clone(), ""),
        (
            "2001:db8::1/64 preferred_lft 7",
            64,
            AddressOptions {
                preferred_lft: Some(7),
                ..usual.clone()
            },
            "",
        ),
        (
            "2001:db8::1/64 preferred_lft soon",
            64,
            usual.clone(),
            "or `forever`",
        ),
        (
            "2001:db8::1/64 home -nodad mngtmpaddr",
            64,
            AddressOptions {
                home: true,
                dad: true,
                mngtmpaddr: true,
                ..usual.clone()
            },
            "",
        ),
    ] {
        let (address, text) = of(line);
        assert_eq!(
            (address.prefix_len, address.options),
            (prefix_len, options),
            "{line}"
        );
        let told = text.contains("virtual_ipaddress_excluded") || text.contains(line);
        assert_eq!(told, !words.is_empty(), "{line}: {text}");
        assert!(text.contains(words), "{line}: {text}");
    }
    assert!(of("192.0.2.1/24 dev eth1 no_track").0.no_track);
}

#[test]
fn one_number_serves_two_virtual_routers_whose_adverts_cannot_be_mixed_up() {
    let of = |first: &str, second: &str| {
        let instance = |name: &str, words: &str, last: u8| {
            format!(
                "vrrp_instance {name} {{\n  interface eth0\n  virtual_router_id 1\n  {words}\n  virtual_ipaddress {{\n    \
                 192.0.2.{last}\n  }}\n}}\n"
            )
        };
        load(&(instance("A", first, 1) + &instance("B", second, 2)))
    };
    let peer = |of: &str| format!("unicast_peer {{\n {of}\n }}");
    let from = |last: u8| format!("unicast_src_ip 192.0.2.{last}\n {}", peer("192.0.2.13"));
    let two = peer("192.0.2.12\n 192.0.2.13");
    for (first, second, good) in [
        ("", "", false),
        ("", "mcast_dst_ip 224.0.0.20", true),
        ("", &*two, true),
        (&*peer("192.0.2.11"), &*two, true),
        (&*peer("192.0.2.13"), &*two, false),
        (&*from(21), &*from(22), true),
        (&*from(21), &*from(21), false),
        (&*from(21), &*peer("192.0.2.13"), false),
        ("mcast_src_ip 192.0.2.21", "mcast_src_ip 192.0.2.22", false),
        ("use_vmac", "mcast_dst_ip 224.0.0.20\n  use_vmac", false),
    ] {
        let l = of(first, second);
        assert_eq!(l.count(Severity::Error) == 0, good, "{}", l.render(false));
    }
}
