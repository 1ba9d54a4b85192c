//! What the host must offer: privileges, a kernel that is new enough, a bpf filesystem, its tick.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::sys::utsname::uname;
use nix::time::{ClockId, clock_getres};

use super::error::BpfError;

/// Where bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// `bpf_loop`, which the schedulers use, came with 5.17.
const MIN_KERNEL: ((u32, u32), &str) = ((5, 17), "5.17");

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// Checks privileges and kernel; raises the limit of locked memory where a kernel still counts
/// maps against it.
pub(super) fn check() -> Result<(), BpfError> {
    let release = uname()
        .map(|u| u.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    if kernel_version(&release).is_some_and(|v| v < MIN_KERNEL.0) {
        return Err(BpfError::Kernel {
            found: release,
            needed: MIN_KERNEL.1,
        });
    }
    let effective = effective_capabilities().unwrap_or(u64::MAX);
    let has = |cap: u32| effective >> cap & 1 != 0;
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        return Err(BpfError::Capability {
            capability: "CAP_BPF",
        });
    }
    if !has(CAP_NET_ADMIN) {
        return Err(BpfError::Capability {
            capability: "CAP_NET_ADMIN",
        });
    }
    // Not needed since 5.11; where it fails, the load says so.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    Ok(())
}

/// `6.1.0-18-amd64` is (6, 1).
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn effective_capabilities() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let hex = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// Holds a pin directory for one process: two daemons on the same maps would each undo what the other
/// does, and unloading under a running daemon would leave it without pins. Freed when dropped, and
/// by the kernel when the process dies.
#[derive(Debug)]
pub struct PinLock {
    _lock: nix::fcntl::Flock<std::fs::File>,
}

impl PinLock {
    /// Checks the host, makes the directory if need be, and takes the lock.
    ///
    /// # Errors
    /// [`BpfError::InUse`] when another process has it; else what is missing for the directory.
    pub fn take(dir: &Path) -> Result<PinLock, BpfError> {
        check()?;
        make_pin_dir(dir)?;
        let file = std::fs::File::open(dir).map_err(|source| BpfError::Pin {
            action: "open",
            path: dir.to_owned(),
            source,
        })?;
        match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(PinLock { _lock: lock }),
            Err((_, nix::Error::EWOULDBLOCK)) => Err(BpfError::InUse {
                path: dir.to_owned(),
            }),
            Err((_, errno)) => Err(BpfError::Pin {
                action: "lock",
                path: dir.to_owned(),
                source: errno.into(),
            }),
        }
    }
}

/// Whether anything is pinned there.
#[must_use]
pub fn has_pins(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut pins| pins.next().is_some())
}

/// Mounts bpffs at its usual place when `dir` is to lie there and nothing is there.
///
/// # Errors
/// When it is to lie elsewhere, or cannot be mounted.
pub fn mount_bpffs(dir: &Path) -> Result<(), BpfError> {
    if on_bpffs(dir) {
        return Ok(());
    }
    if !dir.starts_with(BPFFS) {
        return Err(BpfError::PinDir {
            path: dir.to_owned(),
            why: "is not on a bpf filesystem; give a directory below /sys/fs/bpf".to_owned(),
        });
    }
    mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        Some("mode=0700"),
    )
    .map_err(|e| BpfError::Mount {
        path: BPFFS.into(),
        source: e.into(),
    })?;
    tracing::info!("mounted a bpf filesystem on {BPFFS}");
    Ok(())
}

/// Makes the pin directory; mounts bpffs at its usual place when nothing is there.
pub(super) fn make_pin_dir(dir: &Path) -> Result<(), BpfError> {
    let bad = |why: &str| BpfError::PinDir {
        path: dir.to_owned(),
        why: why.to_owned(),
    };
    if !dir.is_absolute() {
        return Err(bad("must be an absolute path"));
    }
    let below: PathBuf = dir
        .strip_prefix(BPFFS)
        .map(Path::to_owned)
        .unwrap_or_default();
    if below
        .components()
        .any(|c| c.as_os_str().to_string_lossy().contains('.'))
    {
        return Err(bad("a bpf filesystem takes no names with a dot"));
    }
    mount_bpffs(dir)?;
    std::fs::create_dir_all(dir).map_err(|source| BpfError::Pin {
        action: "make",
        path: dir.to_owned(),
        source,
    })
}

/// Whether `dir`, or what of it exists, lies on bpffs.
fn on_bpffs(dir: &Path) -> bool {
    dir.ancestors()
        .find_map(|a| statfs(a).ok())
        .is_some_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Jiffies per second: the coarse clock's resolution is one jiffy.
pub(super) fn hz() -> Result<u32, BpfError> {
    let res =
        clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(|e| BpfError::Clock(e.into()))?;
    let nanos = u64::try_from(res.tv_nsec()).unwrap_or(0);
    match hz_of(nanos) {
        Some(hz) if res.tv_sec() == 0 => Ok(hz),
        Some(_) | None => Err(BpfError::Clock(io::Error::other(
            "the coarse clock has no resolution",
        ))),
    }
}

/// The whole number of jiffies per second of a jiffy of `nanos` nanoseconds.
fn hz_of(nanos: u64) -> Option<u32> {
    let hz = (1_000_000_000 + nanos / 2).checked_div(nanos)?;
    u32::try_from(hz)
        .ok()
        .filter(|hz| (1..=10_000).contains(hz))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_all_kinds_are_read() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.14.0-362.el9.x86_64"), Some((5, 14)));
        assert_eq!(kernel_version("6.18-rc1"), Some((6, 18)));
        assert_eq!(kernel_version("strange"), None);
    }

    #[test]
    fn a_jiffy_gives_hz() {
        for hz in [
            24u64, 48, 100, 128, 200, 250, 256, 300, 500, 1000, 1024, 1200,
        ] {
            assert_eq!(hz_of((1_000_000_000 + hz / 2) / hz), u32::try_from(hz).ok());
        }
        assert_eq!(hz_of(0), None);
        assert_eq!(hz_of(1), None);
    }

    #[test]
    fn a_name_with_a_dot_is_refused_before_the_kernel_is() {
        let error = make_pin_dir(Path::new("/sys/fs/bpf/lbd/a.b")).unwrap_err();
        assert!(error.to_string().contains("no names with a dot"), "{error}");
        assert!(make_pin_dir(Path::new("relative")).is_err());
    }
}
