//! The operations of a plan as stores into the maps.

use std::sync::atomic::Ordering;

use aya::maps::PerCpuValues;
use aya::util::nr_cpus;
use lb_common::maps::{
    BACKEND_CHANGING, BACKEND_RESOLVED, Backend, Counters, Forward, LOAD_OVERLOADED, Load, Remote,
    SLOT_DELETED, ServiceSlot, Settings, Timeouts, name,
};
use lb_common::sched::MAX_TABLE;

use super::DataPlane;
use super::error::BpfError;
use super::mapped::Mapped;
use super::object::Maps;
use crate::plan::{Dump, Op};

/// Words of a slot, of which the first is the key, the second the table.
const SLOT_WORDS: usize = size_of::<ServiceSlot>() / 8;
const KEY: usize = 0;
const TABLE: usize = 1;
const PARAMS: [usize; 2] = [3, 2];
const REMOVED_KEY: usize = std::mem::offset_of!(ServiceSlot, removed_key) / 8;
const _: () = assert!(
    std::mem::offset_of!(ServiceSlot, table) == 8 && std::mem::offset_of!(ServiceSlot, id) == 16
);

/// Words of a backend: two MACs and the interface, what it is, what is for people.
const BACKEND_WORDS: usize = size_of::<Backend>() / 8;
const FLAGS: usize = 2;
const _: () = assert!(std::mem::offset_of!(Backend, flags) == 16);

const REMOTE_WORDS: usize = size_of::<Remote>() / 8;
const TIMEOUT_WORDS: usize = size_of::<Timeouts>() / 8;
/// The word of the settings that has the rate of new flows, and what lies beside it: nothing.
const FLOOD_RATE: usize = std::mem::offset_of!(Settings, flood_rate) / 8;
const _: () = assert!(std::mem::offset_of!(Settings, flood_rate) % 8 == 0);
/// Words of a load.
pub(super) const LOAD_COUNTS: usize = std::mem::offset_of!(Load, counts) / 8;
const MARKS: usize = std::mem::offset_of!(Load, marks) / 8;

/// What became of the operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// What backend indices that were given free had counted, to be added to what is remembered of
    /// their services: (index, service id, counters).
    pub freed: Vec<(u16, u16, Counters)>,
}

impl DataPlane {
    /// Applies operations in their order.
    ///
    /// # Errors
    /// When a map cannot be written. What came before stays applied: take a [`dump`](Self::dump) and
    /// adopt it.
    pub fn apply(&mut self, ops: &[Op]) -> Result<Applied, BpfError> {
        let mut applied = Applied::default();
        for op in ops {
            self.apply_one(op, &mut applied)?;
        }
        Ok(applied)
    }

    fn apply_one(&mut self, op: &Op, applied: &mut Applied) -> Result<(), BpfError> {
        let maps = &mut self.object.maps;
        match op {
            Op::Timeouts { set, value } => {
                let at = within(&maps.timeouts, name::TIMEOUTS, u32::from(*set))?;
                let words: [u64; TIMEOUT_WORDS] = zerocopy::transmute!(*value);
                for (word, value) in words.iter().enumerate() {
                    maps.timeouts.store(at, word, *value);
                }
            }
            Op::FloodRate(rate) => {
                maps.settings.store(0, FLOOD_RATE, u64::from(*rate));
            }
            Op::ResetCounters { index } => {
                let at = within(&maps.loads, name::LOADS, u32::from(*index))?;
                maps.loads.store(at, LOAD_COUNTS, 0);
                maps.loads.store(at, MARKS, 0);
                let cpus = nr_cpus().map_err(|(_, e)| BpfError::Clock(e))?;
                let zero =
                    PerCpuValues::try_from(vec![[0u64; 4]; cpus]).map_err(BpfError::Clock)?;
                maps.counters
                    .set(u32::from(*index), zero, 0)
                    .map_err(|source| BpfError::Map {
                        name: name::COUNTERS,
                        source,
                    })?;
            }
            Op::Backend {
                index,
                value,
                remote,
            } => {
                let at = within(&maps.backends, name::BACKENDS, u32::from(*index))?;
                write_backend(maps, at, value, remote);
            }
            Op::Table { base, entries } => {
                let last = base / 4 + (entries.len().div_ceil(4) as u32).max(1) - 1;
                within(&maps.sched, name::SCHED, last)?;
                for (word, lanes) in (base / 4..).zip(entries.chunks(4)) {
                    let value = lanes
                        .iter()
                        .rev()
                        .fold(0, |acc, e| acc << 16 | u64::from(*e));
                    maps.sched.store(word, 0, value);
                }
            }
            Op::ResetCursor { id } => {
                let at = within(&maps.cursors, name::SERVICE_CURSOR, u32::from(*id))?;
                maps.cursors.store(at, 0, 0);
            }
            Op::OpenSlot { slot, value } => {
                let at = within(&maps.services, name::SERVICES, *slot)?;
                let words: [u64; SLOT_WORDS] = zerocopy::transmute!(*value);
                for (word, value) in words.iter().enumerate().skip(1) {
                    maps.services.store(at, word, *value);
                }
                maps.services.store(at, KEY, words[KEY]);
            }
            Op::SwitchTable { slot, table } => {
                let at = within(&maps.services, name::SERVICES, *slot)?;
                maps.services.store(at, TABLE, *table);
            }
            Op::Params { slot, value } => {
                let at = within(&maps.services, name::SERVICES, *slot)?;
                let words: [u64; SLOT_WORDS] = zerocopy::transmute!(*value);
                for word in PARAMS {
                    maps.services.store(at, word, words[word]);
                }
            }
            Op::CloseSlot { slot, key } => {
                let at = within(&maps.services, name::SERVICES, *slot)?;
                maps.services.store(at, REMOVED_KEY, *key);
                maps.services.store(at, KEY, SLOT_DELETED);
            }
            Op::ClearSlot { slot, key } => {
                let at = within(&maps.services, name::SERVICES, *slot)?;
                maps.services.store(at, KEY, *key);
                for word in 1..SLOT_WORDS {
                    maps.services.store(at, word, 0);
                }
            }
            Op::FreeBackend { index } => {
                let at = within(&maps.backends, name::BACKENDS, u32::from(*index))?;
                let old: Backend = zerocopy::transmute!(maps.backends.get::<BACKEND_WORDS>(at));
                let counted = self.counters_of(*index)?;
                let backends = &self.object.maps.backends;
                backends.store(at, FLAGS, 0);
                for word in 0..BACKEND_WORDS {
                    backends.store(at, word, 0);
                }
                for word in 0..REMOTE_WORDS {
                    self.object.maps.remotes.store(at, word, 0);
                }
                applied.freed.push((*index, old.service, counted));
            }
        }
        Ok(())
    }

