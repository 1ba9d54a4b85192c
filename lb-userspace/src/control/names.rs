//! What an operator types for a service, a real server, an instance, and what is meant by it.

use std::net::{IpAddr, SocketAddr};

use crate::control::status::{BackendStatus, ServiceStatus, Status};

/// Choices that an error lists at most.
const LISTED: usize = 20;

/// Something that can be named.
#[derive(Clone, Debug)]
pub struct Choice<T> {
    /// What is meant.
    pub value: T,
    /// Its names; the first one says it without doubt and is what errors list.
    pub names: Vec<String>,
}

/// What `text` means: what has this name, else the only one with a name that begins so. Upper and lower
/// case are the same. An address is never completed: `10.0.0.1` is not `10.0.0.11`.
///
/// # Errors
/// When there is none, or more than one; the message lists what there is.
pub fn pick<T: Copy>(what: &str, text: &str, choices: &[Choice<T>]) -> Result<T, String> {
    let wanted = text.to_ascii_lowercase();
    let fit = |fits: &dyn Fn(&str) -> bool| -> Vec<&Choice<T>> {
        let named = |c: &&Choice<T>| c.names.iter().any(|n| fits(&n.to_ascii_lowercase()));
        choices.iter().filter(named).collect()
    };
    let mut found = fit(&|name| name == wanted);
    let whole = wanted.parse::<IpAddr>().is_ok() || wanted.parse::<SocketAddr>().is_ok();
    if found.is_empty() && !whole && !wanted.is_empty() {
        found = fit(&|name| name.starts_with(&wanted));
    }
    match found.as_slice() {
        [one] => Ok(one.value),
        [] if choices.is_empty() => Err(format!("there is no {what} at all")),
        [] => Err(format!(
            "there is no {what} `{text}`; {}",
            list(choices.iter())
        )),
        many => Err(format!(
            "`{text}` may be any of {} {what}s; {}",
            many.len(),
            list(many.iter().copied())
        )),
    }
}

fn list<'a, T: 'a>(choices: impl ExactSizeIterator<Item = &'a Choice<T>>) -> String {
    let all = choices.len();
    let names: Vec<&str> = choices
        .take(LISTED)
        .filter_map(|c| c.names.first().map(String::as_str))
        .collect();
    let more = match all.saturating_sub(LISTED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    format!("choose from: {}{more}", names.join(", "))
}

/// The service that `text` means; a group by its name or any of its addresses.
///
/// # Errors
/// As [`pick`].
pub fn service<'s>(status: &'s Status, text: &str) -> Result<&'s ServiceStatus, String> {
    let choices: Vec<Choice<&ServiceStatus>> = status
        .services
        .iter()
        .filter(|s| !s.shares_checks)
        .map(|s| {
            let mut names = Vec::new();
            let of_group = |o: &&ServiceStatus| {
                o.key == s.key
                    || o.group.is_some() && o.group == s.group && o.key.protocol == s.key.protocol
            };
            for one in status.services.iter().filter(of_group) {
                let at = SocketAddr::new(one.key.addr, one.key.port);
                let protocol = one.key.protocol.name();
                names.extend([
                    format!("{at}/{}", protocol.to_ascii_lowercase()),
                    at.to_string(),
                    format!("{protocol} {at}"),
                    one.key.addr.to_string(),
                ]);
            }
            names.extend(s.group.clone());
            Choice { value: s, names }
        })
        .collect();
    pick("service", text, &choices)
}

/// The real server (or the sorry server) of `service` that `text` means.
///
/// # Errors
/// As [`pick`].
pub fn server<'s>(service: &'s ServiceStatus, text: &str) -> Result<&'s BackendStatus, String> {
    let choices: Vec<Choice<&BackendStatus>> = service
        .backends
        .iter()
        .map(|b| Choice {
            value: b,
            names: vec![
                SocketAddr::new(b.addr, b.port).to_string(),
                b.addr.to_string(),
            ],
        })
        .collect();
    pick("real server", text, &choices)
}

/// The VRRP instance or sync group that `text` means, by its whole name, and its instances.
///
/// # Errors
/// As [`pick`].
pub fn vrrp<'s>(status: &'s Status, text: &str) -> Result<(&'s str, Vec<&'s str>), String> {
    let instances = status.vrrp.iter().map(|v| v.name.as_str());
    let groups = status.sync_groups.iter().map(|g| g.name.as_str());
    let choices: Vec<Choice<&str>> = instances
        .chain(groups)
        .map(|name| Choice {
            value: name,
            names: vec![name.to_owned()],
        })
        .collect();
    let name = pick("VRRP instance or sync group", text, &choices)?;
    let group = status.sync_groups.iter().find(|g| {
        // An instance brings its group with it.
        g.name == name || g.members.iter().any(|m| m == name)
    });
    let members = group.map_or_else(
        || vec![name],
        |g| g.members.iter().map(String::as_str).collect(),
    );
    Ok((name, members))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(names: &[&[&str]]) -> Vec<Choice<usize>> {
        let choice = |(value, names): (usize, &&[&str])| Choice {
            value,
            names: names.iter().map(ToString::to_string).collect(),
        };
        names.iter().enumerate().map(choice).collect()
    }

    #[test]
    fn whole_names_come_before_beginnings_and_addresses_are_not_completed() {
        let all = choices(&[
            &["192.0.2.1:80/tcp", "192.0.2.1:80", "192.0.2.1", "web"],
            &["192.0.2.1:53/udp", "192.0.2.1:53", "192.0.2.1", "webmail"],
            &["192.0.2.11:443/tcp", "192.0.2.11:443", "192.0.2.11"],
            &["[2001:db8::1]:80/tcp", "[2001:db8::1]:80", "2001:db8::1"],
        ]);
        for (text, meant) in [
            ("192.0.2.1:80", Some(0)),
            ("192.0.2.1:80/TCP", Some(0)),
            ("WEB", Some(0)),
            ("webm", Some(1)),
            ("192.0.2.11", Some(2)),
            ("192.0.2.11:", Some(2)),
            ("2001:db8::1", Some(3)),
            ("[2001:", Some(3)),
            // Two services have this address.
            ("192.0.2.1", None),
            // Nothing has, though there is one that begins so.
            ("192.0.2.1:8", None),
            ("192.0.2", None),
            ("we", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(pick("service", text, &all).ok(), meant, "{text}");
        }
        assert_eq!(
            pick("service", "192.0.2.1", &all),
            Err(
                "`192.0.2.1` may be any of 2 services; choose from: 192.0.2.1:80/tcp, 192.0.2.1:53/udp"
                    .to_owned()
            )
        );
        assert_eq!(
            pick("service", "x", &all[2..]),
            Err(
                "there is no service `x`; choose from: 192.0.2.11:443/tcp, [2001:db8::1]:80/tcp"
                    .to_owned()
            )
        );
        assert_eq!(
            pick::<usize>("service", "x", &[]),
            Err("there is no service at all".to_owned())
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..25).map(|n| format!("server{n:02}")).collect();
        let all: Vec<Choice<u8>> = names
            .iter()
            .map(|n| Choice {
                value: 0,
                names: vec![n.clone()],
            })
            .collect();
        let said = pick("real server", "server", &all).unwrap_err();
        assert!(said.ends_with("server18, server19 and 5 more"), "{said}");
    }
}
