//! The switch: a bridge, and a cable to each host.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use rtnetlink::packet_route::link::{InfoBridgePort, InfoData, InfoVeth};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth};
use std::os::fd::AsRawFd as _;

use crate::namespace::{Mac, Namespace};
use crate::pass_program::PassProgram;

/// A bridge in a namespace of its own.
#[derive(Debug)]
pub struct Switch {
    ns: Namespace,
    bridge: u32,
    /// The fifth byte of the MACs of its hosts.
    number: u8,
    hosts: u8,
}

/// The switch's end of a cable.
#[derive(Debug)]
pub struct Port {
    name: String,
    index: u32,
    /// Keeps the program attached.
    _program: Option<PassProgram>,
}

/// A host: a namespace with one cable to the switch.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub ns: Namespace,
    /// The name of its link.
    pub link: String,
    /// The link's MAC.
    pub mac: Mac,
    /// The addresses of the link.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// The switch's end.
    pub port: Port,
}

impl Port {
    /// The name of its link.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The index of its link.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Host {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.ns.name()
    }

    /// Its first address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.addresses
            .first()
            .map_or(Ipv4Addr::UNSPECIFIED, |(a, _)| *a)
    }
}

impl Switch {
    /// A switch without hosts.
    ///
    /// # Errors
    /// Those of namespaces and netlink.
    pub fn new() -> Result<Self> {
        let ns = Namespace::new("switch")?;
        // No spanning tree: a port forwards as soon as it is up.
        let bridge = LinkBridge::new("br0")
            .mcast_snooping(false)
            .forward_delay(0)
            .build();
        ns.netlink("add bridge", |h| async move {
            h.link().add(bridge).execute().await
        })?;
        let bridge = ns.index("br0")?;
        Ok(Switch {
            ns,
            bridge,
            number: 0x10,
            hosts: 0,
        })
    }

    /// A further switch of the same lab.
    ///
    /// # Errors
    /// Those of namespaces and netlink.
    pub fn another(number: u8) -> Result<Self> {
        let mut switch = Self::new()?;
        switch.number += number;
        Ok(switch)
    }

    /// Its namespace.
    #[must_use]
    pub fn ns(&self) -> &Namespace {
        &self.ns
    }

    /// A new host on a new cable. `xdp` prepares the cable for a program that sends on it.
    ///
    /// # Errors
    /// Those of namespaces and netlink.
    pub fn host(
        &mut self,
        name: &str,
        link: &str,
        addresses: &[(Ipv4Addr, u8)],
        xdp: bool,
    ) -> Result<Host> {
        let ns = Namespace::new(name)?;
        let (mac, port) = self.cable(&ns, link, addresses, xdp)?;
        Ok(Host {
            ns,
            link: link.to_owned(),
            mac,
            addresses: addresses.to_vec(),
            port,
        })
    }

