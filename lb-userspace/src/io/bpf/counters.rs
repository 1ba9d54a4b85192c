//! The counters, summed over the CPUs.

use std::collections::BTreeMap;

use lb_common::maps::{Counters, name, split_load};
use lb_common::reason::Reason;

use super::DataPlane;
use super::apply::LOAD_COUNTS;
use super::error::BpfError;
use super::flows::ConnCount;

/// What was counted since the maps were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By backend index; only indices that are taken. Those of removed real servers stay until
    /// their index is given free.
    pub backends: BTreeMap<u16, Counters>,
    /// By reason.
    pub reasons: BTreeMap<Reason, u64>,
}

impl DataPlane {
    /// Reads all counters.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn counters(&self) -> Result<Counts, BpfError> {
        let maps = &self.object.maps;
        let mut counts = Counts::default();
        for index in 0..maps.backends.len() as u16 {
            // Flags, service and address: zero while nobody has the index.
            if maps.backends.load(u32::from(index), 2) != 0 {
                counts.backends.insert(index, self.counters_of(index)?);
            }
        }
        counts.reasons = self.reasons()?;
        Ok(counts)
    }

    /// How many connections each backend index has, those without any left out. Expired ones are
    /// among them until the [`Sweeper`](super::Sweeper) comes by.
    #[must_use]
    pub fn connections(&self) -> BTreeMap<u16, ConnCount> {
        let loads = &self.object.maps.loads;
        (0..loads.len())
            .filter_map(|index| {
                let (active, inactive) = split_load(loads.load(index, LOAD_COUNTS));
                let count = ConnCount { active, inactive };
                (count != ConnCount::default()).then_some((index as u16, count))
            })
            .collect()
    }

    /// Reads the counters by reason alone.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn reasons(&self) -> Result<BTreeMap<Reason, u64>, BpfError> {
        let mut reasons = BTreeMap::new();
        for reason in Reason::ALL {
            let values = self
                .object
                .maps
                .reasons
                .get(&(*reason as u32), 0)
                .map_err(|source| BpfError::Map {
                    name: name::REASONS,
                    source,
                })?;
            reasons.insert(*reason, values.iter().sum());
        }
        Ok(reasons)
    }

    /// The counters of one backend index.
    pub(super) fn counters_of(&self, index: u16) -> Result<Counters, BpfError> {
        let values = self
            .object
            .maps
            .counters
            .get(&u32::from(index), 0)
            .map_err(|source| BpfError::Map {
                name: name::COUNTERS,
                source,
            })?;
        let mut sum = Counters::default();
        for cpu in values.iter() {
            let cpu: Counters = zerocopy::transmute!(*cpu);
            sum.packets += cpu.packets;
            sum.bytes += cpu.bytes;
            sum.conns += cpu.conns;
        }
        Ok(sum)
    }
}
