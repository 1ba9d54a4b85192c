//! An answer as it comes in, in pieces of any size.

use md5::{Digest as _, Md5};

use super::chunks::Chunks;
use super::{Fault, MOST_BODY, MOST_HEAD, MOST_MATCHED};
use crate::model::{HttpDigest, Url};

/// Whether more is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The answer goes on.
    More,
    /// That was all of it.
    Complete,
}

/// How the end of the body is known.
#[derive(Debug)]
enum Length {
    /// The connection is closed.
    Close,
    /// So many bytes are left.
    Bytes(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunks),
}

#[derive(Debug)]
enum Part {
    /// Up to the empty line; `line_start`: nothing but a CR since the last newline.
    Head {
        line_start: bool,
    },
    Body(Length),
}

/// An answer to a request for a URL. Its memory is bounded whatever comes.
#[derive(Debug)]
pub struct Answer<'u> {
    url: &'u Url,
    part: Part,
    /// The header so far.
    head: Vec<u8>,
    /// Bytes of headers that came before this one.
    interim: usize,
    digest: Option<Md5>,
    /// What `regex` is matched with.
    kept: Vec<u8>,
    /// Bytes since the header.
    body: u64,
}

impl<'u> Answer<'u> {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(url: &'u Url) -> Self {
        Answer {
            url,
            part: Part::Head { line_start: false },
            head: Vec::new(),
            interim: 0,
            digest: url.digest.map(|_| Md5::new()),
            kept: Vec::new(),
            body: 0,
        }
    }

    /// Takes in what came.
    ///
    /// # Errors
    /// The answer is bad, whatever would follow.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Progress, Fault> {
        while let Part::Head { line_start } = &mut self.part {
            let end = bytes.iter().position(|b| match b {
                b'\n' => std::mem::replace(line_start, true),
                b'\r' => false,
                _ => {
                    *line_start = false;
                    false
                }
            });
            let (now, later) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
            if self.interim + self.head.len() + now.len() > MOST_HEAD {
                return Err(Fault::HeadTooLong);
            }
            self.head.extend_from_slice(now);
            if end.is_none() {
                return Ok(Progress::More);
            }
            bytes = later;
            if self.header()? == Progress::Complete {
                return Ok(Progress::Complete);
            }
        }
        self.take_body(bytes)
    }

    /// The header is there.
    fn header(&mut self) -> Result<Progress, Fault> {
        let status = status(&self.head).ok_or(Fault::NotHttp)?;
        // More will follow: `100 Continue`, `103 Early Hints`; not `101 Switching Protocols`.
        if (100..200).contains(&status) && status != 101 {
            self.interim += self.head.len();
            self.head.clear();
            self.part = Part::Head { line_start: false };
            return Ok(Progress::More);
        }
        if !self.url.status.contain(status) {
            return Err(Fault::Status {
                got: status,
                want: self.url.status.to_string(),
            });
        }
        let length = length(&self.head);
        let none = matches!(status, 204 | 304) || matches!(length, Length::Bytes(0));
        self.part = Part::Body(length);
        self.head = Vec::new();
        Ok(if none {
            Progress::Complete
        } else {
            Progress::More
        })
    }

    fn take_body(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        let Part::Body(length) = &mut self.part else {
            return Ok(Progress::More);
        };
        let wanted = self.url.regex.is_some();
        let kept = &mut self.kept;
        let mut keep = |data: &[u8]| {
            if wanted {
                let room = MOST_MATCHED.saturating_sub(kept.len());
                kept.extend_from_slice(&data[..data.len().min(room)]);
            }
        };
        let (used, progress) = match length {
            Length::Close => {
                keep(bytes);
                (bytes.len(), Progress::More)
            }
            Length::Bytes(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let used = most.min(bytes.len());
                keep(&bytes[..used]);
                *left -= used as u64;
                let done = *left == 0;
                (
                    used,
                    if done {
                        Progress::Complete
                    } else {
                        Progress::More
                    },
                )
            }
            Length::Chunked(chunks) => chunks.take(bytes, keep),
        };
        if let Some(digest) = &mut self.digest {
            digest.update(&bytes[..used]);
        }
        self.body += used as u64;
        if self.body > MOST_BODY {
            return Err(Fault::TooLong);
        }
        Ok(progress)
    }

    /// Judges the answer when nothing more comes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn end(self) -> Result<(), Fault> {
        if let Part::Head { .. } = self.part {
            return Err(match self.head.len() + self.interim {
                0 => Fault::Nothing,
                _ => Fault::HeadCut,
            });
        }
        if let (Some(want), Some(digest)) = (self.url.digest, self.digest) {
            let got = HttpDigest(digest.finalize().into());
            if got != want {
                return Err(Fault::Digest { got });
            }
        }
        match &self.url.regex {
            Some(regex) if !regex.accepts(&self.kept) => Err(match regex.text().no_match {
                true => Fault::Match,
                false => Fault::NoMatch,
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// The status of a header: three digits behind the version.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.strip_prefix(b"HTTP/")?.split(|b| *b == b'\n').next()?;
    let mut words = line.split(|b| matches!(b, b' ' | b'\r')).skip(1);
    let word = words.find(|w| !w.is_empty())?;
    match word {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
            Some(word.iter().fold(0, |n, b| n * 10 + u16::from(b - b'0')))
        }
        _ => None,
    }
}

/// How the end of the body is known. A length that is none, or two that differ, say nothing.
fn length(head: &[u8]) -> Length {
    let mut bytes = Vec::new();
    for line in head.split(|b| *b == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let last = value.rsplit(|b| *b == b',').next().unwrap_or_default();
            if last.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Length::Chunked(Chunks::default());
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            bytes.push(value);
        }
    }
    let number = |digits: &[u8]| {
        let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(digits).ok().filter(|_| all)?;
        text.parse::<u64>().ok()
    };
    match bytes.as_slice() {
        [first, others @ ..] if others.iter().all(|o| o == first) => {
            number(first).map_or(Length::Close, Length::Bytes)
        }
        _ => Length::Close,
    }
}
