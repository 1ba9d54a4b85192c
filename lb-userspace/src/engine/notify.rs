//! Who is to be told of what: scripts to run and lines for the FIFOs, with keepalived's words and in
//! its order (the script of the state, the one of all states, the FIFOs).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::diff::service_name;
use super::mail::{self, Message};
use crate::health::{Change, Health};
use crate::model::{Model, RealServer, Script, Service, ServiceKey, VrrpNotify};
use crate::vrrp::{Reason, State, Transition};

/// Which FIFOs a line is for, beside `notify_fifo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `vrrp_notify_fifo`.
    Vrrp,
    /// `lvs_notify_fifo`.
    Lvs,
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// To run, in this order, each with all of its arguments.
    pub scripts: Vec<Script>,
    /// For the FIFOs, without the end of the line.
    pub line: String,
    /// For which of them.
    pub side: Side,
    /// To be sent.
    pub mail: Option<Message>,
}

/// What there is to notify, and what was notified.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    instances: BTreeMap<String, VrrpNotify>,
    groups: Vec<Group>,
    /// The state of each instance that was told.
    states: BTreeMap<String, State>,
    /// The subject of the last mail about each instance and group: none is sent twice in a row.
    mailed: BTreeMap<(bool, String), String>,
    /// `no_email_faults`.
    no_faults: bool,
}

#[derive(Debug)]
struct Group {
    name: String,
    members: Vec<String>,
    notify: VrrpNotify,
    /// What all members were in at last.
    state: Option<State>,
}

/// The word for a state; none for one that is not told.
const fn word(state: State) -> Option<&'static str> {
    match state {
        State::Init => None,
        State::Backup => Some("BACKUP"),
        State::Master => Some("MASTER"),
        State::Fault => Some("FAULT"),
        State::Stopped => Some("STOP"),
    }
}

/// A state of an instance or a group, with keepalived's arguments for `notify`.
fn vrrp(
    kind: &str,
    name: &str,
    state: &str,
    priority: u8,
    special: Option<&Script>,
    any: Option<&Script>,
) -> Notification {
    let any = any.map(|s| {
        let more = [kind, name, state].map(str::to_owned);
        let mut s = s.clone();
        s.command.extend(more);
        s.command.push(priority.to_string());
        s
    });
    Notification {
        scripts: special.cloned().into_iter().chain(any).collect(),
        line: format!("{kind} \"{name}\" {state} {priority}"),
        side: Side::Vrrp,
        mail: None,
    }
}

impl Notifier {
    /// Takes over a configuration beside the one before, whose instances may still have to be told
    /// that they are gone.
    pub(super) fn add(&mut self, model: &Model) {
        self.no_faults = model.global.mail.no_faults;
        for i in &model.instances {
            self.instances.insert(i.name.clone(), i.notify.clone());
        }
        let mut before = std::mem::take(&mut self.groups);
        self.groups = model
            .sync_groups
            .iter()
            .map(|g| Group {
                name: g.name.clone(),
                members: g.members.clone(),
                notify: g.notify.clone(),
                state: before
                    .iter_mut()
                    .find(|b| b.name == g.name)
                    .and_then(|b| b.state.take()),
            })
            .collect();
    }

    /// Forgets what is not configured any more.
    pub(super) fn retain(&mut self, model: &Model) {
        let there = |name: &String| model.instances.iter().any(|i| i.name == *name);
        self.instances.retain(|name, _| there(name));
        self.states.retain(|name, _| there(name));
        let groups = &self.groups;
        self.mailed.retain(|(group, name), _| match group {
            true => groups.iter().any(|g| g.name == *name),
            false => there(name),
        });
    }

    /// An instance changed its state.
    pub(super) fn transition(&mut self, t: &Transition) -> Vec<Notification> {
        let Some(state) = word(t.to) else {
            return Vec::new();
        };
        let none = VrrpNotify::default();
        let n = self.instances.get(&*t.name).unwrap_or(&none);
        let (state, script) = match (t.to, &t.reason) {
            (State::Stopped, Reason::Removed) if n.deleted => {
                ("DELETED", n.deleted_script.as_ref())
            }
            (State::Stopped, Reason::Removed) => ("FAULT", n.fault.as_ref()),
            (State::Stopped, _) => (state, n.stop.as_ref()),
            (State::Master, _) => (state, n.master.as_ref()),
            (State::Backup, _) => (state, n.backup.as_ref()),
            (State::Fault, _) => (state, n.fault.as_ref()),
            (State::Init, _) => (state, None),
        };
        let alert = n.smtp_alert;
        let mut own = vrrp(
            "INSTANCE",
            &t.name,
            state,
            t.priority,
            script,
            n.any.as_ref(),
        );
        let message = mail::instance(&t.name, t.to, state).filter(|_| alert);
        own.mail = message.and_then(|m| self.unless_said((false, t.name.to_string()), m));
        self.states.insert(t.name.to_string(), t.to);
        let mut out = vec![own];
        out.extend(self.group(&t.name));
        out
    }

