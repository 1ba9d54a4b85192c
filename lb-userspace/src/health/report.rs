//! The checks as `lbctl` shows them.

use std::time::Duration;

use crate::control::status::{CheckState, CheckStatus};
use crate::health::Health;
use crate::health::checker::{Checker, Last, Verdict};
use crate::time::Time;

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn words(last: &Last) -> String {
    match &last.verdict {
        Verdict::Ok => "ok".to_owned(),
        Verdict::Weighs(weighs) => format!("ok, {weighs}"),
        Verdict::Failed(why) => why.to_string(),
        Verdict::NotRun(why) => format!("not run: {}", why.why),
    }
}

fn state(c: &Checker, suspended: bool) -> CheckState {
    match (suspended, c.has_run, c.up) {
        (true, true | false, true | false) => CheckState::Suspended,
        (false, true, true) => CheckState::Up,
        (false, true, false) => CheckState::Down,
        (false, false, true) => CheckState::AssumedUp,
        (false, false, false) => CheckState::AssumedDown,
    }
}

impl Health {
    /// All checks, in the order of the configuration.
    #[must_use]
    pub fn report(&self, now: Time) -> Vec<CheckStatus> {
        let mut out = Vec::with_capacity(self.places.len());
        for pool in &self.pools {
            let suspended = pool.suspended();
            for server in &pool.servers {
                for (_, c) in &server.checkers {
                    out.push(CheckStatus {
                        service: pool.key,
                        server: server.addr,
                        server_port: server.port,
                        kind: c.check.kind.name().to_owned(),
                        target: c.check.addr,
                        target_port: c.check.port,
                        state: state(c, suspended),
                        last_result: c.last.as_ref().map(words),
                        last_duration_us: c
                            .last
                            .as_ref()
                            .map(|l| u64::try_from(l.took.as_micros()).unwrap_or(u64::MAX)),
                        last_ago_ms: c.last.as_ref().map(|l| millis(now.since(l.at))),
                        since_ms: millis(now.since(c.since)),
                        retries_used: if c.has_run { c.retries } else { 0 },
                        retry: c.check.retry,
                        running: c.run.is_some(),
                        next_in_ms: (c.run.is_none() && !suspended && c.runs_by_itself())
                            .then(|| millis(c.due.since(now))),
                        runs: c.runs,
                        failures: c.failures,
                    });
                }
            }
        }
        out
    }

    /// Why a real server is down; none when it is not.
    #[must_use]
    pub fn why_down(
        &self,
        service: &crate::model::ServiceKey,
        addr: std::net::IpAddr,
        port: u16,
    ) -> Option<String> {
        let pool = self.pool(service)?;
        pool.servers
            .iter()
            .find(|s| (s.addr, s.port) == (addr, port))
            .filter(|s| !s.up)
            .and_then(|s| s.why())
    }
}
