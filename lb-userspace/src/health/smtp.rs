//! The dialogue of `SMTP_CHECK` (RFC 5321): greeting, HELO, QUIT.

use crate::health::Failure;

/// A line of an answer may be so long: twice what RFC 5321 gives it.
const LONGEST_LINE: usize = 1024;
/// An answer may have so many lines.
const MOST_LINES: u32 = 100;
/// As much of a wrong answer is shown.
const SHOWN: usize = 60;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The answer is not whole yet.
    Listen,
    /// Say this.
    Say(String),
    /// The server is well.
    Done,
}

/// What the server is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Greeting,
    ToHelo,
    ToQuit,
}

impl Answer {
    const fn name(self) -> &'static str {
        match self {
            Answer::Greeting => "the greeting",
            Answer::ToHelo => "the answer to HELO",
            Answer::ToQuit => "the answer to QUIT",
        }
    }

    const fn is_good(self, code: u16) -> bool {
        match self {
            Answer::Greeting => code == 220,
            Answer::ToHelo => code == 250,
            Answer::ToQuit => code / 100 == 2,
        }
    }
}

/// A dialogue under way; it keeps one line at most.
#[derive(Debug)]
pub struct Dialogue<'h> {
    helo_name: &'h str,
    waits_for: Answer,
    line: Vec<u8>,
    lines: u32,
    /// The code of the lines before.
    code: Option<u16>,
}

impl<'h> Dialogue<'h> {
    /// One that waits for the greeting, and then gives `helo_name` as this host's.
    #[must_use]
    pub fn new(helo_name: &'h str) -> Self {
        Dialogue {
            helo_name,
            waits_for: Answer::Greeting,
            line: Vec::new(),
            lines: 0,
            code: None,
        }
    }

