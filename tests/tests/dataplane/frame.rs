//! Building frames.

use std::net::Ipv4Addr;

use lb_common::flow::flow_tag;

pub(crate) const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(crate) const ROUTER: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const PEER: [u8; 6] = [2, 0, 0, 0, 0, 3];
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// A frame in the making; every field may be set to something wrong.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) dmac: [u8; 6],
    pub(crate) smac: [u8; 6],
    pub(crate) ethertype: u16,
    pub(crate) version: u8,
    /// IP options, a multiple of four bytes.
    pub(crate) options: Vec<u8>,
    pub(crate) ttl: u8,
    pub(crate) proto: u8,
    /// Flags and fragment offset.
    pub(crate) fragment: u16,
    pub(crate) src: (Ipv4Addr, u16),
    pub(crate) dst: (Ipv4Addr, u16),
    pub(crate) tcp_flags: u8,
    pub(crate) payload: usize,
    /// Added to the IP total length.
    pub(crate) length_error: i32,
    /// The frame is cut to this.
    pub(crate) cut: Option<usize>,
    /// Bytes behind the IP packet.
    pub(crate) padding: usize,
}

impl Frame {
    pub(crate) fn tcp(client: (Ipv4Addr, u16), port: u16, flags: u8) -> Frame {
        Frame {
            dmac: OWN,
            smac: ROUTER,
            ethertype: 0x0800,
            version: 4,
            options: Vec::new(),
            ttl: 64,
            proto: TCP,
            fragment: 0x4000,
            src: client,
            dst: (VIP, port),
            tcp_flags: flags,
            payload: 0,
            length_error: 0,
            cut: None,
            padding: 0,
        }
    }

    pub(crate) fn udp(client: (Ipv4Addr, u16), port: u16) -> Frame {
        Frame {
            proto: UDP,
            payload: 12,
            ..Frame::tcp(client, port, 0)
        }
    }

    /// The tag of its flow in a service.
    pub(crate) fn tag(&self, service: u16) -> u64 {
        flow_tag(
            u32::from_ne_bytes(self.src.0.octets()),
            self.src.1.to_be(),
            service,
        )
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut l4 = Vec::new();
        l4.extend(self.src.1.to_be_bytes());
        l4.extend(self.dst.1.to_be_bytes());
        if self.proto == UDP {
            l4.extend((8 + self.payload as u16).to_be_bytes());
            l4.extend([0, 0]);
        } else {
            l4.extend([
                0,
                0,
                0,
                1,
                0,
                0,
                0,
                2,
                0x50,
                self.tcp_flags,
                0x20,
                0,
                0,
                0,
                0,
                0,
            ]);
        }
        l4.extend((0..self.payload).map(|i| i as u8));
        let header_len = 20 + self.options.len();
        let total = (header_len + l4.len()) as i32 + self.length_error;
        let mut ip = vec![self.version << 4 | (header_len / 4) as u8, 0];
        ip.extend((total as u16).to_be_bytes());
        ip.extend([0x12, 0x34]);
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.proto, 0, 0]);
        ip.extend(self.src.0.octets());
        ip.extend(self.dst.0.octets());
        ip.extend(&self.options);
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let mut frame = Vec::new();
        frame.extend(self.dmac);
        frame.extend(self.smac);
        frame.extend(self.ethertype.to_be_bytes());
        frame.extend(ip);
        frame.extend(l4);
        frame.extend(std::iter::repeat_n(0xee, self.padding));
        if let Some(len) = self.cut {
            frame.truncate(len);
        }
        frame
    }
}

/// The Internet checksum of a header whose checksum field is 0.
pub(crate) fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
