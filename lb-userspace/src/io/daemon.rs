//! `lbd`: the shell around the engine. One thread, one loop: everything that has happened is given
//! to the engine, what it wants done is done, in its order.

mod bfd;
mod errands;
mod house;
mod interfaces;
mod load;
mod perform;
mod program;
mod reload;
mod report;
mod routing;
mod run;
mod settings;
mod strays;
mod sweep;
mod vmac;

use std::process::ExitCode;

use clap::Parser as _;

use super::bpf;
use super::log::Log;
use super::options::Options;

/// `lbd`'s `main`.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    let log = match Log::start(&options.log_level, options.log_to, options.log_facility) {
        Ok(log) => log,
        Err(error) => {
            eprintln!("lbd: the log: {error}");
            return ExitCode::from(2);
        }
    };
    if options.unload {
        return unload(&options);
    }
    if options.test {
        return load::test(&options);
    }
    match run::run(&options, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(run::Exit::Refused) => ExitCode::from(2),
        Err(run::Exit::Failed(error)) => {
            tracing::error!("{}", in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain in one line, as the log has one event a line, and what a plain user has to do.
fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    let mut forbidden = false;
    for cause in error.chain() {
        let text = cause.to_string();
        // Most errors say their cause themselves.
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
        forbidden |= cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    }
    if forbidden && !nix::unistd::Uid::effective().is_root() {
        line.push_str("; lbd must be run as root");
    }
    line
}

/// Takes the program off and removes the pins.
fn unload(options: &Options) -> ExitCode {
    if !options.pin.exists() {
        tracing::info!("nothing is pinned in {}", options.pin.display());
        return ExitCode::SUCCESS;
    }
    let config = bpf::Config {
        pin: options.pin.clone(),
        ..bpf::Config::default()
    };
    let unloaded = bpf::PinLock::take(&options.pin)
        .and_then(|_lock| bpf::DataPlane::open(&config).and_then(bpf::DataPlane::unload));
    match unloaded {
        Ok(()) => {
            tracing::info!(
                "the program is off all interfaces, {} is gone",
                options.pin.display()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
