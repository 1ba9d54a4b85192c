//! Lines of `virtual_ipaddress`.

use std::net::IpAddr;

use super::Lower;
use crate::config::diag::{Code, Diagnostic, Severity};
use crate::config::tree::{Node, Word};
use crate::model::{AddressOptions, Broadcast, Family, VirtualAddress};

impl Lower {
    /// One line; `None` when keepalived would skip it.
    pub(super) fn address(&mut self, n: &Node) -> Option<VirtualAddress> {
        let mut words = n.words.iter();
        let first = words.next()?;
        let Some((addr, mask)) = split(&first.text) else {
            let severity = self.replaced();
            let mut d = Diagnostic::new(
                Code::InvalidValue,
                severity,
                format!("`{}` is not an IP address", first.text),
            )
            .at(first.span, "this line is ignored, as by keepalived");
            if first.text.starts_with('$') {
                d = d.help(format!("`{}` is not defined", first.text));
            } else {
                d = d.help("write IP[/MASK] [dev IF] [label L] [brd IP|+|-] [scope S]");
            }
            self.push(d);
            return None;
        };
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let mut prefix_len = bits;
        if let Some(mask) = mask {
            match prefix(mask, addr) {
                Some(p) => prefix_len = p,
                None => {
                    let severity = self.replaced();
                    self.push(
                        Diagnostic::new(
                            Code::InvalidValue,
                            severity,
                            format!("`/{mask}` is not a mask of `{addr}`"),
                        )
                        .at(first.span, format!("/{bits} is taken")),
                    );
                }
            }
        }
        let mut v = VirtualAddress {
            addr,
            prefix_len,
            dev: None,
            label: None,
            broadcast: None,
            scope: 0,
            vmac: None,
            options: AddressOptions::default(),
            no_track: false,
            track_group: None,
        };
        let mut brd_at = None;
        let mut peer_at = None;
        let mut lifetime = None;
        while let Some(w) = words.next() {
            let mut value = |l: &mut Self| {
                let v = words.next();
                if v.is_none() {
                    l.push(
                        Diagnostic::new(
                            Code::MissingParameter,
                            l.replaced(),
                            format!("`{}` needs a value", w.text),
                        )
                        .at(
                            w.span,
                            "nothing follows it: this line is ignored, as by keepalived",
                        ),
                    );
                }
                v
            };
            match w.text.as_str() {
                "dev" => {
                    let d = value(self)?;
                    if d.text.len() > 15 {
                        self.too_long(d, "an interface's name", 15);
                        return None;
                    }
                    v.dev = Some(d.text.clone());
                }
                "label" => {
                    let l = value(self)?;
                    if l.text.len() > 15 {
                        self.too_long(l, "a label", 15);
                        return None;
                    }
                    v.label = Some(l.text.clone());
                }
                "scope" => {
                    let s = value(self)?;
                    match scope(&s.text) {
                        Some(n) => v.scope = n,
                        None => self.invalid_word(
                            s,
                            "a scope (site, link, host, nowhere, global)",
                            "global is taken",
                        ),
                    }
                }
                "brd" | "broadcast" => {
                    let b = value(self)?;
                    brd_at = Some(b);
                    v.broadcast = match b.text.as_str() {
                        "+" => Some(Broadcast::HostBitsSet),
                        "-" => Some(Broadcast::HostBitsClear),
                        text => match text.parse::<std::net::Ipv4Addr>() {
                            Ok(a) if addr.is_ipv4() => Some(Broadcast::Addr(a)),
                            _ => {
                                self.invalid_word(
                                    b,
                                    "a broadcast address",
                                    "this line is ignored, as by keepalived",
                                );
                                return None;
                            }
                        },
                    };
                }
                "peer" => {
                    let p = value(self)?;
                    peer_at = Some(p);
                    v.options.peer = self.peer_of(p, addr);
                }
                "use_vmac" => Self::mark_vmac(true, &mut v),
                "preferred_lft" => {
                    let t = value(self)?;
                    lifetime = self.lifetime(w, t, addr).or(lifetime);
                }
                "track_group" => {
                    let name = value(self)?;
                    v.track_group = self.group_of(w, name);
                }
                "home" => v.options.home = self.is_of_ipv6(w, addr),
                "-nodad" => v.options.dad = self.is_of_ipv6(w, addr),
                "mngtmpaddr" => v.options.mngtmpaddr = self.is_of_ipv6(w, addr),
                "noprefixroute" => v.options.noprefixroute = true,
                "no_track" => v.no_track = true,
                "autojoin" => {
                    let d = Diagnostic::new(
                        Code::Conflict,
                        self.replaced(),
                        "`autojoin` is for multicast addresses",
                    );
                    self.push(d.at(w.span, "ignored; the kernel would refuse the address"));
                }
                other => {
                    let mut d = Diagnostic::new(
                        Code::ExtraParameter,
                        Severity::Warning,
                        format!("`{other}` means nothing after a virtual address"),
                    )
                    .at(w.span, "ignored");
                    if split(other).is_some() {
                        d = d.help("write one address a line");
                    }
                    self.push(d);
                }
            }
        }
        if let Some(b) = brd_at
            && matches!(
                v.broadcast,
                Some(Broadcast::HostBitsSet | Broadcast::HostBitsClear)
            )
            && v.prefix_len > 30
        {
            let severity = self.replaced();
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    severity,
                    format!("a /{} has no broadcast address", v.prefix_len),
                )
                .at(b.span, "ignored, as by keepalived"),
            );
            v.broadcast = None;
        }
        if let (Some(p), true) = (peer_at, v.options.peer.is_some() && mask.is_some()) {
            let d = Diagnostic::new(
                Code::Conflict,
                self.replaced(),
                "an address with a `peer` has no prefix",
            );
            self.push(d.at(
                first.span.to(p.span),
                format!("/{bits} is taken, as by keepalived"),
            ));
            v.prefix_len = bits;
        }
        self.in_group(v.no_track, &mut v.track_group, n.whole());
        let usual = AddressOptions::usual_lifetime(addr, v.prefix_len);
        v.options.preferred_lft = lifetime.unwrap_or(usual);
        if addr.is_ipv6() && v.label.take().is_some() {
            self.push(
                Diagnostic::new(
                    Code::Conflict,
                    Severity::Warning,
                    "an IPv6 address has no label",
                )
                .at(n.whole(), "ignored, as by keepalived"),
            );
        }
        if addr.is_ipv6() {
            v.scope = 0;
        }
        Some(v)
    }

    /// `peer`: a host of the same family, without a prefix.
    fn peer_of(&mut self, w: &Word, addr: IpAddr) -> Option<IpAddr> {
        let same = |p: &IpAddr| p.is_ipv4() == addr.is_ipv4();
        let peer = w.text.parse().ok().filter(same);
        if peer.is_none() {
            let family = Family::of(addr);
            let want = format!("the {family} address of a peer, without a prefix");
            self.invalid_word(w, &want, "ignored, as by keepalived");
        }
        peer
    }

    /// `preferred_lft`; the inner none: for ever.
    fn lifetime(&mut self, w: &Word, value: &Word, addr: IpAddr) -> Option<Option<u32>> {
        if !self.is_of_ipv6(w, addr) {
            return None;
        }
        match value.text.parse() {
            _ if value.text == "forever" => Some(None),
            // The kernel's number for ever.
            Ok(u32::MAX) => Some(None),
            Ok(seconds) => Some(Some(seconds)),
            Err(_) => {
                self.invalid_word(value, "a number of seconds, or `forever`", "ignored");
                None
            }
        }
    }

    /// Whether a word that is for IPv6 alone stands there.
    fn is_of_ipv6(&mut self, w: &Word, addr: IpAddr) -> bool {
        if addr.is_ipv4() {
            let d = Diagnostic::new(
                Code::Conflict,
                self.replaced(),
                format!("`{}` is for IPv6", w.text),
            );
            self.push(d.at(w.span, "ignored, as by keepalived"));
        }
        addr.is_ipv6()
    }

    fn too_long(&mut self, w: &Word, what: &str, max: usize) {
        let severity = self.replaced();
        self.push(
            Diagnostic::new(
                Code::InvalidValue,
                severity,
                format!("{what} has at most {max} bytes"),
            )
            .at(w.span, "this line is ignored, as by keepalived"),
        );
    }

    pub(super) fn invalid_word(&mut self, w: &Word, want: &str, instead: &str) {
        let severity = self.replaced();
        self.push(
            Diagnostic::new(
                Code::InvalidValue,
                severity,
                format!("`{}` is not {want}", w.text),
            )
            .at(w.span, instead.to_owned()),
        );
    }
}

pub(super) fn split(text: &str) -> Option<(IpAddr, Option<&str>)> {
    let (ip, mask) = match text.split_once('/') {
        Some((ip, mask)) => (ip, Some(mask)),
        None => (text, None),
    };
    ip.parse().ok().map(|ip| (ip, mask))
}

/// `/24`.
fn prefix(mask: &str, addr: IpAddr) -> Option<u8> {
    let bits = if addr.is_ipv4() { 32 } else { 128 };
    mask.parse::<u8>().ok().filter(|p| *p <= bits)
}

pub(super) fn scope(text: &str) -> Option<u8> {
    match text {
        "global" => Some(0),
        "site" => Some(200),
        "link" => Some(253),
        "host" => Some(254),
        "nowhere" => Some(255),
        other => other.parse().ok(),
    }
}
