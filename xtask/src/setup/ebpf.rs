//! The toolchain that compiles the XDP program.
//!
//! Two ways, the first that is there: Debian's `rustc-web` with its ready-made `core` for BPF,
//! known to rustup under a name of our own; or a nightly toolchain with the sources of `core`. Both
//! are recognised by what they contain: a toolchain *called* nightly may be anything.
//! lb-userspace's build script looks in the same order.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::sh;

/// The name under which rustup knows Debian's compiler.
const LINKED: &str = "debian-bpf";
/// Debian's compiler and its `core` for BPF.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// The bpf-linker that is installed where there is none, and the oldest that is accepted.
const LINKER_VERSION: (u32, u32, u32) = (0, 13, 0);

/// A toolchain that can compile the XDP program.
pub(crate) struct Toolchain {
    /// Its name for `rustup run`.
    name: String,
    /// What makes it fit.
    because: &'static str,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.because)
    }
}

/// The toolchain that will be used, if there is one.
pub(crate) fn find() -> Option<Toolchain> {
    find_below(&sh::rustup_home().join("toolchains"))
}

fn find_below(toolchains: &Path) -> Option<Toolchain> {
    if has_bpf_core(&toolchains.join(LINKED)) {
        return Some(Toolchain {
            name: LINKED.into(),
            because: "it has a ready core for BPF",
        });
    }
    let mut names: Vec<String> = fs::read_dir(toolchains)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_plain_nightly(name))
        .collect();
    names.sort();
    names
        .into_iter()
        .find(|name| {
            has_core_sources(&toolchains.join(name)) && is_nightly_compiler(&toolchains.join(name))
        })
        .map(|_| Toolchain {
            name: "nightly".into(),
            because: "it is a nightly with the sources of core",
        })
}

/// `nightly-HOST`, the one that `rustup run nightly` takes; not `nightly-2026-01-01-HOST`.
fn is_plain_nightly(name: &str) -> bool {
    name.strip_prefix("nightly-")
        .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn has_bpf_core(toolchain: &Path) -> bool {
    let target = if cfg!(target_endian = "big") {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    };
    fs::read_dir(toolchain.join("lib/rustlib").join(target).join("lib")).is_ok_and(|dir| {
        dir.flatten().any(|file| {
            let name = file.file_name();
            name.to_string_lossy().starts_with("libcore-")
                && name.to_string_lossy().ends_with(".rlib")
        })
    }) && toolchain.join("bin/rustc").exists()
        && toolchain.join("bin/cargo").exists()
}

fn has_core_sources(toolchain: &Path) -> bool {
    toolchain
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
}

fn is_nightly_compiler(toolchain: &Path) -> bool {
    sh::output(sh::command(toolchain.join("bin/rustc")).arg("--version"))
        .is_ok_and(|v| v.contains("-nightly"))
}

/// Why [`find`] found nothing, for people.
pub(super) fn why_not() -> String {
    let toolchains = sh::rustup_home().join("toolchains");
    let named_so = fs::read_dir(toolchains).is_ok_and(|dir| {
        dir.flatten()
            .any(|e| e.file_name().to_string_lossy().starts_with("nightly"))
    });
    if named_so {
        "it compiles the XDP program (the toolchain called nightly lacks rust-src, or is not a nightly)".into()
    } else {
        "it compiles the XDP program".into()
    }
}

/// Installs a toolchain: Debian's where its packages can be had, else a nightly from rustup.
pub(super) fn install(is_debian: bool) -> Result<Toolchain> {
    let start = Instant::now();
    if is_debian && debian_has_it()? {
        if !Path::new("/usr/bin/cargo").exists() || !has_bpf_core(Path::new("/usr")) {
            debian::install(DEBIAN_PACKAGES)?;
        }
        sh::output(sh::command("rustup").args(["toolchain", "link", LINKED, "/usr"]))?;
    } else {
        eprintln!("    installing a nightly toolchain with rust-src through rustup");
        sh::quietly(
            "rustup",
            sh::command("rustup")
                .args(["toolchain", "install", "nightly", "--profile", "minimal"])
                .args(["--component", "rust-src", "--force", "--no-self-update"]),
        )
        .context(
            "no toolchain for eBPF could be installed. Either of these will do:\n  \
             Debian 12 or 13: apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf (from the security archive)\n  \
             elsewhere:       rustup toolchain install nightly --component rust-src",
        )?;
    }
    let Some(found) = find() else {
        bail!(
            "a toolchain for eBPF was installed but cannot be found below {}",
            sh::rustup_home().display()
        );
    };
    eprintln!(
        "    eBPF toolchain: {found}, installed in {}",
        sh::took(start)
    );
    Ok(found)
}

/// Whether Debian's compiler is there, or can be installed without removing another one.
fn debian_has_it() -> Result<bool> {
    if has_bpf_core(Path::new("/usr")) || debian::can_install(DEBIAN_PACKAGES) {
        return Ok(true);
    }
    debian::update()?;
    Ok(debian::can_install(DEBIAN_PACKAGES))
}

/// Where bpf-linker lies, if it is recent enough.
pub(crate) fn linker() -> Option<PathBuf> {
    let path = sh::which("bpf-linker")?;
    let version = sh::output(sh::command(&path).arg("--version")).ok()?;
    (parse_version(&version)? >= LINKER_VERSION).then_some(path)
}

/// `bpf-linker 0.13.0` as numbers.
fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text
        .split_whitespace()
        .nth(1)?
        .split(['.', '-', '+'])
        .map(str::parse);
    Some((
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    ))
}

