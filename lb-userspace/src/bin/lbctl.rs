//! The operator's tool.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lb_userspace::control::config_cli::{self, CheckArgs, ExplainArgs};

#[derive(Parser)]
#[command(version, about = "Looks at and steers lbd")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check configuration files.
    Check(CheckArgs),
    /// Explain a keyword of keepalived.conf.
    Explain(ExplainArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => config_cli::check(&args),
        Command::Explain(args) => config_cli::explain(&args),
    }
}
