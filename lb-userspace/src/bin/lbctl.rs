//! The operator's tool.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lb_userspace::control::config_cli::{self, CheckArgs, ConvertArgs, ExplainArgs};

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
    /// Convert a configuration between keepalived.conf and TOML.
    Convert(ConvertArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(args) => config_cli::check(&args),
        Command::Explain(args) => config_cli::explain(&args),
        Command::Convert(args) => config_cli::convert(&args),
    }
}
