//! Scripts as statements: a keyword and its words.

use super::seconds;
use crate::config::command;
use crate::model::{
    Errand, Fifo, Fifos, Global, Mail, MailServer, RealServer, Script, Service, User, VrrpNotify,
    VrrpScript,
};

/// A keyword with its parameters.
pub(super) type Statement = (&'static str, Vec<String>);

/// The statements of one block; what has the user of `script_user` need not name it.
struct Statements<'a> {
    script_user: Option<&'a User>,
    out: Vec<Statement>,
}

impl Statements<'_> {
    fn with_user(&mut self, name: &'static str, first: String, user: Option<&User>) {
        let mut words = vec![first];
        if let Some(user) = user.filter(|u| Some(*u) != self.script_user) {
            words.push(user.name.clone());
            words.extend(user.group.clone());
        }
        self.out.push((name, words));
    }

    fn script(&mut self, name: &'static str, script: Option<&Script>) {
        if let Some(s) = script {
            self.with_user(name, command::join(&s.command), s.user.as_ref());
        }
    }
}

fn statements(global: &Global) -> Statements<'_> {
    Statements {
        script_user: global.script_user.as_ref(),
        out: Vec::new(),
    }
}

/// Those of `global_defs`.
pub(super) fn of_global(global: &Global) -> Vec<Statement> {
    let mut w = statements(global);
    if let Some(user) = &global.script_user {
        let mut words = vec![user.name.clone()];
        words.extend(user.group.clone());
        w.out.push(("script_user", words));
    }
    if global.script_security {
        w.out.push(("enable_script_security", Vec::new()));
    }
    let errands = [
        (
            &global.startup_script,
            ["startup_script", "startup_script_timeout"],
        ),
        (
            &global.shutdown_script,
            ["shutdown_script", "shutdown_script_timeout"],
        ),
    ];
    for (errand, [name, limit]) in errands {
        if let Some(Errand { script, timeout }) = errand {
            w.script(name, Some(script));
            if *timeout != Errand::TIMEOUT {
                w.out.push((limit, vec![seconds(*timeout)]));
            }
        }
    }
    if let Some(file) = &global.reload_time_file {
        w.out.push(("reload_time_file", vec![file.clone()]));
    }
    if global.reload_repeat {
        w.out.push(("reload_repeat", Vec::new()));
    }
    if global.rs_init_notifies {
        w.out.push(("rs_init_notifies", Vec::new()));
    }
    let Fifos { all, vrrp, lvs } = &global.fifos;
    let names: [(&Option<Fifo>, _, _); 3] = [
        (all, "notify_fifo", "notify_fifo_script"),
        (vrrp, "vrrp_notify_fifo", "vrrp_notify_fifo_script"),
        (lvs, "lvs_notify_fifo", "lvs_notify_fifo_script"),
    ];
    for (fifo, name, script) in names {
        if let Some(f) = fifo {
            w.with_user(name, f.path.clone(), f.user.as_ref());
            w.script(script, f.script.as_ref());
        }
    }
    if global.fifo_states_on_reload {
        w.out.push(("fifo_write_vrrp_states_on_reload", Vec::new()));
    }
    w.out.extend(of_mail(&global.mail));
    w.out
}

/// Those of mails, but for `notification_email`, which is a block.
fn of_mail(mail: &Mail) -> Vec<Statement> {
    let Mail {
        to: _,
        from,
        server,
        helo_name,
        timeout,
        no_faults,
        no_checkers,
    } = mail;
    let mut out = Vec::new();
    let mut add = |name, words: Vec<String>| out.push((name, words));
    if let Some(from) = from {
        add("notification_email_from", vec![from.clone()]);
    }
    if let Some(MailServer { host, port }) = server {
        add("smtp_server", vec![host.clone(), port.to_string()]);
    }
    if let Some(name) = helo_name {
        add("smtp_helo_name", vec![name.clone()]);
    }
    if *timeout != Mail::TIMEOUT {
        add("smtp_connect_timeout", vec![seconds(*timeout)]);
    }
    if *no_faults {
        add("no_email_faults", Vec::new());
    }
    if *no_checkers {
        add("no_checker_emails", vec!["on".to_owned()]);
    }
    out
}

/// Those of an instance or a sync group.
pub(super) fn of_vrrp(notify: &VrrpNotify, global: &Global) -> Vec<Statement> {
    let mut w = statements(global);
    let VrrpNotify {
        master,
        backup,
        fault,
        stop,
        deleted,
        deleted_script,
        any,
        master_rx_lower_pri,
        smtp_alert,
        priority_changes,
    } = notify;
    w.script("notify_master", master.as_ref());
    w.script("notify_backup", backup.as_ref());
    w.script("notify_fault", fault.as_ref());
    w.script("notify_stop", stop.as_ref());
    match deleted_script {
        Some(s) => w.script("notify_deleted", Some(s)),
        None if *deleted => w.out.push(("notify_deleted", Vec::new())),
        None => {}
    }
    w.script("notify", any.as_ref());
    w.script("notify_master_rx_lower_pri", master_rx_lower_pri.as_ref());
    if *smtp_alert {
        w.out.push(("smtp_alert", vec!["on".to_owned()]));
    }
    if *priority_changes {
        w.out
            .push(("notify_priority_changes", vec!["on".to_owned()]));
    }
    w.out
}

/// Those of a virtual server.
pub(super) fn of_service(service: &Service, global: &Global) -> Vec<Statement> {
    let mut w = statements(global);
    w.script("quorum_up", service.quorum_up.as_ref());
    w.script("quorum_down", service.quorum_down.as_ref());
    if service.smtp_alert {
        w.out.push(("smtp_alert", vec!["on".to_owned()]));
    }
    w.out
}

/// Those of a real server.
pub(super) fn of_server(server: &RealServer, global: &Global) -> Vec<Statement> {
    let mut w = statements(global);
    w.script("notify_up", server.notify_up.as_ref());
    w.script("notify_down", server.notify_down.as_ref());
    if !server.smtp_alert {
        w.out.push(("smtp_alert", vec!["off".to_owned()]));
    }
    w.out
}

/// Those of a `vrrp_script`.
pub(super) fn of_tracked(tracked: &VrrpScript, global: &Global) -> Vec<Statement> {
    let VrrpScript {
        name: _,
        script,
        interval,
        timeout,
        rise,
        fall,
        init_fail,
    } = tracked;
    let mut out: Vec<Statement> = vec![("script", vec![command::join(&script.command)])];
    let mut add = |name, value: String| out.push((name, vec![value]));
    add("interval", seconds(*interval));
    if timeout != interval {
        add("timeout", seconds(*timeout));
    }
    if *rise != 1 {
        add("rise", rise.to_string());
    }
    if *fall != 1 {
        add("fall", fall.to_string());
    }
    if let Some(user) = script
        .user
        .as_ref()
        .filter(|u| Some(*u) != global.script_user.as_ref())
    {
        let mut words = vec![user.name.clone()];
        words.extend(user.group.clone());
        out.push(("user", words));
    }
    if *init_fail {
        out.push(("init_fail", Vec::new()));
    }
    out
}
