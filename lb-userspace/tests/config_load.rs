//! Small configurations and what becomes of them.

use std::time::Duration;

use lb_userspace::config::{self, Code, Loaded, MemoryFiles, Options, Severity};
use lb_userspace::model::{Auth, ForwardMethod, Protocol, Scheduler, Tunnel};

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

fn routers(text: &str, options: &Options) -> Vec<String> {
    let files = MemoryFiles {
        files: [
            ("/etc/lb/main.conf", text),
            ("/etc/lb/conf.d/a.conf", "vrrp_instance a {\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {\n192.0.2.1\n}\n}"),
            ("/etc/lb/conf.d/b.conf", "vrrp_instance b {\ninterface eth0\nvirtual_router_id 2\nvirtual_ipaddress {\n192.0.2.2\n}\n}"),
            ("/etc/lb/conf.d/next.inc", "include a.conf"),
        ]
        .map(|(p, t)| (p.to_owned(), t.as_bytes().to_vec()))
        .into(),
        host: "node1.example.net".to_owned(),
    };
    let l = config::load("/etc/lb/main.conf", &files, options);
    assert_eq!(
        l.count(Severity::Error) + l.count(Severity::Warning),
        0,
        "{}",
        l.render(false)
    );
    let m = l.model.expect("a model");
    m.instances
        .iter()
        .map(|i| {
            let vips: Vec<String> = i.addresses.iter().map(|a| a.addr.to_string()).collect();
            format!(
                "{} {} {} {}",
                i.name,
                i.virtual_router_id,
                i.priority,
                vips.join(",")
            )
        })
        .collect()
}

#[test]
fn included_names_are_relative_to_the_file_that_includes_them() {
    let o = Options::default();
    assert_eq!(
        routers("include conf.d/*.conf\n", &o),
        ["a 1 100 192.0.2.1", "b 2 100 192.0.2.2"]
    );
    assert_eq!(
        routers("include conf.d/next.inc", &o),
        ["a 1 100 192.0.2.1"]
    );
}

#[test]
fn lines_of_other_hosts_are_left_out() {
    let text = "vrrp_instance x {\ninterface eth0\nvirtual_router_id 7\n@node1 priority 200\n@^node1 priority 50\nvirtual_ipaddress {\n192.0.2.9\n}\n}";
    assert_eq!(routers(text, &Options::default()), ["x 7 200 192.0.2.9"]);
    let other = Options {
        config_id: Some("node2".to_owned()),
        ..Options::default()
    };
    assert_eq!(routers(text, &other), ["x 7 50 192.0.2.9"]);
}

#[test]
fn definitions_are_replaced_when_they_are_used() {
    // The manual's own example: what a definition refers to counts at the time of its use.
    let text = "
$BASE=192.0.${SUB}
$SUB=2
$INSTANCE= \\
vrrp_instance VI_${NUM} { \\
  interface eth0 \\
  virtual_router_id ${NUM} \\

  @node1 priority 130 \\
  virtual_ipaddress { \\
    ${BASE}.${NUM} \\
  } \\
}
$NUM=1
$INSTANCE
$NUM=2
$SUB=3
$INSTANCE
";
    assert_eq!(
        routers(text, &Options::default()),
        ["VI_1 1 130 192.0.2.1", "VI_2 2 130 192.0.3.2"]
    );
}

#[test]
fn sequences_and_lists_repeat_the_rest_of_their_line() {
    let text = "vrrp_instance x {\ninterface eth0\nvirtual_router_id 7\nvirtual_ipaddress {\n~SEQ(A, 1, 2) 192.0.2.${A}\n~SEQ(A, 9, -3, 3) ~LST({X, Y}, {1, 2}, {3, 4}) 10.${A}.${X}.${Y}\n~SEQx(H, 0x10, 0x11) 10.0.0.${H}\n}\n}";
    let all = "192.0.2.1,192.0.2.2,10.9.1.2,10.9.3.4,10.6.1.2,10.6.3.4,10.3.1.2,10.3.3.4,10.0.0.10,10.0.0.11";
    assert_eq!(
        routers(text, &Options::default()),
        [format!("x 7 100 {all}")]
    );
}

