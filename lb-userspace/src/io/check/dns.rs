//! `DNS_CHECK`: a question over UDP is answered within `connect_timeout`, without an error.

use std::time::Duration;

use socket2::{Protocol, Type};

use super::datagram::{self, Judge};
use crate::config::FileSource as _;
use crate::health::dns::{self, Heard};
use crate::health::{Failure, Verdict};
use crate::io::files::RealFiles;
use crate::model::{Check, DnsCheck};

/// Runs the check once.
pub(super) async fn probe(check: &Check, dns: &DnsCheck) -> (Verdict, Duration) {
    let question = dns::question(dns, RealFiles.random() as u16);
    let answer = Answer {
        question: &question,
        heard: None,
    };
    datagram::ask(check, (Type::DGRAM, Protocol::UDP), &question, answer).await
}

struct Answer<'q> {
    question: &'q [u8],
    /// Why what was heard last is no answer.
    heard: Option<&'static str>,
}

impl Judge for Answer<'_> {
    fn wanted(&self) -> usize {
        dns::LONGEST
    }

    fn heard(&mut self, head: &[u8], length: usize) -> Option<Verdict> {
        match dns::judge(self.question, head, length) {
            Heard::Answer(Ok(())) => Some(Verdict::Ok),
            Heard::Answer(Err(why)) => Some(Verdict::Failed(why)),
            Heard::Else(why) => {
                self.heard = Some(why);
                None
            }
        }
    }

    fn silence(self) -> Verdict {
        Verdict::Failed(match self.heard {
            None => Failure::NoAnswer,
            Some(why) => Failure::Answer(format!("what came is no answer: {why}")),
        })
    }
}
