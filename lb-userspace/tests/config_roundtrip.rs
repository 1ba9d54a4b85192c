//! A model written as keepalived.conf or TOML and read again is the same model.

#[path = "config_roundtrip/bfd.rs"]
mod bfd;
#[path = "config_roundtrip/checks.rs"]
mod checks;
#[path = "config_roundtrip/keywords.rs"]
mod keywords;
#[path = "config_roundtrip/routing.rs"]
mod routing;
#[path = "config_roundtrip/scripts.rs"]
mod scripts;
#[path = "config_roundtrip/services.rs"]
mod services;
#[path = "config_roundtrip/values.rs"]
mod values;
#[path = "config_roundtrip/vrrp.rs"]
mod vrrp;

use lb_userspace::config::{self, MemoryFiles, Options, Severity};
use lb_userspace::model::*;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use bfd::*;
use scripts::*;
use services::{service, timeouts};
use values::*;
use vrrp::*;

fn there_and_back(model: &Model) {
    for (path, text) in [
        ("m.conf", config::to_keepalived(model)),
        ("m.toml", config::to_toml(model)),
    ] {
        let l = config::load(path, &MemoryFiles::one(path, &text), &Options::default());
        assert_eq!(l.count(Severity::Error), 0, "{}\n{text}", l.render(false));
        assert_eq!(
            l.model.as_ref(),
            Some(model),
            "{path}\n{text}\n{}",
            l.render(false)
        );
    }
}

