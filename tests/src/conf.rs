//! keepalived.conf files for a pair, written from a few figures.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use lb_userspace::model::Protocol;

use crate::topology::{Port, Topology};

/// What both files of a pair have in common.
#[derive(Clone, Debug)]
pub struct PairConf {
    /// VRRP version, 2 (with PASS) or 3.
    pub version: u8,
    /// `advert_int`.
    pub advert: Duration,
    /// The priorities of the first and the second director.
    pub priorities: [u8; 2],
    /// `state MASTER` of the first; otherwise both say BACKUP.
    pub state_master: bool,
    /// Virtual addresses.
    pub vips: Vec<Ipv4Addr>,
    /// Services.
    pub services: Vec<ServiceConf>,
    /// Further lines of `global_defs`.
    pub global_lines: String,
    /// Further lines of the instance.
    pub instance_lines: String,
}

/// One `virtual_server`.
#[derive(Clone, Debug)]
pub struct ServiceConf {
    /// The virtual address.
    pub vip: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// `lb_algo`.
    pub scheduler: String,
    /// `lb_kind`.
    pub kind: String,
    /// Real servers with their weights.
    pub reals: Vec<(Ipv4Addr, u16)>,
    /// Further lines of the service.
    pub lines: String,
}

impl PairConf {
    /// One VIP, HTTP on three real servers by `rr`, and UDP on the same ones.
    #[must_use]
    pub fn http(version: u8, advert: Duration) -> Self {
        let vip = Ipv4Addr::new(10, 77, 0, 100);
        let reals: Vec<_> = (1..=3)
            .map(|i| (Ipv4Addr::new(10, 77, 0, 20 + i), 1))
            .collect();
        let service = |port, protocol| ServiceConf {
            vip,
            port,
            protocol,
            scheduler: "rr".into(),
            kind: "DR".into(),
            reals: reals.clone(),
            lines: String::new(),
        };
        PairConf {
            version,
            advert,
            priorities: [100, 99],
            state_master: true,
            vips: vec![vip],
            services: vec![service(80, Protocol::Tcp), service(5000, Protocol::Udp)],
            global_lines: String::new(),
            instance_lines: String::new(),
        }
    }

    /// The file of the first (0) or second (1) director.
    #[must_use]
    pub fn text(&self, director: usize) -> String {
        let mut t = String::new();
        let state = if self.state_master && director == 0 {
            "MASTER"
        } else {
            "BACKUP"
        };
        let seconds = self.advert.as_secs_f64();
        let _ = write!(
            t,
            "global_defs {{\n  router_id ds{}\n{}}}\n\nvrrp_instance VI_1 {{\n  state {state}\n  interface eth0\n  \
             virtual_router_id 62\n  priority {}\n  version {}\n  advert_int {seconds}\n",
            director + 1,
            self.global_lines,
            self.priorities[director],
            self.version,
        );
        if self.version == 2 {
            t.push_str("  authentication {\n    auth_type PASS\n    auth_pass 1111\n  }\n");
        }
        t.push_str(&self.instance_lines);
        t.push_str("  virtual_ipaddress {\n");
        for vip in &self.vips {
            let _ = writeln!(t, "    {vip}");
        }
        t.push_str("  }\n}\n");
        for s in &self.services {
            let protocol = s.protocol.name();
            let _ = write!(
                t,
                "\nvirtual_server {} {} {{\n  delay_loop 1\n  lb_algo {}\n  lb_kind {}\n  protocol {protocol}\n{}",
                s.vip, s.port, s.scheduler, s.kind, s.lines
            );
            for (addr, weight) in &s.reals {
                let _ = write!(
                    t,
                    "  real_server {addr} {} {{\n    weight {weight}\n    TCP_CHECK {{\n      connect_timeout 1\n      \
                     retry 0\n      delay_before_retry 1\n      warmup 0\n    }}\n  }}\n",
                    s.port
                );
            }
            t.push_str("}\n");
        }
        t
    }

    /// What the pair asks of the network.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let mut t = Topology {
            link: "eth0".into(),
            vips: self.vips.clone(),
            ..Topology::default()
        };
        for s in &self.services {
            t.ports.push(Port {
                vip: s.vip,
                port: s.port,
                protocol: s.protocol,
            });
            for (real, _) in &s.reals {
                if !t.reals.contains(real) {
                    t.reals.push(*real);
                }
            }
        }
        t
    }
}

/// The file without its services, so that keepalived runs it on a kernel without IPVS.
#[must_use]
pub fn without_services(text: &str) -> String {
    let mut out = String::new();
    let mut depth = 0usize;
    let mut skipping = false;
    for line in text.lines() {
        let code = line.split(['#', '!']).next().unwrap_or_default();
        if depth == 0 && !skipping {
            let word = code
                .split([' ', '\t', '{'])
                .find(|w| !w.is_empty())
                .unwrap_or_default();
            skipping = word == "virtual_server" || word == "virtual_server_group";
        }
        if !skipping {
            out.push_str(line);
            out.push('\n');
        }
        depth += code.matches('{').count();
        let closed = code.matches('}').count();
        depth = depth.saturating_sub(closed);
        if closed > 0 && depth == 0 {
            skipping = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_cut_out_and_nothing_else() {
        let text = "a {\n  b # }\n}\nvirtual_server 1 2\n{\n  real_server {\n  }\n}\nvrrp_instance X {\n}\n";
        assert_eq!(
            without_services(text),
            "a {\n  b # }\n}\nvrrp_instance X {\n}\n"
        );
    }

    #[test]
    fn the_two_files_differ_only_in_name_state_and_priority() {
        let pair = PairConf::http(3, Duration::from_millis(50));
        let (a, b) = (pair.text(0), pair.text(1));
        assert!(a.contains("advert_int 0.05\n"));
        let differ: Vec<_> = a
            .lines()
            .zip(b.lines())
            .filter(|(x, y)| x != y)
            .map(|(x, _)| x.trim())
            .collect();
        assert_eq!(differ, ["router_id ds1", "state MASTER", "priority 100"]);
    }
}
