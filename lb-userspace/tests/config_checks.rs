//! Checkers: what a file says of them and what the model has.

use std::time::Duration;

use lb_userspace::config::{self, Code, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::{
    Check, CheckKind, DnsCheck, DnsType, Pattern, SmtpCheck, Trust, UdpCheck,
};

fn load(path: &str, text: &str) -> Loaded {
    config::load(path, &MemoryFiles::one(path, text), &Options::default())
}

/// A service with one real server, 192.0.2.2 port 53, with `lines`.
fn service(lines: &str) -> String {
    format!(
        "virtual_server 192.0.2.1 53 {{\n  lb_algo rr\n  lb_kind DR\n  protocol UDP\n  delay_loop 7\n  retry 2\n  real_server 192.0.2.2 53 {{\n{lines}\n  }}\n}}\n"
    )
}

/// The checks of that real server, after nothing was said against the file.
fn checks(lines: &str) -> Vec<Check> {
    let l = load("test.conf", &service(lines));
    assert!(l.diagnostics.is_empty(), "{}", l.render(false));
    let mut services = l.model.expect("a model").services;
    services.remove(0).real_servers.remove(0).checks
}

fn codes(lines: &str) -> Vec<(Code, Severity)> {
    let l = load("test.conf", &service(lines));
    l.diagnostics.iter().map(|d| (d.code, d.severity)).collect()
}

#[test]
fn what_all_checkers_inherit() {
    let text = "
    delay_before_retry 3
    warmup 1
    alpha
    TCP_CHECK {
      connect_ip 192.0.2.3
      connect_port 54
      bindto 192.0.2.4
      bind_port 99
      bind_if eth0
      fwmark 7
      connect_timeout 0.5
      log_all_failures
    }
    UDP_CHECK {
      alpha off
      retry 0
      delay_loop 2.5
      delay_before_retry 0
    }";
    let [tcp, udp] = <[Check; 2]>::try_from(checks(text)).expect("two");
    let both = |kind| Check {
        interval: Duration::from_secs(7),
        retry: 2,
        retry_delay: Duration::from_secs(3),
        warmup: Duration::from_secs(1),
        ..Check::new(kind, "192.0.2.2".parse().unwrap(), 53)
    };
    assert_eq!(
        tcp,
        Check {
            addr: "192.0.2.3".parse().unwrap(),
            port: 54,
            bind_addr: Some("192.0.2.4".parse().unwrap()),
            bind_port: 99,
            bind_if: Some("eth0".into()),
            fwmark: 7,
            timeout: Duration::from_millis(500),
            alpha: true,
            log_all_failures: true,
            ..both(CheckKind::Tcp)
        }
    );
    assert_eq!(
        udp,
        Check {
            retry: 0,
            interval: Duration::from_millis(2500),
            retry_delay: Duration::ZERO,
            ..both(CheckKind::Udp(UdpCheck::default()))
        }
    );
}

#[test]
fn all_failures_are_logged_where_the_file_says_so() {
    for (global, checker, logged) in [
        ("", "", false),
        ("checker_log_all_failures", "", true),
        ("checker_log_all_failures", "log_all_failures off", false),
        ("", "log_all_failures on", true),
    ] {
        let text = format!(
            "global_defs {{\n{global}\n}}\n{}",
            service(&format!("UDP_CHECK {{\n{checker}\n}}"))
        );
        let model = load("test.conf", &text).model.expect("a model");
        let check = &model.services[0].real_servers[0].checks[0];
        assert_eq!(check.log_all_failures, logged, "{global} {checker}");
    }
}

fn udp(lines: &str) -> UdpCheck {
    let mut all = checks(&format!("UDP_CHECK {{\n{lines}\n}}"));
    match all.remove(0).kind {
        CheckKind::Udp(udp) => udp,
        other => panic!("{other:?}"),
    }
}

#[test]
fn udp_check() {
    assert_eq!(udp(""), UdpCheck::default());
    assert_eq!(
        udp("payload Ab12f 3\nrequire_reply\nmin_reply_length 1\nmax_reply_length 65535"),
        UdpCheck {
            payload: Some(vec![0xab, 0x12, 0x0f, 0x03]),
            require_reply: Some(Pattern::default()),
            min_reply_length: 1,
            max_reply_length: 65535,
        }
    );
    assert_eq!(
        udp("require_reply 01 xX f").require_reply,
        Pattern::parse("01xx0f")
    );
    let toml = r#"
[[virtual_server]]
address = "192.0.2.1"
port = 53
protocol = "UDP"
lb_algo = "rr"
lb_kind = "DR"
[[virtual_server.real_server]]
address = "192.0.2.2"
port = 53
[[virtual_server.real_server.udp_check]]
payload = "Ab12f 3"
require_reply = true
max_reply_length = 9
"#;
    let model = load("test.toml", toml).model.expect("a model");
    assert_eq!(
        model.services[0].real_servers[0].checks[0].kind,
        CheckKind::Udp(UdpCheck {
            payload: Some(vec![0xab, 0x12, 0x0f, 0x03]),
            require_reply: Some(Pattern::default()),
            max_reply_length: 9,
            ..UdpCheck::default()
        })
    );
}

#[test]
fn a_udp_check_that_cannot_be_meant_is_refused() {
    for (lines, code, severity) in [
        ("payload 0x12", Code::InvalidValue, Severity::Error),
        ("payload 1x", Code::InvalidValue, Severity::Error),
        ("payload \"\"", Code::InvalidValue, Severity::Error),
        ("payload", Code::MissingParameter, Severity::Error),
        ("require_reply hello", Code::InvalidValue, Severity::Error),
        (
            "require_reply\nmin_reply_length 70000",
            Code::OutOfRange,
            Severity::Warning,
        ),
        (
            "require_reply\nmin_reply_length 9\nmax_reply_length 8",
            Code::Conflict,
            Severity::Error,
        ),
        (
            "require_reply\nmin_reply_length 256",
            Code::Conflict,
            Severity::Error,
        ),
        ("min_reply_length 2", Code::NoEffect, Severity::Warning),
    ] {
        let text = format!("UDP_CHECK {{\n{lines}\n}}");
        assert_eq!(codes(&text), [(code, severity)], "{lines}");
    }
    let long = format!("UDP_CHECK {{\npayload {}\n}}", "00".repeat(65_508));
    assert_eq!(codes(&long), [(Code::InvalidValue, Severity::Error)]);
}

#[test]
fn dns_check() {
    let text = "
    DNS_CHECK {
    }
    DNS_CHECK {
      type aaaa
      name www.Example.org.
      retry 1
      delay_before_retry 2
    }
    DNS_CHECK {
      type DNSKEY
      name .
      delay_loop 3
    }";
    // The service of these tests has `retry 2`, but no `delay_before_retry`.
    let all: Vec<_> = checks(text)
        .into_iter()
        .map(|c| match c.kind {
            CheckKind::Dns(d) => (d.record, d.name, c.retry, c.retry_delay.as_secs()),
            other => panic!("{other:?}"),
        })
        .collect();
    let name = |n: &str| n.to_owned();
    assert_eq!(
        all,
        [
            (DnsType::Soa, name("."), 2, 7),
            (DnsType::Aaaa, name("www.Example.org"), 1, 2),
            (DnsType::Dnskey, name("."), 2, 3),
        ]
    );
    let alone = Check::new(
        CheckKind::Dns(DnsCheck::default()),
        [192, 0, 2, 1].into(),
        53,
    );
    assert_eq!((alone.retry, alone.retry_delay), (3, alone.interval));
    for (lines, code, severity) in [
        ("type PTR", Code::InvalidValue, Severity::Warning),
        ("name a..b", Code::InvalidValue, Severity::Error),
        ("name ..", Code::InvalidValue, Severity::Error),
        ("name füßen.example", Code::InvalidValue, Severity::Error),
        ("name", Code::MissingParameter, Severity::Error),
    ] {
        let text = format!("DNS_CHECK {{\n{lines}\n}}");
        assert_eq!(codes(&text), [(code, severity)], "{lines}");
    }
    let label = |n: usize| "a".repeat(n);
    for (name, fits) in [
        (label(63), true),
        (label(64), false),
        ([label(63), label(63), label(63), label(61)].join("."), true),
        (
            [label(63), label(63), label(63), label(62)].join("."),
            false,
        ),
    ] {
        let l = load(
            "a.conf",
            &service(&format!("DNS_CHECK {{\nname {name}\n}}")),
        );
        assert_eq!(l.model.is_some(), fits, "{name}");
    }
}

#[test]
fn ping_check_needs_no_port() {
    let text = |checker: &str| {
        format!(
            "virtual_server 192.0.2.1 {{\n lb_algo rr\n lb_kind DR\n protocol TCP\n persistence_timeout 60\n real_server 192.0.2.2 {{\n {checker} {{\n }}\n }}\n}}\n"
        )
    };
    let l = load("a.conf", &text("PING_CHECK"));
    let check = &l.model.expect("a model").services[0].real_servers[0].checks[0];
    assert_eq!((&check.kind, check.port), (&CheckKind::Ping, 0));
    for other in ["TCP_CHECK", "UDP_CHECK", "DNS_CHECK", "SMTP_CHECK"] {
        let l = load("a.conf", &text(other));
        assert!(
            l.diagnostics.iter().any(|d| d.code == Code::Incomplete),
            "{other}"
        );
    }
}

#[test]
fn smtp_check_and_its_hosts() {
    let text = "
    SMTP_CHECK {
      connect_timeout 3
    }
    SMTP_CHECK {
      helo_name \"me at home\"
      connect_port 25
      retry 4
      host {
        connect_ip 192.0.2.7
      }
      host {
        connect_port 2525
        bindto 192.0.2.9
        retry 1
      }
    }";
    let all: Vec<_> = checks(text)
        .into_iter()
        .map(|c| match c.kind {
            CheckKind::Smtp(s) => (
                s.helo_name,
                c.addr.to_string(),
                c.port,
                c.retry,
                c.bind_addr,
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    let name = |n: &str| n.to_owned();
    assert_eq!(
        all,
        [
            (name(SmtpCheck::HELO_NAME), name("192.0.2.2"), 53, 2, None),
            (name("me at home"), name("192.0.2.7"), 25, 4, None),
            (
                name("me at home"),
                name("192.0.2.2"),
                2525,
                1,
                Some([192, 0, 2, 9].into())
            ),
        ]
    );
    let long = "a".repeat(256);
    for lines in [
        "helo_name \"\"",
        "helo_name \"a\\012b\"",
        &format!("helo_name {long}"),
    ] {
        let text = format!("SMTP_CHECK {{\n{lines}\n}}");
        assert_eq!(
            codes(&text),
            [(Code::InvalidValue, Severity::Error)],
            "{lines}"
        );
    }
}

#[test]
fn the_path_of_direct_routing_is_checked_where_the_file_says_so() {
    // global_defs, virtual_server, real_server: how many checks of the path there are.
    for (global, service, server, checked) in [
        ("", "", "", 0),
        ("check_dr_path", "", "", 1),
        ("", "check_dr_path", "", 1),
        ("", "", "check_dr_path", 1),
        ("", "", "DR_PATH_CHECK {\n}", 1),
        ("check_dr_path", "check_dr_path off", "", 0),
        ("check_dr_path", "", "check_dr_path off", 0),
        ("check_dr_path off", "check_dr_path on", "", 1),
        ("check_dr_path", "", "DR_PATH_CHECK {\n}", 1),
        ("check_dr_path", "lb_kind TUN", "", 0),
        ("check_dr_path", "", "lvs_method TUN", 0),
    ] {
        let case = format!("{global} / {service} / {server}");
        let kind = if service.starts_with("lb_kind") {
            ""
        } else {
            "lb_kind DR"
        };
        let text = format!(
            "global_defs {{\n{global}\n}}\nvirtual_server 192.0.2.1 80 {{\n lb_algo rr\n {kind}\n protocol TCP\n delay_loop 7\n connect_timeout 2\n alpha\n {service}\n real_server 192.0.2.2 80 {{\n retry 4\n {server}\n }}\n}}\n"
        );
        let l = load("test.conf", &text);
        assert!(l.diagnostics.is_empty(), "{case}: {}", l.render(false));
        let checks = &l.model.expect("a model").services[0].real_servers[0].checks;
        assert_eq!(checks.len(), checked, "{case}");
        let inherited = Check {
            timeout: Duration::from_secs(2),
            interval: Duration::from_secs(7),
            warmup: Duration::from_secs(7),
            retry: 4,
            alpha: true,
            ..Check::new(CheckKind::DrPath, "192.0.2.2".parse().unwrap(), 80)
        };
        assert!(checks.iter().all(|c| *c == inherited), "{case}: {checks:?}");
    }
    let own = "DR_PATH_CHECK {\nconnect_port 81\nbindto 192.0.2.9\nconnect_timeout 1\ndelay_loop 3\nretry 0\ndelay_before_retry 2\nwarmup 0\nalpha\nlog_all_failures\n}";
    assert_eq!(
        checks(own),
        [Check {
            port: 81,
            bind_addr: Some("192.0.2.9".parse().unwrap()),
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(3),
            retry: 0,
            retry_delay: Duration::from_secs(2),
            warmup: Duration::ZERO,
            alpha: true,
            log_all_failures: true,
            ..Check::new(CheckKind::DrPath, "192.0.2.2".parse().unwrap(), 53)
        }]
    );
    for server in ["check_dr_path", "DR_PATH_CHECK {\n}"] {
        let conflict = [(Code::Conflict, Severity::Error)];
        assert_eq!(codes(&format!("lvs_method TUN\n{server}")), conflict);
    }
}

fn trusts(text: &str) -> Vec<Trust> {
    let l = load("test.conf", text);
    assert!(l.diagnostics.is_empty(), "{}", l.render(false));
    let checks = l
        .model
        .expect("a model")
        .services
        .remove(0)
        .real_servers
        .remove(0)
        .checks;
    let trust = |c: Check| match c.kind {
        CheckKind::Http(http) => http.trust,
        other => panic!("{other:?}"),
    };
    checks.into_iter().map(trust).collect()
}

#[test]
fn certificates_are_looked_at_where_the_file_says_so() {
    let get = |kind: &str, word: &str| format!("{kind} {{\n{word}\nurl {{\npath /\n}}\n}}");
    let both = service(&[get("HTTP_GET", ""), get("SSL_GET", "")].concat());
    let ssl = "SSL {\nca /ca\ncertificate /crt\nkey /key\n}\n";
    let none = Trust::default();
    let shown = Trust {
        certificate: Some("/crt".into()),
        key: Some("/key".into()),
        ..none.clone()
    };
    let verified = Trust {
        verify: true,
        ca: Some("/ca".into()),
        ..shown.clone()
    };
    let global = "global_defs {\nverify_certificate\n}\n";
    assert_eq!(trusts(&both), [none.clone(), none.clone()]);
    assert_eq!(
        trusts(&format!("{both}{ssl}")),
        [none.clone(), shown.clone()]
    );
    assert_eq!(
        trusts(&format!("{both}{ssl}{global}")),
        [none, verified.clone()]
    );
    let off = service(&get("SSL_GET", "verify_certificate off"));
    assert_eq!(trusts(&format!("{global}{off}{ssl}")), [shown]);
    let on = service(&get("SSL_GET", "verify_certificate"));
    assert_eq!(trusts(&format!("{on}{ssl}")), [verified]);
    let effectless = [(Code::NoEffect, Severity::Warning)];
    assert_eq!(codes(&get("HTTP_GET", "verify_certificate")), effectless);
    for one in ["certificate /crt", "key /key"] {
        let l = load("test.conf", &format!("SSL {{\n{one}\n}}\n{both}"));
        let found: Vec<_> = l.diagnostics.iter().map(|d| (d.code, d.severity)).collect();
        assert_eq!(found, [(Code::Incomplete, Severity::Error)]);
    }
}

#[test]
fn lbd_refuses_files_of_ssl_that_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("lbd.conf");
    let get = service("SSL_GET {\nverify_certificate\nurl {\npath /\n}\n}");
    std::fs::write(&conf, format!("SSL {{\nca /nowhere/ca.pem\n}}\n{get}")).unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_lbd"))
        .arg("-t")
        .arg("--config")
        .arg(&conf)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    let why = "SSL_GET cannot be run: `/nowhere/ca.pem`: no such file";
    assert!(said.contains(why), "{said}");
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn every_kind_inherits_its_timings_and_has_keepalived_s_defaults_without() {
    let kinds = [
        "TCP_CHECK {\n}",
        "UDP_CHECK {\n}",
        "HTTP_GET {\nurl {\npath /\n}\n}",
        "SSL_GET {\nurl {\npath /\n}\n}",
        "DNS_CHECK {\n}",
        "PING_CHECK {\n}",
        "SMTP_CHECK {\n}",
        "DR_PATH_CHECK {\n}",
    ];
    let s = Duration::from_secs_f64;
    let timings = |service: &str, server: &str, check: &str| {
        let text = format!(
            "virtual_server 192.0.2.1 53 {{\nlb_algo rr\nlb_kind DR\nprotocol TCP\n{service}\nreal_server 192.0.2.2 53 {{\n{server}\n{check}\n}}\n}}\n"
        );
        let l = load("test.conf", &text);
        assert!(l.diagnostics.is_empty(), "{}", l.render(false));
        let mut services = l.model.expect("a model").services;
        let c = services.remove(0).real_servers.remove(0).checks.remove(0);
        (c.timeout, c.interval, c.retry, c.retry_delay, c.warmup)
    };
    let lines = |n: u32| {
        format!(
            "connect_timeout {n}.1\ndelay_loop {n}.2\nretry {n}\ndelay_before_retry {n}.3\nwarmup {n}.4"
        )
    };
    let all = |n: u32| {
        let base = f64::from(n);
        (
            s(base + 0.1),
            s(base + 0.2),
            n,
            s(base + 0.3),
            s(base + 0.4),
        )
    };
    for kind in kinds {
        assert_eq!(timings(&lines(7), "", kind), all(7), "{kind}");
        assert_eq!(timings(&lines(7), &lines(8), kind), all(8), "{kind}");
        let own = kind.replacen("{\n", &format!("{{\n{}\n", lines(9)), 1);
        assert_eq!(timings(&lines(7), &lines(8), &own), all(9), "{kind}");
        // keepalived.conf(5).
        let (retry, delay) = match kind.split(' ').next() {
            Some("DNS_CHECK") => (3, 60.0),
            Some("HTTP_GET" | "SSL_GET") => (1, 3.0),
            _ => (1, 1.0),
        };
        let usual = (s(5.0), s(60.0), retry, s(delay), s(60.0));
        assert_eq!(timings("", "", kind), usual, "{kind}");
        // What is not said follows `delay_loop`.
        let delay = if retry == 3 { 2.0 } else { delay };
        let loops = (s(5.0), s(2.0), retry, s(delay), s(2.0));
        assert_eq!(timings("delay_loop 2", "", kind), loops, "{kind}");
    }
}
