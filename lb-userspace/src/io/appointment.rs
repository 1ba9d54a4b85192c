//! `reload_time_file`: a file says when the configuration is read again, so that the directors of a pair
//! do so in the same second.

mod zone;

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use super::clock::now;
use crate::model::Global;
use crate::time::Time;
use zone::Zone;

/// The longest first line is shorter: `YYYY-MM-DD HH:MM:SSZ`.
const LONGEST: u64 = 64;

/// The file, and what it says.
#[derive(Debug, Default)]
pub(super) struct Appointment {
    file: Option<String>,
    /// `reload_repeat`.
    repeat: bool,
    /// Its first line when it was last looked at.
    line: Option<String>,
    /// What that means, unless it is over: seconds since 1970, and whether it comes every day.
    at: Option<(i64, bool)>,
    /// The same as the clocks stood when they were last looked at.
    due: Option<Time>,
}

impl Appointment {
    /// Takes over a configuration, and looks at the file.
    pub(super) fn configure(&mut self, global: &Global) {
        self.repeat = global.reload_repeat;
        if self.file != global.reload_time_file {
            self.line = None;
            self.settle(None);
            self.file.clone_from(&global.reload_time_file);
        }
        self.look();
    }

    /// Looks at the file and at the clock, which may have been set.
    pub(super) fn look(&mut self) {
        let Some(file) = &self.file else { return };
        let wall = wall();
        let line = first_line(file);
        if line != self.line {
            self.read(line, wall.tv_sec());
        }
        self.due = self.at.map(|(at, _)| now() + until(at, wall));
    }

    /// Another first line, read at `wall`, in seconds since 1970.
    fn read(&mut self, line: Option<String>, wall: i64) {
        let at = line.as_deref().and_then(|line| {
            let next = zone::parse(line)
                .ok_or("it is none of HH:MM:SS, [YY]YY-MM-DD HH:MM:SS, each with Z for UTC");
            let next = next.and_then(|w| {
                let at = w.next(wall).ok_or("there is no such time")?;
                let passed = at <= wall;
                (!passed)
                    .then_some((at, w.is_daily()))
                    .ok_or("it has passed")
            });
            let file = self.file.as_deref().unwrap_or("");
            next.inspect_err(|why| tracing::warn!("{file}: no reload at {line:?}: {why}"))
                .ok()
        });
        self.line = line;
        self.settle(at);
    }

    fn settle(&mut self, at: Option<(i64, bool)>) {
        let file = self.file.as_deref().unwrap_or("");
        match (self.at, at) {
            (old, Some((new, _))) if old.map(|(old, _)| old) != Some(new) => {
                tracing::info!("reload at {} ({file})", Zone::Local.show(new));
            }
            (Some((old, _)), None) => {
                tracing::info!("no reload at {} any more ({file})", Zone::Local.show(old));
            }
            (_, Some(_)) | (None, None) => {}
        }
        self.at = at;
        self.due = None;
    }

    /// When the configuration is to be read again, as the clocks stood lately.
    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    /// The time has come: from here on it is over, the file with it unless it is to be kept.
    pub(super) fn keep(&mut self) {
        let Some((at, daily)) = self.at.take() else {
            return;
        };
        self.due = None;
        let (Some(file), Some(line)) = (&self.file, &self.line) else {
            return;
        };
        tracing::info!("reload, as {file} says: {line}");
        if self.repeat && daily {
            // The clock may stand a little before it.
            let wall = wall().tv_sec().max(at);
            self.read(self.line.clone(), wall);
            return;
        }
        match std::fs::remove_file(file) {
            Ok(()) => self.line = None,
            // As long as it says the same it means nothing any more.
            Err(error) => tracing::warn!("{file} cannot be removed: {error}"),
        }
    }
}

fn wall() -> TimeSpec {
    clock_gettime(ClockId::CLOCK_REALTIME).unwrap_or(TimeSpec::new(0, 0))
}

