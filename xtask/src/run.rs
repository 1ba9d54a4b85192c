//! `run`, `bench`, `failover`, `matrix`: build, then become the program that does it.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::{self, Profile};
use crate::{setup, sh};

/// Where `run` looks for a configuration, in this order.
const CONFIGURATIONS: [&str; 2] = ["/etc/keepalived/keepalived.conf", "/etc/lbd/lbd.toml"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Configuration of this director [default: /etc/keepalived/keepalived.conf, then /etc/lbd/lbd.toml]
    #[arg(long, value_name = "FILE", conflicts_with = "lab")]
    config: Option<PathBuf>,
    /// Interface to balance on [default: those that the configuration names]
    #[arg(long, value_name = "IF", conflicts_with = "lab")]
    iface: Vec<String>,
    /// Two directors, a client and real servers in network namespaces, and what happens when they fail
    #[arg(long)]
    lab: bool,
    /// The lab's first director runs this file
    #[arg(long, value_name = "FILE", requires_all = ["lab", "config_backup"])]
    config_master: Option<PathBuf>,
    /// The lab's second director runs this file
    #[arg(long, value_name = "FILE", requires_all = ["lab", "config_master"])]
    config_backup: Option<PathBuf>,
    /// Further arguments for lbd or for the lab
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Arguments that are handed on as they are.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct PassThrough {
    /// Handed to the program as they are; --help shows its own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// The task `run`.
pub(crate) fn main(args: &Args) -> Result<()> {
    if args.lab {
        let mut rest = Vec::new();
        for (flag, file) in [
            ("--config-master", &args.config_master),
            ("--config-backup", &args.config_backup),
        ] {
            if let Some(file) = file {
                rest.push(flag.to_owned());
                rest.push(absolute(file)?);
            }
        }
        rest.extend(args.rest.iter().cloned());
        return lab_program(Profile::Dev, "lab-story", &rest, "run --lab");
    }

    let config = match &args.config {
        Some(file) => PathBuf::from(absolute(file)?),
        None => default_config(&CONFIGURATIONS.map(Path::new))?,
    };
    need_root("run", "it attaches an XDP program and sets addresses")?;
    setup::ensure(setup::For::Building)?;
    build::daemon(Profile::Release)?;
    let mut cmd = sh::command(Profile::Release.binary("lbd"));
    cmd.arg("--config").arg(config);
    for iface in &args.iface {
        cmd.arg("--iface").arg(iface);
    }
    become_program(cmd.args(&args.rest))
}

/// The task `bench`.
pub(crate) fn bench(args: &PassThrough) -> Result<()> {
    lab_program(Profile::Release, "bench", &args.args, "bench")
}

/// The task `failover`.
pub(crate) fn failover(args: &PassThrough) -> Result<()> {
    lab_program(Profile::Release, "lab-failover", &args.args, "failover")
}

/// The task `matrix`.
pub(crate) fn matrix(args: &PassThrough) -> Result<()> {
    lab_program(Profile::Release, "lab-matrix", &args.args, "matrix")
}

/// As [`matrix`], all of it; what an interrupted run has measured of these very programs is kept.
pub(crate) fn rest_of_matrix() -> Result<()> {
    lab_program(
        Profile::Release,
        "lab-matrix",
        &["--resume".to_owned()],
        "matrix",
    )
}

fn lab_program(profile: Profile, name: &str, args: &[String], task: &str) -> Result<()> {
    need_root(task, "it makes network namespaces and loads an XDP program")?;
    setup::ensure(setup::For::Testing)?;
    build::with_lab_program(profile, name)?;
    become_program(sh::command(profile.binary(name)).args(args))
}

/// Replaces this process, so that Ctrl-C and the exit code are the program's own.
fn become_program(cmd: &mut std::process::Command) -> Result<()> {
    eprintln!("==> {}", sh::show(cmd));
    let shown = sh::show(cmd);
    Err(cmd.exec()).with_context(|| format!("cannot start {shown}"))
}

/// An error that says how to come back, when this is not root.
pub(crate) fn need_root(task: &str, why: &str) -> Result<()> {
    if sh::is_root() {
        return Ok(());
    }
    bail!(
        "`cargo xtask {task}` needs root: {why}. Try\n\n  sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {task}\n"
    );
}

/// The file from where the user stands; programs are started in the repository's root.
fn absolute(file: &Path) -> Result<String> {
    let file =
        std::path::absolute(file).with_context(|| format!("cannot resolve {}", file.display()))?;
    if !file.is_file() {
        bail!("{}: no such file", file.display());
    }
    file.into_os_string()
        .into_string()
        .map_err(|f| anyhow::anyhow!("{}: not UTF-8", f.display()))
}

fn default_config(candidates: &[&Path]) -> Result<PathBuf> {
    match candidates.iter().find(|file| file.is_file()) {
        Some(file) => Ok(file.to_path_buf()),
        None => bail!(
            "no configuration: there is neither {}. Name one with --config FILE, or try the lab: cargo xtask run --lab",
            candidates
                .iter()
                .map(|c| c.display().to_string())
                .collect::<Vec<_>>()
                .join(" nor ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_both_places_are_named() {
        let error = default_config(&[
            Path::new("/nonexistent/a.conf"),
            Path::new("/nonexistent/b.toml"),
        ]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("a.conf nor /nonexistent/b.toml") && text.contains("--config"),
            "{text}"
        );
    }

    #[test]
    fn the_first_configuration_that_is_there_is_taken() {
        let here = sh::root().join("Cargo.toml");
        let found = default_config(&[Path::new("/nonexistent/a.conf"), &here, Path::new("/")]);
        assert_eq!(found.unwrap(), here);
    }

    #[test]
    fn a_relative_file_becomes_absolute_and_must_exist() {
        assert!(
            absolute(Path::new("no-such-file.conf"))
                .unwrap_err()
                .to_string()
                .contains("no such file")
        );
        assert!(absolute(Path::new("Cargo.toml")).unwrap().starts_with('/'));
    }
}
