//! Whether an instance is of IPv4 or IPv6, and what must be of the same family.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::source::Span;
use crate::config::tree::{Node, Word};
use crate::model::{Family, Transport, VirtualAddress};

/// An advert carries at most this many addresses: the number has 8 bits.
const MAX_ADDRESSES: usize = 255;
/// As many IPv6 addresses as keepalived has room for in a frame of 1500: one more would fit, but all
/// directors must advertise the same.
const MAX_V6_ADDRESSES: usize = 89;

/// What the first word of the file says that has a family, as in keepalived; IPv4 when none has.
pub(super) fn family(walked: &Walked<'_>) -> Family {
    let of = |w: &Word| {
        let addr = w.text.split('/').next().unwrap_or_default();
        addr.parse().ok().map(Family::of)
    };
    let first = |(name, n): &(&'static str, &Node)| match *name {
        "native_ipv6" => Some(Family::V6),
        "mcast_src_ip" | "unicast_src_ip" | "mcast_dst_ip" => n.args().first().and_then(of),
        "virtual_ipaddress" | "unicast_peer" => {
            let mut lines = n.children().iter().filter_map(|line| line.words.first());
            lines.find_map(of)
        }
        _ => None,
    };
    walked.acted.iter().find_map(first).unwrap_or(Family::V4)
}

impl Lower {
    /// `virtual_ipaddress` and `virtual_ipaddress_excluded`.
    pub(super) fn address_lists(
        &mut self,
        node: &Node,
        name: &str,
        family: Family,
        walked: &Walked<'_>,
    ) -> (Vec<VirtualAddress>, Vec<VirtualAddress>) {
        let mut addresses = Vec::new();
        let mut excluded = Vec::new();
        for (list, into) in [
            ("virtual_ipaddress", &mut addresses),
            ("virtual_ipaddress_excluded", &mut excluded),
        ] {
            for (_, n) in walked.acted.iter().filter(|(k, _)| *k == list) {
                let mut seen: HashMap<IpAddr, Span> = HashMap::new();
                for line in n.children() {
                    let Some(a) = self.address(line) else {
                        continue;
                    };
                    if let Some(first) = seen.insert(a.addr, line.span()) {
                        self.push(
                            Diagnostic::new(
                                Code::Duplicate,
                                Severity::Warning,
                                format!("`{}` is listed twice", a.addr),
                            )
                            .at(line.span(), "again here")
                            .also(first, "first here"),
                        );
                    }
                    if list == "virtual_ipaddress" && Family::of(a.addr) != family {
                        self.push(
                            Diagnostic::new(
                                Code::Conflict,
                                self.replaced(),
                                format!("`{}` in an instance of {family}", a.addr),
                            )
                            .at(line.span(), "ignored, as by keepalived")
                            .help(
                                "give it a `vrrp_instance` of its own, which may have the same \
                                 virtual_router_id, or put it into `virtual_ipaddress_excluded`",
                            ),
                        );
                        continue;
                    }
                    into.push(a);
                }
            }
        }
        let (max, holds) = match family {
            Family::V4 => (MAX_ADDRESSES, "an advert"),
            Family::V6 => (MAX_V6_ADDRESSES, "an advert in a frame of 1500 bytes"),
        };
        if addresses.len() > max {
            self.push(
                Diagnostic::new(
                    Code::OutOfRange,
                    self.replaced(),
                    format!("`{name}` has {} virtual addresses", addresses.len()),
                )
                .at(
                    node.whole(),
                    format!("{holds} carries {max}: the others are not in it, as with keepalived"),
                )
                .help("put the others into `virtual_ipaddress_excluded`"),
            );
            let mut rest = addresses.split_off(max);
            rest.append(&mut excluded);
            excluded = rest;
        }
        (addresses, excluded)
    }

    /// RFC 5798 section 5.2.9, for adverts to a group; keepalived says it too.
    pub(super) fn first_is_link_local(
        &mut self,
        walked: &Walked<'_>,
        addresses: &[VirtualAddress],
        transport: &Transport,
        strict: bool,
    ) {
        let Some(IpAddr::V6(first)) = addresses.first().map(|a| a.addr) else {
            return;
        };
        if first.is_unicast_link_local() || transport.unicast().is_some() {
            return;
        }
        let at = self
            .last(walked, "virtual_ipaddress")
            .map(|n| n.children().first().map_or(n.whole(), Node::span));
        if let Some(at) = at {
            self.push(
                Diagnostic::new(
                    Code::Incomplete,
                    if strict {
                        Severity::Warning
                    } else {
                        Severity::Note
                    },
                    "the first virtual address of IPv6 is not link-local",
                )
                .at(
                    at,
                    "RFC 5798 wants one of fe80::/10 here; other routers may insist on it",
                )
                .help("put one before it, the same on all hosts: `fe80::1/64`"),
            );
        }
    }

    /// `mcast_src_ip`, `unicast_src_ip`.
    pub(super) fn source(&mut self, walked: &Walked<'_>, family: Family) -> Option<IpAddr> {
        let is_source = |k: &str| matches!(k, "mcast_src_ip" | "unicast_src_ip");
        let (_, n) = *walked.acted.iter().rev().find(|(k, _)| is_source(k))?;
        let w = n.args().first()?;
        let addr = self.ip(n, w)?;
        if Family::of(addr) != family {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    self.replaced(),
                    format!("`{addr}` in an instance of {family}"),
                )
                .at(n.whole(), "ignored, as by keepalived"),
            );
            return None;
        }
        Some(addr)
    }

    /// `track_src_ip`.
    pub(super) fn tracks_source(&mut self, walked: &Walked<'_>, source: Option<IpAddr>) -> bool {
        let Some(n) = self.last(walked, "track_src_ip") else {
            return false;
        };
        if source.is_none() {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    self.replaced(),
                    "`track_src_ip` means nothing without `mcast_src_ip` or `unicast_src_ip`",
                )
                .at(n.whole(), "ignored, as by keepalived"),
            );
        }
        source.is_some()
    }
}