    /// A cable to a host that is there already. Its program is detached when the port is dropped, its
    /// links are gone with the host.
    ///
    /// # Errors
    /// Those of namespaces and netlink.
    pub fn cable(
        &mut self,
        ns: &Namespace,
        link: &str,
        addresses: &[(Ipv4Addr, u8)],
        xdp: bool,
    ) -> Result<(Mac, Port)> {
        self.hosts += 1;
        let mac = Mac([0x02, 0, 0, 0, self.number, self.hosts]);
        let name = ns.name();
        let port_name = format!("p-{name}");
        let end = LinkUnspec::new_with_name(link)
            .address(mac.0.to_vec())
            .setns_by_fd(ns.fd().as_raw_fd())
            .build();
        let pair = LinkVeth::new(&port_name, link)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(end)))
            .controller(self.bridge)
            .build();
        self.ns
            .netlink(format!("add cable {port_name}"), |h| async move {
                h.link().add(pair).execute().await
            })?;
        let index = self.ns.index(&port_name)?;
        // A frame without its checksum does not survive XDP.
        tx_checksum(ns, link, false)?;
        let program = if xdp {
            Some(self.ns.call(move || PassProgram::attach(index))?)
        } else {
            None
        };
        self.ns.link_up(&port_name)?;
        ns.link_up(link)?;
        self.ns.wait_until_up(&port_name)?;
        for (addr, len) in addresses {
            ns.add_address(link, *addr, *len)?;
        }
        let port = Port {
            name: port_name,
            index,
            _program: program,
        };
        Ok((mac, port))
    }

    /// The cable of a host goes, and its interface with it.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn unplug(&self, host: &Host) -> Result<()> {
        self.ns.delete_link(&host.port.name)
    }

    /// A new cable for a host without one: another interface of the same name and addresses.
    ///
    /// # Errors
    /// Those of namespaces and netlink.
    pub fn replug(&mut self, host: &mut Host, xdp: bool) -> Result<()> {
        (host.mac, host.port) = self.cable(&host.ns, &host.link, &host.addresses, xdp)?;
        Ok(())
    }

    /// The link light goes out: the port is down and the host loses its carrier.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn port_down(&self, port: &Port) -> Result<()> {
        self.ns.link_down(&port.name)
    }

    /// The port comes back.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn port_up(&self, port: &Port) -> Result<()> {
        self.ns.link_up(&port.name)
    }

    /// Nothing passes the port any more, and the host does not notice: as when it lost its power.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn cut(&self, port: &Port) -> Result<()> {
        let message = LinkUnspec::new_with_index(port.index)
            .nocontroller()
            .build();
        self.ns
            .netlink(format!("cut {}", port.name), |h| async move {
                h.link().set(message).execute().await
            })
    }

    /// Undoes [`Switch::cut`].
    ///
    /// # Errors
    /// Those of netlink.
    pub fn plug(&self, port: &Port) -> Result<()> {
        let message = LinkUnspec::new_with_index(port.index)
            .controller(self.bridge)
            .build();
        self.ns
            .netlink(format!("plug {}", port.name), |h| async move {
                h.link().set(message).execute().await
            })
    }

    /// Whether multicast frames leave by a port; off as on a switch that nobody told of the group.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn flood_multicast(&self, port: &Port, on: bool) -> Result<()> {
        let message = LinkBridgePort::new(port.index)
            .append_info_data(InfoBridgePort::MulticastFlood(on))
            .build();
        self.ns.netlink(
            format!("flood multicast to {} {on}", port.name),
            |h| async move { h.link().set_port(message).execute().await },
        )
    }

    /// Isolated ports reach all others but not each other.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn isolate(&self, port: &Port, on: bool) -> Result<()> {
        let message = LinkBridgePort::new(port.index)
            .append_info_data(InfoBridgePort::Isolated(on))
            .build();
        self.ns
            .netlink(format!("isolate {} {on}", port.name), |h| async move {
                h.link().set_port(message).execute().await
            })
    }

    /// Frames (from the host, to the host) that passed the cable.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn frames(&self, port: &Port) -> Result<(u64, u64)> {
        self.ns.packets(&port.name)
    }
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `ethtool -K LINK tx on|off`: whether what is sent leaves its checksum, and the cutting of segments, to
/// the link. A cable begins with off.
///
/// # Errors
/// Those of the ioctl.
pub fn tx_checksum(ns: &Namespace, link: &str, on: bool) -> Result<()> {
    let nic = link.to_owned();
    ns.call(move || ethtool(&nic, ETHTOOL_STXCSUM, on.into()))
        .with_context(|| format!("ethtool -K {link} tx {on} in {}", ns.name()))
}

fn ethtool(link: &str, command: u32, data: u32) -> std::io::Result<()> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let mut value = Value { command, data };
    let mut name = [0 as libc::c_char; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(link.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: the request and what it points to are of the layout that SIOCETHTOOL takes.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if done < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}
