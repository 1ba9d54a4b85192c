//! Where the log goes: the journal, syslog, or standard error.
//!
//! None of them may hold up the daemon: what the journal or syslog does not take at once is counted, and
//! the count is said with the next line that goes through.

use std::io::{self, IsTerminal as _, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use clap::ValueEnum;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The journal's own socket (`systemd-journald.service(8)`).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The socket of syslog (RFC 3164's local form).
const SYSLOG: &str = "/dev/log";
/// Bytes of a message that are sent at most: a datagram holds no more under common limits.
const LONGEST: usize = 48 << 10;
/// `LOG_DAEMON` of `syslog.h`.
const FACILITY_DAEMON: u8 = 3;
/// `LOG_LOCAL0`.
const FACILITY_LOCAL0: u8 = 16;

/// Where the log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// The journal when standard error leads there (as under systemd), else standard error.
    #[default]
    Auto,
    /// The journal, by its own protocol.
    Journal,
    /// Syslog, by /dev/log.
    Syslog,
    /// Standard error.
    Stderr,
}

/// A way that takes whole lines.
#[derive(Debug)]
struct Wire {
    path: &'static str,
    form: Form,
    socket: Mutex<Option<UnixDatagram>>,
    lost: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Journal,
    Syslog { facility: u8 },
}

/// Puts another filter in the place of the one in force.
type Set = Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// The log of this process.
#[derive(Clone)]
pub struct Log {
    set: Set,
    /// What is logged now.
    filter: Arc<Mutex<String>>,
    stderr: bool,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Log {
    /// Starts logging. `facility`: that of `local0` to `local7` for syslog.
    ///
    /// # Errors
    /// When `filter` is none, or the journal or syslog is wanted and not there.
    pub fn start(filter: &str, target: Target, facility: Option<u8>) -> Result<Log, String> {
        let parsed = parse(filter)?;
        let wire = match target {
            Target::Stderr => None,
            Target::Journal => Some(Wire::open(JOURNAL, Form::Journal)?),
            Target::Syslog => Some(Wire::open(SYSLOG, syslog_form(facility))?),
            Target::Auto if facility.is_some() => Some(Wire::open(SYSLOG, syslog_form(facility))?),
            Target::Auto if leads_to_journal() => Wire::open(JOURNAL, Form::Journal).ok(),
            Target::Auto => None,
        };
        let stderr = wire.is_none();
        let filter = Arc::new(Mutex::new(filter.to_owned()));
        // The type of the builder is another one for each.
        macro_rules! begin {
            ($builder:expr) => {{
                let builder = $builder.with_env_filter(parsed).with_filter_reloading();
                let handle = builder.reload_handle();
                builder.init();
                Arc::new(move |new| handle.reload(new).map_err(|e| e.to_string()))
            }};
        }
        let bare = || {
            tracing_subscriber::fmt()
                .with_target(false)
                .with_ansi(false)
                .without_time()
                .with_level(false)
        };
        let set: Set = match wire {
            Some(wire) => begin!(bare().with_writer(ToWire(Arc::new(wire)))),
            None if leads_to_journal() => begin!(bare().with_writer(Numbered)),
            None => {
                let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
                let builder = tracing_subscriber::fmt().with_target(false);
                begin!(builder.with_ansi(colour).with_writer(io::stderr))
            }
        };
        Ok(Log {
            set,
            filter,
            stderr,
        })
    }

    /// Whether it goes to standard error.
    #[must_use]
    pub fn is_stderr(&self) -> bool {
        self.stderr
    }

    /// Logs by another filter from now on; gives the one before.
    ///
    /// # Errors
    /// When `filter` is none.
    pub fn set(&self, filter: &str) -> Result<String, String> {
        (self.set)(parse(filter)?)?;
        let mut now = self.filter.lock().map_err(|e| e.to_string())?;
        Ok(std::mem::replace(&mut *now, filter.to_owned()))
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter).map_err(|e| format!("{filter}: {e}"))
}

fn syslog_form(local: Option<u8>) -> Form {
    Form::Syslog {
        facility: local.map_or(FACILITY_DAEMON, |n| FACILITY_LOCAL0 + n.min(7)),
    }
}

/// Whether standard error is the stream to the journal that systemd has made for this process.
fn leads_to_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    nix::sys::stat::fstat(io::stderr()).is_ok_and(|s| named == format!("{}:{}", s.st_dev, s.st_ino))
}

