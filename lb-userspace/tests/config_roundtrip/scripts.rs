//! Commands, who runs them and who is told.

use std::time::Duration;

use lb_userspace::model::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::values::*;

pub(crate) fn user() -> impl Strategy<Value = User> {
    (name(), option::of(name())).prop_map(|(name, group)| User { name, group })
}

/// A command with any arguments. What has no user gets that of `script_user`.
pub(crate) fn script() -> impl Strategy<Value = Script> {
    (
        name(),
        vec(
            prop_oneof![
                name(),
                "[ -~]{0,9}".prop_filter("no placeholder of a template", |s| {
                    !["{{", "{%", "<%"].iter().any(|p| s.contains(p))
                })
            ],
            0..3,
        ),
        option::of(user()),
    )
        .prop_map(|(program, arguments, user)| Script {
            command: [vec![program], arguments].concat(),
            user,
        })
}

pub(crate) fn errand() -> impl Strategy<Value = Errand> {
    (script(), 1u64..=1000).prop_map(|(script, seconds)| Errand {
        script,
        timeout: Duration::from_secs(seconds),
    })
}

pub(crate) fn notify() -> impl Strategy<Value = VrrpNotify> {
    vec(option::weighted(0.2, script()), 7).prop_map(|s| VrrpNotify {
        master: s[0].clone(),
        backup: s[1].clone(),
        fault: s[2].clone(),
        stop: s[3].clone(),
        deleted: s[4].is_some() || s[0].is_some(),
        deleted_script: s[4].clone(),
        any: s[5].clone(),
        master_rx_lower_pri: s[6].clone(),
        smtp_alert: s[1].is_some(),
        priority_changes: s[2].is_some(),
    })
}

pub(crate) fn vrrp_script() -> impl Strategy<Value = VrrpScript> {
    let time = || secs(4000).prop_map(|d| d.max(Duration::from_millis(10)));
    let counts = (1u32..9, 1u32..9, any::<bool>());
    (name(), script(), time(), option::of(time()), counts).prop_map(
        |(name, script, interval, timeout, (rise, fall, init_fail))| VrrpScript {
            name,
            script,
            interval,
            timeout: timeout.unwrap_or(interval),
            rise,
            fall,
            init_fail,
        },
    )
}

/// Which scripts are tracked, with which weights.
pub(crate) fn tracks() -> impl Strategy<Value = Vec<(i16, bool)>> {
    vec((-253i16..=253, any::<bool>()), 0..3)
}

pub(crate) fn track_file() -> impl Strategy<Value = TrackFile> {
    let init = option::of((-0x8000_0000i64..=0x8000_0000, any::<bool>()));
    let path = "[/a-z][ -~]{0,9}".prop_filter("no placeholder of a template", |s| {
        !["{{", "{%", "<%"].iter().any(|p| s.contains(p))
    });
    (name(), path, init).prop_map(|(name, path, init)| TrackFile {
        name,
        path,
        init: init.map(|(value, overwrite)| InitFile { value, overwrite }),
    })
}

pub(crate) fn track_process() -> impl Strategy<Value = TrackProcess> {
    let word = || {
        "[!-~]{1,9}".prop_filter("no placeholder of a template", |s| {
            !["{{", "{%", "<%"].iter().any(|p| s.contains(p))
        })
    };
    let params = prop_oneof![
        Just(ParamMatch::Exact),
        Just(ParamMatch::Partial),
        Just(ParamMatch::Initial)
    ];
    let quorums = (0u32..9, option::of(0u32..9));
    let delays = (secs(3600), secs(3600));
    (
        name(),
        vec(word(), 1..4),
        option::of(params),
        any::<bool>(),
        quorums,
        delays,
    )
        .prop_map(
            |(name, command, params, full_command, (quorum, more), delays)| TrackProcess {
                name,
                params: params.or((command.len() > 1).then_some(ParamMatch::Exact)),
                command,
                full_command,
                quorum,
                quorum_max: more.map(|m| quorum + m),
                fork_delay: delays.0,
                terminate_delay: delays.1,
            },
        )
}

/// The tracks of somebody: of the first processes of the model.
pub(crate) fn tracked_processes(
    processes: &[TrackProcess],
    tracks: &[(i16, bool)],
    weighted: bool,
) -> Vec<Track> {
    let all = processes.iter().zip(tracks);
    all.map(|(p, &(weight, reverse))| Track {
        name: p.name.clone(),
        weight: if weighted { weight } else { 0 },
        reverse,
    })
    .collect()
}

