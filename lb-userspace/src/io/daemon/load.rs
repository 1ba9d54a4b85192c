//! Reading the configuration, at the start and at a reload.

use std::process::ExitCode;
use std::sync::Arc;

use crate::config::{self, Code, Loaded, Severity};
use crate::io::files::RealFiles;
use crate::io::options::Options;
use crate::model::Model;

/// A configuration that was read: the model if it runs, and what is to be said.
pub(super) struct Read {
    pub(super) model: Option<Arc<Model>>,
    pub(super) errors: u32,
    pub(super) warnings: u32,
    /// Rendered without colour, as the log and the control socket want it.
    pub(super) text: String,
    pub(super) left_out: Vec<String>,
    /// The first that is not understood, though the rest runs.
    pub(super) doubt: Option<String>,
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
    let all = loaded.diagnostics.iter();
    let doubts = all.filter(|d| d.severity == Severity::Warning && d.code.leaves_out());
    // What is missing is mostly missing because of something else.
    let doubt = doubts.min_by_key(|d| d.code == Code::Incomplete);
    Read {
        doubt: doubt.map(|d| d.message.clone()),
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
        look: true,
    };
    config::load(&options.config.to_string_lossy(), &RealFiles, &settings)
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
