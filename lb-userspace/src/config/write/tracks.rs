//! What is followed, as lines: `NAME [weight N [reverse]]`.

use super::seconds;
use crate::model::{InitFile, ParamMatch, ServiceTrack, Track, TrackFile, TrackProcess, Tracks};

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
        services,
    } = tracks;
    let all = [
        (
            "track_interface",
            interfaces.iter().map(interface).collect(),
        ),
        ("track_script", scripts.iter().map(named).collect()),
        ("track_file", files.iter().map(named).collect()),
        ("track_process", processes.iter().map(named).collect()),
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