/// The tracks of somebody: of the first files of the model.
pub(crate) fn tracked_files(
    files: &[TrackFile],
    tracks: &[(i16, bool)],
    weighted: bool,
) -> Vec<Track> {
    let all = files.iter().zip(tracks);
    all.map(|(f, &(weight, reverse))| Track {
        name: f.name.clone(),
        weight: if weighted { weight } else { 0 },
        reverse,
    })
    .collect()
}

/// The tracks of somebody: of the first services of the model.
pub(crate) fn tracked_services(
    services: &[Service],
    tracks: &[(i16, bool)],
    weighted: bool,
) -> Vec<ServiceTrack> {
    let keys = services.iter().filter(|s| !s.ha_suspend);
    let keys = keys.filter_map(|s| s.keys().last());
    keys.zip(tracks)
        .map(|(key, &(weight, reverse))| ServiceTrack {
            key,
            weight: if weighted { weight } else { 0 },
            reverse,
        })
        .collect()
}

/// The tracks of somebody: of the first scripts of the model.
pub(crate) fn tracked(
    scripts: &[VrrpScript],
    tracks: &[(i16, bool)],
    weighted: bool,
) -> Vec<Track> {
    let all = scripts.iter().zip(tracks);
    all.map(|(s, &(weight, reverse))| Track {
        name: s.name.clone(),
        weight: if weighted { weight } else { 0 },
        reverse,
    })
    .collect()
}

pub(crate) fn fifo(path: &'static str) -> impl Strategy<Value = Option<Fifo>> {
    option::of(
        (option::of(user()), option::of(script())).prop_map(|(user, script)| Fifo {
            path: path.to_owned(),
            user,
            script,
        }),
    )
}

/// Every script that has no user has that of `script_user`, as in a model that was read.
pub(crate) fn inherit_user(model: &mut Model) {
    let Some(user) = model.global.script_user.clone() else {
        return;
    };
    let give = |script: &mut Option<Script>| {
        if let Some(s) = script {
            s.user.get_or_insert_with(|| user.clone());
        }
    };
    let notifies = model.instances.iter_mut().map(|i| &mut i.notify);
    for n in notifies.chain(model.sync_groups.iter_mut().map(|g| &mut g.notify)) {
        let VrrpNotify {
            master,
            backup,
            fault,
            stop,
            deleted: _,
            deleted_script,
            any,
            master_rx_lower_pri,
            smtp_alert: _,
            priority_changes: _,
        } = n;
        for s in [
            master,
            backup,
            fault,
            stop,
            deleted_script,
            any,
            master_rx_lower_pri,
        ] {
            give(s);
        }
    }
    for s in &mut model.vrrp_scripts {
        s.script.user.get_or_insert_with(|| user.clone());
    }
    for s in &mut model.services {
        give(&mut s.quorum_up);
        give(&mut s.quorum_down);
        for r in &mut s.real_servers {
            give(&mut r.notify_up);
            give(&mut r.notify_down);
            for c in &mut r.checks {
                if let CheckKind::Misc(misc) = &mut c.kind {
                    misc.script.user.get_or_insert_with(|| user.clone());
                }
            }
        }
    }
    let global = &mut model.global;
    let errands = [&mut global.startup_script, &mut global.shutdown_script];
    for e in errands.into_iter().flatten() {
        e.script.user.get_or_insert_with(|| user.clone());
    }
    let Fifos { all, vrrp, lvs } = &mut global.fifos;
    for f in [all, vrrp, lvs].into_iter().flatten() {
        f.user.get_or_insert_with(|| user.clone());
        give(&mut f.script);
    }
}

pub(crate) fn mail() -> impl Strategy<Value = Mail> {
    let word = || {
        "[a-z0-9.@#!{}-]{1,12}".prop_filter("no placeholder of a template", |s| {
            !["{{", "{%", "}}"].iter().any(|p| s.contains(p))
        })
    };
    (
        vec(word(), 0..3),
        option::of(word()),
        option::of((word(), 1u16..)),
        option::of(word()),
        secs(4000),
        any::<[bool; 2]>(),
    )
        .prop_map(|(to, from, server, helo_name, timeout, flags)| Mail {
            to: if server.is_some() { to } else { Vec::new() },
            from,
            server: server.map(|(host, port)| MailServer { host, port }),
            helo_name,
            timeout: timeout.max(Duration::from_millis(1)),
            no_faults: flags[0],
            no_checkers: flags[1],
        })
}
