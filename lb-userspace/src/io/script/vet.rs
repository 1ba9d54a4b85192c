//! Whether a script may be run, and as whom.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use crate::config::Unfit;
use crate::model::{Script, User};

/// Who runs scripts when the configuration does not say it, if there is such a user.
const DEFAULT_USER: &str = "keepalived_script";

/// Whom a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) struct Account {
    pub(in crate::io) uid: Uid,
    pub(in crate::io) gid: Gid,
}

/// A script that may be run.
#[derive(Debug)]
pub(super) struct Vetted {
    pub(super) program: PathBuf,
    pub(super) account: Account,
    /// It runs as root, and somebody else may write this part of its path.
    pub(super) unsafe_path: Option<String>,
}

/// The ids of a configured user, or of the default one.
pub(in crate::io) fn account(user: Option<&User>) -> Result<Account, String> {
    let named = user.map_or(DEFAULT_USER, |u| &u.name);
    let found = nix::unistd::User::from_name(named)
        .map_err(|e| format!("looking for user {named}: {}", e.desc()))?;
    let account = match (found, user) {
        (Some(found), _) => Account {
            uid: found.uid,
            gid: found.gid,
        },
        (None, None) => Account {
            uid: Uid::effective(),
            gid: Gid::effective(),
        },
        (None, Some(_)) => return Err(format!("there is no user {named}")),
    };
    let Some(group) = user.and_then(|u| u.group.as_ref()) else {
        return Ok(account);
    };
    let found = nix::unistd::Group::from_name(group)
        .map_err(|e| format!("looking for group {group}: {}", e.desc()))?;
    let gid = found
        .ok_or_else(|| format!("there is no group {group}"))?
        .gid;
    Ok(Account { gid, ..account })
}

/// What is wrong with a script.
pub(in crate::io) fn unfit(script: &Script, security: bool) -> Option<Unfit> {
    match vet(script, security) {
        Ok(Vetted { unsafe_path, .. }) => unsafe_path.map(Unfit::Writable),
        Err(why) => Some(Unfit::NotRun(why)),
    }
}

/// Finds the program and looks at its permissions.
pub(super) fn vet(script: &Script, security: bool) -> Result<Vetted, String> {
    let account = account(script.user.as_ref())?;
    let named = script.command.first().map_or("", String::as_str);
    let program = if named.contains('/') {
        let path = PathBuf::from(named);
        runnable(&path, account)?;
        path
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|dir| dir.join(named))
            .find(|p| runnable(p, account).is_ok())
            .ok_or_else(|| format!("no program {named} in PATH"))?
    };
    let unsafe_path = if as_root(&program, account) {
        writable_by_others(&program)
    } else {
        None
    };
    match unsafe_path {
        Some(path) if security => Err(format!(
            "it runs as root and others may write {path} (enable_script_security)"
        )),
        unsafe_path => Ok(Vetted {
            program,
            account,
            unsafe_path,
        }),
    }
}

fn runnable(path: &Path, account: Account) -> Result<(), String> {
    let meta = std::fs::metadata(path).map_err(|e| crate::io::files::reason(&e))?;
    if !meta.is_file() {
        return Err("it is no file".to_owned());
    }
    let bit = match account {
        Account { uid, .. } if uid.is_root() => 0o111,
        Account { uid, .. } if uid.as_raw() == meta.uid() => 0o100,
        Account { gid, .. } if gid.as_raw() == meta.gid() => 0o010,
        Account { .. } => 0o001,
    };
    if meta.mode() & bit == 0 {
        let Account { uid, gid } = account;
        return Err(format!("it is not executable for uid {uid}, gid {gid}"));
    }
    Ok(())
}

/// Whether the program gets root's rights.
fn as_root(program: &Path, account: Account) -> bool {
    let set_id = std::fs::metadata(program).is_ok_and(|meta| {
        let mode = meta.mode();
        (meta.uid() == 0 && mode & 0o4100 == 0o4100) || (meta.gid() == 0 && mode & 0o2010 == 0o2010)
    });
    account.uid.is_root() || account.gid.as_raw() == 0 || set_id
}

/// The first part of the way to a file that somebody other than root may write, by the name that was
/// given and by where it leads.
fn writable_by_others(program: &Path) -> Option<String> {
    let given = std::path::absolute(program).ok();
    let real = std::fs::canonicalize(program).ok();
    for path in [given, real].into_iter().flatten() {
        let mut parts: Vec<&Path> = path.ancestors().collect();
        parts.reverse();
        for part in parts {
            let Ok(meta) = std::fs::metadata(part) else {
                return Some(part.display().to_string());
            };
            let mode = meta.mode();
            // In a directory with the sticky bit nobody replaces what is another's.
            let sticky = meta.is_dir() && mode & 0o1000 != 0;
            let by_group = meta.gid() != 0 && mode & 0o020 != 0;
            if meta.uid() != 0 || (!sticky && (by_group || mode & 0o002 != 0)) {
                return Some(part.display().to_string());
            }
        }
    }
    None
}
