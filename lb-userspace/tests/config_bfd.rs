//! `bfd_instance`, `track_bfd` and `BFD_CHECK`: what they become, and what is wrong with them.

#[path = "loading/texts.rs"]
mod loading;

use std::time::Duration;

use lb_userspace::config::Severity;
use lb_userspace::model::{Bfd, CheckKind, Track};

use loading::{load, model};

fn session(name: &str, lines: &str) -> String {
    format!("bfd_instance {name} {{\n neighbor_ip 10.0.0.9\n{lines}\n}}\n")
}

fn instance(lines: &str) -> String {
    format!(
        "vrrp_instance V {{\n interface eth0\n virtual_router_id 1\n priority 100\n \
         virtual_ipaddress {{\n 10.0.0.1\n }}\n{lines}\n}}\n"
    )
}

fn service(lines: &str, check: &str) -> String {
    format!(
        "virtual_server 10.0.0.1 80 {{\n lb_kind DR\n lb_algo rr\n protocol TCP\n{lines}\n \
         real_server 10.0.0.2 80 {{\n{check}\n }}\n}}\n"
    )
}

#[test]
fn a_session_has_keepalived_s_defaults() {
    let text =
        "bfd_instance a {\n neighbor_ip 10.0.0.9\n}\nbfd_instance b {\n neighbour_ip fd00::9\n}\n";
    let m = model(text);
    let [a, b] = m.bfd_instances.as_slice() else {
        panic!("{m:?}");
    };
    assert_eq!(*a, Bfd::new("a", "10.0.0.9".parse().expect("an address")));
    let ms = Duration::from_millis;
    assert_eq!((a.min_rx, a.min_tx, a.idle_tx), (ms(10), ms(10), ms(1000)));
    assert_eq!((a.multiplier, a.ttl, a.max_hops), (5, 255, 0));
    assert!(!a.passive && a.vrrp && a.checker);
    assert_eq!(b.ttl, 64);
}

#[test]
fn a_session_is_what_its_words_say() {
    let lines = " source_ip 10.0.0.8\n min_rx 3.312\n min_tx 50\n idle_tx 2000\n multiplier 3\n passive\n \
                 ttl 64\n max_hops 2\n vrrp\n weight 5";
    let m = model(&session("a", lines));
    let micros = Duration::from_micros;
    let want = Bfd {
        source: Some("10.0.0.8".parse().expect("an address")),
        min_rx: micros(3312),
        min_tx: micros(50_000),
        idle_tx: micros(2_000_000),
        multiplier: 3,
        passive: true,
        ttl: 64,
        max_hops: 2,
        checker: false,
        ..Bfd::new("a", "10.0.0.9".parse().expect("an address"))
    };
    assert_eq!(m.bfd_instances, [want]);
    let any = model(&session("a", "max_hops -1\n hoplimit 7\n checker")).bfd_instances;
    assert_eq!((any[0].max_hops, any[0].ttl), (255, 7));
    assert!(!any[0].vrrp && any[0].checker);
    let m = model("global_defs {\n bfd_rt_priority 7\n}\n");
    assert_eq!(m.global.bfd_rt_priority, Some(7));
}

#[test]
fn lines_inherit_the_weight_of_their_session() {
    let sessions = [
        session("plain", ""),
        session("heavy", "weight -30 reverse").replace(".9", ".7"),
    ];
    let lines = "track_bfd {\n plain\n heavy\n}";
    let track = |name: &str, weight, reverse| Track {
        name: name.to_owned(),
        weight,
        reverse,
    };
    let m = model(&[sessions.concat(), instance(lines)].concat());
    assert_eq!(
        m.instances[0].tracks.bfds,
        [track("plain", 0, false), track("heavy", -30, true)]
    );
    let lines = "track_bfd {\n heavy weight 9 noreverse\n}";
    let group = format!(
        "vrrp_sync_group G {{\n group {{\n V\n }}\n{lines}\n sync_group_tracking_weight\n}}\n"
    );
    let m = model(&[sessions.concat(), instance(lines), group].concat());
    assert_eq!(m.instances[0].tracks.bfds, [track("heavy", 9, false)]);
    assert_eq!(m.sync_groups[0].tracks.bfds, [track("heavy", 9, false)]);
}

#[test]
fn a_check_follows_its_session() {
    for (lines, check, alpha) in [
        ("", "BFD_CHECK {\n name a\n}", false),
        ("alpha", "BFD_CHECK {\n name a\n}", true),
        ("", "BFD_CHECK {\n name a\n alpha\n}", true),
        ("alpha", "BFD_CHECK {\n name a\n alpha off\n}", false),
    ] {
        let m = model(&[session("a", ""), service(lines, check)].concat());
        let [check] = m.services[0].real_servers[0].checks.as_slice() else {
            panic!("{m:?}");
        };
        assert_eq!(check.kind, CheckKind::Bfd("a".to_owned()));
        assert_eq!(check.alpha, alpha, "{lines}");
    }
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let a = session("a", "");
    let checked = service("", "BFD_CHECK {\n name a\n}");
    let tracked = instance("track_bfd {\n a\n}");
    let (error, warning) = (Severity::Error, Severity::Warning);
    for (text, severity, words) in [
        (
            "bfd_instance a {\n}\n".to_owned(),
            error,
            "no `neighbor_ip`",
        ),
        ([a.clone(), a.clone()].concat(), error, "defined twice"),
        (
            [a.clone(), session("b", "source_ip 10.0.0.8")].concat(),
            error,
            "has the addresses of `a`",
        ),
        (session("a", "source_ip fd00::1"), error, "two families"),
        (
            "bfd_instance a {\n neighbor_ip fe80::1\n}\n".to_owned(),
            error,
            "which interface",
        ),
        (
            session("a", "min_tx 0.5"),
            warning,
            "must be 1 to 4294967 ms",
        ),
        (
            session("a", "idle_tx 999"),
            warning,
            "must be 1000 to 4294967 ms",
        ),
        (
            session("a", "min_rx 10ms"),
            warning,
            "a time in milliseconds",
        ),
        (session("a", "multiplier 0"), warning, "must be 1 to 255"),
        (session("a", "ttl 256"), warning, "must be 1 to 255"),
        (session("a", "max_hops -2"), warning, "must be 0 to 255"),
        (session("a", "weight 255"), error, "-253 to 253"),
        (tracked.clone(), error, "there is no `bfd_instance a`"),
        (checked.clone(), error, "there is no `bfd_instance a`"),
        (
            [session("a", "checker"), tracked].concat(),
            error,
            "add `vrrp` to it",
        ),
        (
            [session("a", "vrrp"), checked].concat(),
            error,
            "add `checker` to it",
        ),
        (
            [a, service("", "BFD_CHECK {\n}")].concat(),
            error,
            "has no `name`",
        ),
    ] {
        let l = load(&text);
        let said = l.render(false);
        assert!(l.count(severity) >= 1, "{words}: {said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(said.contains("--> k.conf:"), "{said}");
    }
    // Two to one neighbour, from two addresses.
    let two = [
        session("a", "source_ip 10.0.0.7"),
        session("b", "source_ip 10.0.0.8"),
    ];
    assert_eq!(model(&two.concat()).bfd_instances.len(), 2);
}
