//! Whether the daemon before this one let everything go as it ended. One that was killed did not: its
//! successor goes on where it was. A reboot forgets it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::StateError;

/// The file that is there while a daemon is at work.
#[derive(Debug)]
pub struct Running(PathBuf);

impl Running {
    /// The one in `dir`; nothing is made.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Running(dir.join("running"))
    }

    /// Whether a daemon began its work and did not end it. To be asked before this one begins.
    #[must_use]
    pub fn is_noted(&self) -> bool {
        self.0.exists()
    }

    /// Notes that the daemon begins its work (`here`), or has let everything go.
    ///
    /// # Errors
    /// When the file cannot be made or removed.
    pub fn note(&self, here: bool) -> Result<(), StateError> {
        let done = match here {
            true => std::fs::write(&self.0, ""),
            false => match std::fs::remove_file(&self.0) {
                // It could not be made.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                done => done,
            },
        };
        done.map_err(|source| StateError::Io {
            path: self.0.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_that_ended_well_leaves_nothing_and_a_killed_one_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let noted = || Running::of(dir.path()).is_noted();
        assert!(!noted());
        Running::of(dir.path()).note(true).unwrap();
        assert!(noted());
        // Its successor notes the same.
        Running::of(dir.path()).note(true).unwrap();
        Running::of(dir.path()).note(false).unwrap();
        assert!(!noted());
        Running::of(dir.path()).note(false).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let gone = Running::of(&dir.path().join("none"));
        // To make it fails; there is nothing to remove.
        assert!(gone.note(true).is_err());
    }
}
