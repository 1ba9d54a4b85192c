//! Which hosts a configuration needs and what their addresses are.
//!
//! A pair's configuration names the virtual addresses and the real servers; the directors and the
//! client get free addresses of the same subnets, so any pair of files runs as it is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use lb_userspace::model::{Model, Protocol};

/// An address with its prefix length.
pub type Subnetted = (Ipv4Addr, u8);

/// A port that clients use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Port {
    /// The virtual address.
    pub vip: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl Port {
    /// Address and port.
    #[must_use]
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::from((self.vip, self.port))
    }
}

/// What the configuration of a pair asks of the network.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Topology {
    /// The name of the directors' interface.
    pub link: String,
    /// Virtual addresses, in the order of the files.
    pub vips: Vec<Ipv4Addr>,
    /// Real servers, in the order of the files.
    pub reals: Vec<Ipv4Addr>,
    /// Services.
    pub ports: Vec<Port>,
}

/// Who has which address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The client: one in every subnet.
    pub client: Vec<Subnetted>,
    /// The directors likewise.
    pub directors: [Vec<Subnetted>; 2],
    /// Each real server.
    pub reals: Vec<Subnetted>,
    /// A further free host.
    pub spare: Vec<Subnetted>,
}

impl Plan {
    /// `n` addresses of the client's first subnet that nobody has, from its upper end.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn more(&self, vips: &[Ipv4Addr], n: usize) -> Result<Vec<Subnetted>> {
        let (first, len) = *self.client.first().context("the client has no address")?;
        let net = first.to_bits() & MASK;
        let hosts = [&self.client, &self.reals, &self.spare];
        let hosts = hosts.into_iter().chain(&self.directors).flatten();
        let taken: BTreeSet<_> = hosts.map(|(addr, _)| addr).chain(vips).collect();
        let free = (net + 1..net + 255).rev().map(Ipv4Addr::from_bits);
        let more: Vec<_> = free
            .filter(|a| !taken.contains(a))
            .map(|a| (a, len))
            .take(n)
            .collect();
        ensure!(more.len() == n, "{first}/{len} has no {n} free addresses");
        Ok(more)
    }
}

impl Topology {
    /// From the configurations of both directors.
    ///
    /// # Errors
    /// When they use several interfaces, none, or IPv6.
    pub fn of(models: &[&Model]) -> Result<Self> {
        let mut t = Topology::default();
        for model in models {
            for instance in &model.instances {
                if t.link.is_empty() {
                    t.link.clone_from(&instance.interface);
                }
                ensure!(
                    t.link == instance.interface,
                    "two interfaces, {} and {}: the lab's directors have one",
                    t.link,
                    instance.interface
                );
                for address in instance.addresses.iter().chain(&instance.excluded) {
                    add(&mut t.vips, v4(address.addr)?);
                }
            }
            for service in &model.services {
                let port = Port {
                    vip: v4(service.key.addr)?,
                    port: service.key.port,
                    protocol: service.key.protocol,
                };
                add(&mut t.ports, port);
                add(&mut t.vips, port.vip);
                for real in &service.real_servers {
                    add(&mut t.reals, v4(real.addr)?);
                }
            }
        }
        ensure!(
            !t.link.is_empty(),
            "no vrrp_instance: nothing says where the virtual addresses belong"
        );
        Ok(t)
    }

    /// Gives every host its addresses.
    ///
    /// # Errors
    /// When a subnet has no room.
    pub fn plan(&self) -> Result<Plan> {
        let taken: BTreeSet<u32> = self
            .vips
            .iter()
            .chain(&self.reals)
            .map(|a| a.to_bits())
            .collect();
        let nets: BTreeSet<u32> = taken.iter().map(|a| a & MASK).collect();
        let mut plan = Plan {
            client: Vec::new(),
            directors: [Vec::new(), Vec::new()],
            reals: Vec::new(),
            spare: Vec::new(),
        };
        for net in nets {
            let mut free = (net + 10..net + 255)
                .filter(|a| !taken.contains(a))
                .map(|a| (Ipv4Addr::from_bits(a), LEN));
            let (Some(ds1), Some(ds2), Some(client), Some(spare)) =
                (free.next(), free.next(), free.next(), free.next())
            else {
                bail!("no free address left in {}/{LEN}", Ipv4Addr::from_bits(net));
            };
            plan.directors[0].push(ds1);
            plan.directors[1].push(ds2);
            plan.client.push(client);
            plan.spare.push(spare);
        }
        plan.reals = self.reals.iter().map(|a| (*a, LEN)).collect();
        Ok(plan)
    }
}

/// Every /24 that a virtual address or a real server lies in is a subnet on the one wire.
const LEN: u8 = 24;
const MASK: u32 = !0xff;

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn v4(addr: IpAddr) -> Result<Ipv4Addr> {
    match addr {
        IpAddr::V4(a) => Ok(a),
        IpAddr::V6(a) => bail!("{a}: the lab's network is IPv4"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_get_free_addresses_of_every_subnet() {
        let topology = Topology {
            link: "eth0".into(),
            vips: vec![[10, 0, 1, 10].into(), [7, 7, 7, 18].into()],
            reals: vec![[10, 0, 1, 11].into(), [7, 7, 7, 11].into()],
            ports: vec![],
        };
        let plan = topology.plan().unwrap();
        assert_eq!(
            plan.directors[0],
            [([7, 7, 7, 10].into(), 24), ([10, 0, 1, 12].into(), 24)]
        );
        assert_eq!(
            plan.directors[1],
            [([7, 7, 7, 12].into(), 24), ([10, 0, 1, 13].into(), 24)]
        );
        assert_eq!(
            plan.reals,
            [([10, 0, 1, 11].into(), 24), ([7, 7, 7, 11].into(), 24)]
        );
    }
}
