//! Counts and rates of services and real servers, made from the counters of backend indices.

use std::collections::{BTreeMap, HashMap};

use crate::control::rate::Estimator;
use crate::control::status::{Counts, Rates};
use crate::model::ServiceKey;
use crate::plan::Tables;
use crate::time::Time;

/// The counters of all backend indices that are in use, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// By index, summed over the CPUs.
    pub backends: BTreeMap<u16, Counts>,
}

/// What the daemon remembers of counters.
#[derive(Debug, Default)]
pub struct Meter {
    at: Time,
    /// Counts of backends whose index was given free.
    freed: HashMap<ServiceKey, Counts>,
    backends: HashMap<u16, Estimator>,
    services: HashMap<ServiceKey, Estimator>,
}

fn add(a: Counts, b: Counts) -> Counts {
    Counts {
        conns: a.conns.wrapping_add(b.conns),
        packets: a.packets.wrapping_add(b.packets),
        bytes: a.bytes.wrapping_add(b.bytes),
    }
}

impl Meter {
    /// Takes in the counters; rates are blended over the time since the last call.
    pub(super) fn tick(&mut self, sample: &Sample, tables: &Tables, now: Time) {
        let elapsed = now.since(self.at);
        self.at = now;
        self.backends
            .retain(|index, _| sample.backends.contains_key(index));
        for (index, counts) in &sample.backends {
            self.backends
                .entry(*index)
                .or_insert_with(|| Estimator::new(*counts))
                .tick(*counts, elapsed);
        }
        let totals = self.totals(sample, tables);
        self.services.retain(|key, _| totals.contains_key(key));
        for (key, counts) in totals {
            self.services
                .entry(key)
                .or_insert_with(|| Estimator::new(counts))
                .tick(counts, elapsed);
        }
    }

    /// Adds what a backend counted to its service: its index gets a new owner.
    pub(super) fn freed(&mut self, index: u16, owner: Option<ServiceKey>, counts: Counts) {
        self.backends.remove(&index);
        if let Some(key) = owner {
            let sum = self.freed.entry(key).or_default();
            *sum = add(*sum, counts);
        }
    }

    /// Counts of each service: its backends', removed ones included.
    pub(super) fn totals(&self, sample: &Sample, tables: &Tables) -> HashMap<ServiceKey, Counts> {
        // A service whose last backend is gone still has what that one counted.
        let mut totals = self.freed.clone();
        let keys: HashMap<u16, ServiceKey> =
            tables.services().map(|(id, key, _)| (id, key)).collect();
        for (index, id, ..) in tables.backends() {
            if let (Some(key), Some(counts)) = (keys.get(&id), sample.backends.get(&index)) {
                let sum = totals.entry(*key).or_default();
                *sum = add(*sum, *counts);
            }
        }
        totals
    }

    /// Rates of a backend.
    pub(super) fn backend(&self, index: u16) -> Rates {
        self.backends
            .get(&index)
            .map(Estimator::rates)
            .unwrap_or_default()
    }

    /// Rates of a service.
    pub(super) fn service(&self, key: &ServiceKey) -> Rates {
        self.services
            .get(key)
            .map(Estimator::rates)
            .unwrap_or_default()
    }
}
