//! Frames of 64 bytes for test runs: Ethernet, IPv4 without options, TCP or UDP.

use std::net::{SocketAddrV4, SocketAddrV6};

/// The length of every frame here.
pub const LEN: usize = 64;
/// Length of the IP packet: 50 bytes, the rest is padding as a short frame has it.
pub const IP_LEN: u16 = 50;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP.
    Udp,
}

/// TCP with SYN.
pub const SYN: Kind = Kind::Tcp(0x02);
/// TCP with ACK.
pub const ACK: Kind = Kind::Tcp(0x10);
/// TCP with FIN and ACK.
pub const FIN: Kind = Kind::Tcp(0x11);
/// TCP with RST.
pub const RST: Kind = Kind::Tcp(0x04);

/// A frame from `client` to `service`. The IP checksum is right, the TCP or UDP one is 0.
#[must_use]
pub fn frame(
    dmac: [u8; 6],
    smac: [u8; 6],
    client: SocketAddrV4,
    service: SocketAddrV4,
    kind: Kind,
) -> [u8; LEN] {
    let mut f = [0u8; LEN];
    f[..6].copy_from_slice(&dmac);
    f[6..12].copy_from_slice(&smac);
    f[12] = 8;
    f[14] = 0x45;
    f[16..18].copy_from_slice(&IP_LEN.to_be_bytes());
    f[20] = 0x40;
    f[22] = 64;
    f[23] = match kind {
        Kind::Tcp(_) => 6,
        Kind::Udp => 17,
    };
    f[26..30].copy_from_slice(&client.ip().octets());
    f[30..34].copy_from_slice(&service.ip().octets());
    f[34..36].copy_from_slice(&client.port().to_be_bytes());
    f[36..38].copy_from_slice(&service.port().to_be_bytes());
    match kind {
        Kind::Tcp(flags) => {
            f[41] = 1;
            f[46] = 0x50;
            f[47] = flags;
            f[48] = 0x20;
        }
        Kind::Udp => f[38..40].copy_from_slice(&(IP_LEN - 20).to_be_bytes()),
    }
    let sum = checksum(&f[14..34]);
    f[24..26].copy_from_slice(&sum.to_be_bytes());
    f
}

/// Length of an IPv6 frame: the same behind a header that is 20 bytes longer.
pub const LEN_V6: usize = LEN + 20;

/// The same with IPv6.
#[must_use]
pub fn frame_v6(
    dmac: [u8; 6],
    smac: [u8; 6],
    client: SocketAddrV6,
    service: SocketAddrV6,
    kind: Kind,
) -> [u8; LEN_V6] {
    let mut f = [0u8; LEN_V6];
    f[..6].copy_from_slice(&dmac);
    f[6..12].copy_from_slice(&smac);
    f[12..14].copy_from_slice(&[0x86, 0xdd]);
    f[14] = 0x60;
    f[18..20].copy_from_slice(&(IP_LEN - 20).to_be_bytes());
    f[20] = match kind {
        Kind::Tcp(_) => 6,
        Kind::Udp => 17,
    };
    f[21] = 64;
    f[22..38].copy_from_slice(&client.ip().octets());
    f[38..54].copy_from_slice(&service.ip().octets());
    f[54..56].copy_from_slice(&client.port().to_be_bytes());
    f[56..58].copy_from_slice(&service.port().to_be_bytes());
    match kind {
        Kind::Tcp(flags) => {
            f[61] = 1;
            f[66] = 0x50;
            f[67] = flags;
            f[68] = 0x20;
        }
        Kind::Udp => f[58..60].copy_from_slice(&(IP_LEN - 20).to_be_bytes()),
    }
    f
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks_exact(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
