//! How each kind of diagnostic looks. After a change that is meant: `INSTA_UPDATE=always cargo test`.

use std::collections::{BTreeMap, BTreeSet};

use lb_userspace::config::{self, Code, MemoryFiles, Options};

/// Name, the file, further files, the text; a code that must appear.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    Code,
);

const CASES: &[Case] = &[
    (
        "cannot-read",
        "a.conf",
        &[("b.conf", "")],
        "",
        Code::CannotRead,
    ),
    (
        "unclosed-block",
        "a.conf",
        &[],
        "vrrp_instance A {\n  virtual_ipaddress {\n    192.0.2.1\n  }\n\nvirtual_server 192.0.2.1 80 {\n  nat_mask 255.255.255.0\n}\n",
        Code::UnclosedBlock,
    ),
    (
        "unclosed-inner-block",
        "a.conf",
        &[],
        "vrrp_instance A {\n  virtual_ipaddress {\n    192.0.2.1\n\n}\nvrrp_instance B {\n}\n",
        Code::UnclosedBlock,
    ),
    (
        "unclosed-at-the-end",
        "a.conf",
        &[],
        "global_defs {\n  router_id x\n",
        Code::UnclosedBlock,
    ),
    (
        "unexpected-brace",
        "a.conf",
        &[],
        "global_defs {\n}\n}\n",
        Code::UnexpectedBrace,
    ),
    (
        "block-without-keyword",
        "a.conf",
        &[],
        "global_defs {\n  router_id x\n}\n{\n}\n",
        Code::UnexpectedBrace,
    ),
    (
        "unterminated-quote",
        "a.conf",
        &[],
        "global_defs {\n  router_id \"x y\n}\n",
        Code::UnterminatedQuote,
    ),
    (
        "placeholder",
        "a.conf",
        &[],
        "global_defs {\n  router_id {{ inventory_hostname }}\n}\nbad\nvrrp_instance <NAME> {\n}\n",
        Code::Placeholder,
    ),
    (
        "placeholder-of-a-shell",
        "a.conf",
        &[],
        "global_defs {\n  router_id ${ID:-lb1}\n}\n",
        Code::Placeholder,
    ),
    (
        "include-nothing",
        "a.conf",
        &[],
        "include conf.d/*.conf\nincludea other.conf\n",
        Code::IncludeNothing,
    ),
    (
        "include-loop",
        "a.conf",
        &[("b.conf", "include a.conf\n")],
        "include b.conf\n",
        Code::IncludeLoop,
    ),
    (
        "expansion-too-large",
        "a.conf",
        &[],
        "$A=${A}\nglobal_defs {\n  router_id ${A}\n}\n",
        Code::ExpansionTooLarge,
    ),
    (
        "bad-sequence",
        "a.conf",
        &[],
        "~SEQ(A, 1, 0, 5) include ${A}\n",
        Code::BadSequence,
    ),
    (
        "endless-sequence",
        "a.conf",
        &[],
        "~SEQ(A, 1, 99999999999) include ${A}\n",
        Code::BadSequence,
    ),
    (
        "unknown-keyword",
        "a.conf",
        &[],
        "vvrp_script x {\n}\nglobal_defs {\n  smtp_connect_time 3\n  Router_id x\n  nonsense\n}\n",
        Code::UnknownKeyword,
    ),
    (
        "look-alike-letter",
        "a.conf",
        &[],
        "vrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  pr\u{435}empt\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\n",
        Code::UnknownKeyword,
    ),
    (
        "unknown-keyword-with-a-sign",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 192.0.2.2 80 {\n    weight=0\n    retry: 1\n  }\n}\n",
        Code::UnknownKeyword,
    ),
    (
        "misplaced-keyword",
        "a.conf",
        &[],
        "global_defs {\n  advert_int 1\n  lb_algo rr\n}\nrouter_id x\n",
        Code::MisplacedKeyword,
    ),
    (
        "missing-parameter",
        "a.conf",
        &[],
        "global_defs {\n  router_id\n  vrrp_garp_master_refresh\n}\n",
        Code::MissingParameter,
    ),
    (
        "extra-parameter",
        "a.conf",
        &[],
        "vrrp_instance A {\n  state BACKUP\n  interface eth0\n  virtual_router_id 1\n  nopreempt FALSE\n  virtual_ipaddress {\n    192.0.2.1 192.0.2.2\n  }\n}\n",
        Code::ExtraParameter,
    ),
    (
        "block-mismatch",
        "a.conf",
        &[],
        "global_defs\nvrrp_instance A\nuse_pid_dir {\n}\n",
        Code::BlockMismatch,
    ),
    (
        "invalid-value",
        "a.conf",
        &[],
        "vrrp_instance A {\n  state SLAVE\n  interface eth0\n  virtual_router_id 1\n  advert_int fast\n  virtual_ipaddress {\n    $VIP\n    192.0.2.1/99\n  }\n}\n",
        Code::InvalidValue,
    ),
    (
        "seconds-with-a-unit",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  delay_loop 3s\n}\n",
        Code::InvalidValue,
    ),
    (
        "out-of-range",
        "a.conf",
        &[],
        "vrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  priority 300\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\n",
        Code::OutOfRange,
    ),
    (
        "adjusted",
        "a.conf",
        &[],
        "vrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  advert_int 1.6\n  authentication {\n    auth_type PASS\n    auth_pass abcdefghij\n  }\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\n",
        Code::Adjusted,
    ),
    (
        "ports-of-direct-routing",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  quorum 9\n  real_server 192.0.2.2 8080 {\n    weight 2;\n  }\n}\n",
        Code::Adjusted,
    ),
    (
        "defaulted",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 53 {\n  lb_algo rr\n  lb_kind DR\n  real_server 192.0.2.2 53 {\n  }\n}\n",
        Code::Defaulted,
    ),
    (
        "old-spelling",
        "a.conf",
        &[],
        "global_defs {\n  lvs_id LVS_1\n}\nvirtual_server 192.0.2.1 80 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  nat_mask 255.255.255.0\n  persistence_timeout 0\n  real_server 192.0.2.2 80 {\n    TCP_CHECK {\n      nb_get_retry 3\n    }\n  }\n}\n",
        Code::OldSpelling,
    ),
    (
        "no-effect",
        "a.conf",
        &[],
        "global_defs {\n  enable_dbus\n  vrrp_priority -5\n}\n",
        Code::NoEffect,
    ),
    (
        "unsupported-service",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  lb_algo mh\n  protocol TCP\n  real_server 192.0.2.2 80 {\n  }\n}\nvirtual_server fwmark 5 {\n  lb_algo rr\n  lb_kind TUN\n  protocol TCP\n}\n",
        Code::Unsupported,
    ),
    (
        "scheduler-and-flags",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  sh-port\n  lb_algo mh\n  sh-fallback\n  lb_kind DR\n  protocol TCP\n  ops\n  real_server 10.0.0.1 80 {\n  }\n}\nvirtual_server 192.0.2.2 80 {\n  lb_algo WRR\n  flag-1\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n}\n",
        Code::Conflict,
    ),
    (
        "tunnels",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  lb_algo rr\n  lb_kind TUN type gue\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n  real_server 10.0.0.2 80 {\n    lvs_method TUN type gue port 6080 remcsum\n  }\n  real_server 10.0.0.3 80 {\n    lvs_method TUN gre\n  }\n  real_server 10.0.0.4 8080 {\n    lvs_method TUN type gre port 9\n  }\n}\n",
        Code::InvalidValue,
    ),
    (
        "nat",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  lb_algo rr\n  lb_kind NAT\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n  real_server 10.0.0.2 80 {\n  }\n  real_server 10.0.0.3 80 {\n    lvs_method DR\n  }\n}\n",
        Code::Unsupported,
    ),
    (
        "fwmark",
        "a.conf",
        &[],
        "virtual_server_group G {\n  192.0.2.1 80\n  fwmark 7\n}\nvirtual_server group G {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n}\nvirtual_server fwmark 9 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n}\n",
        Code::Unsupported,
    ),
    (
        "server-group",
        "a.conf",
        &[],
        "virtual_server_group G {\n  192.0.2.9/29 80\n  192.0.2.5-300 80\n  192.0.2.7 99999\n  192.0.2.1-4 80\n  192.0.2.4 80 81\n  web 80\n}\nvirtual_server_group G {\n}\nvirtual_server_group E {\n}\nvirtual_server group G {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n}\nvirtual_server group H {\n  real_server 10.0.0.1 80 {\n  }\n}\nvirtual_server 192.0.2.3 80 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n}\n",
        Code::Duplicate,
    ),
    (
        "too-many",
        "a.conf",
        &[],
        "virtual_server_group G {\n  10.0.0.0/20 80\n  10.1.0.0 80\n}\nvirtual_server_group H {\n  10.2.0.0/20 80\n}\nvirtual_server group H {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 10.9.0.1 80 {\n  }\n  real_server 10.9.0.2 80 {\n  }\n  real_server 10.9.0.3 80 {\n  }\n  real_server 10.9.0.4 80 {\n  }\n  real_server 10.9.0.5 80 {\n  }\n  real_server 10.9.0.6 80 {\n  }\n  real_server 10.9.0.7 80 {\n  }\n  real_server 10.9.0.8 80 {\n  }\n}\n",
        Code::TooMany,
    ),
    (
        "other-family",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 2001:db8::1 80 {\n  }\n  real_server 2001:db8::2 80 {\n    lvs_method TUN\n  }\n  sorry_server 2001:db8::3 80\n}\n",
        Code::Conflict,
    ),
    (
        "thresholds",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 80 {\n  lb_algo lc\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n    uthreshold 10\n    lthreshold 20\n  }\n  real_server 10.0.0.2 80 {\n    lthreshold 5\n  }\n  real_server 10.0.0.3 80 {\n    uthreshold 4294967296\n  }\n}\n",
        Code::Conflict,
    ),
    (
        "any-port",
        "a.conf",
        &[],
        "virtual_server 192.0.2.1 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 {\n    TCP_CHECK {\n    }\n  }\n  real_server 10.0.0.2 8080 {\n  }\n}\nvirtual_server 192.0.2.2/24 80 {\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n}\n",
        Code::Defaulted,
    ),
    (
        "timeouts",
        "a.conf",
        &[],
        "global_defs {\n  lvs_timeouts tcp 0 tcpfin 2678401 bad udp\n  flood_rate many\n  timeouts {\n    udp 0\n    tcp 9\n  }\n}\n",
        Code::OutOfRange,
    ),
    (
        "ipv6-persistence",
        "a.conf",
        &[],
        "virtual_server_group G {\n  192.0.2.1 80\n  2001:db8::1 80\n}\nvirtual_server group G {\n  lb_algo rr\n  lb_kind TUN\n  protocol TCP\n  persistence_timeout\n  real_server 10.0.0.1 80 {\n  }\n}\nvirtual_server 2001:db8::2 80 {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  persistence_granularity 255.255.255.0\n  real_server 2001:db8::1 80 {\n  }\n}\n",
        Code::Unsupported,
    ),
    (
        "group-without-a-name",
        "a.conf",
        &[],
        "virtual_server group {\n  lb_algo rr\n  lb_kind DR\n  protocol TCP\n  real_server 10.0.0.1 80 {\n  }\n}\n",
        Code::MissingParameter,
    ),
    (
        "toml-fwmark",
        "a.toml",
        &[],
        "[[virtual_server]]\nfwmark = 3\nprotocol = \"TCP\"\nlb_algo = \"rr\"\nlb_kind = \"DR\"\nuthreshold = 3\nreal_server = [{ address = \"10.0.0.1\" }]\n",
        Code::Unsupported,
    ),
    (
        "toml-group",
        "a.toml",
        &[],
        "[[virtual_server_group]]\nname = \"G\"\nadresses = [\"192.0.2.1\"]\n\n[[virtual_server]]\ngroup = \"G\"\nlb_kind = \"TUN type gue\"\nreal_server = [{ address = \"10.0.0.1\" }]\n",
        Code::TomlField,
    ),
    (
        "unsupported-instance",
        "a.conf",
        &[],
        "vrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  use_ipvlan\n  unicast_peer {\n    192.0.2.9\n  }\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\n",
        Code::Unsupported,
    ),
    (
        "ipv6-instance",
        "a.conf",
        &[],
        "global_defs {\n  vrrp_mcast_group6 ff05::12\n}\nvrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  version 2\n  mcast_dst_ip 224.0.0.9\n  virtual_ipaddress {\n    192.0.2.1\n    fe80::1\n  }\n}\nvrrp_instance B {\n  interface eth0\n  virtual_router_id 1\n  version 2\n  virtual_ipaddress {\n    2001:db8::1\n    192.0.2.2\n  }\n  mcast_src_ip 192.0.2.3\n  mcast_dst_ip 224.0.0.9\n  unicast_peer {\n    192.0.2.4\n  }\n}\nvrrp_instance C {\n  interface eth0\n  virtual_router_id 1\n  native_ipv6\n  virtual_ipaddress {\n    192.0.2.5\n  }\n}\nvrrp_instance D {\n  interface eth0\n  virtual_router_id 1\n  virtual_ipaddress {\n    fe80::2\n  }\n}\n",
        Code::Conflict,
    ),
    (
        "vmac",
        "a.conf",
        &[],
        "global_defs {\n  vmac_prefix longerthanthat\n}\nvrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  use_vmac a-name-that-is-too-long\n  unicast_peer {\n    192.0.2.9\n  }\n  virtual_ipaddress {\n    192.0.2.1\n    192.0.2.2 dev eth1 use_vmac\n  }\n}\nvrrp_instance B {\n  interface eth1\n  virtual_router_id 1\n  use_vmac v\n  virtual_ipaddress {\n    192.0.2.3\n  }\n}\nvrrp_instance C {\n  interface eth1\n  virtual_router_id 2\n  use_vmac v\n  virtual_ipaddress {\n    192.0.2.4\n  }\n}\nvrrp_instance D {\n  interface eth1\n  virtual_router_id 3\n  vmac_xmit_base\n  virtual_ipaddress {\n    192.0.2.5\n  }\n}\nvrrp_instance E {\n  interface eth1\n  virtual_router_id 4\n  use_vmac e 02:00:00:00:00:01\n  virtual_ipaddress {\n    192.0.2.6\n  }\n}\n",
        Code::Duplicate,
    ),
    (
        "unicast",
        "a.conf",
        &[],
        "vrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  unicast_ttl 256\n  old_unicast_checksum always\n  mcast_dst_ip 10.0.0.1\n  unicast_peer {\n    192.0.2.9 min_ttl 9 max_ttl\n    2001:db8::9\n    192.0.2.8 min 3\n    192.0.2.8\n    192.0.2.7 min_ttl 5 max_ttl 4\n  }\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\nvrrp_instance B {\n  interface eth0\n  virtual_router_id 2\n  check_unicast_src\n  virtual_ipaddress {\n    192.0.2.2\n  }\n}\n",
        Code::Incomplete,
    ),
    (
        "election",
        "a.conf",
        &[],
        "global_defs {\n  vrrp_down_timer_adverts 0\n  vrrp_startup_delay x\n  vrrp_higher_prio_send_advert\n}\nvrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  priority 9\n  state MASTER\n  preempt_delay 3\n  down_timer_adverts 101\n  lower_prio_no_advert maybe\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\nvrrp_instance B {\n  interface eth0\n  virtual_router_id 2\n  nopreempt\n  preempt_delay 1001\n  virtual_ipaddress {\n    192.0.2.2\n  }\n}\nvrrp_instance C {\n  interface eth0\n  virtual_router_id 3\n  nopreempt\n  preempt_delay 0.5\n  virtual_ipaddress {\n    192.0.2.3\n  }\n}\n",
        Code::Conflict,
    ),
    (
        "toml-unicast",
        "a.toml",
        &[],
        "[[vrrp_instance]]\nname = \"A\"\ninterface = \"eth0\"\nvirtual_router_id = 1\nunicast_ttl = 256\ncheck_unicast_src = true\nvirtual_ipaddress = [\"192.0.2.1\"]\n",
        Code::OutOfRange,
    ),
    (
        "duplicate",
        "a.conf",
        &[],
        "vrrp_instance A {\n  interface eth0\n  virtual_router_id 1\n  virtual_router_id 2\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\nvrrp_instance A {\n}\nvrrp_instance B {\n  interface eth0\n  virtual_router_id 2\n  virtual_ipaddress {\n    192.0.2.2\n  }\n}\n",
        Code::Duplicate,
    ),
    (
        "incomplete",
        "a.conf",
        &[],
        "vrrp_instance A {\n  interface eth0\n}\nvrrp_instance B {\n  virtual_router_id 3\n}\n",
        Code::Incomplete,
    ),
    (
        "unknown-name",
        "a.conf",
        &[],
        "vrrp_sync_group G {\n  group {\n    A\n  }\n}\n",
        Code::UnknownName,
    ),
    (
        "conflict",
        "a.conf",
        &[],
        "vrrp_instance A {\n  state MASTER\n  priority 9\n  nopreempt\n  interface eth0\n  virtual_router_id 1\n  virtual_ipaddress {\n    192.0.2.1 brd +\n  }\n}\n",
        Code::Conflict,
    ),
    (
        "in-an-included-file",
        "/etc/a.conf",
        &[("/etc/b.conf", "router_id")],
        "global_defs {\n  include b.conf\n}\n",
        Code::MissingParameter,
    ),
    (
        "in-a-definition",
        "a.conf",
        &[],
        "$I= \\\nvrrp_instance VI_${N} { \\\n  interface eth0 \\\n  virtual_router_id ${N} \\\n  priorty 3 \\\n  virtual_ipaddress { \\\n    192.0.2.${N} \\\n  } \\\n}\n$N=300\n$I\n",
        Code::OutOfRange,
    ),
    (
        "toml-syntax",
        "a.toml",
        &[],
        "[global\nrouter_id = \"x\"\n",
        Code::TomlSyntax,
    ),
    (
        "toml-field",
        "a.toml",
        &[],
        "[global]\nrouterid = \"x\"\n\n[[vrrp_instance]]\nname = \"A\"\nnat_mask = 1\n",
        Code::TomlField,
    ),
    (
        "toml-type",
        "a.toml",
        &[],
        "[global]\nrouter_id = true\n\n[[virtual_server]]\naddress = \"192.0.2.1\"\nport = 80\nsloppy = { a = 1 }\nreal_server = 5\n",
        Code::TomlType,
    ),
    (
        "toml-value",
        "a.toml",
        &[],
        "[[vrrp_instance]]\nname = \"A\"\ninterface = \"eth0\"\nvirtual_router_id = 1\npriority = 300\nvirtual_ipaddress = [\"192.0.2.1/99\"]\n",
        Code::OutOfRange,
    ),
];

