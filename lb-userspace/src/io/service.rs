//! What the service manager is told (`sd_notify(3)`), when there is one: `NOTIFY_SOCKET`.
//!
//! The watchdog is fed by the main loop at the end of its turns and by nobody else, so it bites when the
//! loop stands still.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use super::clock::now;
use crate::time::Time;

/// The service manager; nobody when the daemon was started otherwise.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often the watchdog is fed.
    feed: Option<Duration>,
    fed: Option<Time>,
    status: String,
}

/// What the environment of this process says about it.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `NOTIFY_SOCKET`.
    pub socket: Option<std::ffi::OsString>,
    /// `WATCHDOG_USEC`.
    pub watchdog_usec: Option<String>,
    /// `WATCHDOG_PID`.
    pub watchdog_pid: Option<String>,
}

impl Environment {
    /// Of this process.
    #[must_use]
    pub fn own() -> Self {
        let text = |name| std::env::var(name).ok();
        Environment {
            socket: std::env::var_os("NOTIFY_SOCKET"),
            watchdog_usec: text("WATCHDOG_USEC"),
            watchdog_pid: text("WATCHDOG_PID"),
        }
    }
}

impl ServiceManager {
    /// Whoever the environment names. One that cannot be reached is said, and nobody is told then.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let Some(name) = environment.socket.as_deref().filter(|n| !n.is_empty()) else {
            return ServiceManager::default();
        };
        let socket = match connect(name) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET {}: {error}", name.display());
                return ServiceManager::default();
            }
        };
        let pid = environment.watchdog_pid.as_ref();
        let ours = pid.is_none_or(|pid| *pid == std::process::id().to_string());
        let usec = environment.watchdog_usec.as_ref();
        let limit = usec.and_then(|text| text.parse().ok()).filter(|_| ours);
        ServiceManager {
            socket: Some(socket),
            // Twice in its time is what sd_watchdog_enabled(3) recommends.
            feed: limit.map(|usec| Duration::from_micros(usec) / 2),
            fed: None,
            status: String::new(),
        }
    }

    /// Its start or its stop waits for something, for so long at most: no other limit is to end it.
    pub fn wait_for(&mut self, what: &str, limit: Duration) {
        let micros = limit.as_micros();
        self.send(&format!(
            "STATUS=waiting for {what}\nEXTEND_TIMEOUT_USEC={micros}"
        ));
    }

    /// The daemon runs.
    pub fn ready(&mut self) {
        self.send("READY=1");
    }

    /// It reads its configuration again; [`Self::ready`] says that this is over.
    pub fn reloading(&mut self) {
        let micros = now().as_nanos() / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It hands over and ends.
    pub fn stopping(&mut self) {
        self.send("STOPPING=1");
    }

    /// How it stands, in one line; sent when it is another than before.
    pub fn status(&mut self, text: &str) {
        if self.socket.is_some() && self.status != text {
            text.clone_into(&mut self.status);
            self.send(&format!("STATUS={text}"));
        }
    }

    /// A turn of the main loop has ended.
    pub fn turned(&mut self, now: Time) {
        let Some(feed) = self.feed else { return };
        if self.fed.is_none_or(|fed| fed + feed <= now) {
            self.fed = Some(now);
            self.send("WATCHDOG=1");
        }
    }

    /// When [`Self::turned`] is wanted next, if the watchdog is on.
    #[must_use]
    pub fn next_feed(&self) -> Option<Time> {
        Some(self.fed? + self.feed?)
    }

    fn send(&mut self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!("telling the service manager: {error}");
        }
    }
}

fn connect(name: &OsStr) -> std::io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // It must not hold up the loop.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        let mut buf = [0; 256];
        while let Ok(n) = socket.recv(&mut buf) {
            all.push(String::from_utf8_lossy(&buf[..n]).into_owned());
        }
        all
    }

    #[test]
    fn the_manager_hears_of_everything_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("lbd-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, at) in [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&abstract_name).unwrap(),
                format!("@{name}").into(),
            ),
        ] {
            let mut manager = ServiceManager::of(&Environment {
                socket: Some(at),
                watchdog_usec: Some("3000000".to_owned()),
                watchdog_pid: Some(std::process::id().to_string()),
            });
            manager.ready();
            manager.status("one");
            manager.status("one");
            manager.status("two");
            manager.stopping();
            assert_eq!(
                told(&socket),
                ["READY=1", "STATUS=one", "STATUS=two", "STOPPING=1"]
            );
            manager.reloading();
            let said = told(&socket).concat();
            assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
            let at = |ms| Time::ZERO + Duration::from_millis(ms);
            for (ms, fed) in [(0, 1), (1, 0), (1499, 0), (1500, 1), (1501, 0), (9000, 1)] {
                manager.turned(at(ms));
                assert_eq!(told(&socket).len(), fed, "{ms}");
            }
            assert_eq!(manager.next_feed(), Some(at(10_500)));
        }
    }

    #[test]
    fn without_a_manager_or_for_another_process_there_is_nothing_to_feed() {
        let mut nobody = ServiceManager::of(&Environment::default());
        nobody.ready();
        nobody.turned(Time::ZERO);
        assert_eq!(nobody.next_feed(), None);
        let gone = Environment {
            socket: Some("/nonexistent/notify".into()),
            ..Environment::default()
        };
        assert!(ServiceManager::of(&gone).socket.is_none());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let mut other = ServiceManager::of(&Environment {
            socket: Some(path.into_os_string()),
            watchdog_usec: Some("1000".to_owned()),
            watchdog_pid: Some("1".to_owned()),
        });
        other.turned(Time::ZERO);
        assert_eq!(told(&socket), [""; 0]);
    }
}
