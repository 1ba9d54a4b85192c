//! A pair of configurations and what must be seen of it from outside.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lb_userspace::config;
use lb_userspace::io::files::RealFiles;
use lb_userspace::model::{Model, Protocol, Scheduler};
use std::net::{IpAddr, Ipv4Addr};

use crate::director::Kind;
use crate::lab::Spec;
use crate::load::{Report, Tally};
use crate::topology::Topology;

/// A pair.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Its lab.
    pub spec: Spec,
    /// Virtual routers and who is to be their master.
    pub routers: Vec<Router>,
    /// Services and how they are to be spread.
    pub services: Vec<Expected>,
}

/// A virtual router.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its number.
    pub vrid: u8,
    /// Its first address.
    pub vip: Ipv4Addr,
    /// The director with the higher priority.
    pub owner: usize,
    /// `advert_int`.
    pub advert: Duration,
    /// Whether the owner takes it back when it returns.
    pub preempts: bool,
}

/// A service.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Where.
    pub to: SocketAddrV4,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// `lb_algo`.
    pub scheduler: Scheduler,
    /// Whether a client stays with its server.
    pub persistent: bool,
    /// Names of the real servers with their weights.
    pub weights: Vec<(String, u16)>,
    /// How long it may take until a server that refuses connections is out.
    pub notice: Duration,
}

impl Pair {
    /// Reads two files; what they include must lie beside them.
    ///
    /// # Errors
    /// When one cannot be read or is refused, and when they are not a pair.
    pub fn read(paths: [&Path; 2], kinds: [Kind; 2]) -> Result<Self> {
        let texts = [text(paths[0])?, text(paths[1])?];
        let mut files = Vec::new();
        for path in paths {
            for file in beside(path)? {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Self::of([model(paths[0])?, model(paths[1])?], texts, files, kinds)
    }

    /// Of two texts, for configurations that include nothing.
    ///
    /// # Errors
    /// When one is refused, and when they are not a pair.
    pub fn of_texts(texts: [String; 2], kinds: [Kind; 2]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut models = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let path = dir.path().join(format!("{i}.conf"));
            std::fs::write(&path, text)?;
            models.push(model(&path)?);
        }
        let [a, b] = models
            .try_into()
            .map_err(|_| anyhow::anyhow!("two files"))?;
        Self::of([a, b], texts, Vec::new(), kinds)
    }

    fn of(
        models: [Model; 2],
        confs: [String; 2],
        files: Vec<(String, String)>,
        kinds: [Kind; 2],
    ) -> Result<Self> {
        let topology = Topology::of(&[&models[0], &models[1]])?;
        let mut routers = Vec::new();
        for a in &models[0].instances {
            let b = models[1]
                .instances
                .iter()
                .find(|b| b.virtual_router_id == a.virtual_router_id)
                .with_context(|| {
                    format!(
                        "virtual router {} is only in the first file",
                        a.virtual_router_id
                    )
                })?;
            let owner = usize::from(b.priority >= a.priority);
            let vip = match a.addresses.first().map(|v| v.addr) {
                Some(IpAddr::V4(vip)) => vip,
                other => bail!(
                    "virtual router {} has no IPv4 address first but {other:?}",
                    a.virtual_router_id
                ),
            };
            routers.push(Router {
                vrid: a.virtual_router_id,
                vip,
                owner,
                advert: a.advert_int,
                preempts: !(if owner == 0 { a } else { b }).nopreempt,
            });
        }
        ensure!(!routers.is_empty(), "no vrrp_instance");
        let mut services = Vec::new();
        for s in &models[0].services {
            let IpAddr::V4(vip) = s.key.addr else {
                bail!("{}: the lab's network is IPv4", s.key.addr)
            };
            let name = |addr: IpAddr| {
                let at = topology.reals.iter().position(|r| IpAddr::V4(*r) == addr);
                at.map(|i| format!("rs{}", i + 1))
                    .with_context(|| format!("real server {addr}"))
            };
            let weights = s
                .real_servers
                .iter()
                .map(|r| Ok((name(r.addr)?, r.weight)))
                .collect::<Result<Vec<_>>>()?;
            let notice = s
                .real_servers
                .iter()
                .flat_map(|r| &r.checks)
                .map(|c| c.interval + c.timeout + (c.retry_delay + c.timeout) * c.retry)
                .max()
                .unwrap_or_default();
            services.push(Expected {
                to: SocketAddrV4::new(vip, s.key.port),
                protocol: s.key.protocol,
                scheduler: s.scheduler,
                persistent: s.persistence.is_some(),
                weights,
                notice,
            });
        }
        let spec = Spec {
            topology,
            kinds,
            confs,
            files,
            spare: false,
        };
        Ok(Pair {
            spec,
            routers,
            services,
        })
    }

    /// The longest time after which each virtual router must have one master, and be seen to have
    /// no other.
    #[must_use]
    pub fn election(&self) -> Duration {
        self.routers
            .iter()
            .map(|r| r.advert * 8)
            .max()
            .unwrap_or_default()
            + Duration::from_secs(3)
    }
}

impl Expected {
    /// Whether `report`, of requests made one after another by one client, is spread as the
    /// scheduler says; in words.
    ///
    /// # Errors
    /// When it is not, or a request failed.
    pub fn check(&self, report: &Report) -> Result<String> {
        ensure!(
            report.failed() == 0,
            "{}: {} of the requests failed: {:?}",
            self.to,
            report.failed(),
            report.failures
        );
        self.check_tally(&report.tally)
    }