#[test]
fn each_diagnostic_looks_as_it_should() {
    let mut seen = BTreeSet::new();
    for (name, path, more, text, code) in CASES {
        let mut files = BTreeMap::from([((*path).to_owned(), text.as_bytes().to_vec())]);
        if *name == "cannot-read" {
            files.clear();
        }
        files.extend(
            more.iter()
                .map(|(p, t)| ((*p).to_owned(), t.as_bytes().to_vec())),
        );
        let files = MemoryFiles {
            files,
            host: "director".to_owned(),
        };
        let l = config::load(path, &files, &Options::default());
        seen.extend(l.diagnostics.iter().map(|d| d.code));
        assert!(
            l.diagnostics.iter().any(|d| d.code == *code),
            "{name}: no {}\n{}",
            code.name(),
            l.render(false)
        );
        let shown = l.render(false);
        insta::assert_snapshot!(*name, shown);
        let json = serde_json::to_value(
            l.diagnostics
                .iter()
                .map(|d| config::to_json(d, &l.sources))
                .collect::<Vec<_>>(),
        )
        .expect("JSON");
        assert_eq!(json.as_array().map(Vec::len), Some(l.diagnostics.len()));
    }
    seen.insert(two_files());
    seen.insert(a_script_that_is_not_there());
    let missing: Vec<&str> = Code::ALL
        .iter()
        .filter(|c| !seen.contains(c))
        .map(|c| c.name())
        .collect();
    assert!(missing.is_empty(), "no case shows {missing:?}");
}

