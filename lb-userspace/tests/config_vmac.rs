//! `use_vmac`: which macvlans a file makes, and how they are called.

use std::collections::BTreeMap;

use lb_userspace::config::{self, MemoryFiles, Options};
use lb_userspace::model::Model;

fn load(text: &str) -> Model {
    let l = config::load(
        "a.conf",
        &MemoryFiles::one("a.conf", text),
        &Options::default(),
    );
    let model = l.model.clone();
    model.unwrap_or_else(|| panic!("{}", l.render(false)))
}

/// Where each address is.
fn places(model: &Model) -> BTreeMap<String, String> {
    let all = model.instances.iter().flat_map(|i| {
        let addresses = i.addresses.iter().chain(&i.excluded);
        addresses.map(|a| (a.addr.to_string(), i.iface_of(a).to_owned()))
    });
    all.collect()
}

fn instance(name: &str, interface: &str, vrid: u8, lines: &str) -> String {
    format!(
        "vrrp_instance {name} {{\n  interface {interface}\n  virtual_router_id {vrid}\n{lines}}}\n"
    )
}

fn expect(text: &str, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(a, i)| ((*a).to_owned(), (*i).to_owned()))
        .collect();
    let model = load(text);
    assert_eq!(places(&model), expected, "{text}");
    // Whatever a name was made from, it is the same when it is read again.
    for (path, text) in [
        ("m.conf", config::to_keepalived(&model)),
        ("m.toml", config::to_toml(&model)),
    ] {
        let l = config::load(path, &MemoryFiles::one(path, &text), &Options::default());
        assert_eq!(
            l.model.as_ref(),
            Some(&model),
            "{text}\n{}",
            l.render(false)
        );
    }
}

#[test]
fn macvlans_are_called_as_keepalived_calls_them() {
    let a = instance(
        "A",
        "eth0",
        51,
        "  use_vmac\n  virtual_ipaddress {\n    192.0.2.1\n    192.0.2.2 dev eth1\n    192.0.2.3 dev eth2 use_vmac\n    192.0.2.4 dev eth0\n  }\n",
    );
    let b = instance(
        "B",
        "eth1",
        51,
        "  use_vmac\n  virtual_ipaddress {\n    192.0.2.5\n  }\n",
    );
    expect(
        &(a + &b),
        &[
            ("192.0.2.1", "vrrp.51"),
            ("192.0.2.2", "eth1"),
            ("192.0.2.3", "vrrp2.51"),
            ("192.0.2.4", "vrrp.51"),
            ("192.0.2.5", "vrrp1.51"),
        ],
    );
}

#[test]
fn names_and_their_beginnings_may_be_given() {
    let a = instance(
        "A",
        "eth0",
        51,
        "  use_vmac vip\n  virtual_ipaddress {\n    192.0.2.1\n    192.0.2.3 dev eth2 use_vmac\n  }\n",
    );
    let b = instance(
        "B",
        "eth0",
        52,
        "  use_vmac\n  virtual_ipaddress {\n    192.0.2.5\n  }\n",
    );
    let places = |vip: &'static str, other| {
        [
            ("192.0.2.1", "vip"),
            ("192.0.2.3", vip),
            ("192.0.2.5", other),
        ]
    };
    let global = |lines: &str| format!("global_defs {{\n{lines}}}\n{a}{b}");
    expect(&global("  vmac_prefix mv\n"), &places("mv.51", "mv.52"));
    expect(
        &global("  vmac_prefix mv\n  vmac_addr_prefix ad\n"),
        &places("ad.51", "mv.52"),
    );
}

#[test]
fn use_vmac_addr_is_for_addresses_elsewhere_and_of_the_other_family() {
    let lines = "  virtual_ipaddress {\n    192.0.2.1\n    192.0.2.3 dev eth2\n  }\n  virtual_ipaddress_excluded {\n    2001:db8::1\n  }\n";
    expect(
        &instance("A", "eth0", 51, &format!("  use_vmac\n{lines}")),
        &[
            ("192.0.2.1", "vrrp.51"),
            ("192.0.2.3", "eth2"),
            ("2001:db8::1", "vrrp.51"),
        ],
    );
    expect(
        &instance(
            "A",
            "eth0",
            51,
            &format!("  use_vmac\n  use_vmac_addr\n{lines}"),
        ),
        &[
            ("192.0.2.1", "vrrp.51"),
            ("192.0.2.3", "vrrp1.51"),
            ("2001:db8::1", "vrrp6.51"),
        ],
    );
    expect(
        &instance("A", "eth0", 51, &format!("  use_vmac_addr\n{lines}")),
        &[
            ("192.0.2.1", "eth0"),
            ("192.0.2.3", "vrrp.51"),
            ("2001:db8::1", "vrrp6.51"),
        ],
    );
}

#[test]
fn unicast_adverts_are_sent_by_the_interface() {
    let lines = "  use_vmac\n  unicast_peer {\n    192.0.2.9\n  }\n  virtual_ipaddress {\n    192.0.2.1\n  }\n";
    let model = load(&instance("A", "eth0", 51, lines));
    assert!(
        model.instances[0]
            .vmac
            .as_ref()
            .is_some_and(|v| v.xmit_base)
    );
}
