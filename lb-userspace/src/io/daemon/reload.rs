//! A new configuration while the daemon runs: all of it or nothing.

use super::run::{Daemon, say_diagnostics};
use super::{interfaces, load, program};
use crate::config::FileSource as _;
use crate::control::protocol::{ReloadOutcome, ReloadReport};
use crate::engine::{Event, diff};
use crate::io::bpf::PinLock;
use crate::io::clock::now;
use crate::io::files::RealFiles;
use crate::io::privileges;
use crate::model::Model;

/// What came of a reload, for the log.
fn outcome_word(outcome: ReloadOutcome) -> &'static str {
    match outcome {
        ReloadOutcome::Applied => "applied",
        ReloadOutcome::Unchanged => "nothing to change",
        ReloadOutcome::WouldApply => "would be applied",
        ReloadOutcome::Refused => "refused, the old configuration stays in force",
    }
}

impl Daemon<'_> {
    /// Reads the configuration again and takes it over, unless it is refused or only tried.
    pub(super) fn reload(&mut self, dry_run: bool) -> ReloadReport {
        if dry_run {
            return self.reload_now(true);
        }
        self.manager.reloading();
        let report = self.reload_now(false);
        self.manager.ready();
        report
    }

    /// As [`Daemon::reload`], when nobody waits for the report.
    pub(super) fn reload_as_told(&mut self) {
        let report = self.reload(false);
        tracing::info!("reload: {}", outcome_word(report.outcome));
    }

    /// Reloads when `reload_time_file` says so.
    pub(super) fn keep_appointment(&mut self) {
        if self.appointment.due().is_some_and(|due| due <= now()) {
            self.appointment.keep();
            self.reload_as_told();
        }
    }

    fn reload_now(&mut self, dry_run: bool) -> ReloadReport {
        let read = load::read(self.options);
        let mut report = ReloadReport {
            outcome: ReloadOutcome::Refused,
            path: self.options.config.display().to_string(),
            plan: Vec::new(),
            diagnostics: read.text.clone(),
            errors: read.errors,
            warnings: read.warnings,
        };
        let Some(model) = read.model.clone() else {
            if !dry_run {
                say_diagnostics(&read, self.log);
                self.config.refused = Some(format!("{} error(s)", read.errors));
            }
            return report;
        };
        if diff::empties(self.engine.model(), &model) {
            let why = "the file has no vrrp_instance and no virtual_server any more; \
                       to end the service, stop lbd";
            tracing::error!("reload: {why}");
            report.diagnostics.push_str(&format!("error: {why}\n"));
            report.errors += 1;
            if !dry_run {
                self.config.refused = Some(why.to_owned());
            }
            return report;
        }
        let lost = diff::lost(self.engine.model(), &model);
        if let Some((lost, doubt)) = lost.zip(load::new_doubt(&read.doubts, &self.doubts)) {
            let why =
                format!("it would take away {lost}, and something is not understood: {doubt}");
            tracing::error!("reload: {why}");
            report.diagnostics.push_str(&format!("error: {why}\n"));
            report.errors += 1;
            if !dry_run {
                say_diagnostics(&read, self.log);
                self.config.refused = Some(why);
            }
            return report;
        }
        report.plan = diff::diff(self.engine.model(), &model)
            .iter()
            .map(ToString::to_string)
            .collect();
        if dry_run {
            report.outcome = if report.plan.is_empty() {
                ReloadOutcome::Unchanged
            } else {
                ReloadOutcome::WouldApply
            };
            return report;
        }
        if let Err(error) = self.prepare(&model) {
            tracing::error!("reload: {error:#}");
            self.config.refused = Some(format!("{error:#}"));
            report.diagnostics.push_str(&format!("error: {error:#}\n"));
            report.errors += 1;
            return report;
        }
        if let Some(text) = privileges::given_up(&model) {
            tracing::warn!("reload: {text}");
        }
        say_diagnostics(&read, self.log);
        for line in &report.plan {
            tracing::info!("reload: {line}");
        }
        self.notifier.configure(&model);
        self.mailer.configure(&model, &RealFiles.hostname());
        self.engine.reload(model, now(), &mut || RealFiles.random());
        self.files.configure(self.engine.model(), false);
        self.processes.configure(self.engine.model());
        self.configure_bfd();
        self.resync();
        self.check_attached();
        self.config.reloads += 1;
        self.in_force(&read);
        report.outcome = if report.plan.is_empty() {
            ReloadOutcome::Unchanged
        } else {
            ReloadOutcome::Applied
        };
        report
    }

    /// What a new configuration needs before it can be taken over: a data plane, when the old one
    /// had no services.
    fn prepare(&mut self, model: &Model) -> anyhow::Result<()> {
        if !model.needs_program() || self.plane.is_some() || self.loading {
            return Ok(());
        }
        let lock = PinLock::take(&self.options.pin)?;
        let dump = self.take_anew(program::open((lock, program::config(self.options)))?)?;
        let Some(plane) = &mut self.plane else {
            return Ok(());
        };
        let wanted = interfaces::wanted(model, &self.options.iface, &mut self.control);
        let all = interfaces::attach(plane, &wanted, &mut self.said);
        let attached = interfaces::forwarding(plane, &wanted, &self.options.iface, all);
        self.engine.handle(Event::Observed(&dump), now());
        self.engine.handle(Event::Attached(attached), now());
        Ok(())
    }
}
