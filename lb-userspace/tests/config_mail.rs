//! Mails: who gets them, and of what.

#[path = "loading/texts.rs"]
mod loading;

use std::time::Duration;

use lb_userspace::config::Severity;
use lb_userspace::model::{Mail, MailServer};

use loading::{load, model};

#[test]
fn who_gets_mails_and_how() {
    let m = model(
        "global_defs {\n notification_email {\n a@example.com\n b@example.com c@example.com\n }\n \
         notification_email_from lb@example.com\n smtp_server mail.example.com 2525\n \
         smtp_helo_name lb1.example.com\n smtp_connect_timeout 7\n no_email_faults\n no_checker_emails\n}\n",
    );
    let word = |w: &str| w.to_owned();
    let want = Mail {
        to: ["a@example.com", "b@example.com", "c@example.com"]
            .map(word)
            .into(),
        from: Some(word("lb@example.com")),
        server: Some(MailServer {
            host: word("mail.example.com"),
            port: 2525,
        }),
        helo_name: Some(word("lb1.example.com")),
        timeout: Duration::from_secs(7),
        no_faults: true,
        no_checkers: true,
    };
    assert_eq!(m.global.mail, want);
    let m = model("global_defs {\n smtp_server 192.0.2.1\n}\n");
    assert_eq!(m.global.mail.server.expect("a server").port, 25);
    assert_eq!(m.global.mail.timeout, Duration::from_secs(30));
}

/// Of instance, group, virtual server, real server.
fn alerts(global: &str, own: &str) -> [bool; 4] {
    let m = model(&format!(
        "vrrp_instance V {{\n interface eth0\n virtual_router_id 1\n priority 100\n \
         virtual_ipaddress {{\n 10.0.0.1\n }}\n{own}\n}}\n\
         vrrp_sync_group G {{\n group {{\n V\n }}\n{own}\n}}\n\
         virtual_server 10.0.0.1 80 {{\n lb_kind DR\n lb_algo rr\n protocol TCP\n{own}\n \
         real_server 10.0.0.2 80 {{\n weight 1\n{own}\n }}\n}}\nglobal_defs {{\n{global}\n}}\n"
    ));
    [
        m.instances[0].notify.smtp_alert,
        m.sync_groups[0].notify.smtp_alert,
        m.services[0].smtp_alert,
        m.services[0].real_servers[0].smtp_alert,
    ]
}

#[test]
fn of_what_mails_are_sent() {
    for (global, own, want) in [
        ("", "", [false, false, false, true]),
        ("smtp_alert", "", [true; 4]),
        ("smtp_alert off", "", [false; 4]),
        ("smtp_alert_vrrp on", "", [true, true, false, true]),
        ("smtp_alert_checker on", "", [false, false, true, true]),
        (
            "smtp_alert\n smtp_alert_checker off",
            "",
            [true, true, false, false],
        ),
        (
            "smtp_alert off\n smtp_alert_vrrp",
            "",
            [true, true, false, false],
        ),
        ("smtp_alert", "smtp_alert off", [false; 4]),
        ("", "smtp_alert", [true; 4]),
        (
            "smtp_alert_vrrp off\n smtp_alert_checker off",
            "smtp_alert on",
            [true; 4],
        ),
    ] {
        assert_eq!(alerts(global, own), want, "{global} {own}");
    }
}

#[test]
fn priorities_are_notified_where_it_is_said() {
    for (global, own, want) in [
        ("", "", false),
        ("", "notify_priority_changes", true),
        ("vrrp_notify_priority_changes on", "", true),
        (
            "vrrp_notify_priority_changes on",
            "notify_priority_changes off",
            false,
        ),
    ] {
        let m = model(&format!(
            "global_defs {{\n{global}\n}}\nvrrp_instance V {{\n interface eth0\n virtual_router_id 1\n \
             priority 100\n virtual_ipaddress {{\n 10.0.0.1\n }}\n{own}\n}}\n\
             vrrp_sync_group G {{\n group {{\n V\n }}\n{own}\n}}\n"
        ));
        let changes = (
            m.instances[0].notify.priority_changes,
            m.sync_groups[0].notify.priority_changes,
        );
        assert_eq!(changes, (want, want), "{global} {own}");
    }
}

#[test]
fn what_is_wrong_with_mails_is_named() {
    for (lines, severity, words) in [
        (
            "notification_email {\n a@b\n }",
            Severity::Warning,
            "no `smtp_server`",
        ),
        ("smtp_server mail 99999", Severity::Warning, "smtp_server"),
        (
            "notification_email_from \"a b\"",
            Severity::Error,
            "cannot be said",
        ),
        (
            "smtp_helo_name \"a\\nb\"",
            Severity::Error,
            "cannot be said",
        ),
        (
            "smtp_connect_timeout soon",
            Severity::Warning,
            "smtp_connect_timeout",
        ),
    ] {
        let l = load(&format!("global_defs {{\n{lines}\n}}\n"));
        let said = l.render(false);
        assert!(
            l.count(severity) >= 1 && said.contains(words),
            "{words}: {said}"
        );
    }
}