/// Where it is first named, and only where the file is for this host.
fn a_script_that_is_not_there() -> Code {
    let text = "global_defs {\n  enable_script_security\n  shutdown_script \"/there now\"\n}\n\
                vrrp_script s {\n  script \"/none 'a b'\"\n  user root\n}\n\
                vrrp_instance V {\n  interface eth0\n  virtual_router_id 1\n  \
                notify_master \"/none 'a b'\" root\n  virtual_ipaddress {\n    192.0.2.1\n  }\n}\n";
    let mut files = MemoryFiles::one("a.conf", text);
    files.files.insert("/there".to_owned(), Vec::new());
    let elsewhere = config::load("a.conf", &files, &Options::default());
    assert_eq!(
        elsewhere.diagnostics.len(),
        0,
        "{}",
        elsewhere.render(false)
    );
    let options = Options {
        look: true,
        ..Options::default()
    };
    let l = config::load("a.conf", &files, &options);
    assert!(l.model.is_some());
    assert_eq!(
        l.render(false),
        "warning[LB0046]: script /none a b cannot be run: no such file\n \
         --> a.conf:6:10\n  |\n6 |   script \"/none 'a b'\"\n  |          ^^^^^^^^^^^^^ \
         tried again each time; until then a track_script of it counts as failed, \
         what it should be told is not told\n\n"
    );
    l.diagnostics[0].code
}

