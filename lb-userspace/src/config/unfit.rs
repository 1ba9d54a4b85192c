//! What a configuration names and this host does not have as it should be: scripts, files of TLS.

use std::collections::BTreeSet;

use super::diag::{Code, Diagnostic, Severity};
use super::lower::Lowered;
use super::{FileSource, Options, Unfit};
use crate::model::{CheckKind, Trust};

/// Everything that is wrong, each thing once, at the first place that names it.
pub(super) fn all(lowered: &Lowered, files: &dyn FileSource, options: &Options) -> Vec<Diagnostic> {
    if !options.look {
        return Vec::new();
    }
    let (model, places) = (&lowered.model, &lowered.places);
    let mut out = Vec::new();
    let scripts: BTreeSet<_> = model.scripts().collect();
    for script in scripts {
        let (message, label) = match files.unfit(script, model.global.script_security) {
            None => continue,
            Some(Unfit::NotRun(why)) => (
                format!("script {script} cannot be run: {why}"),
                "tried all the same, each time; a check by it fails",
            ),
            Some(Unfit::Writable(path)) => (
                format!("script {script} runs as root, and others may write {path}"),
                "enable_script_security would not run it",
            ),
        };
        let d = Diagnostic::new(Code::UnfitScript, Severity::Warning, message);
        out.push(match places.scripts.get(&script.command) {
            Some(span) => d.at(*span, label),
            None => d,
        });
    }
    let servers = model.services.iter().flat_map(|s| &s.real_servers);
    let trusts: BTreeSet<&Trust> = servers
        .flat_map(|r| &r.checks)
        .filter_map(|c| match &c.kind {
            CheckKind::Http(http) if http.tls => Some(&http.trust),
            _ => None,
        })
        .collect();
    let why: BTreeSet<String> = trusts
        .into_iter()
        .filter_map(|t| files.unfit_tls(t))
        .collect();
    for why in why {
        // Such a check would never find a server down.
        let message = format!("SSL_GET cannot be run: {why}");
        let d = Diagnostic::new(Code::CannotRead, Severity::Error, message);
        out.push(match places.ssl {
            Some(span) => d.at(span, "of these files"),
            None => d,
        });
    }
    out
}
