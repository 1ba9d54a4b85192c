//! What is told to scripts and FIFOs, from the start to the stop.

use super::*;
use crate::model::{Script, VrrpNotify};

fn lines(host: &mut Host) -> Vec<String> {
    let told = std::mem::take(&mut host.told);
    told.into_iter().map(|n| n.line).collect()
}

#[test]
fn a_life_is_told_line_by_line() {
    let mut conf = (*model(vec![service(80, &[1, 2])])).clone();
    conf.services[0].omega = true;
    conf.instances[0].notify.any = Some(Script {
        command: vec!["/s".into()],
        user: None,
    });
    let mut host = Host::start(Arc::new(conf.clone()), true);
    host.link_up();
    host.verdicts(&Verdict::Ok);
    host.run_until("MASTER");
    let commands: Vec<String> = host
        .told
        .iter()
        .flat_map(|n| n.scripts.iter().map(ToString::to_string))
        .collect();
    assert_eq!(
        commands,
        ["/s INSTANCE VI_1 BACKUP 100", "/s INSTANCE VI_1 MASTER 100"]
    );
    assert_eq!(
        lines(&mut host),
        [
            "VS [192.0.2.1]:tcp:80 UP",
            "INSTANCE \"VI_1\" BACKUP 100",
            "INSTANCE \"VI_1\" MASTER 100",
        ]
    );
    host.run_probes();
    host.verdicts(&Verdict::Failed(Failure::Refused));
    assert_eq!(
        lines(&mut host),
        [
            "RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN",
            "RS [10.0.0.2]:tcp:80 [192.0.2.1]:tcp:80 DOWN",
            "VS [192.0.2.1]:tcp:80 DOWN",
        ]
    );
    host.run_probes();
    host.verdicts(&Verdict::Ok);
    assert_eq!(
        lines(&mut host),
        [
            "RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 UP",
            "VS [192.0.2.1]:tcp:80 UP",
            "RS [10.0.0.2]:tcp:80 [192.0.2.1]:tcp:80 UP",
        ]
    );
    // A reload tells what it takes away, and with this word all states.
    let mut less = conf.clone();
    less.services[0].real_servers.remove(0);
    less.global.fifo_states_on_reload = true;
    host.engine.reload(Arc::new(less), host.now, &mut || 0);
    host.turn();
    assert_eq!(
        lines(&mut host),
        [
            "RS [10.0.0.1]:tcp:80 [192.0.2.1]:tcp:80 DOWN",
            "INSTANCE \"VI_1\" MASTER 100",
        ]
    );
    host.engine.handle(Event::Shutdown, host.now);
    host.run_until("stopped");
    assert_eq!(
        lines(&mut host),
        [
            "RS [10.0.0.2]:tcp:80 [192.0.2.1]:tcp:80 DOWN",
            "VS [192.0.2.1]:tcp:80 DOWN",
            "INSTANCE \"VI_1\" STOP 100",
        ]
    );
}

#[test]
fn an_instance_that_a_reload_removes_is_told_with_what_it_had() {
    let mut conf = (*model(Vec::new())).clone();
    conf.instances[0].notify = VrrpNotify {
        deleted: true,
        ..VrrpNotify::default()
    };
    let mut host = Host::start(Arc::new(conf.clone()), true);
    host.link_up();
    host.run_until("MASTER");
    host.told.clear();
    conf.instances[0].name = "VI_2".into();
    conf.instances[0].virtual_router_id = 2;
    host.engine.reload(Arc::new(conf), host.now, &mut || 0);
    host.turn();
    assert_eq!(
        lines(&mut host),
        [
            "INSTANCE \"VI_1\" DELETED 100",
            "INSTANCE \"VI_2\" BACKUP 100"
        ]
    );
}

#[test]
fn mails_are_sent_about_checks_and_quorums() {
    let mut conf = (*model(vec![service(80, &[1, 2])])).clone();
    conf.services[0].smtp_alert = true;
    let mut quiet = conf.clone();
    quiet.services[0].real_servers[0].smtp_alert = false;
    let story = |conf: Model| {
        let mut host = Host::start(Arc::new(conf), true);
        host.link_up();
        host.verdicts(&Verdict::Ok);
        host.mails.clear();
        host.run_probes();
        host.verdicts(&Verdict::Failed(Failure::Refused));
        host.mails
            .iter()
            .map(|m| format!("{} {}", m.subject, m.body))
            .collect::<Vec<String>>()
    };
    let down = |n| {
        format!(
            "Realserver [10.0.0.{n}]:tcp:80 of virtual server [192.0.2.1]:tcp:80 - DOWN \
             => TCP CHECK failed on service <="
        )
    };
    let lost = "Virtualserver [192.0.2.1]:tcp:80 - DOWN => Lost quorum 1+0=1 <= 0 <=".to_owned();
    assert_eq!(story(conf.clone()), [down(1), down(2), lost.clone()]);
    assert_eq!(story(quiet), [down(2), lost.clone()]);
    let mut of_servers = conf.clone();
    of_servers.services[0].smtp_alert = false;
    assert_eq!(story(of_servers), [down(1), down(2)]);
    // A second check that fails changes nothing about its server, and is told unless that is unwanted.
    conf.services[0].real_servers[0].checks.push(Check {
        port: 81,
        ..check(1)
    });
    assert_eq!(
        story(conf.clone()),
        [down(1), down(1), down(2), lost.clone()]
    );
    conf.global.mail.no_checkers = true;
    assert_eq!(story(conf), [down(1), down(2), lost]);
}