/// `LOG_ERR`, `LOG_WARNING`, `LOG_INFO`, `LOG_DEBUG` of `syslog.h`.
fn severity(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

impl Wire {
    fn open(path: &'static str, form: Form) -> Result<Wire, String> {
        let socket = connect(path.as_ref()).map_err(|e| format!("{path}: {e}"))?;
        Ok(Wire {
            path,
            form,
            socket: Mutex::new(Some(socket)),
            lost: AtomicU64::new(0),
        })
    }

    fn line(&self, severity: u8, place: &Place, text: &str) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let said = format!("{lost} line(s) of the log were lost");
            if !self.send(&self.form.message(4, &Place::default(), &said)) {
                self.lost.fetch_add(lost, Ordering::Relaxed);
            }
        }
        if !self.send(&self.form.message(severity, place, text)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether it was taken. A server that was restarted is connected to again.
    fn send(&self, message: &[u8]) -> bool {
        let Ok(mut socket) = self.socket.lock() else {
            return false;
        };
        for _ in 0..2 {
            if socket.is_none() {
                *socket = connect(self.path.as_ref()).ok();
            }
            match socket.as_ref().map(|s| s.send(message)) {
                Some(Ok(_)) => return true,
                Some(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => return false,
                Some(Err(_)) | None => *socket = None,
            }
        }
        false
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Where in the program a line comes from.
#[derive(Clone, Debug, Default)]
struct Place {
    file: Option<String>,
    line: Option<u32>,
    module: Option<String>,
}

impl Form {
    fn message(self, severity: u8, place: &Place, text: &str) -> Vec<u8> {
        let mut end = text.len().min(LONGEST);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text[..end].trim_end_matches('\n');
        match self {
            Form::Journal => {
                let mut out = Vec::with_capacity(text.len() + 128);
                let mut field = |name: &str, value: &str| journal_field(&mut out, name, value);
                field("PRIORITY", &severity.to_string());
                field("SYSLOG_IDENTIFIER", "lbd");
                if let Some(file) = &place.file {
                    field("CODE_FILE", file);
                }
                if let Some(line) = place.line {
                    field("CODE_LINE", &line.to_string());
                }
                if let Some(module) = &place.module {
                    field("CODE_MODULE", module);
                }
                field("MESSAGE", text);
                out
            }
            Form::Syslog { facility } => {
                let number = u32::from(facility) * 8 + u32::from(severity);
                let pid = std::process::id();
                // A line is a line: receivers cut at its end.
                let text = text.replace('\n', " ");
                format!("<{number}>{} lbd[{pid}]: {text}", timestamp()).into_bytes()
            }
        }
    }
}

/// A field of the journal's protocol; one with line feeds carries its length.
fn journal_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

/// `Jan  2 03:04:05`, the host's local time (RFC 3164 section 4.1.2).
#[expect(
    clippy::disallowed_methods,
    reason = "shown to people; nothing is decided by it"
)]
fn timestamp() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let secs = since.map_or(0, |d| libc::time_t::try_from(d.as_secs()).unwrap_or(0));
    // SAFETY: all bytes of `tm` may be zero.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live through the call.
    unsafe { libc::localtime_r(&raw const secs, &raw mut tm) };
    stamp(&tm)
}

fn stamp(tm: &libc::tm) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let month = usize::try_from(tm.tm_mon).unwrap_or(0).min(11);
    format!(
        "{} {:>2} {:02}:{:02}:{:02}",
        MONTHS[month], tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec
    )
}

/// Makes a writer for each event, which knows its level.
struct ToWire(Arc<Wire>);

/// A line on its way.
struct Line {
    wire: Arc<Wire>,
    severity: u8,
    place: Place,
}

impl<'a> MakeWriter<'a> for ToWire {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line {
            wire: Arc::clone(&self.0),
            severity: 6,
            place: Place::default(),
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line {
            wire: Arc::clone(&self.0),
            severity: severity(meta.level()),
            place: place(meta),
        }
    }
}

