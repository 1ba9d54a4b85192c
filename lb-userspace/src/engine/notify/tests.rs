use super::*;
use crate::model::{Global, Group as VirtualGroup, Protocol, SyncGroup, VrrpInstance};
use crate::vrrp::InstanceId;
use std::net::Ipv4Addr;

fn script(name: &str) -> Option<Script> {
    Some(Script {
        command: vec![format!("/s/{name}"), "own".to_owned()],
        user: None,
    })
}

fn instance(name: &str, notify: VrrpNotify) -> VrrpInstance {
    VrrpInstance {
        name: name.to_owned(),
        notify,
        ..crate::engine::tests::model(Vec::new()).instances[0].clone()
    }
}

fn all_scripts() -> VrrpNotify {
    VrrpNotify {
        master: script("master"),
        backup: script("backup"),
        fault: script("fault"),
        stop: script("stop"),
        deleted: false,
        deleted_script: None,
        any: script("any"),
        master_rx_lower_pri: script("lower"),
        smtp_alert: true,
        priority_changes: true,
    }
}

fn transition(name: &str, to: State, reason: Reason) -> Transition {
    Transition {
        instance: InstanceId(1),
        name: name.into(),
        from: State::Init,
        to,
        reason,
        priority: 77,
    }
}

/// As one text: the scripts with their arguments, then the line.
fn text(told: &[Notification]) -> String {
    let one = |n: &Notification| {
        let mut parts: Vec<String> = n.scripts.iter().map(ToString::to_string).collect();
        parts.push(n.line.clone());
        parts.join(" | ")
    };
    told.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn notifier(model: &Model) -> Notifier {
    let mut n = Notifier::default();
    n.add(model);
    n
}

#[test]
fn an_instance_tells_each_state_with_keepalived_s_arguments() {
    let model = Model {
        instances: vec![
            instance("VI 1", all_scripts()),
            instance("mute", VrrpNotify::default()),
        ],
        ..Model::default()
    };
    let mut n = notifier(&model);
    let mut told = |to, reason| text(&n.transition(&transition("VI 1", to, reason)));
    assert_eq!(
        told(State::Backup, Reason::Started),
        "/s/backup own | /s/any own INSTANCE VI 1 BACKUP 77 | INSTANCE \"VI 1\" BACKUP 77"
    );
    assert_eq!(
        told(State::Master, Reason::MasterDown),
        "/s/master own | /s/any own INSTANCE VI 1 MASTER 77 | INSTANCE \"VI 1\" MASTER 77"
    );
    assert_eq!(
        told(State::Fault, Reason::NotReady),
        "/s/fault own | /s/any own INSTANCE VI 1 FAULT 77 | INSTANCE \"VI 1\" FAULT 77"
    );
    assert_eq!(
        told(State::Stopped, Reason::Shutdown),
        "/s/stop own | /s/any own INSTANCE VI 1 STOP 77 | INSTANCE \"VI 1\" STOP 77"
    );
    assert_eq!(told(State::Init, Reason::Started), "");
    let mute = n.transition(&transition("mute", State::Master, Reason::Owner));
    assert_eq!(text(&mute), "INSTANCE \"mute\" MASTER 77");
    assert_eq!(
        text(&[n.lower_priority("VI 1", 9)]),
        "/s/lower own | INSTANCE \"VI 1\" MASTER_RX_LOWER_PRI 9"
    );
}

#[test]
fn a_removed_instance_is_deleted_where_that_is_asked_for_and_a_fault_otherwise() {
    let asked = VrrpNotify {
        deleted: true,
        deleted_script: script("deleted"),
        ..all_scripts()
    };
    let quiet = VrrpNotify {
        deleted: true,
        ..VrrpNotify::default()
    };
    let model = Model {
        instances: vec![
            instance("asked", asked),
            instance("quiet", quiet),
            instance("plain", all_scripts()),
        ],
        ..Model::default()
    };
    let mut n = notifier(&model);
    // The reload has come, the instances are not in it.
    n.add(&Model::default());
    let mut told = |name| text(&n.transition(&transition(name, State::Stopped, Reason::Removed)));
    assert_eq!(
        told("asked"),
        "/s/deleted own | /s/any own INSTANCE asked DELETED 77 | INSTANCE \"asked\" DELETED 77"
    );
    assert_eq!(told("quiet"), "INSTANCE \"quiet\" DELETED 77");
    assert_eq!(
        told("plain"),
        "/s/fault own | /s/any own INSTANCE plain FAULT 77 | INSTANCE \"plain\" FAULT 77"
    );
    n.retain(&Model::default());
    assert!(n.instances.is_empty() && n.states.is_empty());
}

#[test]
fn a_group_tells_what_all_of_its_members_are_once_and_with_priority_0() {
    let model = Model {
        instances: vec![
            instance("A", VrrpNotify::default()),
            instance("B", VrrpNotify::default()),
        ],
        sync_groups: vec![SyncGroup {
            name: "G".into(),
            members: vec!["A".into(), "B".into()],
            tracks: crate::model::Tracks::default(),
            tracking_weight: false,
            notify: all_scripts(),
        }],
        ..Model::default()
    };
    let mut n = notifier(&model);
    let mut lines = Vec::new();
    for (name, to) in [
        ("A", State::Backup),
        ("B", State::Backup),
        ("B", State::Master),
        ("A", State::Master),
        ("A", State::Fault),
        ("B", State::Fault),
        ("B", State::Backup),
        ("B", State::Fault),
        ("A", State::Stopped),
        ("B", State::Stopped),
    ] {
        let told = n.transition(&transition(name, to, Reason::Started));
        lines.extend(told.iter().skip(1).map(|n| text(std::slice::from_ref(n))));
    }
    assert_eq!(
        lines,
        [
            "/s/backup own | /s/any own GROUP G BACKUP 0 | GROUP \"G\" BACKUP 0",
            "/s/master own | /s/any own GROUP G MASTER 0 | GROUP \"G\" MASTER 0",
            "/s/fault own | /s/any own GROUP G FAULT 0 | GROUP \"G\" FAULT 0",
            "/s/stop own | /s/any own GROUP G STOP 0 | GROUP \"G\" STOP 0",
        ]
    );
    // What a reload writes again.
    let states: Vec<String> = n.states(|_| Some(5)).into_iter().map(|n| n.line).collect();
    assert_eq!(
        states,
        [
            "INSTANCE \"A\" STOP 5",
            "INSTANCE \"B\" STOP 5",
            "GROUP \"G\" STOP 0"
        ]
    );
}

fn service(group: Option<&str>, omega: bool) -> Service {
    let addr: IpAddr = Ipv4Addr::new(192, 0, 2, 1).into();
    let real = |last| RealServer {
        notify_up: script("up"),
        notify_down: script("down"),
        ..RealServer::new(Ipv4Addr::new(10, 0, 0, last).into(), 80, 1)
    };
    Service {
        omega,
        quorum_up: script("gained"),
        quorum_down: script("lost"),
        group: group.map(|name| VirtualGroup {
            name: name.to_owned(),
            others: Vec::new(),
        }),
        real_servers: vec![real(1), real(2)],
        ..Service::new(ServiceKey {
            addr,
            port: 80,
            protocol: Protocol::Tcp,
        })
    }
}

#[test]
fn servers_and_quorums_are_told_with_keepalived_s_words() {
    let s = service(None, false);
    let at = (s.real_servers[0].addr, 80);
    let told = |s: &Service, change| text(&Vec::from_iter(health(s, &change, None)));
    let up = Change::ServerUp {
        server: at,
        inhibit: false,
    };
    let down = Change::ServerDown {
        server: at,
        inhibit: true,
        why: "gone".into(),
    };
    let gained = Change::QuorumGained {
        weight: 2,
        threshold: 1,
    };
    let lost = Change::QuorumLost {
        weight: 0,
        threshold: 1,
        start: false,
    };
    assert_eq!(
        told(&s, up.clone()),
        "/s/up own | RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 UP"
    );
    assert_eq!(
        told(&s, down),
        "/s/down own | RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN"
    );
    assert_eq!(told(&s, gained), "/s/gained own | VS [192.0.2.1]:tcp:80 UP");
    assert_eq!(
        told(&s, lost.clone()),
        "/s/lost own | VS [192.0.2.1]:tcp:80 DOWN"
    );
    assert_eq!(told(&s, Change::SorryIn { server: at }), "");
    let group = service(Some("web"), false);
    assert_eq!(told(&group, lost), "/s/lost own | VS [web]:0 DOWN");
    assert_eq!(
        told(&group, up),
        "/s/up own | RS [10.0.0.1]:tcp:80 [web]:0 UP"
    );
}

#[test]
fn omega_tells_that_all_goes_down_and_a_reload_tells_what_it_takes_out() {
    let model = |omega| Model {
        global: Global::default(),
        services: vec![service(None, omega)],
        ..Model::default()
    };
    let old = model(true);
    let mut checks = Health::new();
    checks.apply(&old.services, crate::time::Time::from_nanos(1), &mut || 0);
    assert_eq!(stop(&model(false), &checks), []);
    assert_eq!(
        text(&stop(&old, &checks)),
        "/s/down own | RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN\n\
         /s/down own | RS [10.0.0.2]:tcp:80 [192.0.2.1]:tcp:80 DOWN\n\
         /s/lost own | VS [192.0.2.1]:tcp:80 DOWN"
    );
    let mut less = model(false);
    less.services[0].real_servers.remove(0);
    assert_eq!(
        text(&removed(&old, &less, &checks)),
        "/s/down own | RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN"
    );
    assert_eq!(removed(&old, &old, &checks), []);
    let none = removed(&old, &Model::default(), &checks);
    assert_eq!(none.len(), 3);
    assert_eq!(none[2].line, "VS [192.0.2.1]:tcp:80 DOWN");
}

#[test]
fn servers_that_begin_as_up_are_told_where_that_is_asked_for() {
    let model = |rs_init_notifies| Model {
        global: Global {
            rs_init_notifies,
            ..Global::default()
        },
        services: vec![service(None, false)],
        ..Model::default()
    };
    let (none, all) = (Model::default(), model(true));
    let mut less = model(true);
    less.services[0].real_servers.remove(0);
    let mut checks = Health::new();
    checks.apply(&all.services, crate::time::Time::from_nanos(1), &mut || 0);
    assert_eq!(begun(&none, &model(false), &checks), []);
    let first = "/s/up own | RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 UP";
    let second = "/s/up own | RS [10.0.0.2]:tcp:80 [192.0.2.1]:tcp:80 UP";
    assert_eq!(
        text(&begun(&none, &all, &checks)),
        format!("{first}\n{second}")
    );
    // A reload tells of what is new.
    assert_eq!(text(&begun(&less, &all, &checks)), first);
    assert_eq!(begun(&all, &all, &checks), []);
}

#[test]
fn a_server_that_begins_as_down_is_told_when_its_check_has_failed() {
    let mut s = service(None, false);
    let server = (s.real_servers[0].addr, 80);
    let mut check = crate::model::Check::new(crate::model::CheckKind::Tcp, server.0, server.1);
    check.alpha = true;
    s.real_servers[0].checks.push(check);
    let failed = |first| Change::CheckDown {
        server,
        kind: "TCP_CHECK",
        why: crate::health::Failure::Refused,
        retries: 0,
        first,
    };
    let down = Change::ServerDown {
        server,
        inhibit: false,
        why: "gone".into(),
    };
    let told = |s: &Service, change, next| health(s, &change, next).map(|n| n.line);
    assert_eq!(
        told(&s, failed(true), None).as_deref(),
        Some("RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN")
    );
    assert_eq!(told(&s, failed(false), None), None);
    assert_eq!(told(&s, failed(true), Some(&down)), None, "it tells itself");
    s.real_servers[0].checks[0].alpha = false;
    assert_eq!(told(&s, failed(true), None), None);
}

#[test]
fn mails_have_the_words_of_keepalived_and_come_once() {
    let alerts = VrrpNotify {
        smtp_alert: true,
        ..VrrpNotify::default()
    };
    let mut model = Model {
        instances: vec![
            instance("A", alerts.clone()),
            instance("B", VrrpNotify::default()),
        ],
        sync_groups: vec![SyncGroup {
            name: "G".into(),
            members: vec!["A".into(), "B".into()],
            tracks: crate::model::Tracks::default(),
            tracking_weight: false,
            notify: alerts,
        }],
        ..Model::default()
    };
    let story = |n: &mut Notifier| {
        let mut mails = Vec::new();
        for (name, to, reason) in [
            ("A", State::Backup, Reason::Started),
            ("B", State::Backup, Reason::Started),
            ("A", State::Master, Reason::MasterDown),
            ("B", State::Master, Reason::MasterDown),
            ("A", State::Fault, Reason::NotReady),
            ("A", State::Master, Reason::MasterDown),
            ("A", State::Stopped, Reason::Shutdown),
        ] {
            let told = n.transition(&transition(name, to, reason));
            mails.extend(told.into_iter().filter_map(|t| t.mail));
        }
        mails
    };
    let mails = story(&mut notifier(&model));
    let subjects: Vec<&str> = mails.iter().map(|m| m.subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "VRRP Instance A - Entering BACKUP state",
            "VRRP Group G - Entering BACKUP state",
            "VRRP Instance A - Entering MASTER state",
            "VRRP Group G - Entering MASTER state",
            "VRRP Instance A - Entering FAULT state",
            "VRRP Instance A - Entering MASTER state",
            "VRRP Instance A - Stopping",
        ]
    );
    assert_eq!(mails[2].body, "=> VRRP Instance is now owning VRRP VIPs <=");
    model.global.mail.no_faults = true;
    let mails = story(&mut notifier(&model));
    assert!(mails.iter().all(|m| !m.subject.contains("FAULT")));
    // MASTER was said last, so it is not said again.
    assert_eq!(mails.len(), 5);
    model.sync_groups[0].notify.smtp_alert = false;
    let mails = story(&mut notifier(&model));
    assert!(mails.iter().all(|m| !m.subject.contains("Group")));
    assert_eq!(mails.len(), 3);
}