    /// A mail, unless it is none to be sent.
    fn unless_said(&mut self, of: (bool, String), message: Message) -> Option<Message> {
        let fault = message.subject.ends_with("FAULT state");
        let again = self.mailed.get(&of) == Some(&message.subject);
        if again || fault && self.no_faults {
            return None;
        }
        self.mailed.insert(of, message.subject.clone());
        Some(message)
    }

    /// `notify_priority_changes`: the effective priority of an instance changed.
    pub(super) fn priority(&self, name: &str, priority: u8) -> Option<Notification> {
        let wanted = self.instances.get(name).is_some_and(|n| n.priority_changes);
        let of_group = |g: &Group| g.notify.priority_changes && g.members.iter().any(|m| m == name);
        if !wanted && !self.groups.iter().any(of_group) {
            return None;
        }
        let state = match self.states.get(name) {
            Some(State::Master) => "MASTER_PRIORITY",
            _ => "BACKUP_PRIORITY",
        };
        Some(vrrp("INSTANCE", name, state, priority, None, None))
    }

    /// A group's state is that of all of its members; while they move it is the one before.
    fn group(&mut self, member: &str) -> Option<Notification> {
        let group = self
            .groups
            .iter_mut()
            .find(|g| g.members.iter().any(|m| m == member))?;
        let mut states = group.members.iter().map(|m| self.states.get(m));
        let state = *states.next()??;
        if !states.all(|s| s == Some(&state)) || group.state == Some(state) {
            return None;
        }
        group.state = Some(state);
        let n = &group.notify;
        let script = match state {
            State::Init => None,
            State::Backup => n.backup.as_ref(),
            State::Master => n.master.as_ref(),
            State::Fault => n.fault.as_ref(),
            State::Stopped => n.stop.as_ref(),
        };
        // keepalived gives groups no priority.
        let mut told = vrrp(
            "GROUP",
            &group.name,
            word(state)?,
            0,
            script,
            n.any.as_ref(),
        );
        let name = group.name.clone();
        let message = mail::group(&name, state).filter(|_| n.smtp_alert);
        told.mail = message.and_then(|m| self.unless_said((true, name), m));
        Some(told)
    }

    /// A master heard an advert of lower priority.
    pub(super) fn lower_priority(&self, name: &str, priority: u8) -> Notification {
        let n = self.instances.get(name);
        let script = n.and_then(|n| n.master_rx_lower_pri.as_ref());
        vrrp(
            "INSTANCE",
            name,
            "MASTER_RX_LOWER_PRI",
            priority,
            script,
            None,
        )
    }

    /// All states that were told, for `fifo_write_vrrp_states_on_reload`: lines without scripts.
    pub(super) fn states(&self, priority: impl Fn(&str) -> Option<u8>) -> Vec<Notification> {
        let instances = self.states.iter().filter_map(|(name, state)| {
            let state = word(*state)?;
            Some(vrrp("INSTANCE", name, state, priority(name)?, None, None))
        });
        let groups = self.groups.iter().filter_map(|g| {
            let state = word(g.state?)?;
            Some(vrrp("GROUP", &g.name, state, 0, None, None))
        });
        instances.chain(groups).collect()
    }
}

/// `[192.0.2.1]:tcp:80`.
pub(super) fn endpoint(addr: IpAddr, port: u16, key: &ServiceKey) -> String {
    let protocol = key.protocol.name().to_ascii_lowercase();
    format!("[{addr}]:{protocol}:{port}")
}

/// A virtual server; a group by its name.
pub(super) fn virtual_server(service: &Service) -> String {
    match &service.group {
        Some(group) => format!("[{}]:0", group.name),
        None => endpoint(service.key.addr, service.key.port, &service.key),
    }
}

fn quorum(service: &Service, up: bool) -> Notification {
    let (script, state) = match up {
        true => (&service.quorum_up, "UP"),
        false => (&service.quorum_down, "DOWN"),
    };
    Notification {
        scripts: script.iter().cloned().collect(),
        line: format!("VS {} {state}", virtual_server(service)),
        side: Side::Lvs,
        mail: None,
    }
}

fn server(service: &Service, server: &RealServer, up: bool) -> Notification {
    let (script, state) = match up {
        true => (&server.notify_up, "UP"),
        false => (&server.notify_down, "DOWN"),
    };
    let at = endpoint(server.addr, server.port, &service.key);
    Notification {
        scripts: script.iter().cloned().collect(),
        line: format!("RS {at} {} {state}", virtual_server(service)),
        side: Side::Lvs,
        mail: None,
    }
}

