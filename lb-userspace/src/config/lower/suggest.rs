//! "Did you mean": words that look or sound like keywords.

use crate::config::keywords::{self, Block};

/// Letters of other alphabets that look like Latin ones.
const LOOK_ALIKE: &[(char, char)] = &[
    ('а', 'a'),
    ('е', 'e'),
    ('о', 'o'),
    ('р', 'p'),
    ('с', 'c'),
    ('у', 'y'),
    ('х', 'x'),
    ('і', 'i'),
    ('ј', 'j'),
    ('ѕ', 's'),
    ('һ', 'h'),
    ('ԁ', 'd'),
    ('ԛ', 'q'),
    ('ԝ', 'w'),
    ('ѵ', 'v'),
    ('к', 'k'),
    ('м', 'm'),
    ('т', 't'),
    ('в', 'b'),
    ('н', 'h'),
    ('А', 'A'),
    ('В', 'B'),
    ('Е', 'E'),
    ('К', 'K'),
    ('М', 'M'),
    ('Н', 'H'),
    ('О', 'O'),
    ('Р', 'P'),
    ('С', 'C'),
    ('Т', 'T'),
    ('У', 'Y'),
    ('Х', 'X'),
    ('І', 'I'),
    ('Ѕ', 'S'),
    ('Ј', 'J'),
    ('α', 'a'),
    ('ο', 'o'),
    ('ν', 'v'),
    ('ρ', 'p'),
    ('υ', 'u'),
    ('ι', 'i'),
    ('κ', 'k'),
    ('τ', 't'),
    ('ε', 'e'),
    ('Α', 'A'),
    ('Β', 'B'),
    ('Ε', 'E'),
    ('Η', 'H'),
    ('Ι', 'I'),
    ('Κ', 'K'),
    ('Μ', 'M'),
    ('Ν', 'N'),
    ('Ο', 'O'),
    ('Ρ', 'P'),
    ('Τ', 'T'),
    ('Υ', 'Y'),
    ('Χ', 'X'),
    ('Ζ', 'Z'),
    ('ı', 'i'),
    ('ɡ', 'g'),
    ('\u{2010}', '-'),
    ('\u{2011}', '-'),
    ('\u{2013}', '-'),
    ('\u{ff3f}', '_'),
];

/// A keyword of the block that `word` is but for letters of another alphabet: the place (byte) of the
/// first such letter, the letter, the Latin one, the keyword.
pub(super) fn look_alike(word: &str, block: Block) -> Option<(usize, char, char, &'static str)> {
    if word.is_ascii() || word.len() > 100 {
        return None;
    }
    let mut first = None;
    let mut latin = String::with_capacity(word.len());
    for (i, c) in word.char_indices() {
        match LOOK_ALIKE.iter().find(|(l, _)| *l == c) {
            Some((_, to)) => {
                first = first.or(Some((i, c, *to)));
                latin.push(*to);
            }
            // A character without width hides well too.
            None if matches!(
                c,
                '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{00ad}' | '\u{2060}'
            ) =>
            {
                first = first.or(Some((i, c, ' ')));
            }
            None => latin.push(c),
        }
    }
    let (i, c, to) = first?;
    let found = keywords::find(block, &latin).or_else(|| {
        keywords::blocks_of(&latin)
            .next()
            .and_then(|b| keywords::find(b, &latin))
    })?;
    Some((i, c, to, found.name))
}

/// A letter with its alphabet.
pub(super) fn letter(c: char) -> String {
    let alphabet = match c {
        '\u{0370}'..='\u{03ff}' => "the Greek",
        '\u{0400}'..='\u{052f}' => "the Cyrillic",
        '\u{200b}'..='\u{200f}' | '\u{feff}' | '\u{00ad}' | '\u{2060}' => {
            return format!("a character without width (U+{:04X})", u32::from(c));
        }
        _ => "the character",
    };
    format!("{alphabet} `{c}` (U+{:04X})", u32::from(c))
}

/// Keywords that `word` may be a mistyped form of.
pub(crate) fn did_you_mean(word: &str, block: Block) -> Vec<String> {
    if word.len() > 60 {
        return Vec::new();
    }
    let lower = word.to_lowercase();
    // `weight=0`, `retry: 1`
    if let Some(cut) = word.find(['=', ':', ';', ',']).filter(|&n| n > 0)
        && keywords::find(block, &word[..cut]).is_some()
    {
        return vec![format!(
            "write a space after the keyword: `{} {}`",
            &word[..cut],
            word[cut + 1..].trim()
        )];
    }
    if let Some(k) = block
        .keywords()
        .iter()
        .find(|k| k.name.to_lowercase() == lower)
    {
        return vec![format!("did you mean `{}`? Case matters", k.name)];
    }
    let limit = (word.len() / 3).clamp(1, 3);
    let best = |blocks: &mut dyn Iterator<Item = Block>| {
        blocks
            .flat_map(|b| b.keywords().iter().map(move |k| (b, k.name)))
            .filter(|(_, k)| k.len().abs_diff(word.len()) <= limit)
            .map(|(b, k)| (distance(&lower, &k.to_lowercase()), b, k))
            .filter(|(d, ..)| *d <= limit)
            .min_by_key(|(d, ..)| *d)
    };
    if let Some((_, _, k)) = best(&mut std::iter::once(block)) {
        return vec![format!("did you mean `{k}`?")];
    }
    match best(&mut Block::ALL.iter().copied().filter(|b| *b != block)) {
        Some((0, b, _)) => vec![format!("it belongs in {}", super::in_block(b.name()))],
        Some((1, b, k)) => vec![format!(
            "did you mean `{k}`? It belongs in {}",
            super::in_block(b.name())
        )],
        Some(_) | None => Vec::new(),
    }
}

/// Edits from one word to the other: insert, delete, replace, swap neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut two: Vec<usize> = vec![0; b.len() + 1];
    let mut one: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (one[j] + 1).min(row[j - 1] + 1).min(one[j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(two[j - 2] + 1);
            }
        }
        two = std::mem::replace(&mut one, row);
    }
    one[b.len()]
}
