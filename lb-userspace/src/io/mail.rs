//! Sends mails, one after the other, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc as done;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::engine::Message;
use crate::model::{Mail, MailServer, Model};

/// Mails that may wait; what finds no room is lost, which is said.
const QUEUE: usize = 256;
/// How long mails may still be sent when the daemon ends.
const FAREWELL: Duration = Duration::from_secs(5);
/// An answer of a server may be so long.
const LONGEST: u64 = 16 * 1024;

/// A mail, and how it is sent.
#[derive(Debug)]
struct Job {
    how: Arc<How>,
    message: Message,
}

#[derive(Debug)]
struct How {
    mail: Mail,
    server: MailServer,
    host: String,
    router_id: String,
}

/// The thread that sends mails. Dropping it waits a little for those that wait.
#[derive(Debug)]
pub struct Mailer {
    queue: Option<mpsc::Sender<Job>>,
    ended: done::Receiver<()>,
    how: Option<Arc<How>>,
    /// Mails that found no room since this was said.
    lost: u64,
}

impl Mailer {
    /// Starts the thread, in the network namespace of the caller's.
    ///
    /// # Errors
    /// When the runtime or its thread cannot be made.
    pub fn spawn() -> std::io::Result<Mailer> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE);
        let (end, ended) = done::sync_channel(1);
        std::thread::Builder::new()
            .name("lbd-mail".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    while let Some(job) = jobs.recv().await {
                        let MailServer { host, port } = &job.how.server;
                        match send(&job).await {
                            Ok(()) => tracing::info!("mail sent: {}", job.message.subject),
                            Err(why) => tracing::warn!(
                                "mail not sent: {}: {host} {port}: {why}",
                                job.message.subject
                            ),
                        }
                    }
                });
                // Who has waited too long has gone.
                let _ = end.send(());
                runtime.shutdown_background();
            })?;
        Ok(Mailer {
            queue: Some(queue),
            ended,
            how: None,
            lost: 0,
        })
    }

    /// Takes over a configuration; what waits is sent as it was to be.
    pub fn configure(&mut self, model: &Model, host: &str) {
        let mail = &model.global.mail;
        let server = mail.server.as_ref().filter(|_| !mail.to.is_empty());
        self.how = server.map(|server| {
            Arc::new(How {
                mail: mail.clone(),
                server: server.clone(),
                host: host.to_owned(),
                router_id: model.global.router_id.clone().unwrap_or(host.to_owned()),
            })
        });
    }

    /// Sends a mail; never blocks.
    pub fn send(&mut self, message: Message) {
        let (Some(how), Some(queue)) = (&self.how, &self.queue) else {
            return;
        };
        let how = Arc::clone(how);
        match queue.try_send(Job { how, message }) {
            Ok(()) if self.lost > 0 => {
                tracing::warn!("{} mail(s) found no room", self.lost);
                self.lost = 0;
            }
            Ok(()) => {}
            Err(_) => {
                if self.lost == 0 {
                    tracing::warn!("too many mails wait; the next ones are lost");
                }
                self.lost += 1;
            }
        }
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        self.queue = None;
        if self.ended.recv_timeout(FAREWELL).is_err() {
            tracing::warn!("mails are left unsent");
        }
    }
}

/// A connection to a mail server.
struct Talk {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    limit: Duration,
}

impl Talk {
    /// Says something, and gives the code of the answer and its last line.
    async fn say(&mut self, text: &str) -> Result<(u16, String), String> {
        let written = timeout(self.limit, self.to.write_all(text.as_bytes())).await;
        match written {
            Ok(Ok(())) => self.hear().await,
            Ok(Err(e)) => Err(super::files::reason(&e)),
            Err(_) => Err("it takes nothing in time".to_owned()),
        }
    }

