//! A director: a host and the daemon on it, which is `lbd` or keepalived.

use std::fs::{self, File};
use std::net::IpAddr;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_userspace::control::status::{Status, VrrpState, VrrpStatus};
use lb_userspace::io::control::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock::wait_for;
use crate::conf::without_services;
use crate::namespace::Namespace;
use crate::switch::Host;

/// Which program runs on a director.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub enum Kind {
    /// Ours.
    #[serde(rename = "lbd")]
    Lbd,
    /// keepalived, its VRRP part alone (`-P`): a kernel without IPVS has no use for the other.
    #[serde(rename = "keepalived")]
    Keepalived,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Lbd => "lbd",
            Kind::Keepalived => "keepalived",
        })
    }
}

/// keepalived's parent, VRRP child, checker child and BFD child.
const PID_FILES: [&str; 4] = ["keepalived.pid", "vrrp.pid", "checkers.pid", "bfd.pid"];

/// A director and where its files are.
#[derive(Debug)]
pub struct Director {
    /// The host.
    pub host: Host,
    /// What runs on it.
    pub kind: Kind,
    /// The daemon, while it runs.
    daemon: Option<Process>,
    conf: PathBuf,
    dir: PathBuf,
    pins: PathBuf,
    starts: u32,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Director {
    /// Prepares the files; nothing is started. `dir` and `pins` are made.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(host: Host, kind: Kind, conf: &str, dir: &Path, pins: &Path) -> Result<Self> {
        for d in [dir, pins] {
            fs::create_dir(d).with_context(|| format!("create {}", d.display()))?;
        }
        let conf_path = dir.join("director.conf");
        let director = Director {
            host,
            kind,
            daemon: None,
            conf: conf_path,
            dir: dir.to_owned(),
            pins: pins.to_owned(),
            starts: 0,
            arguments: Vec::new(),
            environment: Vec::new(),
        };
        director.write_conf(conf)?;
        Ok(director)
    }

    /// Its host's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Further arguments for `lbd`.
    pub fn arguments<S: Into<String>>(&mut self, arguments: impl IntoIterator<Item = S>) {
        self.arguments = arguments.into_iter().map(Into::into).collect();
    }