fn model() -> impl Strategy<Value = Model> {
    let global = (
        option::of(name()),
        (
            secs(9),
            secs(9),
            secs(9),
            garp_groups(),
            option::of(1u8..=99),
            option::of(1u8..=99),
            link_delays(),
            btree_set(0u16..1024, 0..3),
            btree_set(0u16..1024, 0..3),
            btree_set(0u16..1024, 0..3),
        ),
        any::<[bool; 2]>(),
        timeouts(),
        option::of(any::<u32>()),
        (
            option::of(user()),
            any::<[bool; 4]>(),
            [option::of("[p-u]{1,7}"), option::of("/run/[a c]{1,5}z")],
            [option::of(errand()), option::of(errand())],
        ),
        (fifo("/run/a"), fifo("/run/b c"), fifo("relative"), mail()),
    )
        .prop_map(
            |(
                router_id,
                garp,
                [log_unknown_vrids, disable_local_igmp],
                timeouts,
                flood_rate,
                (script_user, flags, [vmac_addr_prefix, reload_time_file], errands),
                fifos,
            )| Global {
                startup_script: errands[0].clone(),
                shutdown_script: errands[1].clone(),
                rs_init_notifies: flags[2],
                reload_time_file,
                reload_repeat: flags[3],
                router_id,
                vrrp_rt_priority: garp.4,
                bfd_rt_priority: garp.5,
                vrrp_cpu_affinity: garp.7,
                checker_cpu_affinity: garp.8,
                bfd_cpu_affinity: garp.9,
                startup_delay: garp.0,
                garp_interval: garp.1,
                gna_interval: garp.2,
                garp_groups: garp.3,
                disable_local_igmp,
                link_delays: garp.6,
                log_unknown_vrids,
                timeouts,
                flood_rate,
                script_user,
                script_security: flags[0],
                fifos: Fifos {
                    all: fifos.0,
                    vrrp: fifos.1,
                    lvs: fifos.2,
                },
                mail: fifos.3,
                fifo_states_on_reload: flags[1],
                vmac_addr_prefix,
            },
        );
    (
        global,
        vec(instance(), 0..4),
        vec(service(), 0..4),
        vec(name(), 4),
        any::<bool>(),
        notify(),
        (
            (
                vec(vrrp_script(), 0..3),
                vec(track_file(), 0..3),
                vec(track_process(), 0..3),
                vec(bfd(), 0..4),
            ),
            tracks(),
            tracks(),
            any::<bool>(),
        ),
    )
        .prop_map(
            |(
                global,
                all,
                offered,
                names,
                grouped,
                notify,
                (
                    (mut vrrp_scripts, mut track_files, mut track_processes, bfds),
                    own,
                    of_group,
                    tracking_weight,
                ),
            )| {
                vrrp_scripts.sort_by(|a, b| a.name.cmp(&b.name));
                vrrp_scripts.dedup_by(|a, b| a.name == b.name);
                track_files.sort_by(|a, b| a.name.cmp(&b.name));
                track_files.dedup_by(|a, b| a.name == b.name);
                track_processes.sort_by(|a, b| a.name.cmp(&b.name));
                track_processes.dedup_by(|a, b| a.name == b.name);
                let bfd_instances = different(bfds);
                let mut instances: Vec<VrrpInstance> = Vec::new();
                for i in all {
                    let clash = |o: &VrrpInstance| {
                        o.name == i.name
                            || o.meets(&i)
                            || o.vmac
                                .as_ref()
                                .zip(i.vmac.as_ref())
                                .is_some_and(|(o, i)| o.name == i.name)
                    };
                    if !instances.iter().any(clash) {
                        instances.push(i);
                    }
                }
                let mut services: Vec<Service> = Vec::new();
                for (mut s, name) in offered.into_iter().zip(names) {
                    if let Some(g) = &mut s.group {
                        if services
                            .iter()
                            .any(|o| o.group.as_ref().is_some_and(|g| g.name == name))
                        {
                            continue;
                        }
                        g.name = name;
                    }
                    let clash = |o: &Service| o.keys().any(|k| s.keys().any(|l| k == l));
                    if services.iter().any(clash) {
                        continue;
                    }
                    // The same group again, for another protocol.
                    let other = Protocol::Sctp;
                    let again = (s.group.is_some() && s.key.protocol == Protocol::Tcp).then(|| {
                        let key = |k: ServiceKey| ServiceKey {
                            protocol: other,
                            ..k
                        };
                        let mut again = s.clone();
                        again.key = key(again.key);
                        if let Some(g) = &mut again.group {
                            g.others = g.others.iter().copied().map(key).collect();
                        }
                        again
                    });
                    services.push(s);
                    services.extend(again.filter(|a| {
                        let clash = |o: &Service| o.keys().any(|k| a.keys().any(|l| k == l));
                        !services.iter().any(clash)
                    }));
                }
                let members: Vec<String> = instances.iter().map(|i| i.name.clone()).collect();
                if grouped {
                    instances
                        .iter_mut()
                        .filter(|i| i.priority != 255)
                        .for_each(|i| i.initial_master = false);
                }
                for i in &mut instances {
                    let weighted = i.priority != 255 && (!grouped || tracking_weight);
                    i.tracks.scripts = tracked(&vrrp_scripts, &own, weighted);
                    i.tracks.files = tracked_files(&track_files, &own, weighted);
                    i.tracks.processes = tracked_processes(&track_processes, &own, weighted);
                    i.tracks.bfds = tracked_bfds(&bfd_instances, &own, weighted);
                    i.tracks.services = tracked_services(&services, &own, weighted);
                    i.tracks.interfaces.retain(|t| weighted || t.weight == 0);
                }
                let sync_groups = if grouped && !members.is_empty() {
                    vec![SyncGroup {
                        name: "G 1".to_owned(),
                        members,
                        tracks: Tracks {
                            interfaces: Vec::new(),
                            scripts: tracked(&vrrp_scripts, &of_group, true),
                            files: tracked_files(&track_files, &of_group, true),
                            processes: tracked_processes(&track_processes, &of_group, true),
                            bfds: tracked_bfds(&bfd_instances, &of_group, true),
                            services: tracked_services(&services, &of_group, true),
                            statics: Vec::new(),
                        },
                        tracking_weight,
                        // Groups have fewer.
                        notify: VrrpNotify {
                            deleted: false,
                            deleted_script: None,
                            master_rx_lower_pri: None,
                            ..notify
                        },
                    }]
                } else {
                    Vec::new()
                };
                for (server, track) in services
                    .iter_mut()
                    .flat_map(|s| &mut s.real_servers)
                    .zip(track_files.iter().cycle())
                {
                    let file = FileCheck {
                        file: track.name.clone(),
                        weight: i32::from(server.weight) - 30_000,
                        reverse: server.inhibit_on_failure,
                    };
                    let check = Check::new(CheckKind::File(file), server.addr, 0);
                    let at = server
                        .checks
                        .iter()
                        .filter(|c| c.kind.name() < "FILE_CHECK");
                    server.checks.insert(at.count(), check);
                }
                let sessions = bfd_instances.iter().filter(|b| b.checker);
                let servers = services.iter_mut().flat_map(|s| {
                    let alpha = s.alpha;
                    s.real_servers.iter_mut().map(move |r| (alpha, r))
                });
                for ((alpha, server), session) in servers.zip(sessions.cycle()) {
                    let kind = CheckKind::Bfd(session.name.clone());
                    let mut check = Check::new(kind, server.addr, 0);
                    check.alpha = alpha ^ server.inhibit_on_failure;
                    let before = server.checks.iter();
                    let at = before.filter(|c| c.kind.name() < "BFD_CHECK").count();
                    server.checks.insert(at, check);
                }
                let mut model = Model {
                    global,
                    vrrp_scripts,
                    track_files,
                    track_processes,
                    bfd_instances,
                    instances,
                    sync_groups,
                    services,
                    ..Model::default()
                };
                inherit_user(&mut model);
                model
            },
        )
}

const ROUTER: &str = "vrrp_instance A {
  interface eth0
  virtual_router_id 1
  virtual_ipaddress {
    192.0.2.1
  }
}
";

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_model_survives_both_formats(m in model()) {
        there_and_back(&m);
    }

    #[test]
    fn any_routing_survives_both_formats(
        statics in routing::statics(),
        routes in vec(routing::route(), 0..4),
        rules in vec(routing::rule(), 0..4),
    ) {
        let files = MemoryFiles::one("a.conf", ROUTER);
        let loaded = config::load("a.conf", &files, &Options::default());
        let mut m = loaded.model.expect("a model");
        (m.statics, m.instances[0].routes, m.instances[0].rules) = (statics, routes, rules);
        there_and_back(&m);
    }
}

#[test]
fn the_examples_survive_both_formats_and_say_nothing() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).expect("examples") {
        let path = entry.expect("an entry").path().display().to_string();
        if !path.ends_with(".conf") && !path.ends_with(".toml") {
            continue;
        }
        let l = config::load(
            &path,
            &lb_userspace::io::files::RealFiles,
            &Options::default(),
        );
        assert_eq!(
            l.count(Severity::Error) + l.count(Severity::Warning),
            0,
            "{}",
            l.render(false)
        );
        there_and_back(&l.model.expect("a model"));
        seen += 1;
    }
    assert!(seen >= 4, "only {seen} examples");
}
