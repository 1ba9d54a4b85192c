//! What of root's power the daemon keeps.
//!
//! Capabilities belong to threads: the rights are dropped before the first thread is made, so that all
//! have what is left. A script that runs as root gets root's rights again when it is executed, unless
//! there are no scripts at all: then the bounding set is cut down too, and no program that is executed
//! can gain anything (`no_new_privs`).

use std::collections::BTreeSet;
use std::io;

use nix::unistd::{Gid, Group, Uid};

use super::script::account;
use crate::control::protocol::SOCKET_GROUP;
use crate::model::Model;

/// A capability, by its number in `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cap(u8);

const CHOWN: Cap = Cap(0);
const DAC_OVERRIDE: Cap = Cap(1);
const DAC_READ_SEARCH: Cap = Cap(2);
const KILL: Cap = Cap(5);
const SETGID: Cap = Cap(6);
const SETUID: Cap = Cap(7);
const NET_BIND_SERVICE: Cap = Cap(10);
const NET_ADMIN: Cap = Cap(12);
const NET_RAW: Cap = Cap(13);
const SYS_NICE: Cap = Cap(23);
const PERFMON: Cap = Cap(38);
const BPF: Cap = Cap(39);
/// The last one that any kernel may have.
const LAST: u8 = 63;

impl Cap {
    const fn name(self) -> &'static str {
        match self {
            CHOWN => "CAP_CHOWN",
            DAC_OVERRIDE => "CAP_DAC_OVERRIDE",
            DAC_READ_SEARCH => "CAP_DAC_READ_SEARCH",
            KILL => "CAP_KILL",
            SETGID => "CAP_SETGID",
            SETUID => "CAP_SETUID",
            NET_BIND_SERVICE => "CAP_NET_BIND_SERVICE",
            NET_ADMIN => "CAP_NET_ADMIN",
            NET_RAW => "CAP_NET_RAW",
            SYS_NICE => "CAP_SYS_NICE",
            PERFMON => "CAP_PERFMON",
            BPF => "CAP_BPF",
            Cap(_) => "a capability",
        }
    }

    const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// What a capability is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Need {
    cap: Cap,
    /// Without it the daemon does not start.
    must: bool,
    what_for: &'static str,
}

/// What a configuration asks of the host, beside what is always needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wants {
    services: bool,
    /// Scripts, and FIFOs with their readers.
    scripts: bool,
    /// Some of them as another user than the daemon's.
    other_users: bool,
    /// FIFOs of another user.
    other_fifos: bool,
    socket_group: bool,
    /// A check binds to a port below 1024.
    low_port: bool,
}

fn wants(model: &Model) -> Wants {
    let own = (Uid::effective(), Gid::effective());
    let other = |user: Option<&crate::model::User>| {
        // A user that does not exist is said where it is used.
        account(user).is_ok_and(|a| (a.uid, a.gid) != own)
    };
    let fifos = &model.global.fifos;
    let fifos = || [&fifos.all, &fifos.vrrp, &fifos.lvs].into_iter().flatten();
    let checks = model.services.iter().flat_map(|s| &s.real_servers);
    let mut ports = checks.flat_map(|r| &r.checks).map(|c| c.bind_port);
    Wants {
        services: model.needs_program(),
        scripts: model.scripts().next().is_some(),
        other_users: model.scripts().any(|s| other(s.user.as_ref())),
        other_fifos: fifos().any(|f| other(f.user.as_ref())),
        socket_group: Group::from_name(SOCKET_GROUP).is_ok_and(|g| g.is_some()),
        low_port: ports.any(|p| (1..1024).contains(&p)),
    }
}

fn needs(wants: Wants) -> Vec<Need> {
    let need = |cap, must, what_for| Need {
        cap,
        must,
        what_for,
    };
    let mut needs = vec![
        need(
            NET_ADMIN,
            true,
            "addresses, routes and the XDP program on interfaces",
        ),
        need(NET_RAW, true, "adverts, gratuitous ARPs and ping checks"),
        // Services may come with a reload.
        need(BPF, wants.services, "the XDP program and its maps"),
        need(
            PERFMON,
            wants.services,
            "the verifier's leave to optimise the XDP program",
        ),
        need(
            SYS_NICE,
            false,
            "real-time priority of what must be on time",
        ),
    ];
    if wants.socket_group || wants.other_users || wants.other_fifos {
        needs.push(need(
            CHOWN,
            false,
            "the group of the control socket, files of scripts' users",
        ));
    }
    if wants.low_port {
        needs.push(need(
            NET_BIND_SERVICE,
            false,
            "a check's bind_port below 1024",
        ));
    }
    if wants.other_users {
        needs.push(need(SETUID, false, "scripts as their users"));
        needs.push(need(SETGID, false, "scripts as their users"));
        needs.push(need(KILL, false, "ending scripts of other users"));
        needs.push(need(
            DAC_READ_SEARCH,
            false,
            "looking at scripts in their users' directories",
        ));
    }
    if wants.other_fifos {
        needs.push(need(
            DAC_OVERRIDE,
            false,
            "writing into FIFOs of other users",
        ));
    }
    needs
}