    /// Takes in what the server sent.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn hear(&mut self, octets: &[u8]) -> Result<Next, Failure> {
        let mut octets = octets.iter();
        while let Some(&octet) = octets.next() {
            if octet != b'\n' {
                if self.line.len() == LONGEST_LINE {
                    return Err(self.wrong("has a line that is too long"));
                }
                self.line.push(octet);
                continue;
            }
            let Some(code) = self.line_ends()? else {
                continue;
            };
            if !self.waits_for.is_good(code) {
                return Err(self.wrong(&format!("is `{}`", self.shown())));
            }
            self.line.clear();
            self.lines = 0;
            self.code = None;
            let (waits_for, next) = match self.waits_for {
                Answer::Greeting => {
                    let helo = format!("HELO {}\r\n", self.helo_name);
                    (Answer::ToHelo, Next::Say(helo))
                }
                Answer::ToHelo => (Answer::ToQuit, Next::Say("QUIT\r\n".to_owned())),
                Answer::ToQuit => return Ok(Next::Done),
            };
            if !octets.as_slice().is_empty() {
                return Err(self.wrong("has more behind its end"));
            }
            self.waits_for = waits_for;
            return Ok(next);
        }
        Ok(Next::Listen)
    }

    /// The code of the answer, if it ends with this line.
    fn line_ends(&mut self) -> Result<Option<u16>, Failure> {
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        self.lines += 1;
        if self.lines > MOST_LINES {
            return Err(self.wrong("has too many lines"));
        }
        let (code, last) = match self.line.as_slice() {
            [a, b, c, rest @ ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => {
                let code = [a, b, c]
                    .iter()
                    .fold(0, |n, d| n * 10 + u16::from(**d - b'0'));
                match rest {
                    [] | [b' ', ..] => (code, true),
                    [b'-', ..] => (code, false),
                    _ => return Err(self.wrong(&format!("is `{}`", self.shown()))),
                }
            }
            _ => return Err(self.wrong(&format!("is `{}`", self.shown()))),
        };
        if *self.code.get_or_insert(code) != code {
            return Err(self.wrong("has several codes"));
        }
        if last {
            return Ok(Some(code));
        }
        self.line.clear();
        Ok(None)
    }

    /// Why the check fails when the server closes the connection now.
    #[must_use]
    pub fn closed(&self) -> Failure {
        match self.lines == 0 && self.line.is_empty() {
            true => Failure::Answer(format!(
                "the server closes the connection before {}",
                self.waits_for.name()
            )),
            false => self.wrong("ends in the middle"),
        }
    }

    /// Why the check fails when nothing more has come in time.
    #[must_use]
    pub fn silence(&self) -> Failure {
        match self.lines == 0 && self.line.is_empty() {
            true => Failure::Answer(format!("{} does not come in time", self.waits_for.name())),
            false => self.wrong("is not whole in time"),
        }
    }

    fn wrong(&self, how: &str) -> Failure {
        Failure::Answer(format!("{} {how}", self.waits_for.name()))
    }

    /// The beginning of the line, without what a terminal or a log would not show.
    fn shown(&self) -> String {
        let line = String::from_utf8_lossy(&self.line);
        let mut chars = line.chars().map(|c| if c.is_control() { '?' } else { c });
        let mut shown: String = chars.by_ref().take(SHOWN).collect();
        if chars.next().is_some() {
            shown.push_str("...");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is said to a server that says these, and how it ends.
    fn with(parts: &[&[u8]]) -> (String, String) {
        let mut dialogue = Dialogue::new("me.example");
        let mut said = String::new();
        for part in parts {
            match dialogue.hear(part) {
                Ok(Next::Listen) => {}
                Ok(Next::Say(text)) => said += &text,
                Ok(Next::Done) => return (said, "ok".into()),
                Err(why) => return (said, why.to_string()),
            }
        }
        (said, dialogue.silence().to_string())
    }

    const HELO: &str = "HELO me.example\r\n";
    const ALL: &str = "HELO me.example\r\nQUIT\r\n";

    #[test]
    fn dialogues() {
        for (parts, said, end) in [
            (
                &[&b"220 hi\r\n"[..], b"250 ok\r\n", b"221 bye\r\n"][..],
                ALL,
                "ok",
            ),
            (&[b"220\n", b"250\n", b"200\n"], ALL, "ok"),
            (
                &[
                    b"220-a\r\n220-\r\n2",
                    b"20 hi\r",
                    b"\n",
                    b"250-x\r\n250 y\r\n",
                    b"221 bye\r\n",
                ],
                ALL,
                "ok",
            ),
            (&[], "", "the greeting does not come in time"),
            (&[b"220-a\r\n"], "", "the greeting is not whole in time"),
            (&[b"554 go away\r\n"], "", "the greeting is `554 go away`"),
            (&[b"250 hi\r\n"], "", "the greeting is `250 hi`"),
            (
                &[b"220-a\r\n250 b\r\n"],
                "",
                "the greeting has several codes",
            ),
            (&[b"2200 a\r\n"], "", "the greeting is `2200 a`"),
            (&[b"SSH-2.0-x\r\n"], "", "the greeting is `SSH-2.0-x`"),
            (&[b"\r\n"], "", "the greeting is ``"),
            (&[b"22\r\n"], "", "the greeting is `22`"),
            (&[b"\x1b[2J\xff\n"], "", "the greeting is `?[2J\u{fffd}`"),
            (
                &[b"220 a\r\n250 b\r\n"],
                "",
                "the greeting has more behind its end",
            ),
            (
                &[b"220 a\n", b"502 what?\r\n"],
                HELO,
                "the answer to HELO is `502 what?`",
            ),
            (
                &[b"220 a\n", b"2"],
                HELO,
                "the answer to HELO is not whole in time",
            ),
            (
                &[b"220 a\n", b"250 b\n", b"421 no\n"],
                ALL,
                "the answer to QUIT is `421 no`",
            ),
        ] {
            assert_eq!(with(parts), (said.into(), end.into()));
        }
        let long = [&b"5"[..], &[b'a'; 100], b"\n"].concat();
        let end = format!("the greeting is `5{}...`", "a".repeat(59));
        assert_eq!(with(&[&long]), (String::new(), end));
    }

    #[test]
    fn a_closed_connection() {
        let mut d = Dialogue::new("x");
        assert_eq!(
            d.closed().to_string(),
            "the server closes the connection before the greeting"
        );
        d.hear(b"220").unwrap();
        assert_eq!(d.closed().to_string(), "the greeting ends in the middle");
    }

    #[test]
    fn no_server_takes_memory_or_time() {
        let mut d = Dialogue::new("x");
        let ends = (0..).find_map(|n| d.hear(b"220-").err().map(|why| (n, why)));
        let (n, why) = ends.unwrap();
        assert_eq!(n, LONGEST_LINE / 4);
        assert_eq!(why.to_string(), "the greeting has a line that is too long");
        let mut d = Dialogue::new("x");
        let ends = (0..).find_map(|n| d.hear(b"220-\n").err().map(|why| (n, why)));
        let (n, why) = ends.unwrap();
        assert_eq!(n, MOST_LINES);
        assert_eq!(why.to_string(), "the greeting has too many lines");
    }

    proptest! {
        #[test]
        fn nothing_is_too_odd(parts: Vec<Vec<u8>>, cut in 0usize..60) {
            let mut d = Dialogue::new("x");
            for part in &parts {
                if d.hear(part).is_err() {
                    break;
                }
                prop_assert!(d.line.len() <= LONGEST_LINE);
            }
            let _ = (d.closed(), d.silence());
            // Wherever an answer is cut, it is the same answer.
            let greeting = b"220-mail.example\r\n220-ESMTP\r\n220 is here, says me\r\n";
            let (a, b) = greeting.split_at(cut.min(greeting.len()));
            let mut d = Dialogue::new("x");
            let said = [d.hear(a).unwrap(), d.hear(b).unwrap()];
            let one = said.iter().filter(|n| matches!(n, Next::Say(_))).count();
            prop_assert_eq!(one, 1);
        }
    }
}
