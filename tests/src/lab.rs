//! The whole network.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lb_userspace::model::Protocol;

use crate::backend::{Backend, BackendProcess};
use crate::clock::{Instant, wait_for};
use crate::conf::PairConf;
use crate::director::{Director, Kind};
use crate::load;
use crate::namespace::Mac;
use crate::prober::{Prober, Question};
use crate::recorder::{Frame, Recorder, What};
use crate::scratch::Scratch;
use crate::switch::{Host, Switch};
use crate::topology::{Port, Topology};

/// What a lab is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Hosts and addresses.
    pub topology: Topology,
    /// What runs on the directors.
    pub kinds: [Kind; 2],
    /// Their configuration files.
    pub confs: [String; 2],
    /// Files beside them, by name.
    pub files: Vec<(String, String)>,
    /// Whether there is one more host.
    pub spare: bool,
}

impl Spec {
    /// A lab for a pair written by [`PairConf`].
    #[must_use]
    pub fn pair(conf: &PairConf, kinds: [Kind; 2]) -> Self {
        Spec {
            topology: conf.topology(),
            kinds,
            confs: [conf.text(0), conf.text(1)],
            files: Vec::new(),
            spare: false,
        }
    }
}

/// A real server.
#[derive(Debug)]
pub struct Real {
    /// Its host; the name is what its answers say.
    pub host: Host,
    backend: Option<Serving>,
    ports: Vec<Port>,
}

/// Where a real server's servers run.
#[derive(Debug)]
enum Serving {
    Here { _backend: Backend },
    Apart { _process: BackendProcess },
}

impl Real {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Starts its servers.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start(&mut self) -> Result<()> {
        // The old one's sockets go first.
        self.backend = None;
        let backend = Backend::start(&self.host.ns, self.host.name(), &self.ports)?;
        self.backend = Some(Serving::Here { _backend: backend });
        Ok(())
    }

    /// Starts them in a process of their own, which writes to the file.
    ///
    /// # Errors
    /// When a port cannot be bound.
    pub fn start_apart(&mut self, log: &Path) -> Result<()> {
        self.backend = None;
        let name = self.host.name();
        let process = BackendProcess::start(&self.host.ns, name, &self.ports, log)?;
        self.backend = Some(Serving::Apart { _process: process });
        Ok(())
    }

    /// Stops its servers; the host stays and refuses connections.
    pub fn stop(&mut self) {
        self.backend = None;
    }
}

/// A network in which nothing but the real servers runs yet.
#[derive(Debug)]
pub struct Lab {
    /// The two directors. First, so that their daemons end before the network does.
    pub directors: [Director; 2],
    /// What comes in at the client.
    pub recorder: Recorder,
    /// The real servers.
    pub reals: Vec<Real>,
    /// The client.
    pub client: Host,
    /// One more host.
    pub spare: Option<Host>,
    /// The switch.
    pub switch: Switch,
    /// What the configuration asked for.
    pub topology: Topology,
    scratch: Scratch,
}

impl Lab {
    /// Builds it.
    ///
    /// # Errors
    /// Those of namespaces, netlink and files.
    pub fn new(spec: &Spec) -> Result<Self> {
        let scratch = Scratch::new()?;
        let plan = spec.topology.plan()?;
        let mut switch = Switch::new()?;
        let client = switch.host("client", "eth0", &plan.client, false)?;
        // Many short connections in a row need many ports.
        client
            .ns
            .sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        let recorder = Recorder::start(&client.ns, "eth0")?;
        let mut director = |i: usize| -> Result<Director> {
            let name = format!("ds{}", i + 1);
            let host = switch.host(&name, &spec.topology.link, &plan.directors[i], true)?;
            let d = Director::new(
                host,
                spec.kinds[i],
                &spec.confs[i],
                &scratch.files().join(&name),
                &scratch.pins().join(&name),
            )?;
            for (name, text) in &spec.files {
                d.write_file(name, text)?;
            }
            Ok(d)
        };
        let directors = [director(0)?, director(1)?];
        let mut reals = Vec::new();
        for (i, addr) in plan.reals.iter().enumerate() {
            let host = switch.host(&format!("rs{}", i + 1), "eth0", &[*addr], false)?;
            for scope in ["all", "eth0"] {
                host.ns
                    .sysctl(&format!("net/ipv4/conf/{scope}/arp_ignore"), "1")?;
                host.ns
                    .sysctl(&format!("net/ipv4/conf/{scope}/arp_announce"), "2")?;
            }
            for vip in &spec.topology.vips {
                host.ns.add_address("lo", *vip, 32)?;
            }
            let mut real = Real {
                host,
                backend: None,
                ports: spec.topology.ports.clone(),
            };
            real.start()?;
            reals.push(real);
        }
        let spare = if spec.spare {
            Some(switch.host("spare", "eth0", &plan.spare, false)?)
        } else {
            None
        };
        Ok(Lab {
            directors,
            recorder,
            reals,
            client,
            spare,
            switch,
            topology: spec.topology.clone(),
            scratch,
        })
    }

