//! Small configurations and what becomes of them.

use std::time::Duration;

use lb_userspace::config::{self, Code, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::{Auth, Protocol, Scheduler};

fn load(text: &str) -> Loaded {
    config::load(
        "test.conf",
        &MemoryFiles::one("test.conf", text),
        &Options::default(),
    )
}

fn codes(l: &Loaded) -> Vec<(Code, Severity)> {
    l.diagnostics.iter().map(|d| (d.code, d.severity)).collect()
}

const PAIR: &str = "
! director
global_defs {
  router_id LVS1
}
vrrp_instance VI_1 {
  state MASTER
  interface eth0
  virtual_router_id 62
  priority 100
  advert_int 1
  authentication {
    auth_type pass
    auth_pass 1111
  }
  virtual_ipaddress {
    192.0.2.10/24 dev eth0 label eth0:1
  }
}
virtual_server 192.0.2.10 80
{
  delay_loop 3
  lb_algo rr
  lb_kind DR
  persistence_timeout 0
  protocol TCP
  real_server 192.0.2.21 80 { weight 3 }
  real_server 192.0.2.22 80 {
    TCP_CHECK {
      nb_get_retry 3
      connect_timeout 2.5
    }
  }
}";

#[test]
fn a_pair_with_old_spellings_is_read_with_their_old_meaning() {
    let l = load(PAIR);
    assert_eq!(
        codes(&l),
        [
            (Code::OldSpelling, Severity::Note),
            (Code::OldSpelling, Severity::Note),
            (Code::OldSpelling, Severity::Note)
        ],
        "{}",
        l.render(false)
    );
    let m = l.model.expect("a model");
    let i = &m.instances[0];
    assert!(i.initial_master);
    assert_eq!((i.virtual_router_id, i.priority), (62, 100));
    assert_eq!(i.auth, Auth::Pass(b"1111".to_vec()));
    assert_eq!(i.addresses[0].prefix_len, 24);
    assert_eq!(i.addresses[0].label.as_deref(), Some("eth0:1"));
    let s = &m.services[0];
    assert_eq!(
        (s.key.protocol, s.scheduler, s.persistence),
        (Protocol::Tcp, Scheduler::Rr, None)
    );
    assert_eq!(s.real_servers[0].weight, 3);
    let c = &s.real_servers[1].checks[0];
    assert_eq!(
        (c.retry, c.timeout, c.interval, c.warmup),
        (
            3,
            Duration::from_millis(2500),
            Duration::from_secs(3),
            Duration::from_secs(3)
        )
    );
}

#[test]
fn a_lost_brace_is_one_error_at_the_block_that_was_left_open() {
    let text = PAIR.replace("label eth0:1\n  }\n}", "label eth0:1\n  }\n");
    assert_ne!(text, PAIR);
    let l = load(&text);
    assert_eq!(
        codes(&l),
        [(Code::UnclosedBlock, Severity::Error)],
        "{}",
        l.render(false)
    );
    let place = l
        .sources
        .position(l.diagnostics[0].primary.as_ref().expect("a place").span);
    assert_eq!((place.line, place.column), (6, 1));
    assert!(l.diagnostics[0].message.contains("vrrp_instance VI_1"));
    assert!(l.model.is_none());
}
