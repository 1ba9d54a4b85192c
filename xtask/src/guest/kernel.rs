//! Debian's package of a kernel: fetched, unpacked, its modules found.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::{setup, sh};

/// A kernel image and its modules.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// The image.
    pub(super) image: PathBuf,
    /// Each module's name (with `_` for `-`) and file.
    modules: Vec<(String, PathBuf)>,
}

impl Kernel {
    /// The kernel of a package, or the newest 6.1 that has been or can be fetched.
    pub(super) fn find(deb: Option<&Path>) -> Result<Kernel> {
        let cache = sh::target_dir().join("guest");
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        match deb {
            Some(deb) => unpack(deb, &cache),
            None => unpack(&fetch(&cache)?, &cache),
        }
    }

    /// The files of the modules in the order in which they must be loaded, with all that they
    /// depend on. What is built into the kernel has no file and needs none.
    pub(super) fn load_order(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in wanted {
            self.add(name, &mut order)?;
        }
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<()> {
        let wanted = name.replace('-', "_");
        let Some((_, file)) = self.modules.iter().find(|(there, _)| *there == wanted) else {
            bail!("Linux {} has no module {name}", self.release);
        };
        if order.contains(file) {
            return Ok(());
        }
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        for needed in dependencies(&bytes) {
            self.add(needed, order)?;
        }
        order.push(file.clone());
        Ok(())
    }
}

/// What a module's `.modinfo` section says that it depends on.
fn dependencies(module: &[u8]) -> impl Iterator<Item = &str> {
    const KEY: &[u8] = b"\0depends=";
    module
        .windows(KEY.len())
        .position(|window| window == KEY)
        .map(|start| &module[start + KEY.len()..])
        .and_then(|rest| rest.split(|&byte| byte == 0).next())
        .and_then(|names| std::str::from_utf8(names).ok())
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
}

/// The package in the cache, fetched if it is not there.
fn fetch(cache: &Path) -> Result<PathBuf> {
    if let Some(deb) = cached(cache)? {
        return Ok(deb);
    }
    let package = match newest()? {
        Some(package) => package,
        None => {
            // A fresh system has no lists of packages yet.
            setup::update_package_lists()?;
            newest()?.context(
                "apt knows no linux-image-6.1.0-*-amd64 here (Debian 12 has it). Name the file of such a package \
                 with --kernel DEB",
            )?
        }
    };
    sh::quietly(
        "apt-get download",
        sh::command("apt-get")
            .args(["download", "-q", &package])
            .current_dir(cache),
    )?;
    cached(cache)?.with_context(|| format!("apt-get download left no {package} behind"))
}

/// The newest 6.1 package that apt knows.
fn newest() -> Result<Option<String>> {
    if sh::which("apt-cache").is_none() {
        return Ok(None);
    }
    let names = sh::output(sh::command("apt-cache").args([
        "search",
        "--names-only",
        r"^linux-image-6\.1\.0-[0-9]+-amd64$",
    ]))?;
    Ok(names
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .max_by_key(|name| abi(name))
        .map(str::to_owned))
}

/// The newest 6.1 package that lies in the cache.
fn cached(cache: &Path) -> Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("linux-image-6.1.0-") && name.ends_with("_amd64.deb") {
            found.push((abi(&name), path));
        }
    }
    Ok(found.into_iter().max().map(|(_, path)| path))
}

/// The number by which Debian tells kernels of one version apart.
fn abi(package: &str) -> u32 {
    package
        .trim_start_matches("linux-image-6.1.0-")
        .split('-')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Unpacks a package beside it, once.
fn unpack(deb: &Path, cache: &Path) -> Result<Kernel> {
    let stem = deb.file_stem().context("--kernel names no file")?;
    let dir = cache.join(stem);
    if !dir.is_dir() {
        // Into a directory of another name first: one that is there is whole.
        let partial = cache.join("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        sh::output(
            sh::command("dpkg-deb")
                .arg("--extract")
                .arg(std::path::absolute(deb)?)
                .arg(&partial),
        )?;
        fs::rename(&partial, &dir)?;
    }
    let image = fs::read_dir(dir.join("boot"))
        .with_context(|| format!("{} holds no kernel", deb.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        })
        .with_context(|| format!("{} holds no kernel image", deb.display()))?;
    let release = image
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .trim_start_matches("vmlinuz-")
        .to_owned();
    let mut modules = Vec::new();
    walk(
        &dir.join("lib/modules").join(&release).join("kernel"),
        &mut modules,
    )?;
    ensure!(
        !modules.is_empty(),
        "{} holds no uncompressed modules (a kernel newer than 6.1?)",
        deb.display()
    );
    Ok(Kernel {
        release,
        image,
        modules,
    })
}

/// Every module below a directory.
fn walk(dir: &Path, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            found.push((name.replace('-', "_"), path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        let of = |text: &'static [u8]| dependencies(text).collect::<Vec<_>>();
        assert_eq!(
            of(b"\x7fELF\0license=GPL\0depends=nf_conntrack,libcrc32c\0retpoline=Y\0"),
            ["nf_conntrack", "libcrc32c"]
        );
        assert_eq!(of(b"license=GPL\0depends=\0name=x\0"), [""; 0]);
        assert_eq!(of(b"nothing"), [""; 0]);
    }

    #[test]
    fn the_newest_has_the_highest_number_not_the_last_name() {
        let names = ["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-47-amd64"];
        assert_eq!(
            names.into_iter().max_by_key(|name| abi(name)),
            Some(names[1])
        );
    }
}
