//! `strict_mode` and `accept`: what becomes of each word, and where the correction is said.

use std::time::Duration;

use lb_userspace::config::{self, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::{Auth, VrrpInstance};

fn load(global: &str, lines: &str) -> Loaded {
    let text = format!(
        "global_defs {{\n{global}}}\nvrrp_instance A {{\n  interface eth0\n  virtual_router_id 1\n{lines}  \
         virtual_ipaddress {{\n    192.0.2.1\n  }}\n}}\n"
    );
    let files = MemoryFiles::one("a.conf", &text);
    config::load("a.conf", &files, &Options::default())
}

fn only(l: &Loaded) -> &VrrpInstance {
    let model = l.model.as_ref();
    let model = model.unwrap_or_else(|| panic!("{}", l.render(false)));
    let [instance] = model.instances.as_slice() else {
        panic!("{} instances", model.instances.len())
    };
    instance
}

/// The messages that are worth a warning or more, with the line that each points to.
fn said(l: &Loaded) -> Vec<(usize, String)> {
    let all = l.diagnostics.iter();
    all.filter(|d| d.severity != Severity::Note)
        .map(|d| {
            let at = d.primary.as_ref().expect("a place").span;
            (l.sources.position(at).line, d.message.clone())
        })
        .collect()
}

#[test]
fn strict_mode_is_said_globally_or_by_the_instance() {
    for (global, lines, strict) in [
        ("", "", false),
        ("  vrrp_strict\n", "", true),
        ("  vrrp_strict off\n", "", false),
        ("  vrrp_strict\n", "  strict_mode off\n", false),
        ("", "  strict_mode\n", true),
        ("", "  strict_mode yes\n", true),
    ] {
        let l = load(global, lines);
        assert_eq!(said(&l), [], "{global}{lines}");
        let i = only(&l);
        assert_eq!(i.accept, !strict, "{global}{lines}");
        assert_eq!(i.election.lower_prio_no_advert, strict);
        assert_eq!(i.election.higher_prio_send_advert, !strict);
        assert_eq!(i.garp_lower_prio_repeat == 0, strict);
        assert_eq!(i.garp_lower_prio_delay.is_zero(), strict);
    }
}

#[test]
fn what_strict_mode_does_not_have_is_corrected_and_said() {
    let lines = "  strict_mode\n  state MASTER\n  priority 100\n  authentication {\n    auth_type PASS\n    auth_pass x\n  }\n  preempt_delay 5\n  down_timer_adverts 4\n  garp_lower_prio_repeat 2\n  garp_lower_prio_delay 2\n  lower_prio_no_advert off\n  higher_prio_send_advert\n  accept\n  use_vmac\n  vmac_xmit_base\n";
    let l = load("", lines);
    let mut said = said(&l);
    said.sort();
    let expected = [
        (7, "`state MASTER` needs priority 255"),
        (9, "under strict mode there is no authentication"),
        (13, "under strict mode there is no `preempt_delay`"),
        (14, "under strict mode a master is down after 3 adverts"),
        (
            15,
            "under strict mode a lower advert is not answered by gratuitous ARPs",
        ),
        (
            16,
            "under strict mode no gratuitous ARPs follow a lower advert",
        ),
        (17, "under strict mode a lower advert is not answered"),
        (
            18,
            "under strict mode a master that yields says nothing more",
        ),
        (19, "version 2 has no accept mode"),
        (21, "under strict mode adverts leave by the macvlan"),
    ];
    let expected = expected.map(|(line, text)| (line, text.to_owned()));
    assert_eq!(said, expected);
    let i = only(&l);
    assert!(!i.initial_master && !i.accept);
    assert_eq!(i.auth, Auth::None);
    assert_eq!(i.election.preempt_delay, Duration::ZERO);
    assert_eq!(i.election.down_timer_adverts, 3);
    assert_eq!(i.garp_lower_prio_repeat, 0);
    assert_eq!(i.garp_lower_prio_delay, Duration::ZERO);
    assert!(i.election.lower_prio_no_advert && !i.election.higher_prio_send_advert);
    assert!(i.vmac.as_ref().is_some_and(|v| !v.xmit_base));
}

#[test]
fn the_owner_is_master_and_accepts() {
    let l = load("  vrrp_strict\n", "  priority 255\n  state BACKUP\n");
    assert_eq!(said(&l), [(8, "priority 255 is `state MASTER`".to_owned())]);
    assert!(only(&l).initial_master && only(&l).accept);
    let l = load("", "  priority 255\n  no_accept\n");
    let message = "`no_accept` does not go together with priority 255";
    assert_eq!(said(&l), [(7, message.to_owned())]);
    assert!(only(&l).accept);
}

#[test]
fn no_accept_needs_no_strict_mode_and_accept_goes_with_version_3() {
    let l = load("", "  no_accept\n");
    assert_eq!(said(&l), []);
    assert!(!only(&l).accept);
    assert!(only(&l).election.higher_prio_send_advert);
    let l = load("", "  no_accept\n  accept\n");
    assert!(only(&l).accept);
    let l = load("", "  strict_mode\n  version 3\n  accept\n");
    assert_eq!(said(&l), []);
    assert!(only(&l).accept);
}

#[test]
fn unicast_is_refused_under_strict_mode() {
    let peer = "  unicast_peer {\n    192.0.2.9\n  }\n";
    let l = load("", &format!("  strict_mode\n{peer}"));
    assert!(l.model.is_none());
    let message = "under strict mode adverts go by multicast";
    assert_eq!(said(&l), [(7, message.to_owned())]);
    let l = load("  vrrp_strict\n", &format!("  strict_mode off\n{peer}"));
    assert!(l.model.is_some());
}

#[test]
fn an_instance_without_an_address_is_refused_under_strict_mode() {
    let text = |strict: &str| {
        format!("vrrp_instance A {{\n  interface eth0\n  virtual_router_id 1\n{strict}}}\n")
    };
    for (strict, runs) in [("", true), ("  strict_mode\n", false)] {
        let files = MemoryFiles::one("a.conf", &text(strict));
        let l = config::load("a.conf", &files, &Options::default());
        assert_eq!(l.model.is_some(), runs, "{}", l.render(false));
    }
}

#[test]
fn the_first_address_of_ipv6_is_better_link_local_under_strict_mode() {
    let text = |strict: &str| {
        format!(
            "vrrp_instance A {{\n  interface eth0\n  virtual_router_id 1\n{strict}  virtual_ipaddress {{\n    \
             2001:db8::1\n  }}\n}}\n"
        )
    };
    for (strict, warnings) in [("", 0), ("  strict_mode\n", 1)] {
        let files = MemoryFiles::one("a.conf", &text(strict));
        let l = config::load("a.conf", &files, &Options::default());
        assert_eq!(said(&l).len(), warnings, "{}", l.render(false));
    }
}
