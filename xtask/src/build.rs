//! `build`: lbd and lbctl. Their build script compiles the XDP program into them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{setup, sh};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Without optimisation, and faster to compile
    #[arg(long)]
    dev: bool,
}

/// How a program is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    /// For tests; dependencies are optimised a little.
    Dev,
    /// For real use and for measuring.
    Release,
}

impl Profile {
    /// Where cargo puts a program of this profile.
    pub(crate) fn binary(self, name: &str) -> PathBuf {
        let dir = match self {
            Profile::Dev => "debug",
            Profile::Release => "release",
        };
        sh::target_dir().join(dir).join(name)
    }

    fn apply(self, cargo: &mut Command) {
        match self {
            Profile::Dev => {}
            Profile::Release => {
                cargo.arg("--release");
            }
        }
    }
}

/// The task.
pub(crate) fn main(args: &Args) -> Result<()> {
    setup::ensure(setup::For::Building)?;
    let profile = if args.dev {
        Profile::Dev
    } else {
        Profile::Release
    };
    daemon(profile)?;
    for name in ["lbd", "lbctl"] {
        eprintln!("    {}", profile.binary(name).display());
    }
    Ok(())
}

/// Builds lbd and lbctl.
pub(crate) fn daemon(profile: Profile) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args(["build", "--package", "lb-userspace", "--bins"]);
    profile.apply(&mut cargo);
    sh::step("build", &mut cargo)
}

/// Builds lbd, lbctl and one program of the lab.
pub(crate) fn with_lab_program(profile: Profile, name: &str) -> Result<()> {
    let mut cargo = sh::cargo();
    cargo.args([
        "build",
        "--package",
        "lb-userspace",
        "--package",
        "lb-tests",
    ]);
    cargo.args(["--bin", "lbd", "--bin", "lbctl", "--bin", name]);
    profile.apply(&mut cargo);
    sh::step("build", &mut cargo)
}
