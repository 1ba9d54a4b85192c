//! What the frame out must say.

use std::net::IpAddr;

use anyhow::Result;
use lb_common::maps::Forward;

use crate::before::Server;
use crate::fields::{ANYTHING, Fields, GUE_PORT, hex};
use crate::frame::{Frame, ICMP, ICMP6, UDP};

const IPIP: u8 = 4;
const IPV6: u8 = 41;
const GRE: u8 = 47;

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The frame forwarded to a server: both MACs and the TTL, or the whole packet in another.
pub(crate) fn forwarded(before: &[u8], server: &Server) -> Result<Fields> {
    let mut fields = Fields::of(before)?;
    let (dmac, smac) = server.macs();
    fields.set("eth.dst", mac(dmac))?;
    fields.set("eth.src", mac(smac))?;
    let ttl: u8 = fields.get("ip.ttl")?.parse()?;
    fields.set("ip.ttl", ttl - 1)?;
    match server.forward {
        Forward::Direct => Ok(fields),
        Forward::Ipip | Forward::Gue | Forward::Gre => encapsulated(fields, server),
    }
}

/// `inner` is the frame as direct routing would send it.
fn encapsulated(inner: Fields, server: &Server) -> Result<Fields> {
    let is_v4 = inner.get("ip.total_len").is_ok();
    let len: u32 = if is_v4 {
        inner.get("ip.total_len")?.parse()?
    } else {
        40 + inner.get("ip.payload_len")?.parse::<u32>()?
    };
    let packet_proto = if is_v4 { IPIP } else { IPV6 };
    let has_checksum = server.tunnel.has_checksum;
    let checksum = if has_checksum { "right" } else { "none" };
    let (proto, shim_len) = match server.forward {
        Forward::Gue => (UDP, 12),
        Forward::Gre => (GRE, if has_checksum { 8 } else { 4 }),
        Forward::Ipip | Forward::Direct => (packet_proto, 0),
    };

    let mut out = Fields::default();
    let mut last_type = None;
    for (name, value) in &inner.0 {
        if name.starts_with("eth.") || name.starts_with("vlan") {
            out.add(name, value);
            if name.ends_with(".type") {
                last_type = Some(name);
            }
        } else if name != "trailer" {
            out.add(&format!("inner.{name}"), value);
        }
    }
    if let Some(name) = last_type {
        out.set(
            name,
            if server.tunnel.to.is_ipv4() {
                "0x0800"
            } else {
                "0x86dd"
            },
        )?;
    }
    out.add("trailer", inner.get("trailer")?);
    out.add("ip.src", server.tunnel.from);
    out.add("ip.dst", server.tunnel.to);
    for name in ["ip.dscp", "ip.ecn", "ip.ttl"] {
        out.add(name, inner.get(name)?);
    }
    match server.tunnel.to {
        IpAddr::V4(_) => {
            let df = if is_v4 { inner.get("ip.df")? } else { "false" };
            out.add("ip.total_len", 20 + shim_len + len);
            // One that may be cut needs an identification, any.
            out.add("ip.id", if df == "true" { "0" } else { ANYTHING });
            out.add("ip.df", df);
            out.add("ip.mf", "false");
            out.add("ip.offset", 0);
            out.add("ip.protocol", proto);
            out.add("ip.options", "");
            out.add("ip.checksum", "right");
        }
        IpAddr::V6(_) => {
            out.add("ip.flow_label", ANYTHING);
            out.add("ip.payload_len", shim_len + len);
            out.add("ip.next", proto);
            out.add("ip.extensions", "");
        }
    }
    match server.forward {
        Forward::Gue => {
            out.add("udp.dst", GUE_PORT);
            out.add("udp.src_is_ephemeral", true);
            out.add("udp.length", shim_len + len);
            out.add("udp.checksum", checksum);
            out.add("gue.header", hex(&[0, packet_proto, 0, 0]));
        }
        Forward::Gre => {
            out.add("gre.flags", if has_checksum { "8000" } else { "0000" });
            out.add("gre.type", if is_v4 { "0800" } else { "86dd" });
            out.add("gre.checksum", checksum);
        }
        Forward::Ipip | Forward::Direct => {}
    }
    Ok(out)
}

/// The answer to a frame that is too long: ICMP "fragmentation needed" (RFC 1191), ICMPv6 "packet
/// too big" (RFC 4443), from the VIP, back the way it came.
pub(crate) fn told(frame: &Frame, mtu: u32) -> Result<Fields> {
    let before = Fields::of(&frame.bytes())?;
    let packet = frame.packet();
    let is_v4 = frame.to.0.is_ipv4();
    // The whole answer is no longer than every host takes.
    let (head, longest) = if is_v4 { (28, 576) } else { (48, 1280) };
    let quote = &packet[..packet.len().min(longest - head)];

    let mut out = Fields::default();
    for (name, value) in &before.0 {
        if name.starts_with("eth.") || name.starts_with("vlan") {
            out.add(name, value);
        }
    }
    out.set("eth.dst", mac(frame.smac))?;
    out.set("eth.src", mac(frame.dmac))?;
    out.add("ip.src", frame.to.0);
    out.add("ip.dst", frame.from.0);
    // Internetwork control.
    out.add("ip.dscp", 0x30);
    out.add("ip.ecn", 0);
    out.add("ip.ttl", 64);
    if is_v4 {
        out.add("ip.total_len", head + quote.len());
        out.add("ip.id", ANYTHING);
        out.add("ip.df", ANYTHING);
        out.add("ip.mf", "false");
        out.add("ip.offset", 0);
        out.add("ip.protocol", ICMP);
        out.add("ip.options", "");
        out.add("ip.checksum", "right");
    } else {
        out.add("ip.flow_label", 0);
        out.add("ip.payload_len", head - 40 + quote.len());
        out.add("ip.next", ICMP6);
        out.add("ip.extensions", "");
    }
    let (kind, code) = if is_v4 { (3, 4) } else { (2, 0) };
    out.add("icmp.type", kind);
    out.add("icmp.code", code);
    out.add("icmp.rest", hex(&mtu.to_be_bytes()));
    out.add("icmp.checksum", "right");
    out.add("icmp.payload", hex(quote));
    out.add("trailer", "");
    Ok(out)
}
