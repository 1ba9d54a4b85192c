//! Scripts and FIFOs in keepalived.conf: what they become, and what is wrong with them.

#[path = "loading/texts.rs"]
mod loading;

use std::time::Duration;

use lb_userspace::config::Severity;
use lb_userspace::model::{CheckKind, Errand, MiscCheck, Script, Track, User};

use loading::{load, model};

const INSTANCE: &str = "vrrp_instance V {\n  interface eth0\n  virtual_router_id 1\n  priority 100\n  \
                        virtual_ipaddress {\n    10.0.0.1\n  }\n";

fn instance(lines: &str) -> String {
    format!("{INSTANCE}{lines}\n}}\n")
}

fn user(name: &str, group: Option<&str>) -> Option<User> {
    Some(User {
        name: name.to_owned(),
        group: group.map(str::to_owned),
    })
}

fn script(words: &[&str], user: Option<User>) -> Option<Script> {
    Some(Script {
        command: words.iter().map(|w| (*w).to_owned()).collect(),
        user,
    })
}

#[test]
fn each_notify_of_an_instance_is_its_own_script() {
    let m = model(&instance(
        "notify_master \"/m 'a b'\" joe\n notify_backup /b joe staff\n notify_fault '/f \"x y\" z'\n \
         notify_stop /s\n notify /n\n notify_deleted /d\n notify_master_rx_lower_pri /l",
    ));
    let n = &m.instances[0].notify;
    assert_eq!(n.master, script(&["/m", "a b"], user("joe", None)));
    assert_eq!(n.backup, script(&["/b"], user("joe", Some("staff"))));
    assert_eq!(n.fault, script(&["/f", "x y", "z"], None));
    assert_eq!(n.stop, script(&["/s"], None));
    assert_eq!(n.any, script(&["/n"], None));
    assert_eq!(
        (n.deleted, &n.deleted_script),
        (true, &script(&["/d"], None))
    );
    assert_eq!(n.master_rx_lower_pri, script(&["/l"], None));
    let m = model(&instance("notify_deleted"));
    assert!(m.instances[0].notify.deleted && m.instances[0].notify.deleted_script.is_none());
}

#[test]
fn script_user_holds_for_what_has_no_user_wherever_it_stands() {
    let text = format!(
        "{}vrrp_sync_group G {{\n group {{\n V\n }}\n notify /g\n}}\n\
         virtual_server 10.0.0.1 80 {{\n lb_kind DR\n lb_algo rr\n protocol TCP\n quorum_up /u\n quorum_down \"/d 1\" joe\n \
         real_server 10.0.0.2 80 {{\n weight 1\n notify_up /up\n notify_down /down\n }}\n}}\n\
         global_defs {{\n script_user sam crew\n enable_script_security\n fifo_write_vrrp_states_on_reload\n \
         notify_fifo /run/f joe\n notify_fifo_script \"/r x\"\n lvs_notify_fifo /run/l\n}}\n",
        instance("notify /n")
    );
    let m = model(&text);
    let sam = user("sam", Some("crew"));
    assert_eq!(m.global.script_user, sam);
    assert!(m.global.script_security && m.global.fifo_states_on_reload);
    assert_eq!(m.instances[0].notify.any, script(&["/n"], sam.clone()));
    assert_eq!(m.sync_groups[0].notify.any, script(&["/g"], sam.clone()));
    let s = &m.services[0];
    assert_eq!(s.quorum_up, script(&["/u"], sam.clone()));
    assert_eq!(s.quorum_down, script(&["/d", "1"], user("joe", None)));
    assert_eq!(s.real_servers[0].notify_up, script(&["/up"], sam.clone()));
    assert_eq!(
        s.real_servers[0].notify_down,
        script(&["/down"], sam.clone())
    );
    let fifo = m.global.fifos.all.as_ref().expect("a FIFO");
    assert_eq!(
        (fifo.path.as_str(), &fifo.user),
        ("/run/f", &user("joe", None))
    );
    assert_eq!(fifo.script, script(&["/r", "x"], sam.clone()));
    assert_eq!(
        m.global.fifos.lvs.as_ref().map(|f| f.user.clone()),
        Some(sam)
    );
    assert_eq!(m.global.fifos.vrrp, None);
}

