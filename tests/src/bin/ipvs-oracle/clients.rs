//! Who asks: a thousand clients of each family, always the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_tests::random::Random;

/// How many clients each hash scheduler is asked about.
pub(crate) const CLIENTS: usize = 1000;

/// Half of them anywhere with any port; a quarter neighbours with one port; a quarter one host with
/// neighbouring ports.
fn clients(
    mut random: Random,
    anywhere: impl Fn(&mut Random) -> IpAddr,
    neighbour: impl Fn(u16) -> IpAddr,
) -> Vec<SocketAddr> {
    (0..CLIENTS as u16)
        .map(|i| match i {
            0..500 => {
                let addr = anywhere(&mut random);
                let port = 1024 + (random.figure() % (65536 - 1024)) as u16;
                SocketAddr::new(addr, port)
            }
            500..750 => SocketAddr::new(neighbour(i - 500), 40_000),
            _ => SocketAddr::new(neighbour(7), 50_000 + (i - 750)),
        })
        .collect()
}

/// Clients with IPv4.
pub(crate) fn v4() -> Vec<SocketAddr> {
    clients(
        Random::new(4),
        |random| loop {
            let addr = Ipv4Addr::from_bits(random.figure() as u32);
            // Not the documentation's networks, where services and real servers are, and nothing
            // that a router would not forward.
            let first = addr.octets()[0];
            if (1..224).contains(&first)
                && !addr.is_loopback()
                && !addr.is_documentation()
                && !addr.is_link_local()
            {
                break addr.into();
            }
        },
        |i| Ipv4Addr::from_bits(Ipv4Addr::new(10, 20, 30, 0).to_bits() + u32::from(i)).into(),
    )
}

/// Clients with IPv6, of 3000::/4 (of which nothing is in use).
pub(crate) fn v6() -> Vec<SocketAddr> {
    clients(
        Random::new(6),
        |random| {
            let bits = u128::from(random.figure()) << 64 | u128::from(random.figure());
            Ipv6Addr::from_bits(bits >> 4 | 3 << 124).into()
        },
        |i| Ipv6Addr::new(0x3000, 0x20, 0x30, 0, 0, 0, 0, i).into(),
    )
}