    /// What `lbd` finds in its environment.
    pub fn environment<'a>(&mut self, set: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let owned = set.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
        self.environment = owned.collect();
    }

    /// Replaces the configuration file; [`Director::signal`] with SIGHUP makes the daemon read it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_conf(&self, text: &str) -> Result<()> {
        let text = match self.kind {
            Kind::Lbd => text.to_owned(),
            Kind::Keepalived => without_services(text),
        };
        fs::write(&self.conf, text).with_context(|| format!("write {}", self.conf.display()))
    }

    /// Writes the configuration again without its services, for a start with VRRP alone.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn drop_services(&self) -> Result<()> {
        let text = fs::read_to_string(&self.conf)
            .with_context(|| format!("read {}", self.conf.display()))?;
        self.write_conf(&without_services(&text))
    }

    /// Puts a file beside the configuration, to be included by it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Where the pins are.
    #[must_use]
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The control socket.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        anyhow::ensure!(
            self.daemon.is_none(),
            "{} runs already on {}",
            self.kind,
            self.name()
        );
        self.starts += 1;
        let log = self.dir.join(format!("daemon.{}.log", self.starts));
        let file = |name: &str| self.dir.join(name);
        let command = match self.kind {
            Kind::Lbd => {
                let mut c = Command::new(binary("lbd")?);
                c.arg("--config")
                    .arg(&self.conf)
                    .arg("--pin")
                    .arg(&self.pins);
                c.arg("--control")
                    .arg(self.control())
                    .arg("--state-dir")
                    .arg(file("state"));
                fs::create_dir_all(file("state"))?;
                c.args(&self.arguments);
                c.envs(self.environment.iter().map(|(k, v)| (k, v)));
                c
            }
            Kind::Keepalived => {
                let mut c = Command::new("keepalived");
                c.args(["-n", "-l", "-D", "-P", "-f"]).arg(&self.conf);
                for (flag, name) in ["-p", "-r", "-c", "-b"].into_iter().zip(PID_FILES) {
                    c.arg(flag).arg(file(name));
                }
                c
            }
        };
        self.daemon = Some(Process::start(&self.host.ns, command, &log)?);
        Ok(())
    }

    /// Whether the daemon was started and has not ended.
    pub fn running(&mut self) -> bool {
        self.daemon
            .as_mut()
            .is_some_and(|d| matches!(d.child.try_wait(), Ok(None)))
    }

    /// The daemon's process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(|d| d.child.id())
    }

    /// Sends the daemon a signal.
    ///
    /// # Errors
    /// When none runs.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let daemon = self
            .daemon
            .as_ref()
            .with_context(|| format!("no daemon on {}", self.name()))?;
        kill(daemon.pid(), signal)
            .with_context(|| format!("send {signal} to {} on {}", self.kind, self.name()))
    }

    /// `kill -9`, all its processes at once.
    ///
    /// # Errors
    /// When none runs.
    pub fn kill(&mut self) -> Result<()> {
        let daemon = self
            .daemon
            .take()
            .with_context(|| format!("no daemon on {}", self.name()))?;
        // keepalived's parent would start a dead child again, and a child whose parent died leaves
        // in good order: neither may see the other go.
        let parent = daemon.pid();
        kill(parent, Signal::SIGSTOP)?;
        for child in children(parent) {
            let _ = kill(child, Signal::SIGKILL);
        }
        drop(daemon);
        // A child whose parent is gone is a zombie until init looks after it, and keepalived takes
        // that for a running one.
        for file in PID_FILES {
            let _ = fs::remove_file(self.dir.join(file));
        }
        Ok(())
    }

    /// SIGTERM without waiting; [`Director::wait_stopped`] waits.
    ///
    /// # Errors
    /// When none runs.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Waits until the daemon has ended by itself.
    ///
    /// # Errors
    /// When it has not within `limit`; then it still runs.
    pub fn wait_stopped(&mut self, limit: Duration) -> Result<ExitStatus> {
        let name = self.name().to_owned();
        let kind = self.kind;
        let daemon = self
            .daemon
            .as_mut()
            .with_context(|| format!("no daemon on {name}"))?;
        let status = wait_for(&format!("{kind} on {name} to end"), limit, || {
            daemon.child.try_wait().ok().flatten()
        })?;
        self.daemon = None;
        Ok(status)
    }

    /// Waits until the daemon has ended by itself, and leaves it to [`Director::wait_stopped`] to
    /// say how.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn wait_ended(&mut self, limit: Duration) -> Result<()> {
        let what = format!("{} on {} to end", self.kind, self.name());
        wait_for(&what, limit, || (!self.running()).then_some(()))
    }

    /// The host was without power: what only memory held is gone.
    ///
    /// # Errors
    /// Those of netlink and the file system.
    pub fn forget(&mut self) -> Result<()> {
        anyhow::ensure!(self.daemon.is_none(), "{} still runs", self.name());
        for (addr, _) in self.host.ns.addresses(&self.host.link)? {
            if !self.host.addresses.iter().any(|(own, _)| *own == addr) {
                self.host.ns.delete_address(&self.host.link, addr)?;
            }
        }
        // The host's own ones are of networks.
        for (addr, len) in self.host.ns.v6_addresses(&self.host.link)? {
            if len == 128 {
                self.host.ns.delete_address(&self.host.link, addr)?;
            }
        }
        let ns = &self.host.ns;
        for name in ns.links()?.iter().filter(|name| name.starts_with("vrrp")) {
            ns.delete_link(name)?;
        }
        fs::remove_dir_all(&self.pins).context("remove the pins")?;
        fs::create_dir(&self.pins)?;
        match fs::remove_dir_all(self.dir.join("state")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).context("remove the state")
            }
            _ => Ok(()),
        }
    }

    /// Whether the host has an address.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn has_address(&self, addr: impl Into<IpAddr>) -> Result<bool> {
        let (ns, link) = (&self.host.ns, &self.host.link);
        Ok(match addr.into() {
            IpAddr::V4(addr) => ns.addresses(link)?.iter().any(|(a, _)| *a == addr),
            IpAddr::V6(addr) => ns.v6_addresses(link)?.iter().any(|(a, _)| *a == addr),
        })
    }

    /// What the daemon has written since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join(format!("daemon.{}.log", self.starts))).unwrap_or_default()
    }

    /// What all daemons on this host wrote, last lines, for an error report.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n    ");
        format!(
            "{} ({}), last lines of its log:\n    {tail}",
            self.name(),
            self.kind
        )
    }

    /// What `lbd` says about itself, by its control socket.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status> {
        let mut client = Client::connect(&self.control()).context("control socket")?;
        client
            .status()
            .with_context(|| format!("status of {}", self.name()))
    }

    /// Runs `lbctl` at its control socket.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn lbctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary("lbctl")?);
        command.args(arguments).arg("--socket").arg(self.control());
        command.output().context("lbctl")
    }

    /// Waits until the daemon, if one runs, takes part in the election and could be master: until then it
    /// is no backup.
    ///
    /// # Errors
    /// When it does not within `limit`, with its log.
    pub fn wait_ready(&self, limit: Duration) -> Result<()> {
        if self.daemon.is_none() {
            return Ok(());
        }
        match self.kind {
            Kind::Lbd => self.wait_status(&format!("lbd on {}", self.name()), limit, |status| {
                let ready =
                    |v: &VrrpStatus| matches!(v.state, VrrpState::Backup | VrrpState::Master);
                (!status.data_plane.loading && status.vrrp.iter().all(ready)).then_some(())
            }),
            Kind::Keepalived => wait_for(&format!("keepalived on {}", self.name()), limit, || {
                let log = self.log();
                READY.iter().any(|word| log.contains(word)).then_some(())
            })
            .with_context(|| self.log_tail()),
        }
    }

    /// Waits until `lbd` says something about itself.
    ///
    /// # Errors
    /// When it has not within `limit`, with its log.
    pub fn wait_status<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Status) -> Option<T>,
    ) -> Result<T> {
        wait_for(what, limit, || look(&self.status().ok()?)).with_context(|| self.log_tail())
    }
}

