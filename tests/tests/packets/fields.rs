//! What a frame says, field by field, as a parser reads it that is not ours.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use etherparse::checksum::Sum16BitWords;
use etherparse::{LinkExtSlice, LinkSlice, NetSlice, SlicedPacket, TransportSlice, UdpSlice};

/// Expected where any value is right.
pub(crate) const ANYTHING: &str = "anything";

/// The fields of a frame in their order: name and value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(String, String)>);

impl Fields {
    /// Reads a frame.
    pub(crate) fn of(frame: &[u8]) -> Result<Fields> {
        let packet = SlicedPacket::from_ethernet(frame).context("etherparse")?;
        let mut fields = Fields::default();
        let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else {
            bail!("no Ethernet header");
        };
        let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        fields.add("eth.dst", mac(ethernet.destination()));
        fields.add("eth.src", mac(ethernet.source()));
        fields.add("eth.type", format!("{:#06x}", ethernet.ether_type().0));
        let mut header_len = 14;
        for (i, ext) in packet.link_exts.iter().enumerate() {
            let LinkExtSlice::Vlan(tag) = ext else {
                bail!("MACsec");
            };
            fields.add(&format!("vlan{i}.id"), tag.vlan_identifier().value());
            fields.add(&format!("vlan{i}.pcp"), tag.priority_code_point().value());
            fields.add(&format!("vlan{i}.dei"), tag.drop_eligible_indicator());
            fields.add(
                &format!("vlan{i}.type"),
                format!("{:#06x}", tag.ether_type().0),
            );
            header_len += ext.header_len();
        }
        let ip_len = fields.add_ip("", &packet)?;
        fields.add("trailer", hex(&frame[header_len + ip_len..]));
        Ok(fields)
    }

    /// Reads the IP packet and all that is in it; its length.
    fn add_ip(&mut self, prefix: &str, packet: &SlicedPacket<'_>) -> Result<usize> {
        let mut add = |name: &str, value: String| self.add(&format!("{prefix}{name}"), value);
        let (len, payload, pseudo) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                add("ip.src", ip.header().source_addr().to_string());
                add("ip.dst", ip.header().destination_addr().to_string());
                add("ip.dscp", header.dscp.value().to_string());
                add("ip.ecn", header.ecn.value().to_string());
                add("ip.total_len", header.total_len.to_string());
                add("ip.id", header.identification.to_string());
                add("ip.df", header.dont_fragment.to_string());
                add("ip.mf", header.more_fragments.to_string());
                add("ip.offset", header.fragment_offset.value().to_string());
                add("ip.ttl", header.time_to_live.to_string());
                add("ip.protocol", header.protocol.0.to_string());
                add("ip.options", hex(ip.header().options()));
                let is_right = header.header_checksum == header.calc_header_checksum();
                add("ip.checksum", rightness(is_right));
                let payload = ip.payload();
                let pseudo = Sum16BitWords::new()
                    .add_4bytes(header.source)
                    .add_4bytes(header.destination)
                    .add_2bytes([0, header.protocol.0])
                    .add_2bytes((payload.payload.len() as u16).to_be_bytes());
                (usize::from(header.total_len), payload, pseudo)
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header().to_header();
                add("ip.src", ip.header().source_addr().to_string());
                add("ip.dst", ip.header().destination_addr().to_string());
                add("ip.dscp", (header.traffic_class >> 2).to_string());
                add("ip.ecn", (header.traffic_class & 3).to_string());
                add("ip.flow_label", header.flow_label.value().to_string());
                add("ip.payload_len", header.payload_length.to_string());
                add("ip.next", header.next_header.0.to_string());
                add("ip.ttl", header.hop_limit.to_string());
                add("ip.extensions", hex(ip.extensions().slice()));
                let payload = ip.payload();
                let pseudo = Sum16BitWords::new()
                    .add_16bytes(header.source)
                    .add_16bytes(header.destination)
                    .add_2bytes([0, payload.ip_number.0])
                    .add_2bytes((payload.payload.len() as u16).to_be_bytes());
                (40 + usize::from(header.payload_length), payload, pseudo)
            }
            other => bail!("not IP: {other:?}"),
        };
        if payload.fragmented {
            add("ip.payload", hex(payload.payload));
            return Ok(len);
        }
        let sum = pseudo.add_slice(payload.payload).ones_complement();
        if let Some((shim, inner)) = tunnel(payload.ip_number.0, payload.payload, sum == 0)? {
            for (name, value) in shim {
                add(name, value);
            }
            let inner = SlicedPacket::from_ip(inner).context("etherparse, inner packet")?;
            self.add_ip(&format!("{prefix}inner."), &inner)?;
            return Ok(len);
        }
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                add("tcp.src", tcp.source_port().to_string());
                add("tcp.dst", tcp.destination_port().to_string());
                add("tcp.header", format!("{:?}", tcp.to_header()));
                add("tcp.checksum", rightness(sum == 0));
                add("tcp.payload", hex(tcp.payload()));
            }
            Some(TransportSlice::Udp(udp)) => {
                add("udp.src", udp.source_port().to_string());
                add("udp.dst", udp.destination_port().to_string());
                add("udp.length", udp.length().to_string());
                let checksum = match udp.checksum() {
                    0 => "none".to_owned(),
                    _ => rightness(sum == 0),
                };
                add("udp.checksum", checksum);
                add("udp.payload", hex(udp.payload()));
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                let sum = Sum16BitWords::new()
                    .add_slice(icmp.slice())
                    .ones_complement();
                add("icmp.type", icmp.type_u8().to_string());
                add("icmp.code", icmp.code_u8().to_string());
                add("icmp.rest", hex(&icmp.bytes5to8()));
                add("icmp.checksum", rightness(sum == 0));
                add("icmp.payload", hex(icmp.payload()));
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                add("icmp.type", icmp.type_u8().to_string());
                add("icmp.code", icmp.code_u8().to_string());
                add("icmp.rest", hex(&icmp.bytes5to8()));
                add("icmp.checksum", rightness(sum == 0));
                add("icmp.payload", hex(icmp.payload()));
            }
            Some(TransportSlice::Igmp(_)) | None => add("ip.payload", hex(payload.payload)),
        }
        Ok(len)
    }

    pub(crate) fn add(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), value.to_string()));
    }

    /// The value of a field that must be there.
    pub(crate) fn get(&self, name: &str) -> Result<&str> {
        self.0
            .iter()
            .find_map(|(there, value)| (there == name).then_some(value.as_str()))
            .with_context(|| format!("no field {name}"))
    }

    /// Changes a field that must be there.
    pub(crate) fn set(&mut self, name: &str, value: impl ToString) -> Result<()> {
        let field = self.0.iter_mut().find(|(there, _)| there == name);
        field.with_context(|| format!("no field {name}"))?.1 = value.to_string();
        Ok(())
    }

    /// Every field in which a frame differs from this one, one line each.
    pub(crate) fn differences(&self, got: &Fields) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, expected) in &self.0 {
            match got.get(name) {
                Ok(value) if value == expected || expected == ANYTHING => {}
                Ok(value) => lines.push(format!("{name}: expected {expected}, got {value}")),
                Err(_) => lines.push(format!("{name}: expected {expected}, got nothing")),
            }
        }
        for (name, value) in &got.0 {
            if self.get(name).is_err() {
                lines.push(format!("{name}: expected nothing, got {value}"));
            }
        }
        lines
    }
}

