//! A lab that speaks IPv6 too.

use std::net::Ipv6Addr;
use std::time::Duration;

use anyhow::Result;

use crate::clock::wait_for;
use crate::lab::Lab;

/// A virtual address in the lab's network.
pub const VIP: Ipv6Addr = global(0x100);
/// A link-local virtual address.
pub const LINK_LOCAL: Ipv6Addr = link_local(0x100);
/// The numbers of the directors.
pub const DIRECTORS: [u16; 2] = [1, 2];
/// The number of the client.
pub const CLIENT: u16 = 9;

/// The address of a host in the lab's network, by its number.
#[must_use]
pub const fn global(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host)
}

/// A link-local address, by its number.
#[must_use]
pub const fn link_local(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host)
}

/// Gives the client and the directors addresses of IPv6.
///
/// # Errors
/// Those of netlink, and when the kernel gives no link-local address.
pub fn speak(lab: &Lab) -> Result<()> {
    let hosts = lab.directors.iter().map(|d| &d.host).chain([&lab.client]);
    for (host, number) in hosts.zip([DIRECTORS[0], DIRECTORS[1], CLIENT]) {
        host.ns.allow_ipv6(&host.link)?;
        host.ns.add_address(&host.link, global(number), 64)?;
        let link_local = || {
            let all = host.ns.v6_addresses(&host.link).ok()?;
            all.iter()
                .any(|(a, _)| a.is_unicast_link_local())
                .then_some(())
        };
        wait_for("a link-local address", Duration::from_secs(20), link_local)?;
    }
    Ok(())
}
