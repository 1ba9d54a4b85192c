//! Reading the configuration, at the start and at a reload.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{self, Code, Diagnostic, Loaded, Severity};
use crate::io::check;
use crate::io::files::RealFiles;
use crate::io::options::Options;
use crate::model::{CheckKind, Model, Trust};

/// A configuration that was read: the model if it runs, and what is to be said.
pub(super) struct Read {
    pub(super) model: Option<Arc<Model>>,
    pub(super) errors: u32,
    pub(super) warnings: u32,
    /// Rendered without colour, as the log and the control socket want it.
    pub(super) text: String,
    pub(super) left_out: Vec<String>,
}

/// Reads the file named on the command line.
pub(super) fn read(options: &Options) -> Read {
    let loaded = load(options);
    let count = |s: Severity| {
        u32::try_from(
            loaded
                .diagnostics
                .iter()
                .filter(|d| d.severity == s)
                .count(),
        )
        .unwrap_or(u32::MAX)
    };
    Read {
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        text: config::render(&loaded.diagnostics, &loaded.sources, false),
        left_out: loaded.left_out.clone(),
        model: loaded.model.map(Arc::new),
    }
}

fn load(options: &Options) -> Loaded {
    let settings = config::Options {
        config_id: options.config_id.clone(),
        skip_unsupported: options.skip_unsupported,
    };
    let mut loaded = config::load(&options.config.to_string_lossy(), &RealFiles, &settings);
    let found = loaded.model.as_ref().map_or_else(Vec::new, vet_tls);
    if !found.is_empty() {
        loaded.model = None;
        loaded.diagnostics.extend(found);
    }
    loaded
}

/// Says which files of checks by TLS cannot be used: such a check would never find a server down.
fn vet_tls(model: &Model) -> Vec<Diagnostic> {
    let servers = model.services.iter().flat_map(|s| &s.real_servers);
    let trusts: BTreeSet<&Trust> = servers
        .flat_map(|r| &r.checks)
        .filter_map(|c| match &c.kind {
            CheckKind::Http(http) if http.tls => Some(&http.trust),
            _ => None,
        })
        .collect();
    let why = trusts.into_iter().filter_map(|t| check::vet_tls(t).err());
    let said: BTreeSet<String> = why.collect();
    let message = |why| format!("SSL_GET cannot be run: {why}");
    said.into_iter()
        .map(|why| Diagnostic::new(Code::CannotRead, Severity::Error, message(why)))
        .collect()
}

/// `lbd -t`: 0 when it would run, 2 when it is refused.
pub(super) fn test(options: &Options) -> ExitCode {
    let loaded = load(options);
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none();
    eprint!(
        "{}",
        config::render(&loaded.diagnostics, &loaded.sources, colour)
    );
    if loaded.model.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(2)
    }
}