#[test]
fn scripts_of_start_and_end_have_ten_seconds_unless_told_otherwise() {
    let text = format!(
        "global_defs {{\n script_user sam\n startup_script \"/s 'a b'\"\n shutdown_script /e joe staff\n \
         shutdown_script_timeout 1000\n}}\n{}",
        instance("")
    );
    let m = model(&text);
    let errand = |script: Option<Script>, seconds| {
        script.map(|script| Errand {
            script,
            timeout: Duration::from_secs(seconds),
        })
    };
    let (start, end) = (&m.global.startup_script, &m.global.shutdown_script);
    assert_eq!(
        *start,
        errand(script(&["/s", "a b"], user("sam", None)), 10)
    );
    assert_eq!(
        *end,
        errand(script(&["/e"], user("joe", Some("staff"))), 1000)
    );
    assert!(m.scripts().any(|s| s.command[0] == "/e"));
    // The timeout may stand in another block.
    let text = format!("{text}global_defs {{\n startup_script_timeout 3\n}}\n");
    let start = model(&text).global.startup_script;
    assert_eq!(start.map(|s| s.timeout), Some(Duration::from_secs(3)));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, severity, words, line) in [
        (
            instance("notify \"/n 'a\""),
            Severity::Error,
            "never closed",
            8,
        ),
        (
            instance("notify \"\""),
            Severity::Error,
            "names no program",
            8,
        ),
        (instance("notify"), Severity::Error, "needs SCRIPT", 8),
        (
            instance("notify /a\nnotify /b"),
            Severity::Warning,
            "set twice",
            9,
        ),
        (
            format!(
                "global_defs {{\n notify_fifo_script /s\n}}\n{}",
                instance("")
            ),
            Severity::Warning,
            "without `notify_fifo`",
            2,
        ),
        (
            format!(
                "global_defs {{\n startup_script_timeout 5\n}}\n{}",
                instance("")
            ),
            Severity::Warning,
            "without `startup_script`",
            2,
        ),
        (
            format!(
                "global_defs {{\n shutdown_script /e\n shutdown_script_timeout 1001\n}}\n{}",
                instance("")
            ),
            Severity::Warning,
            "must be 1 to 1000",
            3,
        ),
        (
            format!(
                "global_defs {{\n notify_fifo /f\n lvs_notify_fifo /f\n}}\n{}",
                instance("")
            ),
            Severity::Warning,
            "another notify FIFO",
            3,
        ),
    ] {
        let l = load(&text);
        let said = l.render(false);
        assert_eq!(l.count(severity), 1, "{said}");
        assert!(said.contains(words), "{words}: {said}");
        assert!(
            said.contains(&format!("k.conf:{line}:")),
            "line {line}: {said}"
        );
    }
}

const SCRIPTS: &str = "vrrp_script plain {\n script /p\n}\nvrrp_script full {\n script \"/f a\"\n interval 3\n \
                       timeout 2\n weight -20 reverse\n rise 2\n fall 3\n user joe staff\n init_fail\n}\n";

fn track(name: &str, weight: i16, reverse: bool) -> Track {
    Track {
        name: name.to_owned(),
        weight,
        reverse,
    }
}

#[test]
fn tracked_scripts_inherit_what_their_lines_do_not_say() {
    let text = format!("{SCRIPTS}{}", instance("track_script {\n plain\n full\n}"));
    let m = model(&text);
    let [plain, full] = m.vrrp_scripts.as_slice() else {
        panic!("{m:?}");
    };
    let second = Duration::from_secs(1);
    assert_eq!((plain.interval, plain.timeout), (second, second));
    assert_eq!((plain.rise, plain.fall, plain.init_fail), (1, 1, false));
    assert_eq!(Some(plain.script.clone()), script(&["/p"], None));
    assert_eq!((full.interval, full.timeout), (3 * second, 2 * second));
    assert_eq!((full.rise, full.fall, full.init_fail), (2, 3, true));
    assert_eq!(
        Some(full.script.clone()),
        script(&["/f", "a"], user("joe", Some("staff")))
    );
    assert_eq!(
        m.instances[0].tracks.scripts,
        [track("plain", 0, false), track("full", -20, true)]
    );
    let lines = "track_script {\n plain weight 5\n full weight 7 noreverse\n}";
    let m = model(&format!("{SCRIPTS}{}", instance(lines)));
    assert_eq!(
        m.instances[0].tracks.scripts,
        [track("plain", 5, false), track("full", 7, false)]
    );
}

