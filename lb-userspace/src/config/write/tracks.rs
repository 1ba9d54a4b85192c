//! What is followed, as lines: `NAME [weight N [reverse]]`.

use std::time::Duration;

use super::seconds;
use crate::model::{
    Bfd, InitFile, ParamMatch, ServiceTrack, Track, TrackFile, TrackProcess, Tracks,
};

/// A line of a block, as words.
pub(super) type Line = Vec<String>;

fn weight(weight: i16, reverse: bool) -> Vec<String> {
    let mut words = vec!["weight".to_owned(), weight.to_string()];
    if reverse {
        words.push("reverse".to_owned());
    }
    words
}

fn named(t: &Track) -> Line {
    [vec![t.name.clone()], weight(t.weight, t.reverse)].concat()
}

fn interface(t: &Track) -> Line {
    match (t.weight, t.reverse) {
        (0, false) => vec![t.name.clone()],
        (_, true | false) => named(t),
    }
}

fn service(t: &ServiceTrack) -> Line {
    let key = t.key;
    let protocol = key.protocol.name().to_ascii_lowercase();
    let words = vec![key.addr.to_string(), key.port.to_string(), protocol];
    [words, weight(t.weight, t.reverse)].concat()
}

/// The blocks of an instance or a group that are not empty.
pub(super) fn blocks(tracks: &Tracks) -> Vec<(&'static str, Vec<Line>)> {
    let Tracks {
        interfaces,
        scripts,
        files,
        processes,
        bfds,
        services,
        // Blocks of their own.
        statics: _,
    } = tracks;
    let all = [
        (
            "track_interface",
            interfaces.iter().map(interface).collect(),
        ),
        ("track_script", scripts.iter().map(named).collect()),
        ("track_file", files.iter().map(named).collect()),
        ("track_process", processes.iter().map(named).collect()),
        ("track_bfd", bfds.iter().map(named).collect()),
        ("track_service", services.iter().map(service).collect()),
    ];
    let all: Vec<(&str, Vec<Line>)> = all.into();
    all.into_iter().filter(|(_, l)| !l.is_empty()).collect()
}

/// The statements of a `track_file`.
pub(super) fn of_file(file: &TrackFile) -> Vec<(&'static str, Line)> {
    let mut out = vec![("file", vec![file.path.clone()])];
    if let Some(InitFile { value, overwrite }) = file.init {
        let mut words = vec![value.to_string()];
        if overwrite {
            words.push("overwrite".to_owned());
        }
        out.push(("init_file", words));
    }
    out
}

/// The statements of a `vrrp_track_process`.
pub(super) fn of_process(process: &TrackProcess) -> Vec<(&'static str, Line)> {
    let TrackProcess {
        name: _,
        command,
        params,
        full_command,
        quorum,
        quorum_max,
        fork_delay,
        terminate_delay,
    } = process;
    let mut out = vec![("process", command.clone())];
    match params {
        None => {}
        Some(ParamMatch::Exact) => out.push(("param_match", Vec::new())),
        Some(ParamMatch::Partial) => out.push(("param_match", vec!["partial".to_owned()])),
        Some(ParamMatch::Initial) => out.push(("param_match", vec!["initial".to_owned()])),
    }
    if *full_command {
        out.push(("full_command", Vec::new()));
    }
    out.push(("quorum", vec![quorum.to_string()]));
    if let Some(max) = quorum_max {
        out.push(("quorum_max", vec![max.to_string()]));
    }
    for (name, delay) in [
        ("fork_delay", fork_delay),
        ("terminate_delay", terminate_delay),
    ] {
        if !delay.is_zero() {
            out.push((name, vec![seconds(*delay)]));
        }
    }
    out
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> String {
    let micros = time.as_micros();
    match micros % 1000 {
        0 => (micros / 1000).to_string(),
        part => format!("{}.{part:03}", micros / 1000),
    }
}

/// The statements of a `bfd_instance`.
pub(super) fn of_bfd(bfd: &Bfd) -> Vec<(&'static str, Line)> {
    let Bfd {
        name: _,
        neighbor,
        source,
        min_rx,
        min_tx,
        idle_tx,
        multiplier,
        passive,
        ttl,
        max_hops,
        vrrp,
        checker,
    } = bfd;
    let mut out = vec![("neighbor_ip", vec![neighbor.to_string()])];
    out.extend(source.map(|ip| ("source_ip", vec![ip.to_string()])));
    for (name, time, usual) in [
        ("min_rx", min_rx, Bfd::INTERVAL),
        ("min_tx", min_tx, Bfd::INTERVAL),
        ("idle_tx", idle_tx, Bfd::IDLE),
    ] {
        if *time != usual {
            out.push((name, vec![millis(*time)]));
        }
    }
    let hops = if neighbor.is_ipv4() {
        "ttl"
    } else {
        "hoplimit"
    };
    for (name, number, usual) in [
        ("multiplier", *multiplier, Bfd::MULTIPLIER),
        (hops, *ttl, Bfd::ttl(*neighbor)),
        ("max_hops", *max_hops, 0),
    ] {
        if number != usual {
            out.push((name, vec![number.to_string()]));
        }
    }
    let only = [
        ("passive", *passive),
        ("vrrp", *vrrp && !*checker),
        ("checker", *checker && !*vrrp),
    ];
    let only = only.into_iter().filter(|(_, on)| *on);
    out.extend(only.map(|(name, _)| (name, Vec::new())));
    out
}
