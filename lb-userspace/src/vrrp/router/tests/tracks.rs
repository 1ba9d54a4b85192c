//! Instances follow the scripts that they track.

use super::*;
use crate::model::{Protocol, Script, ServiceKey, ServiceTrack, Track, Tracks, VrrpScript};

const SECOND: Duration = Duration::from_secs(1);

fn script(name: &str) -> VrrpScript {
    VrrpScript {
        name: name.to_owned(),
        script: Script {
            command: vec![format!("/{name}")],
            user: None,
        },
        interval: SECOND,
        timeout: SECOND,
        rise: 1,
        fall: 1,
        init_fail: false,
    }
}

fn track(name: &str, weight: i16) -> Track {
    Track {
        name: name.to_owned(),
        weight,
        reverse: false,
    }
}

fn script_track(weight: i16) -> Tracks {
    Tracks {
        scripts: vec![track("s", weight)],
        ..Tracks::default()
    }
}

fn tracking(weight: i16) -> VrrpInstance {
    VrrpInstance {
        tracks: script_track(weight),
        ..v3(100)
    }
}

/// A host whose instances are the ones given, from when its scripts are known.
fn host(instances: &[VrrpInstance], groups: &[SyncGroup]) -> Host {
    let mut host = Host::unknown(&[], &[], &Global::default(), &BTreeMap::new());
    let model = Model {
        vrrp_scripts: vec![script("s"), script("nobody's")],
        ..model(instances, groups, &Global::default())
    };
    host.router.reconfigure(&model, host.now);
    host.told(&[])
}

/// Lets the script run; the priorities of the adverts and the words of all changes since.
fn run(host: &mut Host, good: bool) {
    let end = host.now + 2 * SECOND;
    let run = loop {
        let started = host.actions.iter().rev().find_map(|a| match a {
            Action::Report(Report::RunScript { run, script, .. }) => {
                assert_eq!(script.command, ["/s"]);
                Some(*run)
            }
            _ => None,
        });
        if let Some(run) = started {
            break run;
        }
        let next = host.router.next_deadline().expect("a run");
        assert!(next <= end);
        host.now = next;
        host.router.tick(host.now);
        host.work();
    };
    host.actions.clear();
    let ended = Event::ScriptEnded {
        run,
        good: Some(good),
        words: "words",
    };
    host.router.handle(ended, host.now);
    host.work();
}

fn state(host: &Host) -> State {
    host.router.status()[0].state
}

fn pass(host: &mut Host, time: Duration) {
    let end = host.now + time;
    while let Some(next) = host.router.next_deadline().filter(|at| *at <= end) {
        host.now = host.now.max(next);
        host.router.tick(host.now);
        host.work();
    }
    host.now = end;
}

fn advertised(host: &Host) -> Option<u8> {
    host.actions.iter().rev().find_map(|a| match a {
        Action::SendAdvert { priority, .. } => Some(*priority),
        _ => None,
    })
}

#[test]
fn without_weight_the_first_run_is_waited_for_and_a_failure_is_a_fault() {
    let mut host = host(&[tracking(0)], &[]);
    pass(&mut host, 3 * SECOND);
    assert_eq!(state(&host), State::Init);
    run(&mut host, true);
    assert_eq!(state(&host), State::Backup);
    // The second run is under way, and says nothing yet.
    pass(&mut host, SECOND);
    assert_eq!(state(&host), State::Master);
    run(&mut host, false);
    assert_eq!(state(&host), State::Fault);
    assert_eq!(advertised(&host), Some(0));
    let why = host.router.status()[0].reason.clone();
    assert_eq!(why.to_string(), "tracked script s");
    run(&mut host, false);
    assert_eq!(state(&host), State::Fault);
    run(&mut host, true);
    assert_eq!(state(&host), State::Backup);
}

#[test]
fn a_weight_changes_what_is_advertised_and_told() {
    let mut host = host(&[tracking(-30)], &[]);
    // It does not wait for it.
    assert_eq!(state(&host), State::Backup);
    pass(&mut host, SECOND);
    assert_eq!(
        (state(&host), advertised(&host)),
        (State::Master, Some(100))
    );
    run(&mut host, false);
    let changed = host.actions.iter().any(|a| {
        matches!(
            a,
            Action::Report(Report::PriorityChanged {
                from: 100,
                to: 70,
                ..
            })
        )
    });
    assert!(changed, "{:?}", host.actions);
    pass(&mut host, Duration::from_millis(150));
    assert_eq!(advertised(&host), Some(70));
    assert_eq!(host.router.status()[0].priority, 70);
    run(&mut host, true);
    pass(&mut host, Duration::from_millis(150));
    assert_eq!(advertised(&host), Some(100));
}

#[test]
fn what_a_group_tracks_holds_for_all_of_its_members() {
    let instances = [
        v3(100),
        VrrpInstance {
            name: "VI_2".into(),
            virtual_router_id: 63,
            addresses: vec![vip(101)],
            ..v3(100)
        },
    ];
    let group = |weight| SyncGroup {
        name: "G".into(),
        members: vec!["VI_1".into(), "VI_2".into()],
        tracks: script_track(weight),
        tracking_weight: false,
        notify: crate::model::VrrpNotify::default(),
    };
    let mut weighted = host(&instances, &[group(20)]);
    pass(&mut weighted, SECOND);
    run(&mut weighted, true);
    let priorities: Vec<u8> = weighted
        .router
        .status()
        .iter()
        .map(|i| i.priority)
        .collect();
    assert_eq!(priorities, [120, 120]);
    let mut plain = host(&instances, &[group(0)]);
    run(&mut plain, false);
    let states: Vec<State> = plain.router.status().iter().map(|i| i.state).collect();
    assert_eq!(states, [State::Fault, State::Fault]);
}

