//! The whole state of a loaded program: taken away, set, and read back.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use aya::Pod;
use aya::maps::{HashMap, MapData, PerCpuArray, PerCpuValues};
use lb_common::flow::{FlowAddrs, FlowBucket, FlowValue};
use lb_common::maps::{
    Backend, Flood, FragmentKey, Iface, Load, RefusedKey, Remote, ServiceSlot, Settings,
    TemplateKey, Timeouts, name,
};

use super::Director;

impl Director {
    /// Forgets services, their turns and tables, backends below `backends` and their loads, flows,
    /// templates, fragments, floods, interfaces and peers. Other settings and timeouts stay.
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
            self.set_remote(index, Remote::default());
            self.set_load(index, Load::default());
        }
        for bucket in 0..self.flows.len {
            self.flows.set(bucket, FlowBucket::default());
            self.flow_addrs.set(bucket, FlowAddrs::default());
        }
        for slot in 0..self.ifaces.len {
            self.ifaces.set(slot, Iface::default());
        }
        let templates = self.ebpf.map_mut(name::TEMPLATES).context("no TEMPLATES")?;
        clear::<TemplateKey, u64>(HashMap::try_from(templates)?)?;
        let fragments = self.ebpf.map_mut(name::FRAGMENTS).context("no FRAGMENTS")?;
        clear::<RawFragmentKey, u64>(HashMap::try_from(fragments)?)?;
        let floods = self.ebpf.map_mut(name::FLOOD).context("no FLOOD")?;
        let mut floods: PerCpuArray<_, RawFlood> = PerCpuArray::try_from(floods)?;
        let none = vec![RawFlood(Flood::default()); aya::util::nr_cpus().map_err(|(_, e)| e)?];
        floods.set(0, PerCpuValues::try_from(none)?, 0)?;
        self.set_flood_tick(0);
        let peers = self.ebpf.map_mut(name::PEERS).context("no PEERS")?;
        clear::<u64, u32>(HashMap::try_from(peers)?)?;
        self.set_refused(&[])
    }

    /// Sets the virtual addresses for which nothing but services is accepted.
    pub fn set_refused(&mut self, addresses: &[IpAddr]) -> Result<()> {
        let map = self.ebpf.map_mut(name::REFUSED).context("no REFUSED")?;
        clear::<RefusedKey, u32>(HashMap::try_from(map)?)?;
        let map = self.ebpf.map_mut(name::REFUSED).context("no REFUSED")?;
        let mut map: HashMap<_, RefusedKey, u32> = HashMap::try_from(map)?;
        for addr in addresses {
            let mapped = match addr {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => *v6,
            };
            let key: RefusedKey = zerocopy::transmute!(mapped.octets());
            map.insert(key, 1, 0)?;
        }
        let settings = Settings {
            refused: addresses.len() as u64,
            ..self.settings.get(0)
        };
        self.settings.set(0, settings);
        Ok(())
    }

    /// Sets how many turns of a service have been taken.
    pub fn set_cursor(&self, id: u16, turns: u64) {
        self.cursors.set(usize::from(id), turns);
    }

    /// Every flow: tag, what the tag does not have of the client's address (see [`FlowAddrs`]), value.
    pub fn all_flows(&self) -> Vec<(u64, [u64; 2], FlowValue)> {
        let all = self.flows();
        (0..all.len())
            .filter_map(|way| {
                let (tag, value) = all[way].read()?;
                Some((tag, self.flow_addrs.get(way / 4).ways[way % 4], value))
            })
            .collect()
    }

    /// Enters a flow of a service with wide tags.
    pub fn put_wide_flow(&self, tag: u64, client: [u64; 2], value: FlowValue) -> Result<()> {
        let (first, second) = self.buckets(tag);
        let way = [first, second]
            .into_iter()
            .flat_map(|bucket| (0..4).map(move |way| bucket as usize * 4 + way))
            .find(|&way| self.flows()[way].read().is_none())
            .context("no free way")?;
        let mut addrs = self.flow_addrs.get(way / 4);
        addrs.ways[way % 4] = client;
        self.flow_addrs.set(way / 4, addrs);
        self.flows()[way].put(tag, value);
        Ok(())
    }

    /// Stores how many connections a backend has.
    pub fn set_load(&self, index: u16, load: Load) {
        self.loads.set(usize::from(index), load);
    }

    /// How many connections a backend has.
    pub fn load_of(&self, index: u16) -> Load {
        self.loads.get(usize::from(index))
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

#[repr(transparent)]
#[derive(Clone, Copy)]
struct RawFragmentKey(FragmentKey);
// SAFETY: ten words without padding.
unsafe impl Pod for RawFragmentKey {}

#[repr(transparent)]
#[derive(Clone, Copy)]
struct RawFlood(Flood);
// SAFETY: three u64.
unsafe impl Pod for RawFlood {}

fn clear<K: Pod, V: Pod>(mut map: HashMap<&mut MapData, K, V>) -> Result<()> {
    let keys = map.keys().collect::<Result<Vec<K>, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}