#[test]
fn lines_may_end_as_they_like() {
    let text = "\u{feff}vrrp_instance x\r\n{\r\ninterface eth0 ! comment\r\nvirtual_router_id 7 # comment {\r\nvirtual_ipaddress { 192.0.2.9 }\r\n}";
    assert_eq!(routers(text, &Options::default()), ["x 7 100 192.0.2.9"]);
}

#[test]
fn quotes_and_escapes_are_resolved() {
    let l = load(
        "vrrp_instance \"a b\" {\ninterface eth0\nvirtual_router_id 7\nauthentication{\nauth_type PASS\nauth_pass 'p#!\\x41\\102'\\n\n}\nvirtual_ipaddress {\n192.0.2.9\n}\n}",
    );
    let m = l.model.as_ref().expect("a model");
    assert_eq!(m.instances[0].name, "a b");
    assert_eq!(m.instances[0].auth, Auth::Pass(b"p#!AB\n".to_vec()));
}

#[test]
fn toml_is_known_by_its_first_table_too() {
    let l = load("# comment\n\n[global]\nrouter_id = \"a\"\n");
    assert_eq!(
        l.model.expect("a model").global.router_id.as_deref(),
        Some("a")
    );
}

#[test]
fn a_typing_error_inside_a_block_is_named() {
    let l = load("track_group f {\n  group {\n    eth0\n  }\n  grup {\n  }\n}\n");
    assert_eq!(
        codes(&l),
        [
            (Code::UnknownName, Severity::Warning),
            (Code::UnknownKeyword, Severity::Warning)
        ]
    );
}

#[test]
fn what_is_not_supported_is_left_out_on_request_and_the_rest_runs() {
    let text = format!(
        "{PAIR}\nvirtual_server 192.0.2.10 443 {{\nprotocol TCP\nlb_algo rr\nreal_server 192.0.2.21 443 {{\n}}\n}}\n"
    );
    let refused = load(&text);
    assert!(refused.model.is_none());
    let options = Options {
        skip_unsupported: true,
        ..Options::default()
    };
    let l = config::load("a.conf", &MemoryFiles::one("a.conf", &text), &options);
    assert_eq!(l.left_out, ["virtual_server 192.0.2.10 443"]);
    let m = l.model.expect("a model");
    assert_eq!((m.instances.len(), m.services.len()), (1, 1));
}

