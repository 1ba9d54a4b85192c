//! The whole state of a loaded program: taken away, set, and read back.

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::{HashMap, MapData};
use lb_common::flow::shared::SharedFlow;
use lb_common::flow::{FlowBucket, FlowValue};
use lb_common::maps::{Backend, Iface, ServiceSlot, TemplateKey, Timeouts, name};

use super::Director;

impl Director {
    /// Forgets services, their turns and tables, backends below `backends`, flows, templates,
    /// interfaces and peers. Settings and timeouts stay.
    pub fn clear(&mut self, backends: u16) -> Result<()> {
        for slot in 0..self.services.len {
            let id = self.services.get(slot).id;
            if id != 0 {
                self.cursors.set(usize::from(id), 0);
                self.services.set(slot, ServiceSlot::default());
            }
        }
        self.sched_used = 0;
        for index in 0..backends {
            self.set_backend(index, Backend::default());
        }
        for bucket in 0..self.flows.len {
            self.flows.set(bucket, FlowBucket::default());
        }
        for slot in 0..self.ifaces.len {
            self.ifaces.set(slot, Iface::default());
        }
        let templates = self.ebpf.map_mut(name::TEMPLATES).context("no TEMPLATES")?;
        clear::<TemplateKey, u64>(HashMap::try_from(templates)?)?;
        let peers = self.ebpf.map_mut(name::PEERS).context("no PEERS")?;
        clear::<u64, u32>(HashMap::try_from(peers)?)
    }

    /// Sets how many turns of a service have been taken.
    pub fn set_cursor(&self, id: u16, turns: u64) {
        self.cursors.set(usize::from(id), turns);
    }

    /// Every flow: tag and value.
    pub fn all_flows(&self) -> Vec<(u64, FlowValue)> {
        self.flows().iter().filter_map(SharedFlow::read).collect()
    }

    /// Every client's template: key and value.
    pub fn templates(&self) -> Result<Vec<(TemplateKey, u64)>> {
        let map: HashMap<_, TemplateKey, u64> =
            HashMap::try_from(self.ebpf.map(name::TEMPLATES).context("no TEMPLATES")?)?;
        map.iter().map(|entry| Ok(entry?)).collect()
    }

    /// Stores a set of timeouts.
    pub fn set_timeouts(&self, set: u8, timeouts: Timeouts) {
        self.timeouts.set(usize::from(set), timeouts);
    }
}

fn clear<K: Pod, V: Pod>(mut map: HashMap<&mut MapData, K, V>) -> Result<()> {
    let keys = map.keys().collect::<Result<Vec<K>, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}
