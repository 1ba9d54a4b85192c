use super::*;
use crate::model::{ParamMatch, Track, Tracks};
use std::process::{Child, Command};
use std::time::Instant;

/// A test that waits this long has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// Something that nobody else runs: `sleep` with a word of its own.
fn start(word: &str) -> Child {
    let child = Command::new("sleep").arg(word).spawn().unwrap();
    // The parent goes on when the new program has its memory, a moment before its words are in it.
    let path = format!("/proc/{}/cmdline", child.id());
    let end = Instant::now() + LIMIT;
    while std::fs::read(&path).unwrap() != format!("sleep\0{word}\0").as_bytes() {
        assert!(Instant::now() < end, "{word} does not begin");
        std::thread::yield_now();
    }
    child
}

fn model(words: &[&str]) -> Model {
    let process = |word: &&str| TrackProcess {
        name: (*word).to_owned(),
        command: vec!["sleep".to_owned(), (*word).to_owned()],
        params: Some(ParamMatch::Exact),
        full_command: false,
        quorum: 1,
        quorum_max: None,
        fork_delay: Duration::ZERO,
        terminate_delay: Duration::ZERO,
    };
    let track = |word: &&str| Track {
        name: (*word).to_owned(),
        weight: 0,
        reverse: false,
    };
    let group = crate::model::SyncGroup {
        name: "G".to_owned(),
        members: Vec::new(),
        tracks: Tracks {
            processes: words.iter().map(track).collect(),
            ..Tracks::default()
        },
        tracking_weight: false,
        notify: crate::model::VrrpNotify::default(),
    };
    Model {
        track_processes: words.iter().map(process).collect(),
        sync_groups: vec![group],
        ..Model::default()
    }
}

/// The next change.
fn next(told: &mut mpsc::Receiver<Told>) -> Told {
    let end = Instant::now() + LIMIT;
    loop {
        match told.try_recv() {
            Ok(told) => return told,
            Err(_) if Instant::now() < end => std::thread::yield_now(),
            Err(e) => panic!("{e}"),
        }
    }
}

/// With whatever this host allows: the connector or `/proc`.
#[test]
fn a_process_is_seen_to_begin_and_to_end() {
    let word = format!("86{}", std::process::id());
    let is = |good| (word.clone(), good);
    let (mut processes, mut told) = Processes::new();
    processes.configure(&model(&[&word]));
    assert_eq!(next(&mut told), is(false));
    let mut child = start(&word);
    assert_eq!(next(&mut told), is(true));
    // A second one changes nothing, and the first one's end neither.
    let mut second = start(&word);
    child.kill().unwrap();
    child.wait().unwrap();
    processes.configure(&model(&[&word]));
    assert_eq!(next(&mut told), is(true));
    // Also one that nobody has reaped yet is gone.
    second.kill().unwrap();
    assert_eq!(next(&mut told), is(false));
    second.wait().unwrap();
}
