//! The operations of a plan as stores into the maps.

use aya::maps::PerCpuValues;
use aya::util::nr_cpus;
use lb_common::maps::{Backend, Counters, SLOT_DELETED, ServiceSlot, name};

use super::DataPlane;
use super::error::BpfError;
use super::mapped::Mapped;
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
            Op::ResetCounters { index } => {
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
            Op::Backend { index, value } => {
                let at = within(&maps.backends, name::BACKENDS, u32::from(*index))?;
                write_backend(&maps.backends, at, value);
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
                for word in [FLAGS, 0, 1, 3] {
                    backends.store(at, word, 0);
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
            .map(|(slot, words)| (slot, zerocopy::transmute!(words)))
            .collect();
        let backends = (0..maps.backends.len() as u16)
            .map(|index| (index, maps.backends.get::<BACKEND_WORDS>(u32::from(index))))
            .filter(|(_, words)| *words != [0; BACKEND_WORDS])
            .map(|(index, words)| (index, zerocopy::transmute!(words)))
            .collect();
        let sched = (0..maps.sched.len())
            .flat_map(|word| {
                let value = maps.sched.load(word, 0);
                (0..4).map(move |lane| (value >> (16 * lane)) as u16)
            })
            .collect();
        Ok(Dump {
            hz: self.object.hz,
            services,
            backends,
            sched,
        })
    }
}

fn within(map: &Mapped, name: &'static str, index: u32) -> Result<u32, BpfError> {
    if index < map.len() {
        Ok(index)
    } else {
        Err(BpfError::OutOfRange { name, index })
    }
}

/// Writes a backend word by word. One that moves to another interface is unusable for that moment,
/// so that no frame goes to one server's MAC on another's interface.
fn write_backend(map: &Mapped, at: u32, value: &Backend) {
    let old: [u64; BACKEND_WORDS] = map.get(at);
    let new: [u64; BACKEND_WORDS] = zerocopy::transmute!(*value);
    if old[0] != new[0] && old[1] != new[1] && old[FLAGS] != 0 {
        let unusable = Backend {
            flags: 0,
            ..zerocopy::transmute!(old)
        };
        let words: [u64; BACKEND_WORDS] = zerocopy::transmute!(unusable);
        map.store(at, FLAGS, words[FLAGS]);
    }
    for word in [0, 1, 3, FLAGS] {
        map.store(at, word, new[word]);
    }
}