    fn check_tally(&self, tally: &Tally) -> Result<String> {
        let n: u64 = tally.values().sum();
        let shown = tally
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect::<Vec<_>>()
            .join(", ");
        let one_server = self.persistent
            || matches!(
                self.scheduler,
                Scheduler::Sh | Scheduler::Mh | Scheduler::Dh
            );
        if one_server {
            ensure!(
                tally.len() == 1,
                "{}: one client, but several servers: {shown}",
                self.to
            );
            return Ok(format!("one client, one server: {shown}"));
        }
        let weight = |w: u16| match self.scheduler {
            Scheduler::Rr => u64::from(w > 0),
            _ => u64::from(w),
        };
        let total: u64 = self.weights.iter().map(|(_, w)| weight(*w)).sum();
        ensure!(total > 0, "{}: no server has any weight", self.to);
        for (name, w) in &self.weights {
            let got = tally.get(name).copied().unwrap_or_default();
            // In whole turns rr and wrr are exact; a turn that is under way is one off at most.
            let off = (got * total).abs_diff(n * weight(*w));
            let allowed = if n.is_multiple_of(total) && self.scheduler == Scheduler::Rr {
                0
            } else {
                total
            };
            ensure!(
                off <= allowed,
                "{}: {name} got {got} of {n}: {shown}",
                self.to
            );
        }
        Ok(shown)
    }
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

fn model(path: &Path) -> Result<Model> {
    let name = path
        .to_str()
        .with_context(|| format!("{}: not UTF-8", path.display()))?;
    let loaded = config::load(name, &RealFiles, &config::Options::default());
    let render = || loaded.render(false);
    loaded
        .model
        .clone()
        .with_context(|| format!("{name} is refused:\n{}", render()))
}

/// The small files in the same directory.
fn beside(path: &Path) -> Result<Vec<(String, String)>> {
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        let meta = std::fs::metadata(entry.path())?;
        let (Ok(name), true) = (
            entry.file_name().into_string(),
            meta.is_file() && meta.len() < 1 << 20,
        ) else {
            continue;
        };
        if let Ok(text) = std::fs::read_to_string(entry.path()) {
            files.push((name, text));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(scheduler: Scheduler, weights: &[u16]) -> Expected {
        Expected {
            to: SocketAddrV4::new([10, 0, 0, 1].into(), 80),
            protocol: Protocol::Tcp,
            scheduler,
            persistent: false,
            weights: weights
                .iter()
                .enumerate()
                .map(|(i, w)| (format!("rs{}", i + 1), *w))
                .collect(),
            notice: Duration::ZERO,
        }
    }

    fn tally(counts: &[u64]) -> Tally {
        counts
            .iter()
            .enumerate()
            .map(|(i, n)| (format!("rs{}", i + 1), *n))
            .collect()
    }

    #[test]
    fn rr_is_exact() {
        let e = expected(Scheduler::Rr, &[1, 1, 1]);
        assert!(e.check_tally(&tally(&[100, 100, 100])).is_ok());
        assert!(e.check_tally(&tally(&[101, 100, 99])).is_err());
        assert!(e.check_tally(&tally(&[34, 33, 33])).is_ok());
    }

    #[test]
    fn wrr_is_within_one_of_its_share() {
        let e = expected(Scheduler::Wrr, &[1, 3]);
        assert!(e.check_tally(&tally(&[25, 75])).is_ok());
        assert!(e.check_tally(&tally(&[26, 74])).is_ok());
        assert!(e.check_tally(&tally(&[27, 73])).is_err());
    }

    #[test]
    fn persistence_is_one_server() {
        let mut e = expected(Scheduler::Rr, &[1, 1]);
        e.persistent = true;
        assert!(e.check_tally(&[("rs2".to_owned(), 9)].into()).is_ok());
        assert!(e.check_tally(&tally(&[1, 8])).is_err());
    }
}