/// What is said of two directors points into both files.
fn two_files() -> Code {
    let text = |interval: u8| {
        format!(
            "vrrp_instance VI_1 {{\n  interface eth0\n  virtual_router_id 51\n  priority {interval}0\n  \
             advert_int {interval}\n  virtual_ipaddress {{\n    192.0.2.1/24\n  }}\n}}\n"
        )
    };
    let files = [("a.conf", text(1)), ("b.conf", text(2))];
    let files = MemoryFiles {
        files: files.map(|(n, t)| (n.to_owned(), t.into_bytes())).into(),
        host: "director".to_owned(),
    };
    let options = Options::default();
    let compared = config::compare(["a.conf", "b.conf"], &files, [&options; 2]);
    let shown = config::render(&compared.findings, &compared.sources, false);
    assert_eq!(
        shown,
        "error[LB0045]: VI_1: advert_int differs\n \
         --> a.conf:5:3\n  |\n5 |   advert_int 1\n  |   ^^^^^^^^^^^^ 1s\n  |\n \
         ::: b.conf:5:3\n  |\n5 |   advert_int 2\n  |   ------------ 2s\n  |\n  \
         = help: version 2 accepts no advert of another interval: both become master\n\n"
    );
    compared.findings[0].code
}

#[test]
fn each_code_stands_in_the_documentation_and_in_the_list_once() {
    let doc = include_str!("../../docs/diagnostics.md");
    let names: BTreeSet<&str> = Code::ALL.iter().map(|c| c.name()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for n in &names {
        assert_eq!(doc.matches(&format!("\n## {n}: ")).count(), 1, "{n}");
    }
    assert_eq!(
        doc.matches("\n## LB0").count(),
        names.len(),
        "the documentation has codes that do not exist"
    );
}
