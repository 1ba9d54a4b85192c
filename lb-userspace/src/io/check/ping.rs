//! `PING_CHECK`: an echo comes back within `connect_timeout`.
//!
//! The sockets are raw ones, which take CAP_NET_RAW, as adverts do; "ping sockets" are closed to
//! everybody unless `ping_group_range` says otherwise. A raw socket hears all that its host sends by
//! ICMP, whoever asked: the answer and the errors are known by the question's numbers.

use std::io;
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use socket2::{Protocol, Socket, Type};

use super::datagram::{self, Judge, told};
use crate::config::FileSource as _;
use crate::health::ping::{Echo, LONGEST};
use crate::health::{Failure, Verdict};
use crate::io::files::RealFiles;
use crate::model::Check;

/// Runs the check once.
pub(super) async fn probe(check: &Check) -> (Verdict, Duration) {
    let v6 = check.addr.is_ipv6();
    let protocol = match v6 {
        true => Protocol::ICMPV6,
        false => Protocol::ICMPV4,
    };
    let id = (RealFiles.random() as u32).to_be_bytes();
    let echo = Echo { v6, id };
    datagram::ask(check, (Type::RAW, protocol), &echo.request(), echo).await
}

impl Judge for Echo {
    fn wanted(&self) -> usize {
        LONGEST
    }

    fn heard(&mut self, head: &[u8], _: usize) -> Option<Verdict> {
        self.is_answered_by(head).then_some(Verdict::Ok)
    }

    fn error(&mut self, socket: &Socket, e: &io::Error) -> Option<Verdict> {
        let mut about = [0; 64];
        let mut others = false;
        while let Ok(length) = recv(socket.as_raw_fd(), &mut about, MsgFlags::MSG_ERRQUEUE) {
            if self.is(&about[..length.min(about.len())]) {
                return Some(told(e));
            }
            others = true;
        }
        (!others).then(|| told(e))
    }

    fn silence(self) -> Verdict {
        Verdict::Failed(Failure::NoAnswer)
    }
}
