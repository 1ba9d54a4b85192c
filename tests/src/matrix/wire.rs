//! Kinds of adverts, and the pair of files for each.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::conf::PairConf;
use crate::director::{Director, Kind};
use crate::lab::{Lab, Spec};
use crate::namespace::Mac;
use crate::six;

/// A kind of advert.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wire {
    /// Version 2 with a password.
    V2Pass,
    /// Version 2 without.
    V2None,
    /// Version 2 in IPsec AH.
    V2Ah,
    /// Version 2 from a MAC of its own (`use_vmac`), with a password.
    V2Vmac,
    /// Version 3 over IPv4.
    V3Ipv4,
    /// Version 3 over IPv6.
    V3Ipv6,
    /// Version 3 over IPv4 by unicast.
    V3Unicast,
}

/// The file beside the configuration that, while it exists, makes the script fail.
const UNWELL: &str = "unwell";
/// Stands in a configuration for the path of [`UNWELL`].
const PATH: &str = "@UNWELL@";
/// How [`PairConf`] writes a password.
const PASSWORD: &str = "  authentication {\n    auth_type PASS\n    auth_pass 1111\n  }\n";
/// The macvlan of VRID 62 and its MAC (RFC 9568, 7.3).
const VMAC: (&str, Mac) = ("vrrp.62", Mac([0, 0, 0x5e, 0, 1, 62]));

impl Wire {
    /// Whether it knows fractions of a second.
    #[must_use]
    pub fn fractions(self) -> bool {
        match self {
            Wire::V2Pass | Wire::V2None | Wire::V2Ah | Wire::V2Vmac => false,
            Wire::V3Ipv4 | Wire::V3Ipv6 | Wire::V3Unicast => true,
        }
    }

    /// Whether the verifier needs longer for the program of its services than the election takes: what
    /// keepalived's pair, which has none here, is compared with is the start of VRRP alone.
    #[must_use]
    pub fn loads(self, advert: Duration) -> bool {
        self != Wire::V3Ipv6 && advert < Duration::from_secs(1)
    }

    /// The address that clients ask.
    #[must_use]
    pub fn vip(self, lab: &Lab) -> IpAddr {
        match self {
            Wire::V3Ipv6 => six::VIP.into(),
            _ => lab.vip().into(),
        }
    }

    /// The link on which a master has it, and the MAC that clients know; `None`: the host's own.
    #[must_use]
    pub fn vmac(self) -> Option<(&'static str, Mac)> {
        (self == Wire::V2Vmac).then_some(VMAC)
    }

    /// A lab of such a pair, in which nothing runs yet.
    ///
    /// # Errors
    /// Those of a lab.
    pub fn lab(self, advert: Duration, kinds: [Kind; 2]) -> Result<Lab> {
        let spec = self.spec(advert, kinds)?;
        let lab = Lab::new(&spec)?;
        for (d, text) in lab.directors.iter().zip(&spec.confs) {
            let path = d.control().with_file_name(UNWELL);
            d.write_conf(&text.replace(PATH, &path.to_string_lossy()))?;
        }
        if self == Wire::V3Ipv6 {
            six::speak(&lab)?;
        }
        for d in &lab.directors {
            let (ns, link) = (&d.host.ns, &d.host.link);
            match self {
                // The host's own address is to outlive a link that is set down, as one of IPv4 does.
                Wire::V3Ipv6 => {
                    ns.sysctl(&format!("net/ipv6/conf/{link}/keep_addr_on_down"), "1")?;
                }
                // Left as it is by keepalived; a host asks for the client as the virtual address then.
                Wire::V2Vmac if d.kind == Kind::Keepalived => {
                    ns.sysctl(&format!("net/ipv4/conf/{link}/arp_announce"), "2")?;
                }
                _ => {}
            }
        }
        Ok(lab)
    }

    fn spec(self, advert: Duration, kinds: [Kind; 2]) -> Result<Spec> {
        let mut conf = PairConf::http(if self.fractions() { 3 } else { 2 }, advert);
        for service in &mut conf.services {
            service.reals.truncate(1);
        }
        conf.global_lines = "  script_user root\n".into();
        conf.instance_lines = "  track_script {\n    well\n  }\n".into();
        match self {
            Wire::V2Vmac => conf.instance_lines += "  use_vmac\n",
            // The directors send to each other and, so that it is seen, to the client.
            Wire::V3Unicast => {
                conf.instance_lines += "  unicast_peer {\n    @OTHER@\n    @CLIENT@\n  }\n"
            }
            Wire::V3Ipv6 => conf.services.clear(),
            Wire::V2Pass | Wire::V2None | Wire::V2Ah | Wire::V3Ipv4 => {}
        }
        let mut spec = Spec::pair(&conf, kinds);
        let plan = spec.topology.plan()?;
        let first = |list: &[(Ipv4Addr, u8)]| {
            let first = list.first().map(|(a, _)| a.to_string());
            first.context("a host without an address")
        };
        let addresses = format!("    {}\n    {}\n", six::LINK_LOCAL, six::VIP);
        for (at, text) in spec.confs.iter_mut().enumerate() {
            *text = match self {
                Wire::V2None => text.replace(PASSWORD, ""),
                Wire::V2Ah => text.replace("auth_type PASS", "auth_type AH"),
                Wire::V3Unicast => text
                    .replace("@OTHER@", &first(&plan.directors[1 - at])?)
                    .replace("@CLIENT@", &first(&plan.client)?),
                Wire::V3Ipv6 => text.replace(&format!("    {}\n", conf.vips[0]), &addresses),
                Wire::V2Pass | Wire::V2Vmac | Wire::V3Ipv4 => std::mem::take(text),
            };
            let script = format!(
                "vrrp_script well {{\n  script \"/usr/bin/test ! -e {PATH}\"\n  interval 1\n  weight -10\n  \
                 fall 1\n  rise 1\n}}\n\nvrrp_instance"
            );
            *text = text.replace("vrrp_instance", &script);
        }
        Ok(spec)
    }
}

/// Makes the script of a director fail, or succeed again.
///
/// # Errors
/// Those of the file system.
pub(super) fn make_unwell(director: &Director, unwell: bool) -> Result<()> {
    let path = director.control().with_file_name(UNWELL);
    let done = if unwell {
        std::fs::write(&path, "")
    } else {
        std::fs::remove_file(&path)
    };
    done.with_context(|| path.display().to_string())
}