#[test]
fn priorities_are_told_to_the_fifos_when_that_is_wanted() {
    let wants = VrrpNotify {
        priority_changes: true,
        ..VrrpNotify::default()
    };
    let mut model = Model {
        instances: vec![
            instance("A", wants.clone()),
            instance("B", VrrpNotify::default()),
        ],
        ..Model::default()
    };
    let mut n = notifier(&model);
    let line = |n: &Notifier, name: &str| n.priority(name, 70).map(|t| t.line);
    assert_eq!(
        line(&n, "A").as_deref(),
        Some("INSTANCE \"A\" BACKUP_PRIORITY 70")
    );
    n.transition(&transition("A", State::Master, Reason::MasterDown));
    assert_eq!(
        line(&n, "A").as_deref(),
        Some("INSTANCE \"A\" MASTER_PRIORITY 70")
    );
    assert_eq!(line(&n, "B"), None);
    // A group asks for its members.
    model.sync_groups = vec![SyncGroup {
        name: "G".into(),
        members: vec!["B".into()],
        tracks: crate::model::Tracks::default(),
        tracking_weight: false,
        notify: wants,
    }];
    assert_eq!(
        line(&notifier(&model), "B").as_deref(),
        Some("INSTANCE \"B\" BACKUP_PRIORITY 70")
    );
}

#[test]
fn what_goes_down_at_the_end_is_mailed_where_that_is_asked_for() {
    let mut model = Model {
        services: vec![service(None, true)],
        ..Model::default()
    };
    let mut checks = Health::new();
    checks.apply(&model.services, crate::time::Time::from_nanos(1), &mut || 0);
    let mut subjects = |servers, whole| {
        let s = &mut model.services[0];
        s.smtp_alert = whole;
        s.real_servers
            .iter_mut()
            .for_each(|r| r.smtp_alert = servers);
        let told = stop(&model, &checks).into_iter();
        told.filter_map(|n| n.mail.map(|m| m.subject))
            .collect::<Vec<_>>()
    };
    assert_eq!(subjects(false, false), [""; 0]);
    assert_eq!(
        subjects(false, true),
        ["Virtualserver [192.0.2.1]:tcp:80 - DOWN"]
    );
    assert_eq!(
        subjects(true, false),
        [
            "Realserver [10.0.0.1]:tcp:80 of virtual server [192.0.2.1]:tcp:80 - DOWN",
            "Realserver [10.0.0.2]:tcp:80 of virtual server [192.0.2.1]:tcp:80 - DOWN",
        ]
    );
}
