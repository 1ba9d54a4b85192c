//! `cargo xtask`: everything that is done with this repository, from a fresh machine to a release.
//!
//! Each task first runs `setup`, which does nothing where nothing is missing. See `cargo xtask
//! --help` for the list.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod build;
mod dist;
mod guest;
mod run;
mod setup;
mod sh;
mod test;
mod tidy;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set up, build, run, test and measure lbd"
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what building and testing need; says what it does
    Setup,
    /// Build lbd and lbctl, the XDP program included
    Build(build::Args),
    /// Run this host as a director, or a whole site in network namespaces (--lab)
    Run(run::Args),
    /// Run the tests: everything, or one part of them
    Test(test::Args),
    /// Check the rules of this repository (layers, links, lengths); part of `test`
    Tidy,
    /// Measure the XDP program: nanoseconds a packet
    Bench(run::PassThrough),
    /// Measure failover beside keepalived in the lab
    Failover(run::PassThrough),
    /// Every kind of advert, pair and event: who is master, and the outage beside keepalived's pair
    Matrix(run::PassThrough),
    /// Debian's kernel 6.1 in a virtual machine: the packet tests, or IPVS's own choices
    Guest(guest::Args),
    /// Make a tarball that is unpacked over / to install
    Dist,
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Setup => setup::report(),
        Task::Build(args) => build::main(&args),
        Task::Run(args) => run::main(&args),
        Task::Test(args) => test::main(&args),
        Task::Tidy => tidy::main(),
        Task::Bench(args) => run::bench(&args),
        Task::Failover(args) => run::failover(&args),
        Task::Matrix(args) => run::matrix(&args),
        Task::Guest(args) => guest::main(&args),
        Task::Dist => dist::main(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