/// Compiles bpf-linker against the LLVM that `toolchain` was made with: a linker with an older one
/// cannot read what the compiler writes.
pub(super) fn install_linker(toolchain: &Toolchain, is_debian: bool) -> Result<()> {
    let start = Instant::now();
    let llvm = llvm_major(&sh::output(sh::command("rustup").args([
        "run",
        &toolchain.name,
        "rustc",
        "-vV",
    ]))?)
    .context("rustc -vV does not say which LLVM it has")?;
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    if !prefix.join("lib/libLLVM.so").exists() {
        if !is_debian {
            bail!(
                "bpf-linker has to be built with LLVM {llvm}. Install its development files, or a ready bpf-linker:\n  \
                 cargo install cargo-binstall && cargo binstall bpf-linker"
            );
        }
        debian::install(&[&format!("llvm-{llvm}-dev")])?;
    }
    let (major, minor, patch) = LINKER_VERSION;
    eprintln!("    compiling bpf-linker {major}.{minor}.{patch} with LLVM {llvm}");
    sh::quietly(
        "bpf-linker",
        sh::cargo()
            .args([
                "install",
                "bpf-linker",
                "--version",
                &format!("{major}.{minor}.{patch}"),
                "--locked",
                "--force",
            ])
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{llvm}"),
            ])
            // Its release profile asks for debug information, which nobody here reads.
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("LLVM_PREFIX", &prefix),
    )?;
    if linker().is_none() {
        bail!(
            "bpf-linker was installed but does not run; is {} writable?",
            sh::cargo_home().join("bin").display()
        );
    }
    eprintln!("    bpf-linker: installed in {}", sh::took(start));
    Ok(())
}

fn llvm_major(rustc_verbose_version: &str) -> Option<u32> {
    rustc_verbose_version
        .lines()
        .find_map(|l| l.strip_prefix("LLVM version: "))?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of toolchains below the target folder that is gone when the test ends.
    struct Toolchains(PathBuf);

    impl Toolchains {
        fn new(name: &str) -> Self {
            let dir = sh::target_dir().join(format!("xtask-test-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Toolchains(dir)
        }

        fn file(&self, path: &str, text: &str) {
            use std::os::unix::fs::PermissionsExt;
            let file = self.0.join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn found(&self) -> Option<String> {
            find_below(&self.0).map(|t| t.name)
        }
    }

    impl Drop for Toolchains {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const NIGHTLY: &str = "#!/bin/sh\necho 'rustc 1.99.0-nightly (0123456 2026-01-01)'\n";
    const STABLE: &str = "#!/bin/sh\necho 'rustc 1.95.0 (0123456 2026-01-01)'\n";
    const SOURCES: &str = "lib/rustlib/src/rust/library/core/Cargo.toml";

    #[test]
    fn a_toolchain_called_nightly_is_not_taken_for_its_name() {
        let t = Toolchains::new("name");
        t.file("nightly-x86_64-unknown-linux-gnu/bin/rustc", NIGHTLY);
        assert_eq!(t.found(), None, "without the sources of core");
        t.file("nightly-x86_64-unknown-linux-gnu/bin/rustc", STABLE);
        t.file(&format!("nightly-x86_64-unknown-linux-gnu/{SOURCES}"), "");
        assert_eq!(t.found(), None, "a stable compiler");
        t.file("nightly-x86_64-unknown-linux-gnu/bin/rustc", NIGHTLY);
        assert_eq!(t.found().as_deref(), Some("nightly"));
    }

    #[test]
    fn a_dated_nightly_is_not_the_one_that_rustup_runs() {
        let t = Toolchains::new("dated");
        t.file(
            "nightly-2026-01-01-x86_64-unknown-linux-gnu/bin/rustc",
            NIGHTLY,
        );
        t.file(
            &format!("nightly-2026-01-01-x86_64-unknown-linux-gnu/{SOURCES}"),
            "",
        );
        assert_eq!(t.found(), None);
    }

    #[test]
    fn debian_s_compiler_counts_when_it_has_core_for_bpf() {
        let t = Toolchains::new("debian");
        t.file("debian-bpf/bin/rustc", STABLE);
        t.file("debian-bpf/bin/cargo", STABLE);
        assert_eq!(t.found(), None);
        let target = if cfg!(target_endian = "big") {
            "bpfeb"
        } else {
            "bpfel"
        };
        t.file(
            &format!("debian-bpf/lib/rustlib/{target}-unknown-none/lib/libcore-0123.rlib"),
            "",
        );
        assert_eq!(t.found().as_deref(), Some(LINKED));
    }

    #[test]
    fn versions_are_read_as_numbers() {
        assert_eq!(parse_version("bpf-linker 0.13.0\n"), Some((0, 13, 0)));
        assert_eq!(parse_version("bpf-linker 0.9.15-dev"), Some((0, 9, 15)));
        assert_eq!(parse_version("bpf-linker"), None);
        assert!((0, 9, 15) < LINKER_VERSION);
        assert_eq!(
            llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"),
            Some(22)
        );
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }
}
