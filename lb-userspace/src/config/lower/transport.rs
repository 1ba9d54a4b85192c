//! How the adverts of an instance travel: `unicast_peer` and what belongs to it, multicast groups.

use std::net::IpAddr;

use super::global::Defaults;
use super::{Lower, Walked};
use crate::config::diag::{Code, Diagnostic};
use crate::config::tree::{Node, Word};
use crate::model::{Family, OldChecksum, Transport, Unicast, UnicastPeer};

/// Words that mean that adverts are to go by unicast. (`unicast_src_ip` alone is often left over.)
const UNICAST: &[&str] = &[
    "unicast_peer",
    "unicast_ttl",
    "check_unicast_src",
    "old_unicast_checksum",
];

impl Lower {
    pub(super) fn transport(
        &mut self,
        walked: &Walked<'_>,
        defaults: &Defaults,
        family: Family,
    ) -> Transport {
        let (peers, limited) = self.peers(walked, family);
        let fault = self.last(walked, "unicast_fault_no_peer").is_some();
        let ttl = self.unicast_ttl(walked);
        let check = self.last(walked, "check_unicast_src");
        let check = check.and_then(|n| self.switch(n)).unwrap_or_default();
        let old_checksum = self.old_checksum(walked);
        let inherited = match family {
            Family::V4 => defaults.group4,
            Family::V6 => defaults.group6,
        };
        let group = self.group(walked, "mcast_dst_ip", family).or(inherited);
        if peers.is_empty() && !fault {
            let meant = walked.acted.iter().find(|(k, _)| UNICAST.contains(k));
            if let Some((name, n)) = meant {
                self.push(
                    Diagnostic::new(
                        Code::Incomplete,
                        self.replaced(),
                        format!("`{name}` without a host in `unicast_peer`"),
                    )
                    .at(n.whole(), "adverts go by multicast, as by keepalived")
                    .help("name the other hosts in `unicast_peer { ... }`")
                    .help("with `unicast_fault_no_peer` the instance does not run without one"),
                );
            }
            return Transport::Multicast(group.unwrap_or(family.group()));
        }
        Transport::Unicast(Unicast {
            peers,
            ttl,
            check_source: check || limited || defaults.check_unicast_src,
            old_checksum,
        })
    }

    /// A multicast group: `mcast_dst_ip`, `vrrp_mcast_group4`, `vrrp_mcast_group6`.
    pub(super) fn group(
        &mut self,
        walked: &Walked<'_>,
        name: &str,
        family: Family,
    ) -> Option<IpAddr> {
        let n = self.last(walked, name)?;
        let w = n.args().first()?;
        let good = |group: &IpAddr| match (family, group) {
            (Family::V4, IpAddr::V4(v4)) => v4.is_multicast(),
            // Another scope would let adverts through routers.
            (Family::V6, IpAddr::V6(v6)) => v6.segments()[0] & 0xff0f == 0xff02,
            (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => false,
        };
        let group = w.text.parse().ok().filter(good);
        if group.is_none() {
            let want = match family {
                Family::V4 => "a multicast address of IPv4 (224.0.0.0 to 239.255.255.255)",
                Family::V6 => "a link-local multicast address of IPv6 (ff02::12)",
            };
            self.invalid(n, w, want, "keepalived ignores this line");
        }
        group
    }

    /// The peers, and whether one has a limit.
    fn peers(&mut self, walked: &Walked<'_>, family: Family) -> (Vec<UnicastPeer>, bool) {
        let mut peers: Vec<UnicastPeer> = Vec::new();
        let mut limited = false;
        for (_, n) in walked.acted.iter().filter(|(k, _)| *k == "unicast_peer") {
            for line in n.children() {
                let Some((peer, has_limit)) = self.peer(line, family) else {
                    continue;
                };
                limited |= has_limit;
                if peers.iter().any(|p| p.addr == peer.addr) {
                    self.push(
                        Diagnostic::new(
                            Code::Duplicate,
                            self.replaced(),
                            format!("`{}` is a unicast peer twice", peer.addr),
                        )
                        .at(line.span(), "this line is ignored"),
                    );
                    continue;
                }
                peers.push(peer);
            }
        }
        (peers, limited)
    }

    /// `ADDRESS [min_ttl N] [max_ttl N]`, and whether a limit is there.
    fn peer(&mut self, line: &Node, family: Family) -> Option<(UnicastPeer, bool)> {
        let first = line.words.first()?;
        let ignored = "this line is ignored, as by keepalived";
        let host = |a: &IpAddr| Family::of(*a) == family && is_host(*a);
        let Some(addr) = first.text.parse().ok().filter(host) else {
            let want = format!("the {family} address of a host");
            self.invalid_word(first, &want, ignored);
            return None;
        };
        let mut peer = UnicastPeer {
            addr,
            min_ttl: 0,
            max_ttl: u8::MAX,
        };
        let mut limited = false;
        let mut words = line.words[1..].iter();
        while let Some(word) = words.next() {
            let limit = match word.text.as_str() {
                "min_ttl" => &mut peer.min_ttl,
                "max_ttl" => &mut peer.max_ttl,
                _ => {
                    self.invalid_word(word, "min_ttl or max_ttl", "ignored");
                    continue;
                }
            };
            let Some(value) = words.next() else {
                self.invalid_word(word, "of use without a number", "ignored");
                break;
            };
            if let Some(value) = self.ttl(line, value) {
                *limit = value;
                limited = true;
            }
        }
        if peer.min_ttl > peer.max_ttl {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    crate::config::diag::Severity::Error,
                    format!("no advert of `{addr}` can be accepted"),
                )
                .at(
                    line.span(),
                    format!("min_ttl {} is above max_ttl {}", peer.min_ttl, peer.max_ttl),
                ),
            );
            return None;
        }
        Some((peer, limited))
    }

    fn unicast_ttl(&mut self, walked: &Walked<'_>) -> u8 {
        self.last(walked, "unicast_ttl")
            .and_then(|n| self.ttl(n, n.args().first()?))
            .unwrap_or(u8::MAX)
    }

    fn ttl(&mut self, n: &Node, w: &Word) -> Option<u8> {
        let value = self.strict_number(n, w, 0, 255, "keepalived ignores it");
        value.map(|v| v as u8)
    }

    /// keepalived knows it since 2.2.8.
    pub(super) fn v3_checksum_as_v2(&mut self, walked: &Walked<'_>) -> bool {
        let n = self.last(walked, "v3_checksum_as_v2");
        n.and_then(|n| self.switch(n)).unwrap_or_default()
    }

    fn old_checksum(&mut self, walked: &Walked<'_>) -> OldChecksum {
        let Some(n) = self.last(walked, "old_unicast_checksum") else {
            return OldChecksum::Auto;
        };
        match n.args().first() {
            None => OldChecksum::Always,
            Some(w) if w.text == "never" => OldChecksum::Never,
            Some(w) => {
                self.invalid_word(w, "`never`, the only parameter", "this line is ignored");
                OldChecksum::Auto
            }
        }
    }
}

/// Whether a host can have this address.
fn is_host(addr: IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    !(addr.is_multicast() || broadcast || addr.is_unspecified() || addr.is_loopback())
}