fn place(meta: &Metadata<'_>) -> Place {
    Place {
        file: meta.file().map(str::to_owned),
        line: meta.line(),
        module: meta.module_path().map(str::to_owned),
    }
}

impl Write for Line {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buf);
        self.wire.line(self.severity, &self.place, &text);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error that leads to the journal: `<N>` before each line says its severity.
struct Numbered;

struct NumberedLine(u8);

impl<'a> MakeWriter<'a> for Numbered {
    type Writer = NumberedLine;

    fn make_writer(&'a self) -> NumberedLine {
        NumberedLine(6)
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> NumberedLine {
        NumberedLine(severity(meta.level()))
    }
}

impl Write for NumberedLine {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buf);
        let mut out = String::with_capacity(buf.len() + 8);
        for line in text.lines() {
            out += &format!("<{}>{line}\n", self.0);
        }
        io::stderr().lock().write_all(out.as_bytes())?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_fields() {
        let place = Place {
            file: Some("src/x.rs".to_owned()),
            line: Some(7),
            module: Some("lbd::x".to_owned()),
        };
        let said = Form::Journal.message(4, &place, "one line\n");
        assert_eq!(
            String::from_utf8(said).unwrap(),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=lbd\nCODE_FILE=src/x.rs\nCODE_LINE=7\n\
             CODE_MODULE=lbd::x\nMESSAGE=one line\n"
        );
        let said = Form::Journal.message(3, &Place::default(), "two\nlines");
        let head = b"PRIORITY=3\nSYSLOG_IDENTIFIER=lbd\nMESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n";
        assert_eq!(said, head);
    }

    #[test]
    fn syslog_gets_its_own_form() {
        // SAFETY: all bytes of `tm` may be zero.
        let mut tm: libc::tm = unsafe { std::mem::zeroed() };
        (tm.tm_mon, tm.tm_mday, tm.tm_hour) = (0, 2, 3);
        assert_eq!(stamp(&tm), "Jan  2 03:00:00");
        for (local, number) in [(None, 3 * 8 + 4), (Some(1), 17 * 8 + 4)] {
            let said = syslog_form(local).message(4, &Place::default(), "a\nb\n");
            let said = String::from_utf8(said).unwrap();
            assert!(said.starts_with(&format!("<{number}>")), "{said}");
            let end = format!(" lbd[{}]: a b", std::process::id());
            assert!(said.ends_with(&end), "{said}");
        }
    }

    #[test]
    fn what_is_lost_is_said_and_a_new_server_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path: &'static str = dir.path().join("log").display().to_string().leak();
        let server = UnixDatagram::bind(path).unwrap();
        let wire = Wire::open(path, Form::Syslog { facility: 3 }).unwrap();
        let read = |server: &UnixDatagram| {
            server.set_nonblocking(true).unwrap();
            let (mut buf, mut all) = (vec![0; LONGEST + 256], Vec::new());
            while let Ok(n) = server.recv(&mut buf) {
                all.push(String::from_utf8_lossy(&buf[..n]).into_owned());
            }
            all
        };
        wire.line(6, &Place::default(), "first");
        assert_eq!(read(&server).len(), 1);
        drop(server);
        std::fs::remove_file(path).unwrap();
        for _ in 0..3 {
            wire.line(6, &Place::default(), "lost");
        }
        let server = UnixDatagram::bind(path).unwrap();
        wire.line(6, &Place::default(), "again");
        let got = read(&server);
        assert_eq!(got.len(), 2, "{got:?}");
        assert!(
            got[0].ends_with("3 line(s) of the log were lost"),
            "{got:?}"
        );
        assert!(got[1].ends_with("again"), "{got:?}");
        // Nobody reads: what does not fit is not waited for.
        for _ in 0..10_000 {
            wire.line(6, &Place::default(), "flood");
        }
        assert!(wire.lost.load(Ordering::Relaxed) > 0);
        // What is too long is cut.
        read(&server);
        wire.line(6, &Place::default(), &"é".repeat(LONGEST));
        let got = read(&server);
        assert!(got.last().unwrap().len() < LONGEST + 256);
    }
}
