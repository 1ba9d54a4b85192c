//! Compiles the XDP program into `OUT_DIR/lb`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

/// A toolchain whose `core` is ready for the BPF target (Debian's rustc), linked into rustup.
const DEBIAN: &str = "debian-bpf";
/// A toolchain that builds `core` itself; needs the component rust-src.
const NIGHTLY: &str = "nightly";

fn main() -> Result<()> {
    println!("cargo:rerun-if-env-changed=LB_BPF_TOOLCHAIN");
    println!("cargo:rerun-if-changed=build.rs");
    let root =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR is not set")?);
    let root = root.parent().context("the crate lies in a workspace")?;
    // The directory of the program itself is watched by aya-build; what it shares with us is not.
    println!(
        "cargo:rerun-if-changed={}",
        root.join("lb-common/src").display()
    );
    let toolchain = toolchain()?;
    if !found("bpf-linker") {
        bail!("bpf-linker is missing; `cargo xtask setup` installs it");
    }
    let ebpf = root.join("lb-ebpf");
    let package = Package {
        name: "lb-ebpf",
        root_dir: ebpf.to_str().context("the workspace's path is not UTF-8")?,
        ..Package::default()
    };
    if toolchain == DEBIAN {
        // A stable compiler: inline assembly for BPF is still unstable, so the two crates that use it
        // are named. (Naming them, rather than "1", also keeps aya-build from building `core`.)
        set_var("RUSTC_BOOTSTRAP", "aya_ebpf,lb,lb_bench");
    }
    // aya-build hands on each line that cargo prints as a warning; its progress is not one.
    set_var("CARGO_TERM_QUIET", "true");
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
        .with_context(|| format!("cannot build the XDP program with toolchain `{toolchain}`; `cargo xtask setup` repairs it"))
}

/// aya-build starts cargo itself, so this process's environment is the only way to reach it.
#[expect(clippy::disallowed_methods, reason = "a build script with one thread")]
fn set_var(name: &str, value: &str) {
    // SAFETY: no other thread of this build script reads the environment.
    unsafe { env::set_var(name, value) };
}

/// The toolchain that this machine has.
fn toolchain() -> Result<String> {
    if let Ok(name) = env::var("LB_BPF_TOOLCHAIN") {
        return Ok(name);
    }
    if let Some(sysroot) = sysroot(DEBIAN)
        && sysroot.join("lib/rustlib/bpfel-unknown-none").is_dir()
    {
        return Ok(DEBIAN.to_owned());
    }
    if let Some(sysroot) = sysroot(NIGHTLY)
        && sysroot.join("lib/rustlib/src/rust/library/core").is_dir()
        && is_nightly(&sysroot)
    {
        return Ok(NIGHTLY.to_owned());
    }
    bail!(
        "no Rust toolchain can build for BPF: neither `{DEBIAN}` (Debian's rustc with libstd-rust-web-dev-bpf) nor \
         `{NIGHTLY}` with rust-src is there; `cargo xtask setup` installs one"
    )
}

/// Where the toolchain lies, if rustup knows it.
fn sysroot(toolchain: &str) -> Option<PathBuf> {
    let output = Command::new("rustup")
        .args(["run", toolchain, "rustc", "--print", "sysroot"])
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn is_nightly(sysroot: &Path) -> bool {
    Command::new(sysroot.join("bin/rustc"))
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("nightly"))
}

fn found(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
