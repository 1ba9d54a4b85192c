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
    /// What is not understood, though the rest runs; what may be missing because of something else is last.
    pub(super) doubts: Vec<String>,
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
    let mut doubts: Vec<_> = doubts.collect();
    doubts.sort_by_key(|d| d.code == Code::Incomplete);
    Read {
        doubts: doubts.iter().map(|d| d.message.clone()).collect(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        text: config::render(&loaded.diagnostics, &loaded.sources, false),
        left_out: loaded.left_out.clone(),
        model: loaded.model.map(Arc::new),
    }
}

/// The first that was not there `before`, as often as it is now: the file that is in force ran with those.
pub(super) fn new_doubt<'a>(doubts: &'a [String], before: &[String]) -> Option<&'a str> {
    let mut known: Vec<&String> = before.iter().collect();
    let mut all = doubts.iter();
    all.find(|doubt| match known.iter().position(|k| k == doubt) {
        Some(at) => {
            known.swap_remove(at);
            false
        }
        None => true,
    })
    .map(String::as_str)
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

#[cfg(test)]
mod tests {
    use super::new_doubt;

    #[test]
    fn what_the_file_in_force_ran_with_is_no_new_doubt() {
        let all = |words: &str| -> Vec<String> { words.split(' ').map(Into::into).collect() };
        for (now, before, new) in [
            ("a", "a", None),
            ("b a", "a b c", None),
            ("a b", "a", Some("b")),
            ("a a", "a", Some("a")),
            ("a a", "a a", None),
        ] {
            assert_eq!(new_doubt(&all(now), &all(before)), new, "{now}, {before}");
        }
        assert_eq!(new_doubt(&[], &all("a")), None);
    }
}
