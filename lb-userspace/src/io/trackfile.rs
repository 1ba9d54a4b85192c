//! Tracked files: read at the start and whenever somebody changes them.
//!
//! On a thread of its own, because a file may be where reading takes long. Watched are directories,
//! by inotify: a file that is not there yet, or is replaced, is noticed as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc;

use crate::model::{CheckKind, InitFile, Model, TrackFile};

/// Values that may wait for the engine; beyond them the thread waits.
const QUEUE: usize = 64;
/// How often a directory that could not be watched is tried again, in milliseconds.
const AGAIN: u16 = 1000;
/// A file is read so far; a number is shorter.
const LONGEST: u64 = 127;

/// A file's name in the configuration, and the number in it.
pub type Value = (String, i64);

/// Watches the files that the configuration in force follows.
#[derive(Debug)]
pub struct Files {
    values: mpsc::Sender<Value>,
    watched: Vec<TrackFile>,
    /// Dropped to end the thread.
    watching: Option<OwnedFd>,
}

/// The files that somebody follows.
fn followed(model: &Model) -> Vec<TrackFile> {
    let instances = model.instances.iter().map(|i| &i.tracks);
    let tracks = instances.chain(model.sync_groups.iter().map(|g| &g.tracks));
    let mut names: BTreeSet<&str> = tracks
        .flat_map(|t| &t.files)
        .map(|t| t.name.as_str())
        .collect();
    let servers = model.services.iter().flat_map(|s| &s.real_servers);
    for check in servers.flat_map(|r| &r.checks) {
        if let CheckKind::File(file) = &check.kind {
            names.insert(&file.file);
        }
    }
    let all = model.track_files.iter();
    all.filter(|f| names.contains(f.name.as_str()))
        .cloned()
        .collect()
}

impl Files {
    /// Watches nothing yet. The receiver gives the value of each file at first, and then whenever it
    /// is another one.
    #[must_use]
    pub fn new() -> (Files, mpsc::Receiver<Value>) {
        let (values, read) = mpsc::channel(QUEUE);
        let files = Files {
            values,
            watched: Vec::new(),
            watching: None,
        };
        (files, read)
    }

    /// Takes over a configuration: all values are given anew. `start`: the daemon starts.
    pub fn configure(&mut self, model: &Model, start: bool) {
        for file in &model.track_files {
            if let Some(init) = file.init
                && let Err(e) = initialise(&file.path, init, start)
            {
                let why = super::files::reason(&e);
                tracing::error!("cannot initialise track_file {}: {why}", file.name);
            }
        }
        self.watched = followed(model);
        self.watching = None;
        if self.watched.is_empty() {
            return;
        }
        let (files, values) = (self.watched.clone(), self.values.clone());
        let begun = io::pipe().and_then(|(ended, watching)| {
            let name = "lbd-files".to_owned();
            let ended = OwnedFd::from(ended);
            let work = move || Watcher::new(files, values).run(&ended);
            std::thread::Builder::new().name(name).spawn(work)?;
            Ok(OwnedFd::from(watching))
        });
        match begun {
            Ok(watching) => self.watching = Some(watching),
            Err(e) => tracing::error!("tracked files are not watched: {e}"),
        }
    }
}

fn initialise(path: &str, init: InitFile, start: bool) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(_) if !(init.overwrite && start) => return Ok(()),
        Ok(there) if !there.is_file() => {
            return Err(io::Error::other("it is there and no regular file"));
        }
        Ok(_) | Err(_) => {}
    }
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true);
    let mut file = open.mode(0o644).custom_flags(libc::O_NOFOLLOW).open(path)?;
    writeln!(file, "{}", init.value)
}

/// The value of a file; 0 when it cannot be read. None when it is no value, which is said.
fn read(file: &TrackFile) -> Option<i64> {
    let mut text = Vec::new();
    let mut open = OpenOptions::new();
    // A FIFO must not hold it up.
    let opened = open
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&file.path);
    let done = opened.and_then(|f: File| f.take(LONGEST).read_to_end(&mut text));
    if done.is_err() {
        text.clear();
    }
    let value = TrackFile::value(&text);
    if value.is_none() {
        let words = String::from_utf8_lossy(&text);
        tracing::warn!(
            "track_file {}: {:?} is out of range, ignored",
            file.name,
            words.trim()
        );
    }
    value
}

/// The directories in which changes of a file are seen: its own, and that of what it links to.
fn directories(path: &str) -> BTreeSet<PathBuf> {
    let path = Path::new(path);
    let parent = |p: &Path| match p.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut all = BTreeSet::from([parent(path)]);
    all.extend(std::fs::canonicalize(path).ok().map(|p| parent(&p)));
    all
}

struct Watcher {
    files: Vec<TrackFile>,
    values: mpsc::Sender<Value>,
    known: BTreeMap<String, i64>,
    watched: BTreeSet<PathBuf>,
}

impl Watcher {
    fn new(files: Vec<TrackFile>, values: mpsc::Sender<Value>) -> Watcher {
        Watcher {
            files,
            values,
            known: BTreeMap::new(),
            watched: BTreeSet::new(),
        }
    }

    /// Until the other end of `ended` is closed, or nobody takes values any more.
    fn run(mut self, ended: &OwnedFd) {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        if let Err(e) = &inotify {
            tracing::warn!("tracked files are read once a second: {}", e.desc());
        }
        let inotify = inotify.ok();
        loop {
            let whole = self.watch(inotify.as_ref());
            if !self.read_all() {
                return;
            }
            let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                inotify
                    .iter()
                    .map(|i| PollFd::new(i.as_fd(), PollFlags::POLLIN)),
            );
            let limit = match whole {
                true => PollTimeout::NONE,
                false => PollTimeout::from(AGAIN),
            };
            if poll(&mut fds, limit).is_err_and(|e| e != nix::errno::Errno::EINTR) {
                return;
            }
            if fds[0].any().unwrap_or(true) {
                return;
            }
            let Some(inotify) = &inotify else { continue };
            while let Ok(events) = inotify.read_events() {
                let gone = AddWatchFlags::IN_IGNORED
                    | AddWatchFlags::IN_MOVE_SELF
                    | AddWatchFlags::IN_Q_OVERFLOW;
                if events.iter().any(|e| e.mask.intersects(gone)) {
                    self.watched.clear();
                }
            }
        }
    }

    /// Watches what is not watched yet; false when something cannot be.
    fn watch(&mut self, inotify: Option<&Inotify>) -> bool {
        let Some(inotify) = inotify else { return false };
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let all: BTreeSet<PathBuf> = self
            .files
            .iter()
            .flat_map(|f| directories(&f.path))
            .collect();
        let mut whole = true;
        for dir in all {
            if self.watched.contains(&dir) {
                continue;
            }
            match inotify.add_watch(&dir, changes) {
                Ok(_) => drop(self.watched.insert(dir)),
                Err(_) => whole = false,
            }
        }
        whole
    }

    /// Reads all files and gives what is new; false when nobody takes it.
    fn read_all(&mut self) -> bool {
        for file in &self.files {
            let Some(value) = read(file) else { continue };
            if self.known.insert(file.name.clone(), value) != Some(value)
                && self
                    .values
                    .blocking_send((file.name.clone(), value))
                    .is_err()
            {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
