//! What a configuration names and this host does not have as it should be: scripts, files of TLS, CPUs.

use std::collections::BTreeSet;

use super::diag::{Code, Diagnostic, Severity};
use super::lower::Lowered;
use super::{FileSource, Options, Unfit};
use crate::model::{Check, CheckKind, Model, Script, Trust};

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
                format!(
                    "tried again each time; until then {}",
                    becomes(model, script)
                ),
            ),
            Some(Unfit::Writable(path)) => (
                format!("script {script} runs as root, and others may write {path}"),
                "enable_script_security would not run it".to_owned(),
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
    for (cpu, keyword, span) in &places.cpus {
        if !files.has_cpu(*cpu) {
            let message =
                format!("`{keyword}` names CPU {cpu}, and this host has none of that number");
            let d = Diagnostic::new(Code::OutOfRange, Severity::Warning, message);
            out.push(d.at(*span, "ignored, as by keepalived"));
        }
    }
    out
}

/// What happens for want of a script, which may be wanted for several things.
fn becomes(model: &Model, script: &Script) -> String {
    let is_misc = |c: &Check| matches!(&c.kind, CheckKind::Misc(misc) if misc.script == *script);
    let servers = model.services.iter().flat_map(|s| &s.real_servers);
    let checks = servers.flat_map(|r| &r.checks).filter(|c| is_misc(c));
    let tracked = model.vrrp_scripts.iter().filter(|s| s.script == *script);
    let (checks, tracked) = (checks.count(), tracked.count());
    let told = model.scripts().filter(|s| *s == script).count() - checks - tracked;
    let all = [
        (checks, "a check by it fails"),
        (tracked, "a track_script of it counts as failed"),
        (told, "what it should be told is not told"),
    ];
    let words: Vec<&str> = all
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(_, w)| *w)
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use crate::config::{Code, MemoryFiles, Options, load};

    #[test]
    fn cpus_that_this_host_lacks_are_named_at_their_words() {
        let text = "global_defs {\n vrrp_cpu_affinity 0 7\n vrrp_cpu_affinity 2\n \
                    checker_cpu_affinity 3 1-2 9999\n bfd_cpu_affinity 1\n}\n";
        let files = MemoryFiles::one("a.conf", text);
        let read = |look| {
            let options = Options {
                look,
                ..Options::default()
            };
            load("a.conf", &files, &options)
        };
        let l = read(true);
        let global = &l.model.as_ref().expect("a model").global;
        // The kernel leaves out what it lacks; it may come later.
        assert_eq!(global.vrrp_cpu_affinity, [0, 2, 7].into());
        assert_eq!(global.checker_cpu_affinity, [3].into());
        assert_eq!(global.bfd_cpu_affinity, [1].into());
        let said = |l: &crate::config::Loaded| -> Vec<String> {
            l.diagnostics
                .iter()
                .map(|d| {
                    let at = l
                        .sources
                        .position(d.primary.as_ref().expect("a place").span);
                    format!("{}:{} {}", at.line, at.column, d.message)
                })
                .collect()
        };
        let junk = [
            "4:25 `checker_cpu_affinity` needs a whole number, not `1-2`",
            "4:29 `checker_cpu_affinity` is out of range: 9999",
        ];
        let lacking = "2:22 `vrrp_cpu_affinity` names CPU 7, and this host has none of that number";
        assert_eq!(said(&l), [&[lacking], junk.as_slice()].concat());
        assert_eq!(said(&read(false)), junk, "for another host");
    }

    #[test]
    fn what_happens_for_want_of_a_script_is_said() {
        let label = |notify: &str, tracked: &str, check: &str| {
            let text = format!(
                "vrrp_script s {{\n script {tracked}\n}}\n\
                 vrrp_instance V {{\n interface a\n virtual_router_id 1\n notify {notify}\n}}\n\
                 virtual_server 192.0.2.1 80 {{\n lb_kind DR\n lb_algo rr\n protocol TCP\n \
                 real_server 192.0.2.2 80 {{\n MISC_CHECK {{\n misc_path {check}\n }}\n }}\n}}\n"
            );
            let mut files = MemoryFiles::one("a.conf", &text);
            files.files.insert("/there".to_owned(), Vec::new());
            let options = Options {
                look: true,
                ..Options::default()
            };
            let l = load("a.conf", &files, &options);
            let mut unfit = l.diagnostics.iter().filter(|d| d.code == Code::UnfitScript);
            let (Some(d), None) = (unfit.next(), unfit.next()) else {
                panic!("{}", l.render(false));
            };
            d.primary.as_ref().expect("a place").text.clone()
        };
        let until = "tried again each time; until then";
        let [told, tracked, checked] = [
            "what it should be told is not told",
            "a track_script of it counts as failed",
            "a check by it fails",
        ];
        let there = "/there";
        for (said, what) in [
            (label("/none", there, there), told.to_owned()),
            (label(there, "/none", there), tracked.to_owned()),
            (label(there, there, "/none"), checked.to_owned()),
            (label("/none", "/none", there), format!("{tracked}, {told}")),
        ] {
            assert_eq!(said, format!("{until} {what}"));
        }
    }
}