#[test]
fn services_of_every_kind_have_their_effective_values() {
    let text = include_str!("keepalived/services.conf");
    let l = config::load(
        "services.conf",
        &MemoryFiles::one("services.conf", text),
        &Options::default(),
    );
    let m = l
        .model
        .as_ref()
        .unwrap_or_else(|| panic!("{}", l.render(false)));
    assert_eq!(m.global.timeouts.established, Some(600));
    assert_eq!(m.global.timeouts.fin_wait, None);
    assert_eq!(m.services.len(), 8);
    let find = |key: &str| {
        let found = m.services.iter().find(|s| s.key.to_string() == key);
        found.unwrap_or_else(|| panic!("no {key}"))
    };
    let web = find("TCP 192.0.2.1:80");
    let members: Vec<String> = web.keys().map(|k| k.to_string()).collect();
    assert_eq!(members.len(), 4 + 4 + 3 + 2);
    assert_eq!(members[3], "TCP 192.0.2.4:80");
    assert_eq!(members[7], "TCP 192.0.2.11:81");
    assert_eq!(members[12], "TCP 192.0.2.78:443");
    assert_eq!(web.scheduler, Scheduler::Mh);
    // `sh-port` is not mh's.
    let flags = (web.sched_flags.port, web.sched_flags.fallback);
    assert_eq!(flags, (true, false));
    let limits = (
        web.real_servers[0].uthreshold,
        web.real_servers[0].lthreshold,
    );
    assert_eq!(limits, (100, 50));
    let gue = |port, csum| ForwardMethod::Tun(Tunnel::Gue { port, csum });
    assert_eq!(web.real_servers[1].method, gue(6080, true));
    let sorry = web.sorry_server.expect("a sorry server");
    assert_eq!(sorry.method, ForwardMethod::Tun(Tunnel::Gre { csum: true }));
    assert!(find("UDP 192.0.2.1:80").ops);
    // Some address of the group has no port, so clients stay.
    let six = find("UDP [2001:db8::8]:53")
        .persistence
        .expect("persistence");
    assert_eq!((six.timeout.as_secs(), six.prefix_len), (360, 64));
    let any = find("TCP 192.0.2.100:0");
    assert_eq!(any.persistence.map(|p| p.timeout.as_secs()), Some(360));
    assert!(!any.ops, "it is for UDP");
    assert_eq!(any.real_servers[1].port, 0);
    assert_eq!(any.real_servers[1].checks[0].port, 8080);
    // Options that cannot be read leave the tunnel as it was: ipip.
    let odd = find("SCTP 192.0.2.101:80");
    assert_eq!(odd.scheduler, Scheduler::Wlc);
    let methods: Vec<ForwardMethod> = odd.real_servers.iter().map(|r| r.method).collect();
    let ipip = ForwardMethod::Tun(Tunnel::Ipip);
    assert_eq!(methods, [ipip, ipip, gue(6081, false), ForwardMethod::Dr]);
    let limits: Vec<u32> = odd.real_servers.iter().map(|r| r.uthreshold).collect();
    assert_eq!(limits, [4, 0, 0, 0]);
    let dns = find("UDP [2001:db8::100]:53");
    let flags = (dns.sched_flags.port, dns.sched_flags.fallback);
    assert_eq!(flags, (true, true), "flag-2 and the second sh-fallback");
    assert_eq!(dns.persistence.map(|p| p.prefix_len), Some(128));
    let own = find("TCP 192.0.2.102:80");
    assert_eq!(own.method, ForwardMethod::Dr, "each server has its own");
    assert_eq!(own.persistence.map(|p| p.prefix_len), Some(20));
}

#[test]
fn lbds_own_words_mean_the_same_in_both_formats() {
    let conf = "global_defs {\n flood_rate 0\n lvs_timeouts tcp 700 udp 70\n timeouts {\n  udp 30\n  syn_recv 5\n }\n}\nvirtual_server 192.0.2.1 80 {\n lb_algo lc\n lb_kind DR\n protocol TCP\n expire_nodest_conn\n expire_quiescent_template off\n timeouts {\n  established 3600\n }\n real_server 192.0.2.2 80 {\n }\n}\n";
    let toml = "[global]\nflood_rate = 0\ntimeouts = { established = 700, udp = 30, syn_recv = 5 }\n\n[[virtual_server]]\naddress = \"192.0.2.1\"\nport = 80\nlb_algo = \"lc\"\nlb_kind = \"DR\"\nprotocol = \"tcp\"\nexpire_nodest_conn = true\ntimeouts = { established = \"1h\" }\nreal_server = [{ address = \"192.0.2.2\" }]\n";
    let read = |path: &str, text: &str| {
        let l = config::load(path, &MemoryFiles::one(path, text), &Options::default());
        let shown = l.render(false);
        l.model.unwrap_or_else(|| panic!("{shown}"))
    };
    let m = read("a.conf", conf);
    assert_eq!(m, read("a.toml", toml));
    assert_eq!(m.global.flood_rate, Some(0));
    let t = m.global.timeouts;
    assert_eq!(
        (t.established, t.udp, t.syn_recv),
        (Some(700), Some(30), Some(5))
    );
    let s = &m.services[0];
    assert!(s.expire_nodest_conn && !s.expire_quiescent_template);
    assert_eq!(s.timeouts.established, Some(3600));
}
