//! What `lbctl` prints: text from a [`Status`], without input or output.
//!
//! [`ipvs`] has the listings in ipvsadm's own shape, for eyes and scripts that are used to it; the
//! others are tables of this tool's own.

pub mod bfd;
pub mod health;
pub mod ipvs;
pub mod overview;
pub mod reasons;
pub mod reload;
mod table;
#[cfg(test)]
mod tests;
pub mod vrrp;

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use crate::control::status::{
    BackendStatus, BfdStatus, CheckStatus, Discarded, ReasonStatus, RoutingStatus, ServiceStatus,
    Status, SyncGroupStatus, VrrpStatus,
};
use crate::health::ByHand;

/// Whether to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Escape sequences of a terminal.
    On,
    /// Text alone.
    Off,
}

/// How good a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    Title,
    Good,
    Fair,
    Bad,
}

impl Color {
    fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Title => "1",
            Tone::Good => "32",
            Tone::Fair => "33",
            Tone::Bad => "31",
        };
        match self {
            Color::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Color::Off => text.to_owned(),
        }
    }
}

/// A view that `lbctl show` and `lbctl watch` have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The services, as `ipvsadm -Ln`.
    Services,
    /// As `ipvsadm -Ln --stats`.
    Stats,
    /// As `ipvsadm -Ln --rate`.
    Rate,
    /// As `ipvsadm -Ln --thresholds`.
    Thresholds,
    /// The VRRP instances.
    Vrrp,
    /// BFD sessions.
    Bfd,
    /// Real servers and their checks.
    Health,
    /// Why frames were passed or dropped; `all`: also what never happened.
    Reasons {
        /// Also what never happened.
        all: bool,
    },
    /// The daemon, the program, and the rest in short.
    Overview,
}

/// The text of a view; ends with a newline.
#[must_use]
pub fn render(view: View, status: &Status, color: Color) -> String {
    match view {
        View::Services => ipvs::services(status),
        View::Stats => ipvs::stats(status),
        View::Rate => ipvs::rate(status),
        View::Thresholds => ipvs::thresholds(status),
        View::Vrrp => vrrp::vrrp(status, color),
        View::Bfd => bfd::bfd(status, color),
        View::Health => health::health(status, color),
        View::Reasons { all } => reasons::reasons(status, all, color),
        View::Overview => overview::overview(status, color),
    }
}

/// The part of the status that a view is made from, to be written as JSON.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Part<'a> {
    /// Of [`View::Services`], [`View::Stats`], [`View::Rate`] and [`View::Thresholds`].
    Services(&'a [ServiceStatus]),
    /// Of [`View::Vrrp`].
    Vrrp {
        /// The instances.
        instances: &'a [VrrpStatus],
        /// Their groups.
        sync_groups: &'a [SyncGroupStatus],
        /// What is set whoever is master.
        statics: &'a [RoutingStatus],
        /// Packets that belong to none of them.
        unclaimed: &'a [Discarded],
    },
    /// Of [`View::Bfd`].
    Bfd {
        /// The sessions.
        sessions: &'a [BfdStatus],
        /// Packets that were not accepted.
        refused: &'a [Discarded],
    },
    /// Of [`View::Health`].
    Health {
        /// Which servers are up, and the quorum.
        services: &'a [ServiceStatus],
        /// The checks.
        checks: &'a [CheckStatus],
    },
    /// Of [`View::Reasons`].
    Reasons(&'a [ReasonStatus]),
    /// Of [`View::Overview`].
    All(&'a Status),
}

/// The part of the status that a view is made from.
#[must_use]
pub fn part(view: View, status: &Status) -> Part<'_> {
    match view {
        View::Services | View::Stats | View::Rate | View::Thresholds => {
            Part::Services(&status.services)
        }
        View::Vrrp => Part::Vrrp {
            instances: &status.vrrp,
            sync_groups: &status.sync_groups,
            statics: &status.statics,
            unclaimed: &status.vrrp_unclaimed,
        },
        View::Bfd => Part::Bfd {
            sessions: &status.bfd,
            refused: &status.bfd_refused,
        },
        View::Health => Part::Health {
            services: &status.services,
            checks: &status.checks,
        },
        View::Reasons { .. } => Part::Reasons(&status.reasons),
        View::Overview => Part::All(status),
    }
}

/// `10.0.0.1:80`, `[2001:db8::1]:80`.
fn endpoint(addr: IpAddr, port: u16) -> String {
    SocketAddr::new(addr, port).to_string()
}

/// What is set by hand for a server; none when nothing is.
fn by_hand(b: &BackendStatus) -> Option<String> {
    let weight = b.weight;
    let set = b.by_hand;
    (set != ByHand::default()).then(|| format!("by hand: {set} (configured weight {weight})"))
}

/// A span of time in at most two units: `3d 4h`, `2m 5s`, `12s`, `1.25s`, `40ms`.
fn span(ms: u64) -> String {
    let s = ms / 1000;
    let two = |a: u64, unit: &str, b: u64, lesser: &str| match b {
        0 => format!("{a}{unit}"),
        b => format!("{a}{unit} {b}{lesser}"),
    };
    match s {
        0 => format!("{ms}ms"),
        1..=9 => {
            let text = format!("{}.{:02}", s, ms % 1000 / 10);
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
        10..=59 => format!("{s}s"),
        60..=3599 => two(s / 60, "m", s % 60, "s"),
        3600..=86_399 => two(s / 3600, "h", s % 3600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// `1 retry`, `2 retries`.
fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
