//! The flow table and the persistence table, read while the program works on them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{HashMap, MapData};
use lb_common::flow::shared::SharedFlow;
use lb_common::flow::{FlowValue, split_tag};
use lb_common::maps::{
    FLOW_WAYS, MAX_SERVICES, SERVICE_ANY_PORT, SERVICE_V6, SERVICE_WIDE, SLOT_DELETED, ServiceSlot,
    Settings, TIMEOUT_SETS, Template, TemplateKey, Timeouts, name,
};
use lb_common::tcp::State;

use super::error::BpfError;
use super::mapped::Mapped;
use super::sys;
use crate::plan::Refs;
use crate::time::Time;

/// Reads the tables of flows and of persistence; may live in another thread than the data plane,
/// and outlive it.
#[derive(Clone, Debug)]
pub struct FlowScanner {
    pub(super) flows: Arc<Mapped>,
    pub(super) flow_addrs: Arc<Mapped>,
    pub(super) services: Arc<Mapped>,
    pub(super) settings: Arc<Mapped>,
    pub(super) timeouts: Arc<Mapped>,
    pub(super) templates: Arc<HashMap<MapData, TemplateKey, u64>>,
    pub(super) clock: Arc<OwnedFd>,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEntry {
    /// The client.
    pub client: SocketAddr,
    /// The service's id.
    pub service: u16,
    /// The port of the VIP, if the service is for any port.
    pub vip_port: Option<u16>,
    /// The backend's index.
    pub backend: u16,
    /// Its state; [`State::name`] is what `ipvsadm -Lc` prints.
    pub state: State,
    /// Its set of timeouts.
    pub timeouts: u8,
    /// How long it stays when nothing comes.
    pub left: Duration,
}

/// A client that persistence keeps at a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateEntry {
    /// The client's address, masked as the service says.
    pub client: IpAddr,
    /// The service's id.
    pub service: u16,
    /// The backend's index.
    pub backend: u16,
    /// How long it stays when the client makes no connection.
    pub left: Duration,
}

/// Connections as IPVS counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnCount {
    /// ActiveConn: TCP that is established or being so.
    pub active: u32,
    /// InActConn: TCP in any other state, and all UDP.
    pub inactive: u32,
}

/// The kernel's clock as the flow table counts.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    now: u32,
    /// How much of it is over, 0 to 1.
    part: f64,
    /// Seconds of one tick.
    length: f64,
}

impl Ticks {
    fn duration(self, ticks: u32) -> Duration {
        Duration::from_secs_f64(f64::from(ticks) * self.length)
    }

    /// How long it is until the first tick that begins in `least` or later.
    fn first_after(self, least: Duration) -> Duration {
        let ahead = self.duration(1).mul_f64(1.0 - self.part);
        let short = least.saturating_sub(ahead).as_secs_f64();
        ahead + self.duration((short / self.length).ceil() as u32)
    }
}

/// What tells whether a flow has expired.
#[derive(Debug)]
pub(super) struct Ages {
    ticks: Ticks,
    sets: Vec<Timeouts>,
}

impl Ages {
    /// How many ticks a flow has left; `None` when it has been silent for too long.
    pub(super) fn left(&self, value: FlowValue) -> Option<u32> {
        let set = self.sets.get(usize::from(value.timeouts()))?;
        let timeout = set.ticks.get(usize::from(value.state_bits()))?;
        timeout.checked_sub(value.idle(self.ticks.now))
    }
}