/// What is missing of `needs`, for people; none when it will do.
fn lacks(needs: &[Need], permitted: u64) -> Option<String> {
    let missing: Vec<&Need> = needs
        .iter()
        .filter(|n| n.must && permitted & n.cap.bit() == 0)
        .collect();
    let list: Vec<String> = missing
        .iter()
        .map(|n| format!("{} ({})", n.cap.name(), n.what_for))
        .collect();
    (!list.is_empty()).then(|| {
        let all: Vec<&str> = needs
            .iter()
            .filter(|n| n.must)
            .map(|n| n.cap.name())
            .collect();
        format!(
            "lbd lacks {}; run it as root, or give it AmbientCapabilities={} in its unit",
            list.join(", "),
            all.join(" ")
        )
    })
}

/// Drops everything that the daemon does not need for this configuration.
///
/// # Errors
/// When it lacks what it must have, with what to do; when the kernel refuses.
pub fn drop_rights(model: &Model) -> Result<(), String> {
    let words = |what: &str, e: &io::Error| format!("{what}: {}", super::files::reason(e));
    let permitted = sys::permitted().map_err(|e| words("capget", &e))?;
    let wants = wants(model);
    let needs = needs(wants);
    if let Some(missing) = lacks(&needs, permitted) {
        return Err(missing);
    }
    let keep = permitted & needs.iter().fold(0, |all, n| all | n.cap.bit());
    // What is inherited would be a script's as well.
    sys::clear_ambient().map_err(|e| words("the ambient capabilities", &e))?;
    if !wants.scripts {
        for cap in (0..=LAST).map(Cap).filter(|c| keep & c.bit() == 0) {
            // Without CAP_SETPCAP it stays as the unit has it.
            if sys::drop_bounding(cap.0).is_err() {
                break;
            }
        }
        sys::no_new_privileges().map_err(|e| words("no_new_privs", &e))?;
    }
    sys::set(keep).map_err(|e| words("capset", &e))?;
    let kept: BTreeSet<&str> = needs
        .iter()
        .filter(|n| keep & n.cap.bit() != 0)
        .map(|n| n.cap.name())
        .collect();
    let kept: Vec<&str> = kept.into_iter().collect();
    tracing::debug!("capabilities left: {}", kept.join(" "));
    Ok(())
}

/// What a reload asks for that was given up at the start, for people.
#[must_use]
pub fn given_up(model: &Model) -> Option<String> {
    let permitted = sys::permitted().ok()?;
    let wants = wants(model);
    let needs = needs(wants);
    let missing: Vec<String> = needs
        .iter()
        .filter(|n| permitted & n.cap.bit() == 0 && n.cap != SYS_NICE)
        .map(|n| format!("{} ({})", n.cap.name(), n.what_for))
        .collect();
    if !missing.is_empty() {
        return Some(format!(
            "lbd has no {}: restart it to have them",
            missing.join(", ")
        ));
    }
    (wants.scripts && sys::has_no_new_privileges()).then(|| {
        "scripts run without root's rights, which were given up at the start: restart lbd if they need them"
            .to_owned()
    })
}

/// The calls themselves; glibc has none for capabilities.
mod sys {
    use std::io;

    const VERSION_3: u32 = 0x2008_0522;

    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    const OWN_THREAD: Header = Header {
        version: VERSION_3,
        pid: 0,
    };

    fn done(result: libc::c_long) -> io::Result<()> {
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// The permitted capabilities of this thread.
    pub(super) fn permitted() -> io::Result<u64> {
        let mut data = [Data::default(); 2];
        let mut header = OWN_THREAD;
        // SAFETY: version 3 has two blocks of data, and both pointers live through the call.
        done(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
        Ok(u64::from(data[1].permitted) << 32 | u64::from(data[0].permitted))
    }

    /// Sets the permitted and effective capabilities of this thread, and inherits none.
    pub(super) fn set(caps: u64) -> io::Result<()> {
        let block = |bits: u64| {
            let bits = u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(0);
            Data {
                effective: bits,
                permitted: bits,
                inheritable: 0,
            }
        };
        let data = [block(caps), block(caps >> 32)];
        let mut header = OWN_THREAD;
        // SAFETY: as above.
        done(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) })
    }

