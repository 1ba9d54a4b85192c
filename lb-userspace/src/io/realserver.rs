//! A real server's preparation carried out: addresses, sysctls, the decapsulation program, and the
//! file that remembers how it was before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::bpf::{BpfError, Decap};
use super::netlink::{Control, NetlinkError};
use crate::model::AddressOptions;
use crate::realserver::{Link, Observed, Op, STATE_VERSION, State, Sysctl, host_prefix};
use crate::vrrp::Address;

/// Where the state is kept unless another directory is given.
pub const STATE_DIR: &str = "/run/lbd";
/// Where the decapsulation program is pinned unless another directory is given.
pub const PIN_DIR: &str = "/sys/fs/bpf/lbd/realserver";
const FILE: &str = "realserver.json";
const PROC_SYS: &str = "/proc/sys";
/// `RT_SCOPE_UNIVERSE`.
const SCOPE_GLOBAL: u8 = 0;

/// Why it failed. What was done before is in the state, so that `down` undoes it.
#[derive(Debug, thiserror::Error)]
pub enum RealServerError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The state file is not understood.
    #[error("{path} is not understood ({why}); it was left as it is")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Another process is at it.
    #[error("another lbctl realserver is at work with {path}")]
    Locked {
        /// The file that it holds.
        path: PathBuf,
    },
    /// The interface went away meanwhile.
    #[error("there is no interface {0}")]
    NoInterface(String),
    /// The kernel refused an address.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The kernel refused the program.
    #[error(transparent)]
    Bpf(#[from] BpfError),
}

/// The host, held by this process alone.
#[derive(Debug)]
pub struct Host {
    path: PathBuf,
    decap: Decap,
    control: Control,
    _lock: Flock<File>,
}

impl Host {
    /// Takes hold of the state in `state_dir`, and of the program pinned in `pin_dir`.
    ///
    /// # Errors
    /// When the directory cannot be used or another process is at it.
    pub fn open(state_dir: &Path, pin_dir: &Path) -> Result<Host, RealServerError> {
        let path = state_dir.join(FILE);
        let failed = |source| RealServerError::File {
            path: state_dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(state_dir).map_err(failed)?;
        let lock = path.with_extension("lock");
        let file = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock)
            .map_err(|source| RealServerError::File {
                path: lock.clone(),
                source,
            })?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| RealServerError::Locked { path: lock })?;
        Ok(Host {
            path,
            decap: Decap::at(pin_dir),
            control: Control::open()?,
            _lock: lock,
        })
    }

    /// What was done so far.
    ///
    /// # Errors
    /// When the file cannot be read or is of another version.
    pub fn state(&self) -> Result<State, RealServerError> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(State::default()),
            Err(source) => {
                return Err(RealServerError::File {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let bad = |why: String| RealServerError::State {
            path: self.path.clone(),
            why,
        };
        let state: State = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        if state.version != STATE_VERSION {
            return Err(bad(format!("version {}", state.version)));
        }
        Ok(state)
    }

    /// Writes what will be done, or removes the file when nothing is left.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, state: &State) -> Result<(), RealServerError> {
        let failed = |source| RealServerError::File {
            path: self.path.clone(),
            source,
        };
        if state.vips.is_empty() && state.sysctls.is_empty() && state.attached.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed(e)),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(state).map_err(|e| failed(e.into()))?;
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&new, &self.path).map_err(failed)
    }

    /// How the host is; `ifaces`: where packets arrive.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn observe(&mut self, ifaces: &[String]) -> Result<Observed, RealServerError> {
        let links: Vec<Link> = self
            .control
            .links()?
            .into_iter()
            .map(|link| Link {
                index: link.index,
                ethernet: link.mac.is_some() && link.name != "lo",
                name: link.name,
            })
            .collect();
        let addresses = self.control.addresses()?;
        let addresses = addresses
            .into_iter()
            .filter_map(|a| {
                let link = links.iter().find(|link| link.index == a.index)?;
                Some((link.name.clone(), a.addr, a.prefix_len))
            })
            .collect();
        let mut sysctls = BTreeMap::new();
        let names = ifaces.iter().map(|iface| Sysctl::of(Some(iface)));
        for sysctl in names.flatten().chain(Sysctl::of(None)) {
            if let Ok(text) = std::fs::read_to_string(Path::new(PROC_SYS).join(sysctl.path()))
                && let Ok(value) = text.trim().parse()
            {
                sysctls.insert(sysctl, value);
            }
        }
        Ok(Observed {
            links,
            addresses,
            sysctls,
            attached: self.decap.attached(),
            known: self.decap.known()?,
        })
    }

    /// Does one thing; what is to be said of it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn perform(&mut self, op: &Op) -> Result<Option<String>, RealServerError> {
        match op {
            Op::Set { sysctl, value } => {
                let path = Path::new(PROC_SYS).join(sysctl.path());
                std::fs::write(&path, value.to_string())
                    .map_err(|source| RealServerError::File { path, source })?;
            }
            Op::Know { entries } => self.decap.know(entries)?,
            Op::Attach { iface, index } => {
                return Ok(self
                    .decap
                    .attach(iface, *index)?
                    .map(|why| format!("{iface}: generic mode, which is slower: {why}")));
            }
            Op::Detach { index, .. } => self.decap.detach(*index)?,
            Op::Forget => self.decap.forget()?,
            Op::Add { dev, addr } => {
                let address = Address {
                    iface: dev.as_str().into(),
                    addr: *addr,
                    prefix_len: host_prefix(*addr),
                    broadcast: None,
                    label: None,
                    scope: SCOPE_GLOBAL,
                    options: AddressOptions {
                        preferred_lft: AddressOptions::usual_lifetime(*addr, host_prefix(*addr)),
                        ..AddressOptions::default()
                    },
                };
                let index = self.index(dev)?;
                self.control.add_address(index, &address)?;
            }
            Op::Remove { dev, addr } => {
                let index = self.index(dev)?;
                self.control.del_address(index, *addr, host_prefix(*addr))?;
            }
        }
        Ok(None)
    }

    fn index(&mut self, name: &str) -> Result<u32, RealServerError> {
        let links = self.control.links()?;
        links
            .iter()
            .find(|link| link.name == name)
            .map(|link| link.index)
            .ok_or_else(|| RealServerError::NoInterface(name.to_owned()))
    }

    /// What the decapsulation program has counted: name, count, one line for people.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn counts(&self) -> Result<Vec<(&'static str, u64, &'static str)>, RealServerError> {
        let counts = self.decap.counts()?;
        Ok(counts
            .into_iter()
            .map(|(count, n)| (count.name(), n, count.help()))
            .collect())
    }
}
