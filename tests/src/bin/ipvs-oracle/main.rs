//! Asks the kernel's own IPVS which real server it chooses for whom, and writes that down.
//!
//! It changes the addresses, routes and services of the host on which it runs, so it runs in a
//! machine of its own: `cargo xtask guest oracle`, which also keeps what it wrote.

mod cases;
mod clients;
mod director;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Write down which real servers IPVS chooses.
#[derive(Parser)]
#[command(name = "ipvs-oracle")]
struct Args {
    /// Where to.
    file: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let text = cases::all()?;
    fs::write(&args.file, text).with_context(|| format!("cannot write {}", args.file.display()))
}