/// From a moment of CLOCK_REALTIME to a second of it.
fn until(at: i64, wall: TimeSpec) -> Duration {
    let seconds = u64::try_from(at - wall.tv_sec()).unwrap_or(0);
    let nanos = u64::try_from(wall.tv_nsec()).unwrap_or(0);
    Duration::from_secs(seconds).saturating_sub(Duration::from_nanos(nanos))
}

/// None when there is no file, or none that can be read.
fn first_line(file: &str) -> Option<String> {
    let mut text = Vec::new();
    let mut open = OpenOptions::new();
    // A FIFO must not hold it up.
    let opened = open.read(true).custom_flags(libc::O_NONBLOCK).open(file);
    opened
        .and_then(|f: File| f.take(LONGEST).read_to_end(&mut text))
        .ok()?;
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    // One that is being written is empty at first.
    (!line.is_empty()).then(|| String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 09:30:00 UTC.
    const WALL: i64 = 1_795_339_800;

    fn appointment(repeat: bool) -> (tempfile::TempDir, String, Appointment) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("when").display().to_string();
        let mut a = Appointment::default();
        a.configure(&Global {
            reload_time_file: Some(file.clone()),
            reload_repeat: repeat,
            ..Global::default()
        });
        (dir, file, a)
    }

    #[test]
    fn the_file_may_come_change_and_go() {
        let (_dir, file, mut a) = appointment(false);
        assert_eq!(a.due(), None);
        let in_2100 = "2100-01-01 00:00:00Z\nmore";
        std::fs::write(&file, in_2100).expect("written");
        a.look();
        assert_eq!(a.at, Some((4_102_444_800, false)));
        let days = a.due().expect("a time").since(now()).as_secs() / 86_400;
        assert!((20_000..30_000).contains(&days), "{days}");
        for (text, at) in [
            ("2000-01-01 00:00:00Z", None),
            ("2100-01-01 00:00:01Z", Some((4_102_444_801, false))),
            ("soon", None),
            (in_2100, Some((4_102_444_800, false))),
            ("", None),
        ] {
            std::fs::write(&file, text).expect("written");
            a.look();
            assert_eq!((a.at, a.due().is_some()), (at, at.is_some()), "{text}");
        }
        std::fs::write(&file, in_2100).expect("written");
        a.look();
        assert!(a.due().is_some());
        // Another one is configured.
        a.configure(&Global::default());
        assert_eq!((a.at, a.due()), (None, None));
        assert!(std::fs::exists(&file).expect("looked"));
    }

    #[test]
    fn what_was_kept_is_over_unless_it_comes_every_day() {
        let kept = |repeat, line: &str| {
            let (_dir, file, mut a) = appointment(repeat);
            std::fs::write(&file, line).expect("written");
            a.read(Some(line.to_owned()), WALL);
            let at = a.at.expect("a time").0;
            a.keep();
            let there = std::fs::exists(&file).expect("looked");
            (at, there, a.at.map(|(next, _)| next - at))
        };
        let half = WALL + 1800;
        assert_eq!(kept(false, "10:00:00Z"), (half, false, None));
        assert_eq!(kept(true, "2026-11-22 10:00:00Z"), (half, false, None));
        let (at, there, next) = kept(true, "10:00:00Z");
        assert_eq!((at, there), (half, true));
        let next = next.expect("the next");
        assert!(next > 0 && next % 86_400 == 0, "{next}");
    }

    #[test]
    fn a_file_that_stays_means_nothing_until_it_changes() {
        let (dir, _, mut a) = appointment(false);
        // Which no file can be removed by.
        a.file = Some(dir.path().display().to_string());
        a.read(Some("10:00:00Z".to_owned()), WALL);
        a.keep();
        assert_eq!((a.at, a.line.as_deref()), (None, Some("10:00:00Z")));
    }
}
