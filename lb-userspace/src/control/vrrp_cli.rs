//! `lbctl vrrp release` and `takeover`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::control::cli::CliError;
use crate::control::names;
use crate::control::status::{VrrpState, VrrpStatus};
use crate::io::control::Client;
use crate::vrrp::Command;

/// How often is looked whether it is done.
const LOOK: Duration = Duration::from_millis(50);
/// Intervals after which it is given up, and how long at least.
const ADVERTS: u32 = 10;
const AT_LEAST: Duration = Duration::from_secs(5);

/// `lbctl vrrp`.
#[derive(Debug, Subcommand)]
pub enum VrrpCommand {
    /// Hand over to the other director, and take nothing back from it while it lives.
    Release(VrrpArgs),
    /// Become master, although the other one has a higher priority or nopreempt is set.
    Takeover(VrrpArgs),
}

/// Which instances.
#[derive(Debug, Args)]
pub struct VrrpArgs {
    /// An instance (its sync group moves with it) or a sync group, or the beginning of its name.
    name: String,
}

/// Gives the order and waits until it is carried out. Exit status 1 when it was in vain.
///
/// # Errors
/// When the daemon cannot be reached or refuses, or nothing can be written.
pub fn run(daemon: &mut Client, command: &VrrpCommand) -> Result<u8, CliError> {
    let (args, order) = match command {
        VrrpCommand::Release(args) => (args, Command::Release),
        VrrpCommand::Takeover(args) => (args, Command::Takeover),
    };
    let status = daemon.status()?;
    let (name, members) = names::vrrp(&status, &args.name).map_err(CliError::Name)?;
    let of = |v: &&VrrpStatus| members.contains(&v.name.as_str());
    let slowest = status.vrrp.iter().filter(of).map(|v| v.advert_ms).max();
    let patience = (Duration::from_millis(slowest.unwrap_or(0)) * ADVERTS).max(AT_LEAST);
    let mut out = io::stdout().lock();
    for line in daemon.command(name, order)? {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    let end = now() + patience;
    loop {
        let status = daemon.status()?;
        let instances: Vec<&VrrpStatus> = status.vrrp.iter().filter(of).collect();
        if let Some((code, words)) = outcome(order, &instances, now() >= end) {
            writeln!(out, "{words}")?;
            return Ok(code);
        }
        #[expect(clippy::disallowed_methods, reason = "lbctl has nothing else to do")]
        std::thread::sleep(LOOK);
    }
}

#[expect(clippy::disallowed_methods, reason = "how long an operator has waited")]
fn now() -> Instant {
    Instant::now()
}

/// What came of it: exit status and words; none when it is not decided yet.
fn outcome(order: Command, instances: &[&VrrpStatus], late: bool) -> Option<(u8, String)> {
    let all = |state| instances.iter().all(|v| v.state == state);
    let here = |v: &&VrrpStatus| v.addresses.iter().any(|a| a.present);
    let done = match order {
        Command::Release => {
            if instances.iter().any(|v| v.state == VrrpState::Master) {
                return Some((1, "nobody took over: this host is master again".to_owned()));
            }
            !instances.iter().any(here)
        }
        Command::Takeover => all(VrrpState::Master),
    };
    match (done, order) {
        (true, Command::Release) => {
            let of = instances.iter().find_map(|v| v.master);
            let who = of.map_or_else(String::new, |addr| format!(" to {addr}"));
            Some((0, format!("handed over{who}")))
        }
        (true, Command::Takeover) => Some((0, "this host is master".to_owned())),
        (false, Command::Release | Command::Takeover) => {
            late.then(|| (1, "not done yet: see lbctl show vrrp".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::AddressStatus;

    #[test]
    fn when_an_order_is_carried_out() {
        let instance = |state, present| VrrpStatus {
            state,
            master: Some([10, 0, 0, 2].into()),
            addresses: vec![AddressStatus {
                present,
                ..AddressStatus::default()
            }],
            ..VrrpStatus::default()
        };
        use VrrpState::{Backup, Fault, Master};
        for (order, instances, late, want) in [
            (Command::Release, vec![(Backup, true)], false, None),
            (Command::Release, vec![(Backup, true)], true, Some(1)),
            (Command::Release, vec![(Backup, false)], false, Some(0)),
            (
                Command::Release,
                vec![(Backup, false), (Backup, true)],
                false,
                None,
            ),
            (Command::Release, vec![(Master, true)], false, Some(1)),
            (Command::Release, vec![(Fault, false)], false, Some(0)),
            (Command::Takeover, vec![(Master, true)], false, Some(0)),
            (
                Command::Takeover,
                vec![(Master, true), (Backup, false)],
                false,
                None,
            ),
            (Command::Takeover, vec![(Backup, false)], true, Some(1)),
        ] {
            let instances: Vec<_> = instances.into_iter().map(|(s, p)| instance(s, p)).collect();
            let refs: Vec<&VrrpStatus> = instances.iter().collect();
            let code = outcome(order, &refs, late).map(|(code, _)| code);
            assert_eq!(code, want, "{order:?} {instances:?}");
        }
    }
}
