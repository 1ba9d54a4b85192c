//! Mails about changes, with keepalived's words.

use super::notify::{endpoint, virtual_server};
use crate::health::{Change, Transition};
use crate::model::{CheckKind, RealServer, Service};
use crate::vrrp::State;

/// A mail; who sends it puts `router_id` before its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Without `router_id`.
    pub subject: String,
    /// One line.
    pub body: String,
}

/// An instance is in a state; `word` as in [`State`], or `DELETED`.
pub(super) fn instance(name: &str, state: State, word: &str) -> Option<Message> {
    let (entering, body) = match (state, word) {
        (State::Init, _) => return None,
        (_, "DELETED") => ("Deleted", "=> VRRP Deleted at reload <="),
        (State::Master, _) => (
            "Entering MASTER state",
            "=> VRRP Instance is now owning VRRP VIPs <=",
        ),
        (State::Backup, _) => (
            "Entering BACKUP state",
            "=> VRRP Instance is no longer owning VRRP VIPs <=",
        ),
        (State::Stopped, "STOP") => ("Stopping", "=> VRRP Instance stopping <="),
        (State::Fault | State::Stopped, _) => (
            "Entering FAULT state",
            "=> VRRP Instance is no longer owning VRRP VIPs <=",
        ),
    };
    Some(Message {
        subject: format!("VRRP Instance {name} - {entering}"),
        body: body.to_owned(),
    })
}

/// All members of a group are in a state.
pub(super) fn group(name: &str, state: State) -> Option<Message> {
    let (entering, body) = match state {
        State::Init => return None,
        State::Master => (
            "Entering MASTER state",
            "=> All VRRP group instances are now in MASTER state <=",
        ),
        State::Backup => (
            "Entering BACKUP state",
            "=> All VRRP group instances are now in BACKUP state <=",
        ),
        State::Fault => (
            "Entering FAULT state",
            "=> All VRRP group instances are now in FAULT state <=",
        ),
        State::Stopped => (
            "Stopping",
            "=> All VRRP group instances are now stopping <=",
        ),
    };
    Some(Message {
        subject: format!("VRRP Group {name} - {entering}"),
        body: body.to_owned(),
    })
}

/// The state of a real server, after one of its checks or because it goes.
pub(super) fn server(service: &Service, server: &RealServer, up: bool, body: &str) -> Message {
    let at = endpoint(server.addr, server.port, &service.key);
    let state = if up { "UP" } else { "DOWN" };
    let service = virtual_server(service);
    Message {
        subject: format!("Realserver {at} of virtual server {service} - {state}"),
        body: format!("=> {body} <="),
    }
}

/// The state of a virtual server.
pub(super) fn service(service: &Service, up: bool, body: &str) -> Message {
    let state = if up { "UP" } else { "DOWN" };
    Message {
        subject: format!("Virtualserver {} - {state}", virtual_server(service)),
        body: format!("=> {body} <="),
    }
}

/// What is said of the quorum.
pub(super) fn quorum(service: &Service, change: &Change) -> Option<String> {
    let (what, weight, threshold) = match change {
        Change::QuorumGained { weight, threshold } => ("Gained quorum", weight, threshold),
        Change::QuorumLost {
            weight,
            threshold,
            start: false,
        } => ("Lost quorum", weight, threshold),
        Change::QuorumLost {
            weight,
            threshold,
            start: true,
        } => ("Starting with quorum down", weight, threshold),
        _ => return None,
    };
    let (quorum, hysteresis) = (service.quorum, service.hysteresis);
    Some(format!(
        "{what} {quorum}+{hysteresis}={threshold} <= {weight}"
    ))
}

/// What is said of a check: by its kind, as each of them has its own words.
fn words(kind: &CheckKind, good: bool, why: &str) -> String {
    let ending = if good { "succeed" } else { "failed" };
    match kind {
        CheckKind::Tcp => format!("TCP CHECK {ending} on service"),
        CheckKind::Udp(_) => format!("UDP CHECK {ending} on service"),
        CheckKind::Ping => format!("ICMP CHECK {ending} on service"),
        CheckKind::Dns(_) => format!("DNS_CHECK: {ending} on service"),
        CheckKind::Http(_) | CheckKind::Smtp(_) if good => "CHECK succeed on service".to_owned(),
        CheckKind::Http(_) => "CHECK failed on service : HTTP request failed".to_owned(),
        CheckKind::Smtp(_) => format!("CHECK failed on service : {why}"),
        CheckKind::Misc(_) if good => "MISC CHECK succeeded on service".to_owned(),
        CheckKind::Misc(_) => "MISC CHECK failed on service".to_owned(),
        CheckKind::DrPath => format!("DR_PATH CHECK {ending} on service"),
        CheckKind::Bfd(name) if good => format!("BFD CHECK {name} succeeded on service"),
        CheckKind::Bfd(name) => format!("BFD CHECK {name} failed on service"),
        // keepalived has none for files.
        CheckKind::File(_) => format!("FILE CHECK {ending} on service"),
    }
}

/// The mail about a check that changed. `next`: what happened right behind it; `alive`: the state of a
/// real server after that.
pub(super) fn check(
    service: &Service,
    change: &Change,
    next: Option<&Transition>,
    no_checkers: bool,
    alive: impl Fn(&RealServer) -> bool,
) -> Option<Message> {
    let (at, kind, good, first, why) = match change {
        Change::CheckUp {
            server,
            kind,
            first,
        } => (*server, kind, true, *first, String::new()),
        Change::CheckDown {
            server,
            kind,
            first,
            why,
            ..
        } => (*server, kind, false, *first, why.to_string()),
        _ => return None,
    };
    let mut servers = service.real_servers.iter();
    let server = servers.find(|r| (r.addr, r.port) == at)?;
    let moved = next.is_some_and(|t| match &t.change {
        Change::ServerUp { server, .. } | Change::ServerDown { server, .. } => *server == at,
        _ => false,
    });
    // The first run of a check that was assumed to be so says nothing new.
    if !server.smtp_alert || !moved && (no_checkers || first) {
        return None;
    }
    let check = server.checks.iter().find(|c| c.kind.name() == *kind)?;
    let body = words(&check.kind, good, &why);
    Some(self::server(service, server, alive(server), &body))
}
