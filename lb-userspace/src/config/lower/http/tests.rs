use std::time::Duration;

use crate::config::{self, Loaded, MemoryFiles, Options, Severity};
use crate::model::{Check, CheckKind, Http, HttpVersion, RegexOption};

/// A file with these lines in its service, its real server and the checker (from line 8 on).
fn load(service: &str, server: &str, checker: &str) -> Loaded {
    let text = format!(
        "virtual_server 192.0.2.1 80 {{\n lb_algo rr\n lb_kind DR\n protocol TCP\n {service}\n real_server 192.0.2.2 80 {{ {server}\n  SSL_GET {{\n{checker}\n  }}\n }}\n}}\n"
    );
    config::load(
        "a.conf",
        &MemoryFiles::one("a.conf", &text),
        &Options::default(),
    )
}

#[track_caller]
fn check(l: &Loaded) -> (&Check, &Http) {
    let model = l
        .model
        .as_ref()
        .unwrap_or_else(|| panic!("{}", l.render(false)));
    let check = &model.services[0].real_servers[0].checks[0];
    match &check.kind {
        CheckKind::Http(http) => (check, http),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_said_is_keepaliveds_default() {
    let l = load("", "", "url {\npath /\n}");
    assert_eq!(l.render(false), "");
    let (check, http) = check(&l);
    assert_eq!(
        (
            check.timeout,
            check.interval,
            check.retry,
            check.retry_delay
        ),
        (
            Duration::from_secs(5),
            Duration::from_secs(60),
            1,
            Duration::from_secs(3)
        )
    );
    assert!(http.tls && !http.sni && !http.fast_recovery);
    assert_eq!(http.version, HttpVersion::V1_0);
    let url = &http.urls[0];
    assert_eq!((url.path.as_str(), url.host.as_deref()), ("/", None));
    assert_eq!(url.status.to_string(), "200-299");
    assert_eq!((url.digest, &url.regex), (None, &None));
}

#[test]
fn everything_that_can_be_said() {
    let l = load(
        "delay_before_retry 7",
        "",
        "connect_ip 192.0.2.9\nconnect_port 8443\nbindto 192.0.2.3\nbind_if eth0\nfwmark 5\n\
         connect_timeout 2\nretry 4\nwarmup 0\ndelay_loop 3\nlog_all_failures\nalpha\n\
         http_protocol 1.0c\nenable_sni\nfast_recovery\nvirtualhost a.example.org\n\
         url {\n path /a\n digest 9B3A0C85A887A256D6939DA88AABD8CD\n status_code 200-204 503\n status_code 302\n \
         regex \"^up\\\\.\"\n regex_options caseless no_auto_capture multiline\n regex_no_match\n \
         regex_min_offset 3\n regex_max_offset 9\n regex_stack 1 2\n}\nurl {\n path /b\n}",
    );
    assert_eq!(l.count(Severity::Warning), 0, "{}", l.render(false));
    let (check, http) = check(&l);
    assert_eq!(
        (check.addr.to_string(), check.port),
        ("192.0.2.9".to_owned(), 8443)
    );
    assert_eq!(
        check.bind_addr.map(|a| a.to_string()).as_deref(),
        Some("192.0.2.3")
    );
    assert_eq!((check.bind_if.as_deref(), check.fwmark), (Some("eth0"), 5));
    assert_eq!(
        (check.timeout, check.interval),
        (Duration::from_secs(2), Duration::from_secs(3))
    );
    assert_eq!(
        (check.retry, check.retry_delay),
        (4, Duration::from_secs(7))
    );
    assert!(check.warmup.is_zero() && check.alpha && check.log_all_failures);
    assert_eq!(http.version, HttpVersion::V1_0Close);
    assert!(http.sni && http.fast_recovery);
    let url = &http.urls[0];
    assert_eq!(
        url.digest.map(|d| d.to_string()).as_deref(),
        Some("9b3a0c85a887a256d6939da88aabd8cd")
    );
    assert_eq!(url.status.to_string(), "200-204 302 503");
    let regex = url.regex.as_ref().expect("a regex").text();
    assert_eq!(regex.text, r"^up\.");
    assert_eq!(
        regex.options,
        [RegexOption::Caseless, RegexOption::Multiline]
    );
    assert_eq!(
        (regex.no_match, regex.min_offset, regex.max_offset),
        (true, 3, Some(9))
    );
    assert_eq!(http.urls[1].path, "/b");
}

#[test]
fn a_virtualhost_is_the_nearest_one() {
    let levels = [
        "virtualhost vs",
        "virtualhost rs",
        "virtualhost check",
        "virtualhost url",
    ];
    for n in 0..=4 {
        let say = |i: usize| if i < n { levels[i] } else { "" };
        let checker = format!("{}\nurl {{\n path /\n {}\n}}", say(2), say(3));
        let l = load(say(0), say(1), &checker);
        let want = [None, Some("vs"), Some("rs"), Some("check"), Some("url")][n];
        assert_eq!(check(&l).1.urls[0].host.as_deref(), want);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (checker, message, place, refused) in [
        (
            "http_protocol 2\nurl {\npath /\n}",
            "needs 1.0, 1.0C or 1.1",
            "8:15",
            false,
        ),
        ("retry 1", "`SSL_GET` has no `url` to ask for", "7:3", true),
        (
            "url {\nstatus_code 200\n}",
            "this `url` has no `path`",
            "8:1",
            true,
        ),
        (
            "url {\npath \"/a b\"\n}",
            "`path` cannot stand in a request",
            "9:6",
            true,
        ),
        (
            "virtualhost \"a\\r\"\nurl {\npath /\n}",
            "`virtualhost` cannot stand",
            "8:13",
            true,
        ),
        (
            "url {\npath /\ndigest abc\n}",
            "needs 32 hexadecimal digits",
            "10:8",
            false,
        ),
        (
            "url {\npath /\nstatus_code 200 20-30\n}",
            "needs status codes",
            "10:17",
            false,
        ),
        (
            "url {\npath /\nstatus_code 299-200\n}",
            "needs status codes",
            "10:13",
            false,
        ),
        (
            "url {\npath /\nstatus_code +200\n}",
            "needs status codes",
            "10:13",
            false,
        ),
        (
            "url {\npath /\nregex (?=a)\n}",
            "this regex cannot be had",
            "10:7",
            true,
        ),
        (
            "url {\npath /\nregex a\nregex_options alt_bsux\n}",
            "alt_bsux` is not supported",
            "11:15",
            true,
        ),
        (
            "url {\npath /\nregex a\nregex_options fast\n}",
            "needs options of PCRE",
            "11:15",
            false,
        ),
        (
            "url {\npath /\nregex_no_match\n}",
            "no effect without `regex`",
            "10:1",
            false,
        ),
        (
            "url {\npath /\nregex a\nregex_min_offset 5\nregex_max_offset 4\n}",
            "`regex_min_offset` 5 is above",
            "11:1",
            false,
        ),
    ] {
        let l = load("", "", checker);
        let said = l.render(false);
        assert!(said.contains(message), "{message}\n{said}");
        assert!(
            said.contains(&format!("a.conf:{place}\n")),
            "{place}\n{said}"
        );
        assert_eq!(l.model.is_none(), refused, "{said}");
    }
}

#[test]
fn a_name_for_a_handshake_that_is_none_is_noticed() {
    let text = "virtual_server 192.0.2.1 80 {\n lb_algo rr\n lb_kind DR\n protocol TCP\n real_server 192.0.2.2 80 {\n  HTTP_GET {\n   enable_sni\n   url {\n    path /\n   }\n  }\n }\n}\n";
    let l = config::load(
        "a.conf",
        &MemoryFiles::one("a.conf", text),
        &Options::default(),
    );
    assert!(
        l.render(false)
            .contains("`enable_sni` has no effect in HTTP_GET")
    );
    assert!(!check(&l).1.sni);
}
