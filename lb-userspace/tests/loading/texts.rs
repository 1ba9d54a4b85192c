//! A text of keepalived.conf read as `k.conf`.

use lb_userspace::config::{self, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::Model;

/// What becomes of it.
pub(crate) fn load(text: &str) -> Loaded {
    config::load(
        "k.conf",
        &MemoryFiles::one("k.conf", text),
        &Options::default(),
    )
}

/// Its model; there must be nothing wrong with it.
pub(crate) fn model(text: &str) -> Model {
    let l = load(text);
    let wrong = l.count(Severity::Error) + l.count(Severity::Warning);
    assert_eq!(wrong, 0, "{}", l.render(false));
    l.model.expect("a model")
}