    /// Its name, which is also that of its directories.
    #[must_use]
    pub fn name(&self) -> &str {
        self.scratch.name()
    }

    /// The first virtual address.
    #[must_use]
    pub fn vip(&self) -> Ipv4Addr {
        self.topology
            .vips
            .first()
            .copied()
            .unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The first service of a protocol.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&self, protocol: Protocol) -> Result<SocketAddrV4> {
        let port = self.topology.ports.iter().find(|p| p.protocol == protocol);
        port.map(|p| SocketAddrV4::new(p.vip, p.port))
            .with_context(|| format!("no {protocol:?} service"))
    }

    /// Gives the client `n` more addresses of its first subnet and returns them.
    ///
    /// # Errors
    /// When the subnet has not so many free ones, and those of netlink.
    pub fn client_addresses(&self, n: usize) -> Result<Vec<Ipv4Addr>> {
        let addresses = self.topology.plan()?.more(&self.topology.vips, n)?;
        for (addr, len) in &addresses {
            self.client.ns.add_address("eth0", *addr, *len)?;
        }
        Ok(addresses.into_iter().map(|(addr, _)| addr).collect())
    }

    /// Has every real server's servers run in a process of their own, so that many connections need
    /// not share this one's descriptors.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn serve_apart(&mut self) -> Result<()> {
        for real in &mut self.reals {
            let log = self.scratch.files().join(format!("{}.log", real.name()));
            real.start_apart(&log)?;
        }
        Ok(())
    }

    /// Both directors, the first one first.
    ///
    /// # Errors
    /// When a daemon cannot be started.
    pub fn start_directors(&mut self) -> Result<()> {
        self.directors.iter_mut().try_for_each(Director::start)
    }

    /// A prober of a virtual address by ping.
    ///
    /// # Errors
    /// Those of sockets.
    pub fn ping(&self, vip: impl Into<IpAddr>, interval: Duration) -> Result<Prober> {
        Prober::start(&self.client.ns, Question::Ping(vip.into()), interval)
    }

    /// A prober of the first UDP service.
    ///
    /// # Errors
    /// When there is none.
    pub fn ask_udp(&self, interval: Duration) -> Result<Prober> {
        Prober::start(
            &self.client.ns,
            Question::Udp(self.service(Protocol::Udp)?),
            interval,
        )
    }

    /// Which director has this MAC.
    #[must_use]
    pub fn director_of(&self, mac: Mac) -> Option<usize> {
        self.directors.iter().position(|d| d.host.mac == mac)
    }

    /// Which director answers a prober, by its last answer within 100 ms.
    #[must_use]
    pub fn master_of(&self, prober: &Prober) -> Option<usize> {
        prober
            .answering(&self.recorder, Duration::from_millis(100))
            .and_then(|mac| self.director_of(mac))
    }

    /// Waits until a director alone has advertised a virtual router (any when `None`) for three
    /// intervals, looking at nothing before `since`.
    ///
    /// # Errors
    /// When it takes more than `limit`; with the logs of both daemons.
    pub fn wait_sole_advertiser(
        &self,
        director: usize,
        vrid: Option<u8>,
        advert: Duration,
        since: Instant,
        limit: Duration,
    ) -> Result<()> {
        let window = advert * 3 + advert / 2;
        let what = format!("{} alone to advertise", self.directors[director].name());
        self.recorder
            .wait(&what, since, limit, |frames| {
                let start = Instant::now().minus(window);
                let mut recent = frames[frames.partition_point(|f| f.at < start)..]
                    .iter()
                    .filter(|f| advertises(f, vrid))
                    .peekable();
                // At the beginning of the window too, not only for the last two.
                let early = recent
                    .peek()
                    .is_some_and(|f| f.at.since(start) <= advert + advert / 4);
                (early && recent.all(|f| self.sender(f) == Some(director))).then_some(())
            })
            .with_context(|| self.logs())
    }

    /// Which director sent an advert: by its MAC, or by its address when that is a virtual one.
    #[must_use]
    pub fn sender(&self, frame: &Frame) -> Option<usize> {
        let What::Advert { from, .. } = frame.what else {
            return None;
        };
        let by_address = || {
            self.directors
                .iter()
                .position(|d| IpAddr::V4(d.host.address()) == from)
        };
        self.director_of(frame.src).or_else(by_address)
    }

    /// Waits until both directors advertise, each a second time after `since`.
    ///
    /// # Errors
    /// When it takes more than `limit`; with the logs of both daemons.
    pub fn wait_both_advertise(&self, since: Instant, limit: Duration) -> Result<()> {
        self.recorder
            .wait("both directors to advertise", since, limit, |frames| {
                let twice = |director| {
                    frames
                        .iter()
                        .filter(|f| advertises(f, None) && self.sender(f) == Some(director))
                        .count()
                        >= 2
                };
                [0, 1].into_iter().all(twice).then_some(())
            })
            .with_context(|| self.logs())
    }

    /// Waits until every daemon takes part, a director alone has advertised (see
    /// [`Lab::wait_sole_advertiser`]) and answers the prober.
    ///
    /// # Errors
    /// When it takes more than `limit`; with the logs of both daemons.
    pub fn settle(
        &self,
        director: usize,
        vrid: Option<u8>,
        advert: Duration,
        prober: &Prober,
        limit: Duration,
    ) -> Result<()> {
        for d in &self.directors {
            d.wait_ready(limit)?;
        }
        self.wait_sole_advertiser(director, vrid, advert, Instant(0), limit)?;
        let mac = self.directors[director].host.mac;
        let since = Instant::now().minus(prober.interval() * 8);
        prober
            .wait_answer(&self.recorder, Some(mac), 3, since, limit)
            .map(drop)
            .with_context(|| self.logs())
    }

    /// Waits until every service is answered by somebody.
    ///
    /// # Errors
    /// When it takes more than `limit`.
    pub fn wait_services(&self, limit: Duration) -> Result<()> {
        for port in &self.topology.ports {
            let to = SocketAddrV4::new(port.vip, port.port);
            wait_for(
                &format!("{:?} {to} to be served", port.protocol),
                limit,
                || {
                    let once = Duration::from_millis(300);
                    let got = match port.protocol {
                        Protocol::Tcp => load::requests(&self.client.ns, to, 1, once),
                        Protocol::Udp => load::datagrams(&self.client.ns, to, 1, once),
                        Protocol::Sctp => return None,
                    };
                    (got.answered() == 1).then_some(())
                },
            )
            .with_context(|| self.logs())?;
        }
        Ok(())
    }

    /// What the daemons said and what the client heard of them, for an error report.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut all: Vec<_> = self.directors.iter().map(Director::log_tail).collect();
        all.push(self.heard());
        all.join("\n")
    }

    /// The adverts and gratuitous ARPs of the directors in the last 15 s, those in a row as one.
    fn heard(&self) -> String {
        let now = Instant::now();
        let mut lines: Vec<(String, Instant, Instant, usize)> = Vec::new();
        for frame in self.recorder.since(now.minus(Duration::from_secs(15))) {
            let what = match frame.what {
                What::Advert { vrid, priority, .. } => {
                    format!("adverts of {vrid}, priority {priority}")
                }
                What::Arp { spa, tpa, .. } if spa == tpa => format!("gratuitous ARPs for {spa}"),
                What::Neighbour { target, .. } => format!("neighbour advertisements of {target}"),
                What::Arp { .. } | What::Answer { .. } | What::Reset { .. } => continue,
            };
            let Some(director) = self.director_of(frame.src) else {
                continue;
            };
            let line = format!("{} {what}", self.directors[director].name());
            match lines.last_mut() {
                Some((last, _, to, n)) if *last == line => (*to, *n) = (frame.at, *n + 1),
                _ => lines.push((line, frame.at, frame.at, 1)),
            }
        }
        let shown = lines.iter().map(|(line, from, to, n)| {
            let ago = |t: &Instant| now.since(*t).as_secs_f64();
            format!(
                "    {:.3} to {:.3} s ago: {n} x {line}\n",
                ago(from),
                ago(to)
            )
        });
        format!("the client heard:\n{}", shown.collect::<String>())
    }

    /// The RSTs that came from a director since `since`.
    #[must_use]
    pub fn director_resets(&self, since: Instant) -> Vec<Frame> {
        let from_director =
            |f: &Frame| matches!(f.what, What::Reset { .. }) && self.director_of(f.src).is_some();
        self.recorder
            .since(since)
            .into_iter()
            .filter(from_director)
            .collect()
    }

    /// Takes everything down.
    ///
    /// # Errors
    /// Everything that went wrong on the way, also frames that the recorder missed.
    pub fn finish(self) -> Result<()> {
        let Lab {
            mut directors,
            recorder,
            reals,
            client,
            spare,
            switch,
            topology: _,
            mut scratch,
        } = self;
        let mut errors = Vec::new();
        for d in &mut directors {
            if d.running()
                && let Err(e) = d.kill()
            {
                errors.push(e);
            }
        }
        errors.extend(recorder.finish().err());
        drop((directors, reals, client, spare, switch));
        errors.extend(scratch.remove().err());
        match errors.into_iter().reduce(|all, e| all.context(e)) {
            Some(e) => Err(e.context("clean up the lab")),
            None => Ok(()),
        }
    }
}

/// Whether a frame says that its sender is master of the virtual router (of any when `None`).
#[must_use]
pub fn advertises(frame: &Frame, vrid: Option<u8>) -> bool {
    matches!(frame.what, What::Advert { vrid: v, priority, .. } if priority > 0 && vrid.is_none_or(|w| w == v))
}
