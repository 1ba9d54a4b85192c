//! Programs that an earlier daemon of this very build has left: loading one means that the kernel
//! verifies it, which takes seconds on a busy host; taking up the one that is there takes none.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::programs::{ProgramFd, Xdp};
use aya_obj::programs::XdpAttachType;
use lb_common::maps::Params;

use super::error::BpfError;
use super::{object, sys};

/// Pins of programs are `program-NAME-BUILD`.
const PREFIX: &str = "program-";

/// What a program depends on: the object file and what was written into it.
pub(super) fn build(params: &Params) -> u64 {
    let mut hasher = DefaultHasher::new();
    crate::io::program::BYTES.hash(&mut hasher);
    (params.hash_seed, params.flow_mask, params.tick_shift).hash(&mut hasher);
    hasher.finish()
}

fn path(dir: &Path, name: &str, build: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{name}-{build:016x}"))
}

/// The program of this build: the one that is pinned, or else it is loaded and pinned.
pub(super) fn program(
    ebpf: &mut Ebpf,
    dir: &Path,
    name: &'static str,
    build: u64,
) -> Result<ProgramFd, BpfError> {
    let path = path(dir, name, build);
    if let Ok(program) = Xdp::from_pin(&path, XdpAttachType::Interface)
        && let Ok(fd) = program.fd()
        && let Ok(fd) = fd.try_clone()
    {
        tracing::debug!("{name}: the program of this build is there already");
        return Ok(fd);
    }
    object::remove_pin(&path)?;
    let program = object::load_program(ebpf, name)?;
    sys::pin(program.as_fd(), &path).map_err(|source| BpfError::Pin {
        action: "pin",
        path,
        source,
    })?;
    Ok(program)
}

/// Removes the pins of programs of other builds; `None`: of all. One that is attached goes on.
pub(super) fn remove(dir: &Path, but: Option<u64>) -> Result<(), BpfError> {
    let fail = |source| BpfError::Pin {
        action: "read",
        path: dir.to_owned(),
        source,
    };
    let keep = but.map(|build| format!("-{build:016x}"));
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name();
        let is_other = name.to_str().is_some_and(|name| {
            name.starts_with(PREFIX) && !keep.as_ref().is_some_and(|keep| name.ends_with(keep))
        });
        if is_other {
            object::remove_pin(&entry.path())?;
        }
    }
    Ok(())
}