    /// What the maps hold.
    ///
    /// # Errors
    /// None so far: they are in memory.
    pub fn dump(&self) -> Result<Dump, BpfError> {
        let maps = &self.object.maps;
        let services = (0..maps.services.len())
            .map(|slot| (slot, maps.services.get::<SLOT_WORDS>(slot)))
            .filter(|(_, words)| *words != [0; SLOT_WORDS])
            .map(|(slot, words)| {
                let value: ServiceSlot = zerocopy::transmute!(words);
                (slot, value, entries(&maps.sched, value.table))
            })
            .collect();
        let backends = (0..maps.backends.len())
            .map(|index| (index, maps.backends.get::<BACKEND_WORDS>(index)))
            .filter(|(_, words)| *words != [0; BACKEND_WORDS])
            .map(|(index, words)| {
                let remote = maps.remotes.get::<REMOTE_WORDS>(index);
                let (value, remote) = (zerocopy::transmute!(words), zerocopy::transmute!(remote));
                (index as u16, value, remote)
            })
            .collect();
        let timeouts = (0..maps.timeouts.len())
            .map(|set| zerocopy::transmute!(maps.timeouts.get::<TIMEOUT_WORDS>(set)))
            .collect();
        Ok(Dump {
            hz: self.object.hz,
            flood_rate: maps.settings.load(0, FLOOD_RATE) as u32,
            services,
            backends,
            timeouts,
        })
    }
}

/// The entries of a scheduling table; none when it does not lie in the arena.
fn entries(sched: &Mapped, table: u64) -> Vec<u16> {
    let (base, len) = ((table >> 32) as u32, table as u32);
    let fits = base
        .checked_add(len)
        .is_some_and(|end| end.div_ceil(4) <= sched.len());
    if !fits || len as usize > MAX_TABLE {
        return Vec::new();
    }
    (base..base + len)
        .map(|entry| (sched.load(entry / 4, 0) >> (16 * (entry % 4))) as u16)
        .collect()
}

fn within(map: &Mapped, name: &'static str, index: u32) -> Result<u32, BpfError> {
    if index < map.len() {
        Ok(index)
    } else {
        Err(BpfError::OutOfRange { name, index })
    }
}

/// Writes a backend word by word. One that moves to another interface, or is reached in another way,
/// gets nothing for that moment, so that frames do not go to one server's MAC on another's interface or
/// in half a tunnel; its flows stay. (A packet whose program had looked at the flags just before may
/// still see some of each.)
fn write_backend(maps: &Maps, at: u32, value: &Backend, remote: &Remote) {
    let old: [u64; BACKEND_WORDS] = maps.backends.get(at);
    let new: [u64; BACKEND_WORDS] = zerocopy::transmute!(*value);
    let was: Backend = zerocopy::transmute!(old);
    let beside: Remote = zerocopy::transmute!(maps.remotes.get::<REMOTE_WORDS>(at));
    let tunnel = |r: &Remote| (r.addr, r.source, r.flags, r.tunnel_port);
    let is_tunnelled = [was.forward, value.forward] != [Forward::Direct as u8; 2];
    let moves = old[0] != new[0] && old[1] != new[1];
    let other_way =
        was.forward != value.forward || is_tunnelled && tunnel(&beside) != tunnel(remote);
    if was.flags & BACKEND_RESOLVED != 0 && (moves || other_way) {
        let unusable = Backend {
            flags: was.flags & !BACKEND_RESOLVED | BACKEND_CHANGING,
            ..was
        };
        let words: [u64; BACKEND_WORDS] = zerocopy::transmute!(unusable);
        maps.backends.store(at, FLAGS, words[FLAGS]);
    }
    let words: [u64; REMOTE_WORDS] = zerocopy::transmute!(*remote);
    for (word, value) in words.iter().enumerate() {
        maps.remotes.store(at, word, *value);
    }
    // As IPVS does: whoever may have more connections than before may have new ones.
    if remote.upper == 0 || remote.upper > beside.upper {
        let marks = maps.loads.word(at, MARKS);
        marks.fetch_and(!LOAD_OVERLOADED, Ordering::AcqRel);
    }
    for word in (0..BACKEND_WORDS).filter(|word| *word != FLAGS) {
        maps.backends.store(at, word, new[word]);
    }
    maps.backends.store(at, FLAGS, new[FLAGS]);
}
