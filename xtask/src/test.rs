//! `test`: lints, unit tests, and the tests in network namespaces.

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::build::{self, Profile};
use crate::run::{self, need_root};
use crate::{setup, sh};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which part
    #[arg(value_enum, default_value_t = Part::All)]
    part: Part,
    /// Loads and times as a proof wants them, with an optimised build: sets `LB_LONG=1`
    #[arg(long)]
    long: bool,
    /// Arguments for the test runner, such as a filter
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Everything; needs root
    All,
    /// Formatting, clippy, documentation
    Lint,
    /// What needs no root
    Unit,
    /// What runs in network namespaces, then the whole measured matrix (about 50 minutes more; with
    /// arguments for the test runner: the tests alone); needs root
    Lab,
}

/// The package whose tests need root.
const LAB: &str = "lb-tests";
/// Compiled for the BPF target by lb-userspace's build script, not for this machine.
const EBPF: &str = "lb-ebpf";

/// The task.
pub(crate) fn main(args: &Args) -> Result<()> {
    let with_lab = matches!(args.part, Part::All | Part::Lab);
    if with_lab {
        need_root(
            "test",
            "the lab's tests make network namespaces (`cargo xtask test unit` does not)",
        )?;
    }
    setup::ensure(if args.part == Part::Lint {
        setup::For::Building
    } else {
        setup::For::Testing
    })?;

    // A lint that fails does not keep the tests from running: one call shows all that is wrong.
    let lints = match args.part {
        Part::All | Part::Lint => lint(),
        Part::Unit | Part::Lab => Ok(()),
    };
    let nextest = sh::which("cargo-nextest").is_some();
    match args.part {
        Part::Lint => {}
        Part::Unit => run_tests(
            nextest,
            &["--workspace", "--exclude", EBPF, "--exclude", LAB],
            args,
            false,
        )?,
        Part::Lab => {
            // The lab starts lbd and lbctl as programs. (With the whole workspace cargo builds them
            // for the tests of their own package.)
            build::daemon(if args.long {
                Profile::Release
            } else {
                Profile::Dev
            })?;
            run_tests(nextest, &["--package", LAB], args, true)?;
            if args.rest.is_empty() {
                run::rest_of_matrix()?;
            }
        }
        // nextest runs the lab's tests one by one in the same run, see .config/nextest.toml.
        Part::All if nextest => run_tests(true, &["--workspace", "--exclude", EBPF], args, false)?,
        Part::All => {
            run_tests(
                false,
                &["--workspace", "--exclude", EBPF, "--exclude", LAB],
                args,
                false,
            )?;
            run_tests(false, &["--package", LAB], args, true)?;
        }
    }
    lints
}

/// Everything that is said about the source without running it. All of it runs, so that one call
/// shows all that is wrong.
fn lint() -> Result<()> {
    let packages = ["--workspace", "--exclude", EBPF];
    let mut format = sh::cargo();
    format.args(["fmt", "--all", "--check"]);
    let mut clippy = sh::cargo();
    clippy
        .args(["clippy", "--all-targets"])
        .args(packages)
        .args(["--", "-D", "warnings"]);
    let mut documents = sh::cargo();
    documents
        .args(["doc", "--no-deps", "--document-private-items", "--quiet"])
        .args(packages);
    documents.env("RUSTDOCFLAGS", "-D warnings");
    let mut failed = Vec::new();
    for (label, cmd) in [
        ("format", &mut format),
        ("clippy", &mut clippy),
        ("documentation", &mut documents),
    ] {
        if let Err(error) = sh::step(label, cmd) {
            eprintln!("    {error:#}");
            failed.push(label);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("lints failed: {}", failed.join(", "))
    }
}

/// Runs the tests of `packages`; `one_by_one` for cargo's own runner, which knows no groups. The
/// runner's summary is the last that is printed.
fn run_tests(nextest: bool, packages: &[&str], args: &Args, one_by_one: bool) -> Result<()> {
    let mut cmd = sh::cargo();
    let release: &[&str] = if args.long { &["--release"] } else { &[] };
    if args.long {
        cmd.env("LB_LONG", "1");
    }
    if nextest {
        cmd.args(["nextest", "run", "--no-fail-fast"])
            .args(release)
            .args(packages)
            .args(&args.rest);
    } else {
        cmd.args(["test", "--no-fail-fast", "--lib", "--bins", "--tests"])
            .args(release)
            .args(packages)
            .arg("--")
            .args(&args.rest);
        if one_by_one {
            cmd.arg("--test-threads=1");
        }
    }
    // An error says where it comes from in words; what it was is not to be sought above its backtrace.
    cmd.env("RUST_LIB_BACKTRACE", "0");
    sh::last_step("test", &mut cmd)
}
