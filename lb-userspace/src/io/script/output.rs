//! What scripts write: into the log, as much as fits there.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Uid, fchown, pipe2};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// What is logged of one run; the rest is read and dropped.
const LOGGED: usize = 4096;
/// A longer line is cut.
const LINE: usize = 512;
/// Between two reads of what is dropped: a flood waits in the pipe and costs next to nothing.
const PAUSE: Duration = Duration::from_millis(10);

/// The reading end of a script's output.
pub(super) struct Output(OwnedFd);

impl Output {
    /// The pipe; its writing end may be opened again by its user (`/dev/stderr`).
    pub(super) fn pipe(uid: Uid, gid: Gid) -> io::Result<(Output, OwnedFd)> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC)?;
        fchown(to.as_fd(), Some(uid), Some(gid))?;
        Ok((Output(from), to))
    }

    /// Reads until nobody can write any more: a program that the script leaves running in the
    /// background must not be ended by a pipe that nobody reads.
    pub(super) fn follow(self, name: String) -> io::Result<tokio::task::JoinHandle<()>> {
        let mut from = Receiver::from_owned_fd(self.0)?;
        Ok(tokio::spawn(async move {
            let mut lines = Lines::default();
            let mut buffer = vec![0u8; 16 << 10];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                for line in lines.take(&buffer[..n]) {
                    tracing::info!("script {name}: {line}");
                }
                if lines.room == 0 {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if let Some(line) = lines.rest() {
                tracing::info!("script {name}: {line}");
            }
        }))
    }
}

/// Cuts output into lines, up to a limit.
struct Lines {
    part: Vec<u8>,
    room: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            part: Vec::new(),
            room: LOGGED,
        }
    }
}

fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

impl Lines {
    /// The lines that these bytes end.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut out = Vec::new();
        for &b in bytes {
            if self.room == 0 {
                break;
            }
            self.room -= 1;
            if b == b'\n' {
                out.push(printable(&std::mem::take(&mut self.part)));
            } else if self.part.len() < LINE {
                self.part.push(b);
            }
            if self.room == 0 {
                out.extend(self.rest());
                out.push("(what it writes from here on is not logged)".to_owned());
            }
        }
        out
    }

    /// What was not ended by a newline.
    fn rest(&mut self) -> Option<String> {
        let part = std::mem::take(&mut self.part);
        (!part.is_empty()).then(|| printable(&part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_a_flood_is_not_kept() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"one\ntw"), ["one"]);
        assert_eq!(
            lines.take(b"o\n\x1b[2J\xff\n"),
            ["two", "\u{fffd}[2J\u{fffd}"]
        );
        assert_eq!(lines.take(&[b'x'; 1000]), [""; 0]);
        assert_eq!(lines.rest().map(|l| l.len()), Some(LINE));
        let flood = b"y\n".repeat(1 << 20);
        let said = lines.take(&flood);
        assert!(said.len() < LOGGED / 2 + 2, "{}", said.len());
        assert!(said.last().is_some_and(|l| l.contains("not logged")));
        assert_eq!(lines.take(b"more\n"), [""; 0]);
        assert_eq!(lines.rest(), None);
    }
}