/// A host that follows these, from when its interfaces are known.
fn following(tracks: Tracks) -> Host {
    host(&[VrrpInstance { tracks, ..v3(100) }], &[])
}

fn priority(host: &Host) -> u8 {
    host.router.status()[0].priority
}

#[test]
fn a_file_is_waited_for_and_its_value_counts() {
    let mut host = following(Tracks {
        files: vec![track("f", 2)],
        ..Tracks::default()
    });
    let read = |host: &mut Host, value| {
        let name = "f";
        host.router
            .handle(Event::FileRead { name, value }, host.now);
        host.work();
    };
    pass(&mut host, 3 * SECOND);
    assert_eq!(state(&host), State::Init);
    read(&mut host, 5);
    assert_eq!((state(&host), priority(&host)), (State::Backup, 110));
    pass(&mut host, SECOND);
    assert_eq!(
        (state(&host), advertised(&host)),
        (State::Master, Some(110))
    );
    read(&mut host, -127);
    assert_eq!(state(&host), State::Fault);
    let why = host.router.status()[0].reason.clone();
    assert_eq!(why.to_string(), "tracked file f");
    read(&mut host, -126);
    assert_eq!((state(&host), priority(&host)), (State::Backup, 1));
}

fn tell(host: &mut Host, what: Followed, name: &str, good: bool) {
    host.router
        .handle(Event::Followed { what, name, good }, host.now);
    host.work();
}

#[test]
fn the_quorum_of_a_service_and_interfaces_count_by_their_weights() {
    let key = ServiceKey {
        addr: "192.0.2.1".parse().unwrap(),
        port: 80,
        protocol: Protocol::Tcp,
    };
    let service = |weight| ServiceTrack {
        key,
        weight,
        reverse: false,
    };
    let tell = |host: &mut Host, good| tell(host, Followed::Service, "TCP 192.0.2.1:80", good);
    let mut host = following(Tracks {
        services: vec![service(-20)],
        interfaces: vec![track("eth1", -7), track("eth0", 3)],
        ..Tracks::default()
    });
    assert_eq!(state(&host), State::Init);
    tell(&mut host, true);
    assert_eq!((state(&host), priority(&host)), (State::Backup, 103));
    pass(&mut host, SECOND);
    host.link("eth1", LinkState::Down);
    assert_eq!((state(&host), priority(&host)), (State::Master, 96));
    tell(&mut host, false);
    assert_eq!((state(&host), priority(&host)), (State::Master, 76));
    // Without a weight there is nobody to forward to: another one must.
    let mut host = following(Tracks {
        services: vec![service(0)],
        ..Tracks::default()
    });
    tell(&mut host, false);
    assert_eq!(state(&host), State::Fault);
    tell(&mut host, true);
    assert_eq!(state(&host), State::Backup);
}

#[test]
fn a_bfd_session_counts_by_its_weight_and_is_forgotten_when_nobody_follows_it() {
    let tell = |host: &mut Host, good| tell(host, Followed::Bfd, "b", good);
    let bfds = |weight| Tracks {
        bfds: vec![track("b", weight)],
        ..Tracks::default()
    };
    let mut host = following(bfds(-30));
    assert_eq!(state(&host), State::Init);
    tell(&mut host, false);
    assert_eq!((state(&host), priority(&host)), (State::Backup, 70));
    tell(&mut host, true);
    assert_eq!(priority(&host), 100);
    // Without a weight its end is the instance's.
    let mut host = following(bfds(0));
    tell(&mut host, true);
    pass(&mut host, SECOND);
    assert_eq!(state(&host), State::Master);
    tell(&mut host, false);
    assert_eq!(state(&host), State::Fault);
    let why = &host.router.status()[0].reason;
    assert_eq!(why.to_string(), "tracked BFD session b");
    let alone = |tracks| {
        let instance = VrrpInstance { tracks, ..v3(100) };
        model(&[instance], &[], &Global::default())
    };
    host.router.reconfigure(&alone(Tracks::default()), host.now);
    host.work();
    assert_eq!(state(&host), State::Backup);
    host.router.reconfigure(&alone(bfds(0)), host.now);
    host.work();
    assert_ne!(state(&host), State::Fault, "it waits to be told");
}

#[test]
fn without_its_static_routing_an_instance_is_in_fault() {
    let tell = |host: &mut Host, good| tell(host, Followed::Statics, "G", good);
    let mut host = following(Tracks {
        statics: vec!["G".to_owned()],
        ..Tracks::default()
    });
    assert_eq!(state(&host), State::Init);
    tell(&mut host, true);
    assert_eq!(state(&host), State::Backup);
    tell(&mut host, false);
    assert_eq!(state(&host), State::Fault);
    let reason = host.status(0).reason.to_string();
    assert_eq!(reason, "tracked static group G");
}

#[test]
fn what_an_instance_recovered_from_is_told() {
    let mut host = host(&[tracking(0)], &[]);
    let words = |host: &mut Host| {
        let told = Host::transitions(&host.take());
        let last = told.last().expect("a change");
        format!("{:?}: {}", last.to, last.reason)
    };
    run(&mut host, true);
    assert_eq!(words(&mut host), "Backup: interface is ready");
    run(&mut host, false);
    assert_eq!(words(&mut host), "Fault: tracked script s");
    run(&mut host, true);
    assert_eq!(words(&mut host), "Backup: recovered from: tracked script s");
}