impl FlowScanner {
    /// All connections that have not timed out. The table is read while it changes: a connection
    /// that moves at the very moment may be missing or there twice.
    ///
    /// # Errors
    /// When the kernel's clock cannot be read.
    pub fn flows(&self) -> Result<impl Iterator<Item = FlowEntry> + '_, BpfError> {
        Ok(self.flows_from(0)?.map(|(_, flow)| flow))
    }

    /// How many places for flows the table has.
    #[must_use]
    pub fn places(&self) -> usize {
        self.flows.flows().len()
    }

    /// As [`FlowScanner::flows`], from a place on, each with its place.
    ///
    /// # Errors
    /// When the kernel's clock cannot be read.
    pub fn flows_from(
        &self,
        start: usize,
    ) -> Result<impl Iterator<Item = (usize, FlowEntry)> + '_, BpfError> {
        let ages = self.ages()?;
        let kinds = self.kinds();
        let ways = self.flows.flows().iter().enumerate().skip(start);
        Ok(ways.filter_map(move |(place, way)| {
            let (tag, value) = way.read()?;
            let state = value.state()?;
            let left = ages.left(value)?;
            let (rest, port, service) = split_tag(tag);
            let flags = kinds.get(usize::from(service)).copied().unwrap_or(0);
            let addr = if flags & SERVICE_WIDE == 0 {
                IpAddr::from(rest.to_ne_bytes())
            } else {
                let addr = self.client_of(place, flags);
                // It is this flow's as long as its tag stands.
                way.read().filter(|(now, _)| *now == tag)?;
                addr
            };
            let is_any_port = flags & SERVICE_ANY_PORT != 0;
            let flow = FlowEntry {
                client: SocketAddr::new(addr, u16::from_be(port)),
                service,
                vip_port: is_any_port.then(|| u16::from_be((rest >> 16) as u16)),
                backend: value.backend(),
                state,
                timeouts: value.timeouts(),
                left: ages.ticks.duration(left),
            };
            Some((place, flow))
        }))
    }

    /// The client of a wide flow.
    fn client_of(&self, place: usize, flags: u32) -> IpAddr {
        let (bucket, way) = (place / FLOW_WAYS, place % FLOW_WAYS);
        let word = |n| self.flow_addrs.load(bucket as u32, 2 * way + n);
        let bytes: [u8; 16] = zerocopy::transmute!([word(0), word(1)]);
        if flags & SERVICE_V6 != 0 {
            IpAddr::from(bytes)
        } else {
            IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]])
        }
    }

    /// The flags of the services by id, removed ones included.
    fn kinds(&self) -> Vec<u32> {
        let mut kinds = vec![0; MAX_SERVICES as usize];
        for service in self.known() {
            if let Some(kind) = kinds.get_mut(usize::from(service.id)) {
                *kind = service.flags;
            }
        }
        kinds
    }

    /// The services, removed ones included.
    fn known(&self) -> impl Iterator<Item = ServiceSlot> + '_ {
        (0..self.services.len())
            .map(|slot| -> ServiceSlot {
                zerocopy::transmute!(self.services.get::<{ size_of::<ServiceSlot>() / 8 }>(slot))
            })
            .filter(|s| s.key != 0 && (s.key != SLOT_DELETED || s.removed_key != 0))
    }

    /// All persistence entries that have not timed out.
    ///
    /// # Errors
    /// When the kernel's clock or the table cannot be read.
    pub fn templates(&self) -> Result<Vec<TemplateEntry>, BpfError> {
        let ticks = self.ticks(&self.settings())?;
        let timeouts = self.persistence();
        let mut found = Vec::new();
        for entry in self.templates.iter() {
            let (key, value) = match entry {
                Ok(entry) => entry,
                // Evicted between the two calls that read one entry.
                Err(aya::maps::MapError::KeyNotFound) => continue,
                Err(source) => {
                    return Err(BpfError::Map {
                        name: name::TEMPLATES,
                        source,
                    });
                }
            };
            let ([a, b, c, d, service], template) = (key, Template(value));
            let service = service as u16;
            let Some(&(timeout, is_v6)) = timeouts.get(&service) else {
                continue;
            };
            let client: [u8; 16] = zerocopy::transmute!([a, b, c, d]);
            let Some(left) = timeout.checked_sub(template.idle(ticks.now)) else {
                continue;
            };
            found.push(TemplateEntry {
                client: if is_v6 {
                    IpAddr::from(client)
                } else {
                    IpAddr::from(a.to_ne_bytes())
                },
                service,
                backend: template.backend(),
                left: ticks.duration(left),
            });
        }
        Ok(found)
    }

    /// Which ids connections and persistence entries refer to, for [`plan`](crate::plan). `now` is
    /// the time before the call. Expired connections count until the [`Sweeper`](super::Sweeper) has
    /// taken them off their backend: the next owner of its index shall not pay for them.
    ///
    /// # Errors
    /// As [`templates`](Self::templates).
    pub fn refs(&self, now: Time) -> Result<Refs, BpfError> {
        let mut refs = Refs {
            taken_at: now,
            ..Refs::default()
        };
        let mut last = (0, 0);
        // Twice: a flow may move to its second place behind the reader's back, but only once.
        let ways = self.flows.flows();
        for (tag, value) in ways.iter().chain(ways).filter_map(SharedFlow::read) {
            let ids = (value.backend(), split_tag(tag).2);
            refs.timeout_sets |= 1 << (u32::from(value.timeouts()) % u64::BITS);
            if last != ids {
                last = ids;
                refs.backends.insert(ids.0);
                refs.services.insert(ids.1);
            }
        }
        for template in self.templates()? {
            refs.backends.insert(template.backend);
            refs.services.insert(template.service);
        }
        Ok(refs)
    }

    /// The tick that it is now, as in [`FlowValue::seen`].
    ///
    /// # Errors
    /// When the kernel's clock cannot be read.
    pub fn tick(&self) -> Result<u32, BpfError> {
        Ok(self.ticks(&self.settings())?.now)
    }

    /// How long it is until the first tick that begins in `least` or later.
    pub(super) fn first_tick_after(&self, least: Duration) -> Result<Duration, BpfError> {
        Ok(self.ticks(&self.settings())?.first_after(least))
    }

    /// The clock and the timeouts as they are now.
    pub(super) fn ages(&self) -> Result<Ages, BpfError> {
        let sets = (0..TIMEOUT_SETS)
            .map(|set| {
                zerocopy::transmute!(self.timeouts.get::<{ size_of::<Timeouts>() / 8 }>(set))
            })
            .collect();
        Ok(Ages {
            ticks: self.ticks(&self.settings())?,
            sets,
        })
    }

    fn settings(&self) -> Settings {
        zerocopy::transmute!(self.settings.get::<{ size_of::<Settings>() / 8 }>(0))
    }

    fn ticks(&self, settings: &Settings) -> Result<Ticks, BpfError> {
        let shift = settings.params.tick_shift & 31;
        let jiffies = jiffies(&self.clock)?;
        let length = 1u64 << shift;
        Ok(Ticks {
            now: (jiffies >> shift) as u32,
            part: (jiffies % length) as f64 / length as f64,
            length: length as f64 / f64::from(settings.hz.max(1)),
        })
    }

    /// Persistence time in ticks of each service id that has one.
    fn persistence(&self) -> BTreeMap<u16, (u32, bool)> {
        self.known()
            .filter(|s| s.persist_ticks != 0 && u32::from(s.id) < MAX_SERVICES)
            .map(|s| (s.id, (s.persist_ticks, s.flags & SERVICE_V6 != 0)))
            .collect()
    }
}

/// The kernel's 64-bit jiffies.
fn jiffies(clock: &OwnedFd) -> Result<u64, BpfError> {
    let run = sys::test_run(clock, &[0; 64], 1).map_err(BpfError::Clock)?;
    let bytes = run
        .frame
        .first_chunk::<8>()
        .ok_or_else(|| BpfError::Clock(std::io::ErrorKind::UnexpectedEof.into()))?;
    Ok(u64::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_a_tick() {
        let ticks = Ticks {
            now: 7,
            part: 0.25,
            length: 1.024,
        };
        let after = |millis| ticks.first_after(Duration::from_millis(millis)).as_millis();
        assert_eq!(after(0), 768);
        assert_eq!(after(768), 768);
        assert_eq!(after(769), 1792);
        assert_eq!(after(2000), 2816);
    }
}
