//! What a frame says, field by field, as a parser reads it that is not ours.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use etherparse::checksum::Sum16BitWords;
use etherparse::{LinkExtSlice, LinkSlice, NetSlice, SlicedPacket, TransportSlice};

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
            other => bail!("not IP: {other:?}"),
        };
        add("ip.payload", hex(payload.payload));
        if payload.fragmented {
            return Ok(len);
        }
        let sum = pseudo.add_slice(payload.payload).ones_complement();
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                add("tcp.src", tcp.source_port().to_string());
                add("tcp.dst", tcp.destination_port().to_string());
                add("tcp.header", format!("{:?}", tcp.to_header()));
                add("tcp.checksum", rightness(sum == 0));
            }
            Some(TransportSlice::Udp(udp)) => {
                add("udp.src", udp.source_port().to_string());
                add("udp.dst", udp.destination_port().to_string());
                add("udp.length", udp.length().to_string());
                add("udp.checksum", rightness(udp.checksum() == 0 || sum == 0));
            }
            Some(_) | None => {}
        }
        Ok(len)
    }

    fn add(&mut self, name: &str, value: impl ToString) {
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
                Ok(value) if value == expected => {}
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
