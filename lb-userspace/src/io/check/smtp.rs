//! `SMTP_CHECK`: a mail server greets, answers HELO and says good-bye, each within `connect_timeout`.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::socket::verdict_of;
use super::tcp;
use crate::health::smtp::{Dialogue, Next};
use crate::health::{Failure, Verdict};
use crate::io::clock::now;
use crate::model::{Check, SmtpCheck};

/// Runs the check once; how long it took counts from `connect`.
pub(super) async fn probe(check: &Check, smtp: &SmtpCheck) -> (Verdict, Duration) {
    let start = now();
    let verdict = match tcp::connect(check).await {
        Ok(mut stream) => talk(&mut stream, Dialogue::new(&smtp.helo_name), check.timeout).await,
        Err(verdict) => verdict,
    };
    (verdict, now().since(start))
}

async fn talk(stream: &mut TcpStream, mut dialogue: Dialogue<'_>, within: Duration) -> Verdict {
    let mut buffer = [0; 512];
    loop {
        let next = match timeout(within, answer(stream, &mut dialogue, &mut buffer)).await {
            Ok(Ok(next)) => next,
            Ok(Err(verdict)) => return verdict,
            Err(_) => return Verdict::Failed(dialogue.silence()),
        };
        let Some(text) = next else {
            return Verdict::Ok;
        };
        match timeout(within, stream.write_all(text.as_bytes())).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => return verdict_of(&e),
            Err(_) => return Verdict::Failed(Failure::NoAnswer),
        }
    }
}

/// Hears a whole answer and gives what to say to it; none: nothing more.
async fn answer(
    stream: &mut TcpStream,
    dialogue: &mut Dialogue<'_>,
    buffer: &mut [u8],
) -> Result<Option<String>, Verdict> {
    loop {
        let heard = match stream.read(buffer).await {
            Ok(0) => return Err(Verdict::Failed(dialogue.closed())),
            Ok(n) => dialogue.hear(&buffer[..n]),
            Err(e) => return Err(verdict_of(&e)),
        };
        match heard.map_err(Verdict::Failed)? {
            Next::Listen => {}
            Next::Say(text) => return Ok(Some(text)),
            Next::Done => return Ok(None),
        }
    }
}
