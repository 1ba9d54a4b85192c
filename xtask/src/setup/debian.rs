//! Debian's packages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::sh;

/// Programs whose packages have a service that would be started at boot.
const SERVICES: [&str; 2] = ["keepalived", "nginx"];
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Whether this system has Debian's packages.
pub(super) fn is_debian() -> bool {
    sh::which("apt-get").is_some()
        && fs::read_to_string("/etc/os-release").is_ok_and(|text| {
            text.lines()
                .filter_map(|line| {
                    line.strip_prefix("ID=")
                        .or_else(|| line.strip_prefix("ID_LIKE="))
                })
                .any(|value| {
                    value
                        .trim_matches('"')
                        .split_whitespace()
                        .any(|id| id == "debian")
                })
        })
}

/// Installs `packages` without what they merely recommend, without removing anything, and without
/// a service being started or enabled.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !sh::is_root() {
        bail!(
            "packages are missing and only root can install them. Run this, and then the task again:\n\n  \
             sudo apt-get update && sudo apt-get install -y --no-install-recommends {list}\n"
        );
    }
    eprintln!("    installing Debian packages: {list}");
    let start = std::time::Instant::now();
    let new: Vec<&str> = SERVICES
        .into_iter()
        .filter(|s| sh::which(s).is_none())
        .collect();
    let quiet_services = NoServices::begin()?;
    if !can_install(packages) {
        sh::quietly("apt-get update", apt().args(["update", "-q"]))?;
    }
    sh::quietly(
        "apt-get install",
        apt()
            .args([
                "install",
                "-q",
                "-y",
                "--no-install-recommends",
                "--no-remove",
            ])
            .args(packages),
    )?;
    quiet_services.end()?;
    if Path::new("/run/systemd/system").exists() {
        // They were installed for the tests; nobody asked for them to run, now or after a reboot.
        for service in new.iter().filter(|s| sh::which(s).is_some()) {
            let unit = format!("{service}.service");
            sh::output(sh::command("systemctl").args(["disable", "--quiet", &unit]))?;
        }
    }
    eprintln!("    Debian packages: installed in {}", sh::took(start));
    Ok(())
}

/// Whether the package lists on this machine know all of `packages`.
pub(super) fn can_install(packages: &[&str]) -> bool {
    sh::output(
        apt()
            .args([
                "install",
                "--simulate",
                "-q",
                "--no-install-recommends",
                "--no-remove",
            ])
            .args(packages),
    )
    .is_ok()
}

/// Fetches the package lists, if this is root.
pub(super) fn update() -> Result<()> {
    if sh::is_root() {
        sh::quietly("apt-get update", apt().args(["update", "-q"]))
    } else {
        Ok(())
    }
}

fn apt() -> std::process::Command {
    let mut cmd = sh::command("apt-get");
    cmd.env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8");
    cmd
}

/// While it lives, installing a package starts no service (Debian's policy-rc.d).
struct NoServices {
    created: Option<PathBuf>,
}

impl NoServices {
    fn begin() -> Result<Self> {
        let file = PathBuf::from(POLICY);
        if file.exists() {
            return Ok(NoServices { created: None });
        }
        fs::write(&file, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("cannot write {POLICY}"))?;
        let guard = NoServices {
            created: Some(file.clone()),
        };
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot set the mode of {POLICY}"))?;
        Ok(guard)
    }

    fn end(mut self) -> Result<()> {
        match self.created.take() {
            Some(file) => {
                fs::remove_file(&file).with_context(|| format!("cannot remove {POLICY} again"))
            }
            None => Ok(()),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(file) = &self.created
            && let Err(error) = fs::remove_file(file)
        {
            eprintln!(
                "warning: cannot remove {}: {error}; no service will start until it is gone",
                file.display()
            );
        }
    }
}
