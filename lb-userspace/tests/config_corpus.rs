//! Real files (`LB_CORPUS` names a folder of them): an answer for each, quickly, and never a panic.

use std::time::Duration;

use lb_userspace::config::{self, MemoryFiles, Options, Severity};
use lb_userspace::io::clock;

/// The longest that reading one file may take.
const LIMIT: Duration = Duration::from_millis(10);

#[test]
fn every_real_file_gets_an_answer_in_milliseconds() {
    let Some(folder) = std::env::var_os("LB_CORPUS") else {
        println!("LB_CORPUS is not set: nothing was read");
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("LB_CORPUS is a folder")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "conf"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no *.conf in LB_CORPUS");
    let mut worst = Duration::ZERO;
    let (mut refused, mut without_skip) = (0, 0);
    println!(
        "{:<12} {:>6} {:>8} {:>5} {:>9} {:>8} {:>8} {:>7}  left out",
        "file", "errors", "warnings", "notes", "instances", "services", "servers", "µs"
    );
    for path in &files {
        let text = String::from_utf8_lossy(&std::fs::read(path).expect("readable")).into_owned();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .expect("a name")
            .to_owned();
        let memory = MemoryFiles::one(&name, &text);
        let strict = config::load(&name, &memory, &Options::default());
        let skip = Options {
            skip_unsupported: true,
            ..Options::default()
        };
        // The least of several, so that what else the machine does is not counted.
        let mut took = Duration::MAX;
        let mut loaded = None;
        for _ in 0..5 {
            let start = clock::now();
            let l = config::load(&name, &memory, &skip);
            let rendered = l.render(false);
            took = took.min(clock::now().since(start));
            assert_eq!(rendered.is_empty(), l.diagnostics.is_empty());
            loaded = Some(l);
        }
        let l = loaded.expect("read");
        worst = worst.max(took);
        for d in l.diagnostics.iter().chain(&strict.diagnostics) {
            assert!(
                d.primary.is_some(),
                "{name}: without a place: {}",
                d.message
            );
        }
        assert_eq!(l.model.is_none(), l.count(Severity::Error) > 0, "{name}");
        refused += usize::from(l.model.is_none());
        without_skip += usize::from(strict.model.is_some());
        let m = l.model.clone().unwrap_or_default();
        println!(
            "{name:<12} {:>6} {:>8} {:>5} {:>9} {:>8} {:>8} {:>7}  {}",
            l.count(Severity::Error),
            l.count(Severity::Warning),
            l.count(Severity::Note),
            m.instances.len(),
            m.services.len(),
            m.services
                .iter()
                .map(|s| s.real_servers.len())
                .sum::<usize>(),
            took.as_micros(),
            l.left_out.join(", ")
        );
        for (p, text) in [
            ("c.conf", config::to_keepalived(&m)),
            ("c.toml", config::to_toml(&m)),
        ] {
            let again = config::load(p, &MemoryFiles::one(p, &text), &Options::default());
            assert_eq!(
                again.model.as_ref(),
                Some(&m),
                "{name} as {p}\n{text}\n{}",
                again.render(false)
            );
        }
        assert!(took < LIMIT, "{name} took {took:?}");
    }
    println!(
        "{} files, {without_skip} run as they are, {refused} refused even without what is unsupported, the slowest {worst:?}",
        files.len()
    );
}