    fn prctl(option: i32, argument: u64) -> io::Result<()> {
        // SAFETY: these options take numbers alone.
        done(unsafe { libc::prctl(option, argument, 0, 0, 0) }.into())
    }

    pub(super) fn clear_ambient() -> io::Result<()> {
        let all = u64::try_from(libc::PR_CAP_AMBIENT_CLEAR_ALL).unwrap_or(0);
        prctl(libc::PR_CAP_AMBIENT, all)
    }

    pub(super) fn drop_bounding(cap: u8) -> io::Result<()> {
        prctl(libc::PR_CAPBSET_DROP, cap.into())
    }

    pub(super) fn no_new_privileges() -> io::Result<()> {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
    }

    pub(super) fn has_no_new_privileges() -> bool {
        // SAFETY: it takes no argument.
        unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wants: Wants) -> Vec<&'static str> {
        needs(wants).iter().map(|n| n.cap.name()).collect()
    }

    #[test]
    fn only_what_the_configuration_needs_is_kept() {
        let always = [
            "CAP_NET_ADMIN",
            "CAP_NET_RAW",
            "CAP_BPF",
            "CAP_PERFMON",
            "CAP_SYS_NICE",
        ];
        let none = Wants::default();
        for (wants, more) in [
            (none, &[][..]),
            (
                Wants {
                    services: true,
                    scripts: true,
                    ..none
                },
                &[],
            ),
            (
                Wants {
                    socket_group: true,
                    ..none
                },
                &["CAP_CHOWN"],
            ),
            (
                Wants {
                    low_port: true,
                    ..none
                },
                &["CAP_NET_BIND_SERVICE"],
            ),
            (
                Wants {
                    other_fifos: true,
                    ..none
                },
                &["CAP_CHOWN", "CAP_DAC_OVERRIDE"],
            ),
            (
                Wants {
                    other_users: true,
                    ..none
                },
                &[
                    "CAP_CHOWN",
                    "CAP_SETUID",
                    "CAP_SETGID",
                    "CAP_KILL",
                    "CAP_DAC_READ_SEARCH",
                ],
            ),
        ] {
            assert_eq!(names(wants), [&always, more].concat(), "{wants:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_what_it_is_for() {
        let vrrp_only = Wants::default();
        let all = Wants {
            services: true,
            ..vrrp_only
        };
        let net = NET_ADMIN.bit() | NET_RAW.bit();
        let bpf = BPF.bit() | PERFMON.bit();
        assert_eq!(lacks(&needs(all), net | bpf), None);
        assert_eq!(lacks(&needs(vrrp_only), net), None);
        assert_eq!(
            lacks(&needs(all), bpf | NET_ADMIN.bit()).unwrap(),
            "lbd lacks CAP_NET_RAW (adverts, gratuitous ARPs and ping checks); run it as root, or give \
             it AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW CAP_BPF CAP_PERFMON in its unit"
        );
        let said = lacks(&needs(all), 0).unwrap();
        assert!(
            said.contains("CAP_BPF (the XDP program and its maps)"),
            "{said}"
        );
    }

    #[test]
    fn a_model_says_what_it_wants() {
        let mut model = Model::default();
        let group = wants(&model).socket_group;
        let seen = |model: &Model| Wants {
            socket_group: group,
            ..wants(model)
        };
        let none = Wants {
            socket_group: group,
            ..Wants::default()
        };
        assert_eq!(seen(&model), none);
        let user = |name: &str| {
            Some(crate::model::User {
                name: name.to_owned(),
                group: None,
            })
        };
        let own = nix::unistd::User::from_uid(Uid::effective())
            .unwrap()
            .unwrap();
        let mut script = crate::model::Script {
            command: vec!["/x".to_owned()],
            user: user(&own.name),
        };
        let put = |model: &mut Model, script: &crate::model::Script| {
            model.global.fifos.all = Some(crate::model::Fifo {
                path: "/f".to_owned(),
                user: script.user.clone(),
                script: Some(script.clone()),
            });
        };
        put(&mut model, &script);
        let scripts = Wants {
            scripts: true,
            ..none
        };
        assert_eq!(seen(&model), scripts);
        script.user = user("daemon");
        put(&mut model, &script);
        let others = Wants {
            other_users: true,
            other_fifos: true,
            ..scripts
        };
        assert_eq!(seen(&model), others);
    }
}
