//! `dist`: one tarball with everything at the place where it is installed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::build::{self, Profile};
use crate::{setup, sh};

/// What is installed besides the programs: source, place below `/`, mode.
const FILES: &[(&str, &str, u32)] = &[
    (
        "dist/lbd.service",
        "usr/lib/systemd/system/lbd.service",
        0o644,
    ),
    ("README.md", "usr/share/doc/lbd/README.md", 0o644),
    ("CHANGELOG.md", "usr/share/doc/lbd/CHANGELOG.md", 0o644),
    ("LICENSE-MIT", "usr/share/doc/lbd/LICENSE-MIT", 0o644),
    ("LICENSE-APACHE", "usr/share/doc/lbd/LICENSE-APACHE", 0o644),
    (
        "lb-ebpf/LICENSE-GPL-2.0",
        "usr/share/doc/lbd/LICENSE-GPL-2.0",
        0o644,
    ),
];
/// Directories whose files are installed below the documentation.
const DIRECTORIES: &[&str] = &["docs", "examples"];

/// The task.
pub(crate) fn main() -> Result<()> {
    setup::ensure(setup::For::Building)?;
    build::daemon(Profile::Release)?;
    let name = format!(
        "lbd-{}-{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH
    );
    let dist = sh::target_dir().join("dist");
    let stage = dist.join(&name);
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("cannot remove {}", stage.display()))?;
    }
    install(
        &Profile::Release.binary("lbd"),
        &stage.join("usr/sbin/lbd"),
        0o755,
    )?;
    install(
        &Profile::Release.binary("lbctl"),
        &stage.join("usr/sbin/lbctl"),
        0o755,
    )?;
    for &(from, to, mode) in FILES {
        install(&sh::root().join(from), &stage.join(to), mode)?;
    }
    for directory in DIRECTORIES {
        let from = sh::root().join(directory);
        for entry in
            fs::read_dir(&from).with_context(|| format!("cannot read {}", from.display()))?
        {
            let file = entry?.path();
            if let (true, Some(name)) = (file.is_file(), file.file_name()) {
                install(
                    &file,
                    &stage.join("usr/share/doc/lbd").join(directory).join(name),
                    0o644,
                )?;
            }
        }
    }
    let tarball = dist.join(format!("{name}.tar.gz"));
    let mut tar = sh::command("tar");
    // The same tree gives the same archive but for the time of the build.
    tar.args([
        "--create",
        "--gzip",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ]);
    tar.arg("--file")
        .arg(&tarball)
        .arg("--directory")
        .arg(&stage)
        .arg("usr");
    sh::output(&mut tar)?;
    eprintln!("    {}", tarball.display());
    eprintln!("    install with: tar -C / -xzf {name}.tar.gz && systemctl daemon-reload");
    Ok(())
}

fn install(from: &Path, to: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_installed_exists() {
        for (from, to, _) in FILES {
            let file = sh::root().join(from);
            assert!(
                file.metadata().is_ok_and(|m| m.len() > 0),
                "{from} is missing or empty"
            );
            assert!(!to.starts_with('/'), "{to} must be relative");
        }
        for directory in DIRECTORIES {
            assert!(sh::root().join(directory).is_dir(), "{directory}");
        }
    }
}