/// The UDP port of GUE in all rows.
pub(crate) const GUE_PORT: u16 = 6080;

type Shim = Vec<(&'static str, String)>;

/// What is between the outer IP header and the packet in a tunnel, and that packet. `None`: not a
/// tunnel.
fn tunnel(proto: u8, payload: &[u8], is_sum_right: bool) -> Result<Option<(Shim, &[u8])>> {
    const IPIP: u8 = 4;
    const IPV6: u8 = 41;
    const GRE: u8 = 47;
    const UDP: u8 = 17;
    match proto {
        IPIP | IPV6 => Ok(Some((Vec::new(), payload))),
        GRE => {
            let flags = payload.get(..4).context("a GRE header")?;
            let has_checksum = flags[0] & 0x80 != 0;
            let sum = Sum16BitWords::new().add_slice(payload).ones_complement();
            let shim = vec![
                ("gre.flags", hex(&flags[..2])),
                ("gre.type", hex(&flags[2..])),
                (
                    "gre.checksum",
                    if has_checksum {
                        rightness(sum == 0)
                    } else {
                        "none".into()
                    },
                ),
            ];
            let inner = payload.get(if has_checksum { 8 } else { 4 }..);
            Ok(Some((shim, inner.context("a GRE checksum")?)))
        }
        UDP => {
            let udp = UdpSlice::from_slice(payload)?;
            if udp.destination_port() != GUE_PORT {
                return Ok(None);
            }
            let checksum = match udp.checksum() {
                0 => "none".to_owned(),
                _ => rightness(is_sum_right),
            };
            let gue = udp.payload().get(..4).context("a GUE header")?;
            let shim = vec![
                ("udp.dst", udp.destination_port().to_string()),
                (
                    "udp.src_is_ephemeral",
                    (udp.source_port() >= 49152).to_string(),
                ),
                ("udp.length", udp.length().to_string()),
                ("udp.checksum", checksum),
                ("gue.header", hex(gue)),
            ];
            Ok(Some((shim, &udp.payload()[4..])))
        }
        _ => Ok(None),
    }
}

fn rightness(is_right: bool) -> String {
    if is_right { "right" } else { "wrong" }.to_owned()
}

/// Bytes as digits; of many the first ones, their number and a hash.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes.iter().take(64) {
        let _ = write!(out, "{byte:02x}");
    }
    if bytes.len() > 64 {
        let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325u64, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let _ = write!(out, "... ({} bytes, {sum:016x})", bytes.len());
    }
    out
}
