//! The counters, summed over the CPUs.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;

use aya::maps::{IterableMap as _, MapData, PerCpuArray};
use aya::sys::SyscallError;
use aya::util::nr_cpus;
use lb_common::maps::{Counters, MAX_BACKENDS, name, split_load};
use lb_common::reason::Reason;

use super::DataPlane;
use super::apply::LOAD_COUNTS;
use super::error::BpfError;
use super::flows::ConnCount;
use super::sys;

/// How many words one call for per-CPU values asks for at most: they fit in the second cache.
const BATCH_WORDS: usize = 1 << 15;

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
        // Flags, service and address: zero while nobody has the index.
        let taken: Vec<u32> = (0..maps.backends.len().min(MAX_BACKENDS))
            .filter(|index| maps.backends.load(*index, 2) != 0)
            .collect();
        let mut backends = BTreeMap::new();
        let mut rest = taken.as_slice();
        while let (Some(&first), Some(&last)) = (rest.first(), rest.last()) {
            let found = sums(&maps.counters, name::COUNTERS, first, last - first + 1)?;
            let end = first + found.len() as u32;
            let (here, behind) = rest.split_at(rest.partition_point(|index| *index < end));
            for index in here {
                let counters = zerocopy::transmute!(found[(index - first) as usize]);
                backends.insert(*index as u16, counters);
            }
            rest = behind;
        }
        Ok(Counts {
            backends,
            reasons: self.reasons()?,
        })
    }

    /// How many connections each backend index has, those without any left out. Expired ones are
    /// among them until the [`Sweeper`](super::Sweeper) comes by; where the program does not count
    /// (`Backend::counted`) they are those that its last walk found.
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
        let array = &self.object.maps.reasons;
        let mut sums: Vec<[u64; 1]> = Vec::new();
        while sums.len() < Reason::COUNT {
            let first = sums.len() as u32;
            sums.extend(self::sums(
                array,
                name::REASONS,
                first,
                Reason::COUNT as u32 - first,
            )?);
        }
        let of = |reason: &Reason| sums.get(*reason as usize).map_or(0, |[count]| *count);
        Ok(Reason::ALL.iter().map(|r| (*r, of(r))).collect())
    }

    /// The counters of one backend index.
    pub(super) fn counters_of(&self, index: u16) -> Result<Counters, BpfError> {
        let array = &self.object.maps.counters;
        let sums = sums(array, name::COUNTERS, u32::from(index), 1)?;
        Ok(sums
            .first()
            .map_or_else(Counters::default, |words| zerocopy::transmute!(*words)))
    }
}

/// Elements of `N` words each of a per-CPU array, from `first` on, summed over the CPUs: `count` of
/// them, or as many as one call of the kernel gives.
fn sums<const N: usize>(
    array: &PerCpuArray<MapData, [u64; N]>,
    name: &'static str,
    first: u32,
    count: u32,
) -> Result<Vec<[u64; N]>, BpfError> {
    let cpus = nr_cpus().map_err(|(_, e)| BpfError::Clock(e))?;
    let element = cpus * N;
    let count = (count as usize).min((BATCH_WORDS / element).max(1));
    let mut values = vec![0; count * element];
    let fd = array.map().fd().as_fd();
    sys::lookup_batch(fd, first, element, &mut values).map_err(|io_error| BpfError::Map {
        name,
        source: SyscallError {
            call: "bpf_map_lookup_batch",
            io_error,
        }
        .into(),
    })?;
    let sum = |element: &[u64]| {
        let on_cpus = element.chunks_exact(N);
        on_cpus.fold([0u64; N], |sum, words| {
            std::array::from_fn(|i| sum[i].wrapping_add(words[i]))
        })
    };
    Ok(values.chunks(element).map(sum).collect())
}