fn with_mail(service: &Service, up: bool, change: &Change) -> Notification {
    let body = mail::quorum(service, change).filter(|_| service.smtp_alert);
    Notification {
        mail: body.map(|b| mail::service(service, up, &b)),
        ..quorum(service, up)
    }
}

/// A real server goes while it is up.
fn server_goes(service: &Service, r: &RealServer, why: &str) -> Notification {
    Notification {
        mail: r.smtp_alert.then(|| mail::server(service, r, false, why)),
        ..server(service, r, false)
    }
}

/// A change of a service or a real server; `next` is what changed after it.
pub(super) fn health(
    service: &Service,
    change: &Change,
    next: Option<&Change>,
) -> Option<Notification> {
    let find = |at: (IpAddr, u16)| {
        let mut servers = service.real_servers.iter();
        servers.find(|r| (r.addr, r.port) == at)
    };
    match change {
        Change::ServerUp { server: at, .. } => Some(server(service, find(*at)?, true)),
        Change::ServerDown { server: at, .. } => Some(server(service, find(*at)?, false)),
        // With `alpha` a server is down from the start, which is told when it is known to be true.
        Change::CheckDown {
            server: at,
            kind,
            first: true,
            ..
        } => {
            let r = find(*at)?;
            let goes = matches!(next, Some(Change::ServerDown { server, .. }) if server == at);
            let mut checks = r.checks.iter().filter(|c| c.kind.name() == *kind);
            (checks.any(|c| c.alpha) && !goes).then(|| server(service, r, false))
        }
        Change::QuorumGained { .. } => Some(with_mail(service, true, change)),
        Change::QuorumLost { .. } => Some(with_mail(service, false, change)),
        Change::CheckUp { .. }
        | Change::Weight { .. }
        | Change::CheckForgiven { .. }
        | Change::CheckDown { .. }
        | Change::CheckNotRun { .. }
        | Change::LeftOut { .. }
        | Change::ByHand { .. }
        | Change::SorryIn { .. }
        | Change::SorryOut { .. } => None,
    }
}

/// The servers of a service that are up.
fn living<'a>(service: &'a Service, health: &'a Health) -> impl Iterator<Item = &'a RealServer> {
    let servers = service.real_servers.iter();
    servers.filter(|r| health.is_up(&service.key, r.addr, r.port))
}

/// `omega`: on stop everything goes down.
pub(super) fn stop(model: &Model, health: &Health) -> Vec<Notification> {
    let mut out = Vec::new();
    for s in model.services.iter().filter(|s| s.omega) {
        let why = "Shutting down";
        out.extend(living(s, health).map(|r| server_goes(s, r, why)));
        out.push(Notification {
            mail: s.smtp_alert.then(|| mail::service(s, false, why)),
            ..quorum(s, false)
        });
    }
    out
}

/// The services of a model by their names.
fn by_name(model: &Model) -> BTreeMap<String, &Service> {
    model
        .services
        .iter()
        .map(|s| (service_name(s), s))
        .collect()
}

/// The servers of a service that are up and that it has not in another configuration.
fn only_here<'a>(
    service: &'a Service,
    other: Option<&'a Service>,
    health: &'a Health,
) -> impl Iterator<Item = &'a RealServer> {
    // The port of a group's servers is that of its first address.
    let same = |a: &RealServer, b: &RealServer| {
        a.addr == b.addr && (service.group.is_some() || a.port == b.port)
    };
    let there = move |r: &RealServer| {
        let mut others = other.into_iter().flat_map(|o| &o.real_servers);
        others.any(|o| same(o, r))
    };
    living(service, health).filter(move |r| !there(r))
}

/// What a reload takes out of service while it is up; `health` is still that of `old`.
pub(super) fn removed(old: &Model, new: &Model, health: &Health) -> Vec<Notification> {
    let after = by_name(new);
    let mut out = Vec::new();
    for s in &old.services {
        let now = after.get(&service_name(s)).copied();
        let gone = only_here(s, now, health);
        out.extend(gone.map(|r| server_goes(s, r, "Removing")));
        if now.is_none() && health.quorum(&s.key).is_some_and(|(up, _)| up) {
            out.push(quorum(s, false));
        }
    }
    out
}

/// `rs_init_notifies`: the servers that were not there before and begin as up.
pub(super) fn begun(old: &Model, new: &Model, health: &Health) -> Vec<Notification> {
    let mut out = Vec::new();
    if new.global.rs_init_notifies {
        let before = by_name(old);
        for s in &new.services {
            let was = before.get(&service_name(s)).copied();
            out.extend(only_here(s, was, health).map(|r| server(s, r, true)));
        }
    }
    out
}

#[cfg(test)]
mod tests;
