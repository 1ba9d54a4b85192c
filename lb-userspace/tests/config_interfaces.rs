//! Words about interfaces and the addresses on them.

use lb_userspace::config::{self, Loaded, MemoryFiles, Options, Severity};

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
