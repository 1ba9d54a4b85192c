//! Words within a line of addresses, routes or rules: no keywords of a block.

/// The words of one kind of line.
struct Line {
    /// What it is, with an article.
    name: &'static str,
    words: &'static [&'static str],
}

const LINES: [Line; 3] = [
    Line {
        name: "an address",
        words: &[
            "dev",
            "brd",
            "broadcast",
            "label",
            "scope",
            "peer",
            "noprefixroute",
            "preferred_lft",
            "home",
            "mngtmpaddr",
            "-nodad",
            "no_track",
            "autojoin",
        ],
    },
    Line {
        name: "a route",
        words: &[
            "to",
            "default",
            "via",
            "gw",
            "or",
            "nexthop",
            "dev",
            "oif",
            "src",
            "table",
            "metric",
            "preference",
            "scope",
            "tos",
            "dsfield",
            "mtu",
            "advmss",
            "weight",
            "inet",
            "inet6",
            "unicast",
            "blackhole",
            "unreachable",
            "prohibit",
            "append",
            "prepend",
            "onlink",
            "no_track",
        ],
    },
    Line {
        name: "a rule",
        words: &[
            "not",
            "from",
            "to",
            "iif",
            "dev",
            "oif",
            "fwmark",
            "tos",
            "dsfield",
            "preference",
            "pref",
            "order",
            "table",
            "lookup",
            "inet",
            "inet6",
            "blackhole",
            "unreachable",
            "prohibit",
            "no_track",
        ],
    },
];

/// The kinds of lines in which `word` has a meaning, for people; none, mostly.
pub fn lines_with(word: &str) -> impl Iterator<Item = &'static str> + '_ {
    let known = move |line: &&Line| line.words.contains(&word);
    LINES.iter().filter(known).map(|line| line.name)
}
