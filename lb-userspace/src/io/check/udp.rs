//! `UDP_CHECK`: no ICMP error comes back within `connect_timeout`, or the answer that is required.

use std::time::Duration;

use socket2::{Protocol, Type};

use super::datagram::{self, Judge};
use crate::health::{Failure, Verdict, udp};
use crate::model::{Check, UdpCheck};

/// Runs the check once.
pub(super) async fn probe(check: &Check, udp: &UdpCheck) -> (Verdict, Duration) {
    let how = (Type::DGRAM, Protocol::UDP);
    datagram::ask(check, how, udp::question(udp), Answer(udp)).await
}

struct Answer<'c>(&'c UdpCheck);

impl Judge for Answer<'_> {
    fn wanted(&self) -> usize {
        udp::wanted(self.0)
    }

    fn heard(&mut self, head: &[u8], length: usize) -> Option<Verdict> {
        Some(verdict(udp::judge(self.0, head, length)))
    }

    fn silence(self) -> Verdict {
        verdict(udp::judge_silence(self.0))
    }
}

fn verdict(judged: Result<(), Failure>) -> Verdict {
    match judged {
        Ok(()) => Verdict::Ok,
        Err(why) => Verdict::Failed(why),
    }
}
