//! Checkers: what a file says of them and what the model has.

use std::time::Duration;

use lb_userspace::config::{self, Code, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::{Check, CheckKind, Pattern, UdpCheck};

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
