//! `cargo xtask run --lab`: a pair of directors in namespaces, and what the client sees of them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use lb_tests::director::Kind;
use lb_tests::pair::Pair;
use lb_tests::screen::Screen;

#[derive(Parser)]
#[command(
    about = "Two directors, a client and real servers in network namespaces: balancing and failover, live"
)]
struct Arguments {
    /// Configuration of the first director [default: examples/http-rr.master.conf].
    #[arg(long, requires = "config_backup")]
    config_master: Option<PathBuf>,
    /// Configuration of the second director [default: examples/http-rr.backup.conf].
    #[arg(long, requires = "config_master")]
    config_backup: Option<PathBuf>,
}

/// Where this repository lies.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn main() -> ExitCode {
    lb_tests::scratch::defer_signals();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("the lab did not go as it should: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let example = |name: &str| Path::new(ROOT).join("examples").join(name);
    let master = arguments
        .config_master
        .unwrap_or_else(|| example("http-rr.master.conf"));
    let backup = arguments
        .config_backup
        .unwrap_or_else(|| example("http-rr.backup.conf"));
    let pair = Pair::read([&master, &backup], [Kind::Lbd; 2])?;
    let name = master
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let screen = Screen::new(&format!("lbd lab: {name}"));
    lb_tests::story::tell(&pair, &screen)
}
