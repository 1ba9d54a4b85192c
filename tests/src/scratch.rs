//! What a run may leave in the file system, and how it is removed in every case.
//!
//! Each lab has a directory under the temporary directory and one in bpffs, both called
//! `lb-lab-<pid>-<start time of that process>-<number>`. They are removed when the lab is dropped
//! (also by a panic), when a signal ends the process, and, after a `kill -9`, by the next lab.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context as _, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};

const PREFIX: &str = "lb-lab-";
/// Where bpffs is mounted.
pub const BPFFS: &str = "/sys/fs/bpf";

static NUMBER: AtomicU32 = AtomicU32::new(0);
static LIVE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static CANCELLED: AtomicBool = AtomicBool::new(false);
static DEFER: AtomicBool = AtomicBool::new(false);
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The directories of one lab; dropping it removes them.
#[derive(Debug)]
pub struct Scratch {
    name: String,
    files: PathBuf,
    pins: PathBuf,
    removed: bool,
}

impl Scratch {
    /// Makes the directories, mounting bpffs if it is not, and clears what dead runs left.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new() -> Result<Self> {
        catch_signals()?;
        mount_bpffs()?;
        for path in sweep() {
            eprintln!(
                "lab: removed {}, left by a run that was killed",
                path.display()
            );
        }
        let pid = std::process::id();
        let start = start_time(pid).context("own start time")?;
        let name = format!(
            "{PREFIX}{pid}-{start}-{}",
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let files = std::env::temp_dir().join(&name);
        let pins = Path::new(BPFFS).join(&name);
        lock().extend([files.clone(), pins.clone()]);
        let scratch = Scratch {
            name,
            files,
            pins,
            removed: false,
        };
        for dir in [&scratch.files, &scratch.pins] {
            fs::create_dir(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        Ok(scratch)
    }

    /// The name, the same for both directories.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory for files.
    #[must_use]
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// The directory in bpffs.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// Removes both directories.
    ///
    /// # Errors
    /// All that went wrong, in one text.
    pub fn remove(&mut self) -> Result<()> {
        self.removed = true;
        let mut errors = Vec::new();
        for dir in [&self.files, &self.pins] {
            if let Err(e) = remove(dir) {
                errors.push(format!("remove {}: {e}", dir.display()));
            }
        }
        lock().retain(|p| *p != self.files && *p != self.pins);
        anyhow::ensure!(errors.is_empty(), "{}", errors.join("; "));
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.removed
            && let Err(e) = self.remove()
        {
            eprintln!("lab: {e:#}");
        }
    }
}

/// From now on SIGINT and SIGTERM do not end the process: [`check_cancelled`] fails instead, so
/// that the run unwinds and says what it did. A second signal ends it all the same.
pub fn defer_signals() {
    DEFER.store(true, Ordering::SeqCst);
}

/// Fails once a signal has come.
///
/// # Errors
/// Exactly then.
pub fn check_cancelled() -> Result<()> {
    anyhow::ensure!(!CANCELLED.load(Ordering::SeqCst), "interrupted");
    Ok(())
}

/// Removes what runs left whose process is gone.
pub fn sweep() -> Vec<PathBuf> {
    let mut gone = Vec::new();
    for root in [std::env::temp_dir(), PathBuf::from(BPFFS)] {
        let Ok(entries) = fs::read_dir(root) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name
                .to_str()
                .and_then(owner)
                .is_some_and(|(pid, start)| start_time(pid) != Some(start))
                && remove(&entry.path()).is_ok()
            {
                gone.push(entry.path());
            }
        }
    }
    gone
}

/// `lb-lab-<pid>-<start>-<n>`: pid and start.
fn owner(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// When a process was started, in clock ticks since boot (proc(5), field 22 of `stat`).
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command, in parentheses, may hold anything.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

/// `rm -r`; bpffs and a directory that does not exist are fine.
fn remove(dir: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn mount_bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    if mounts.lines().any(|l| l.split(' ').nth(1) == Some(BPFFS)) {
        return Ok(());
    }
    let none: Option<&str> = None;
    nix::mount::mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        nix::mount::MsFlags::empty(),
        none,
    )
    .context("mount bpffs on /sys/fs/bpf (are you root?)")
}

fn lock() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    LIVE.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

extern "C" fn on_signal(signal: libc::c_int) {
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: write(2) is async-signal-safe, and the pipe is never closed.
    unsafe { libc::write(PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
}

/// Ctrl-C and SIGTERM clean up before the process ends; the namespaces and the daemons in them go
/// with the process by themselves.
fn catch_signals() -> Result<()> {
    static WRITE_END: OnceLock<OwnedFd> = OnceLock::new();
    if WRITE_END.get().is_some() {
        return Ok(());
    }
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context("pipe")?;
    let fd = write.as_raw_fd();
    if WRITE_END.set(write).is_err() {
        return Ok(()); // another thread was faster
    }
    PIPE.store(fd, Ordering::SeqCst);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut byte = [0u8];
            while let Ok(1) = nix::unistd::read(&read, &mut byte) {
                if DEFER.load(Ordering::SeqCst) && !CANCELLED.swap(true, Ordering::SeqCst) {
                    continue;
                }
                for path in lock().iter() {
                    let _ = remove(path);
                }
                // SAFETY: ends the process without running destructors of other threads.
                unsafe { libc::_exit(128 + i32::from(byte[0])) };
            }
        })?;
    let action = SigAction::new(
        SigHandler::Handler(on_signal),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only calls write(2).
        unsafe { nix::sys::signal::sigaction(signal, &action) }.context("sigaction")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_read_from_the_name() {
        assert_eq!(owner("lb-lab-12-3456-0"), Some((12, 3456)));
        assert_eq!(owner("lb-lab-x-1-0"), None);
        assert_eq!(owner("other"), None);
        assert!(start_time(std::process::id()).is_some());
    }
}
