//! Each keyword that is acted on changes what runs: without its statement the model is another one.

use std::collections::BTreeSet;

use lb_userspace::config::keywords::{self, Block, Body, Status};
use lb_userspace::config::{self, Loaded, MemoryFiles, Options};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// What the writers say in other words, and what no model needs: by hand.
const BY_HAND: &str = include_str!("keywords.conf");

/// Many models; the first of them meet nearly all keywords.
const MODELS: usize = 300;

type Name = (Block, &'static str);

/// `HTTP_GET` knows the words of `SSL_GET`, of which these mean nothing to it.
const OF_TLS: [Name; 2] = [
    (Block::HttpGet, "enable_sni"),
    (Block::HttpGet, "verify_certificate"),
];

fn acted_on() -> BTreeSet<Name> {
    Block::ALL
        .iter()
        .flat_map(|b| b.keywords().iter().map(|k| (*b, k)))
        .filter(|(_, k)| match k.status {
            Status::Acted | Status::Own | Status::Old(_) => true,
            Status::NoEffect | Status::NotNeeded | Status::Unsupported | Status::Removed(_) => {
                false
            }
        })
        .map(|(b, k)| (b, k.name))
        .collect()
}

/// An open block: its keyword and line, and what it holds where that is keywords.
type Open = (Option<(Name, usize)>, Option<Block>);

/// The statements of a text that has one on a line, each with its lines.
fn statements(text: &str) -> Vec<(Name, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = vec![(None, Some(Block::Top))];
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line == "}" {
            if let Some((Some((name, from)), _)) = open.pop() {
                found.push((name, from..at + 1));
            }
            continue;
        }
        let within = open.last().and_then(|(_, block)| *block);
        let word = line.split_whitespace().next().unwrap_or("");
        let keyword = within.and_then(|b| Some((b, keywords::find(b, word)?)));
        let name = keyword.map(|(b, k)| (b, k.name));
        if line.ends_with('{') {
            let inner = keyword.and_then(|(_, k)| match k.body {
                Body::Block(block) => Some(block),
                Body::None | Body::Lines => None,
            });
            open.push((name.map(|n| (n, at)), inner));
        } else {
            found.extend(name.map(|n| (n, at..at + 1)));
        }
    }
    assert_eq!(open.len(), 1, "blocks that do not end in\n{text}");
    found
}

fn load(text: &str) -> Loaded {
    let files = MemoryFiles::one("m.conf", text);
    config::load("m.conf", &files, &Options::default())
}

/// Takes from `left` what `text` shows to be needed.
fn shown(text: &str, left: &mut BTreeSet<Name>) {
    let whole = load(text);
    assert!(whole.model.is_some(), "{}", whole.render(false));
    let lines: Vec<&str> = text.lines().collect();
    for (name, at) in statements(text) {
        if !left.contains(&name) {
            continue;
        }
        let rest = [&lines[..at.start], &lines[at.end..]].concat().join("\n");
        if load(&rest).model != whole.model {
            left.remove(&name);
        }
    }
}

#[test]
fn each_keyword_that_is_acted_on_changes_what_runs() {
    let mut left = acted_on();
    for name in OF_TLS {
        assert!(left.remove(&name), "{name:?}");
    }
    for part in BY_HAND.split("# ----\n") {
        shown(part, &mut left);
    }
    let mut runner = TestRunner::deterministic();
    for _ in 0..MODELS {
        let model = super::model().new_tree(&mut runner).expect("a model");
        shown(&config::to_keepalived(&model.current()), &mut left);
        if left.is_empty() {
            return;
        }
    }
    let left: Vec<String> = left
        .iter()
        .map(|(b, name)| format!("{name} ({})", b.name()))
        .collect();
    panic!(
        "acted on, and nothing changes without them: {}",
        left.join(", ")
    );
}