#[test]
fn what_is_wrong_with_tracked_scripts_is_named() {
    let group = |lines: &str| format!("vrrp_sync_group G {{\n group {{\n V\n }}\n{lines}\n}}\n");
    for (text, severity, words) in [
        (
            instance("track_script {\n none\n}"),
            Severity::Error,
            "no `vrrp_script none`",
        ),
        (
            format!("vrrp_script s {{\n interval 1\n}}\n{}", instance("")),
            Severity::Error,
            "has no `script`",
        ),
        (
            format!(
                "{SCRIPTS}{}",
                instance("track_script {\n plain weight 300\n}")
            ),
            Severity::Error,
            "out of range",
        ),
        (
            format!(
                "{SCRIPTS}{}",
                instance("track_script {\n plain weight 254\n}")
            ),
            Severity::Warning,
            "253 is taken",
        ),
        (
            format!(
                "{SCRIPTS}{}{}",
                instance("track_script {\n plain weight 5\n}"),
                group("")
            ),
            Severity::Warning,
            "it is not tracked",
        ),
        (
            format!("{SCRIPTS}{SCRIPTS}{}", instance("")),
            Severity::Error,
            "defined twice",
        ),
    ] {
        let l = load(&text);
        let said = l.render(false);
        assert!(l.count(severity) >= 1, "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
    let kept = "track_script {\n full\n}\nsync_group_tracking_weight";
    let text = format!(
        "{SCRIPTS}{}{}",
        instance("track_script {\n plain weight 5\n}"),
        group(kept)
    );
    let m = model(&text);
    assert_eq!(m.instances[0].tracks.scripts, [track("plain", 5, false)]);
    assert_eq!(m.sync_groups[0].tracks.scripts, [track("full", -20, true)]);
}

fn checked(lines: &str) -> String {
    format!(
        "virtual_server 10.0.0.1 80 {{\n delay_loop 7\n connect_timeout 3\n lb_kind DR\n lb_algo rr\n protocol TCP\n \
         real_server 10.0.0.2 80 {{\n weight 5\n MISC_CHECK {{\n{lines}\n }}\n }}\n}}\n"
    )
}

#[test]
fn a_misc_check_is_a_script_with_its_own_defaults() {
    let m = model(&checked("misc_path \"/c 'a b'\""));
    let check = &m.services[0].real_servers[0].checks[0];
    let misc = |user, dynamic| {
        CheckKind::Misc(MiscCheck {
            script: script(&["/c", "a b"], user).expect("a script"),
            dynamic,
        })
    };
    assert_eq!(check.kind, misc(None, false));
    let second = Duration::from_secs(1);
    assert_eq!(
        (
            check.timeout,
            check.interval,
            check.retry,
            check.retry_delay
        ),
        (7 * second, 7 * second, 0, second)
    );
    let m = model(&checked(
        "misc_path \"/c 'a b'\"\n misc_timeout 2\n misc_dynamic\n user joe staff\n retry 2\n alpha\n \
         delay_loop 9\n warmup 4\n delay_before_retry 3\n log_all_failures",
    ));
    let check = &m.services[0].real_servers[0].checks[0];
    assert_eq!(check.kind, misc(user("joe", Some("staff")), true));
    assert_eq!(
        (
            check.timeout,
            check.interval,
            check.retry,
            check.retry_delay
        ),
        (2 * second, 9 * second, 2, 3 * second)
    );
    assert_eq!(check.warmup, 4 * second);
    assert!(check.alpha && check.log_all_failures);
    assert!(m.scripts().any(|s| s.command[0] == "/c"));
    for (lines, want) in [
        ("misc_timeout 2", "no `misc_path`"),
        ("misc_path \"/c 'a\"", "never closed"),
        (
            "misc_path /c\n connect_port 80",
            "`connect_port` does not belong in",
        ),
    ] {
        let said = load(&checked(lines)).render(false);
        assert!(said.contains(want), "{lines}: {said}");
    }
}