/// What keepalived writes when an instance has its first state.
const READY: [&str; 2] = ["Entering BACKUP STATE", "Entering MASTER STATE"];

/// A process in a namespace; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts a program, which writes into the file and ends with its namespace.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(ns: &Namespace, mut command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("create {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        // SAFETY: prctl(2) is async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                // The thread of the namespace is the parent: daemons end with it.
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = ns
            .call(move || command.spawn())
            .with_context(|| format!("start {program}"))?;
        Ok(Process { child })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).context("signal")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        match ended {
            Ok(status) if status.signal().is_some() || status.code().is_some() => {}
            other => eprintln!("lab: end a process: {other:?}"),
        }
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let mut all = Vec::new();
    let path = format!("/proc/{parent}/task/{parent}/children");
    for child in fs::read_to_string(path)
        .unwrap_or_default()
        .split_whitespace()
    {
        if let Ok(pid) = child.parse() {
            let pid = Pid::from_raw(pid);
            all.push(pid);
            all.extend(children(pid));
        }
    }
    all
}

/// Finds one of our binaries: in `LB_BIN_DIR`, or beside this executable or in a directory above
/// it, where cargo puts them.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("LB_BIN_DIR") {
        return Ok(Path::new(&dir).join(name));
    }
    let me = std::env::current_exe().context("own path")?;
    me.ancestors()
        .skip(1)
        .take(3)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
        .with_context(|| format!("{name} is not built: `cargo build -p lb-userspace` first"))
}