    async fn hear(&mut self) -> Result<(u16, String), String> {
        let limit = self.limit;
        let mut from = (&mut self.from).take(LONGEST);
        let whole = async {
            loop {
                let mut line = Vec::new();
                match from.read_until(b'\n', &mut line).await {
                    Ok(0) => return Err("it closes the connection".to_owned()),
                    Ok(_) => {}
                    Err(e) => return Err(super::files::reason(&e)),
                }
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end();
                let code = line.get(..3).and_then(|c| c.parse::<u16>().ok());
                let Some(code) = code else {
                    return Err(format!("its answer is {line:?}"));
                };
                if line.as_bytes().get(3) != Some(&b'-') {
                    return Ok((code, line.to_owned()));
                }
            }
        };
        timeout(limit, whole)
            .await
            .unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
    }

    /// Says something that must be answered by a code of `class`, its first digit.
    async fn expect(&mut self, text: &str, class: u16) -> Result<(), String> {
        let (code, line) = self.say(text).await?;
        match code / 100 == class {
            true => Ok(()),
            false => Err(format!("it answers {line:?} to {:?}", text.trim_end())),
        }
    }
}

async fn send(job: &Job) -> Result<(), String> {
    let How {
        mail,
        server,
        host,
        router_id,
    } = &*job.how;
    let limit = mail.timeout;
    let stream = timeout(
        limit,
        TcpStream::connect((server.host.as_str(), server.port)),
    )
    .await
    .map_err(|_| "no connection in time".to_owned())?
    .map_err(|e| super::files::reason(&e))?;
    let (from, to) = stream.into_split();
    let mut talk = Talk {
        from: BufReader::new(from),
        to,
        limit,
    };
    let (code, line) = talk.hear().await?;
    if code / 100 != 2 {
        return Err(format!("it greets with {line:?}"));
    }
    let sender = mail
        .from
        .clone()
        .unwrap_or_else(|| format!("keepalived@{host}"));
    let name = mail.helo_name.as_deref().unwrap_or(host);
    talk.expect(&format!("HELO {name}\r\n"), 2).await?;
    talk.expect(&format!("MAIL FROM:<{sender}>\r\n"), 2).await?;
    // One who is unknown must not keep the others from their mail.
    let mut refused = Vec::new();
    for to in &mail.to {
        let (code, line) = talk.say(&format!("RCPT TO:<{to}>\r\n")).await?;
        if code / 100 != 2 {
            refused.push(line);
        }
    }
    if refused.len() == mail.to.len() {
        return Err(format!("it refuses all recipients: {:?}", refused[0]));
    }
    talk.expect("DATA\r\n", 3).await?;
    let text = text(
        &date(super::clock::unix_now()),
        &sender,
        &mail.to,
        router_id,
        &job.message,
    );
    talk.expect(&text, 2).await?;
    // It is sent; what the server says to QUIT does not matter.
    let _ = talk.say("QUIT\r\n").await;
    for line in refused {
        tracing::warn!("mail server {}: {line:?}", server.host);
    }
    Ok(())
}

/// One line, whatever names it contains.
fn line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(plain).collect()
}

/// The mail with its end.
fn text(date: &str, from: &str, to: &[String], router_id: &str, message: &Message) -> String {
    let subject = line(&format!("[{router_id}] {}", message.subject));
    let mut body = line(&message.body);
    if body.starts_with('.') {
        body.insert(0, '.');
    }
    let to = to.join(", ");
    format!(
        "Date: {date}\r\nFrom: {from}\r\nSubject: {subject}\r\nX-Mailer: lbd\r\nTo: {to}\r\n\r\n\
         {body}\r\n\r\n.\r\n"
    )
}

/// A time as RFC 5322 writes it, in UTC; `unix`: seconds.
fn date(unix: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (days, rest) = (unix / 86_400, unix % 86_400);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    loop {
        let long = if leap(year) { 366 } else { 365 };
        if day < long {
            break;
        }
        day -= long;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    format!(
        "{}, {:02} {} {year} {:02}:{:02}:{:02} +0000",
        DAYS[(days % 7) as usize],
        day + 1,
        MONTHS[month],
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests;
