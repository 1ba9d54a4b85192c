//! What a daemon leaves for the one started after it was killed: for each VRRP instance whether it
//! was MASTER and when its last advert went out.
//!
//! The file lies in the state directory (tmpfs under `/run`), so a reboot forgets it, as it must:
//! the monotonic clock starts again. It is rewritten in place, one fixed-size record an instance,
//! because a master at 10 ms adverts writes it a hundred times a second.

pub mod by_hand;
mod changed;
mod held;
mod running;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::time::Time;

pub use changed::Changed;
pub use held::{Held, HeldFile};
pub use running::Running;

/// Bytes of one record: name (padded with zeros), nanoseconds of the last advert, MASTER or not, AH's
/// sequence number.
const RECORD: usize = 256 + 8 + 1 + 4;
const NAME: usize = 256;

/// What goes wrong with the state file; none of it stops the daemon.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory or file cannot be made, read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another `lbd` holds the file.
    #[error("{path}: another lbd is running with this state directory")]
    Locked {
        /// Which file.
        path: PathBuf,
    },
}

/// The record of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whether it was MASTER.
    pub master: bool,
    /// When its last advert as MASTER was sent.
    pub last_advert: Time,
    /// The sequence number of AH in it.
    pub sequence: u32,
}

/// The open state file. It is locked, so that two daemons never share one.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    lock: nix::fcntl::Flock<File>,
    slots: BTreeMap<String, (u64, Record)>,
}

impl StateFile {
    /// Opens (or makes) the file in `dir` and reads what the predecessor left.
    ///
    /// # Errors
    /// When the directory cannot be made or written, or another daemon holds the file.
    pub fn open(dir: &Path) -> Result<(Self, BTreeMap<String, Record>), StateError> {
        let path = dir.join("vrrp.state");
        let io = |source| StateError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path)
            .map_err(io)?;
        let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
            .map_err(|_| StateError::Locked { path: path.clone() })?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut &*lock, &mut bytes).map_err(io)?;
        let left = bytes.chunks_exact(RECORD).filter_map(decode).collect();
        lock.set_len(0).map_err(io)?;
        Ok((
            StateFile {
                path,
                lock,
                slots: BTreeMap::new(),
            },
            left,
        ))
    }

    /// Notes the state of `instance`.
    ///
    /// # Errors
    /// When the file cannot be written (a full or missing tmpfs).
    pub fn note(&mut self, instance: &str, record: Record) -> Result<(), StateError> {
        let next = self.slots.len() as u64;
        let slot = self
            .slots
            .entry(instance.to_owned())
            .or_insert((next, record));
        slot.1 = record;
        let offset = slot.0 * RECORD as u64;
        self.lock
            .write_all_at(&encode(instance, record), offset)
            .map_err(|source| StateError::Io {
                path: self.path.clone(),
                source,
            })
    }
}

/// Writes a file in one piece, whenever the daemon is killed; an empty one is not made.
fn replace(path: &Path, text: &str) -> Result<(), StateError> {
    if text.is_empty() && !path.exists() {
        return Ok(());
    }
    let new = path.with_extension("new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|source| StateError::Io {
            path: path.to_owned(),
            source,
        })
}

fn encode(name: &str, record: Record) -> [u8; RECORD] {
    let mut out = [0; RECORD];
    let bytes = &name.as_bytes()[..name.len().min(NAME)];
    out[..bytes.len()].copy_from_slice(bytes);
    out[NAME..NAME + 8].copy_from_slice(&record.last_advert.as_nanos().to_le_bytes());
    out[NAME + 8] = u8::from(record.master);
    out[NAME + 9..].copy_from_slice(&record.sequence.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<(String, Record)> {
    let end = bytes[..NAME].iter().position(|&b| b == 0).unwrap_or(NAME);
    let name = String::from_utf8(bytes[..end].to_vec())
        .ok()
        .filter(|n| !n.is_empty())?;
    let nanos = u64::from_le_bytes(bytes[NAME..NAME + 8].try_into().ok()?);
    Some((
        name,
        Record {
            master: bytes[NAME + 8] == 1,
            last_advert: Time::from_nanos(nanos),
            sequence: u32::from_le_bytes(bytes[NAME + 9..].try_into().ok()?),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_daemon_notes_the_next_one_reads() {
        let dir = tempfile::tempdir().unwrap();
        let (mut state, left) = StateFile::open(dir.path()).unwrap();
        assert!(left.is_empty());
        let a = Record {
            master: true,
            last_advert: Time::from_nanos(77),
            sequence: 0x0102_0304,
        };
        let b = Record {
            master: false,
            last_advert: Time::ZERO,
            sequence: 0,
        };
        state.note("VI_1", b).unwrap();
        state.note("VI_2", b).unwrap();
        state.note("VI_1", a).unwrap();
        drop(state);
        let (_, left) = StateFile::open(dir.path()).unwrap();
        assert_eq!(
            left,
            BTreeMap::from([("VI_1".into(), a), ("VI_2".into(), b)])
        );
    }

    #[test]
    fn a_second_daemon_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = StateFile::open(dir.path()).unwrap();
        assert!(matches!(
            StateFile::open(dir.path()),
            Err(StateError::Locked { .. })
        ));
    }

    #[test]
    fn garbage_in_the_file_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("vrrp.state"), vec![0xff; RECORD * 2 + 5]).unwrap();
        let (_, left) = StateFile::open(dir.path()).unwrap();
        assert!(left.is_empty());
    }
}
