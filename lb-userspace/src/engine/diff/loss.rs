//! What a reload would take away.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::service_name;
use crate::model::{Model, RealServer, Service};

fn addresses(model: &Model) -> BTreeSet<IpAddr> {
    let all = model.instances.iter();
    let all = all.flat_map(|i| i.addresses.iter().chain(&i.excluded));
    all.map(|a| a.addr).collect()
}

/// The real servers of a service, of a group also those that are in it by another port.
fn server(service: &Service, addr: IpAddr) -> Option<&RealServer> {
    service.real_servers.iter().find(|r| r.addr == addr)
}

/// The first of what `old` serves or watches and `new` does not: a virtual address, a service, a real
/// server, the checks of one, what an instance follows. For a file of which something is not understood,
/// which may be the reason.
#[must_use]
pub fn lost(old: &Model, new: &Model) -> Option<String> {
    let kept = addresses(new);
    if let Some(gone) = addresses(old).difference(&kept).next() {
        return Some(format!("the virtual address {gone}"));
    }
    for before in &old.services {
        let name = || service_name(before);
        let Some(service) = new.service_at(&before.key) else {
            return Some(name());
        };
        for was in &before.real_servers {
            let Some(is) = server(service, was.addr) else {
                return Some(format!("real_server {} of {}", was.addr, name()));
            };
            if is.checks.len() < was.checks.len() {
                return Some(format!("a check of real_server {} of {}", was.addr, name()));
            }
        }
    }
    for before in &old.instances {
        let is = new.instances.iter().find(|i| i.name == before.name);
        if is.is_some_and(|i| i.tracks.count() < before.tracks.count()) {
            return Some(format!(
                "something that vrrp_instance {} tracks",
                before.name
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::lost;
    use crate::config::{self, MemoryFiles, Options};
    use crate::model::Model;

    const WHOLE: &str = "vrrp_script s {
  script /bin/true
}
vrrp_instance V {
  interface eth0
  virtual_router_id 1
  track_script {
    s
  }
  virtual_ipaddress {
    192.0.2.1
    192.0.2.2
  }
}
virtual_server 192.0.2.1 80 {
  lb_kind DR
  real_server 10.0.0.1 80 {
    TCP_CHECK {
    }
  }
  real_server 10.0.0.2 80 {
    TCP_CHECK {
    }
  }
}
virtual_server 192.0.2.2 80 {
  lb_kind DR
  real_server 10.0.0.3 80 {
  }
}
";

    fn read(text: &str) -> Model {
        let files = MemoryFiles::one("a.conf", text);
        let loaded = config::load("a.conf", &files, &Options::default());
        loaded.model.expect("a model")
    }

    #[test]
    fn what_is_taken_away_is_named() {
        let without = |from: &str| {
            assert!(WHOLE.contains(from), "{from}");
            lost(&read(WHOLE), &read(&WHOLE.replacen(from, "", 1)))
        };
        for (text, want) in [
            ("    192.0.2.2\n", Some("the virtual address 192.0.2.2")),
            (
                "virtual_server 192.0.2.2 80 {\n  lb_kind DR\n  real_server 10.0.0.3 80 {\n  }\n}\n",
                Some("virtual_server 192.0.2.2 80 UDP"),
            ),
            (
                "  real_server 10.0.0.1 80 {\n    TCP_CHECK {\n    }\n  }\n",
                Some("real_server 10.0.0.1 of virtual_server 192.0.2.1 80 UDP"),
            ),
            (
                "    TCP_CHECK {\n    }\n",
                Some("a check of real_server 10.0.0.1 of virtual_server 192.0.2.1 80 UDP"),
            ),
            (
                "  track_script {\n    s\n  }\n",
                Some("something that vrrp_instance V tracks"),
            ),
        ] {
            assert_eq!(without(text).as_deref(), want, "{text}");
        }
        assert_eq!(lost(&read(WHOLE), &read(WHOLE)), None);
        // More is no loss.
        assert_eq!(lost(&Model::default(), &read(WHOLE)), None);
    }
}
