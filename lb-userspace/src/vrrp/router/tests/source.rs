//! `track_src_ip`: an instance whose adverts come from an address that this host has not.

use super::*;

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 77));

fn tracking() -> VrrpInstance {
    VrrpInstance {
        mcast_src_ip: Some(SOURCE),
        track_src_ip: true,
        ..v3(1000)
    }
}

fn missing() -> Reason {
    Reason::NoSource { addr: SOURCE }
}

#[test]
fn without_its_source_an_instance_is_in_fault_and_hands_over_before() {
    let mut host = Host::one(tracking());
    assert_eq!(host.state(), State::Fault);
    assert_eq!(host.status(0).reason, missing());
    host.handle(Event::AddressAdded {
        iface: "lo",
        addr: SOURCE,
        prefix_len: 32,
    });
    assert_eq!(host.state(), State::Backup);
    host.run(Duration::from_secs(4));
    assert_eq!(host.state(), State::Master);
    host.take();
    host.handle(Event::AddressRemoved {
        iface: "lo",
        addr: SOURCE,
        prefix_len: 32,
    });
    assert_eq!(host.state(), State::Fault);
    assert_eq!(Host::priorities(&host.take()), [0]);
    assert!(host.has(100), "until the successor was heard");
    // Another source, or none that is followed.
    host.reconfigure(&[VrrpInstance {
        track_src_ip: false,
        ..tracking()
    }]);
    assert_eq!(host.state(), State::Backup);
    host.reconfigure(&[tracking()]);
    assert_eq!(host.state(), State::Fault);
}

#[test]
fn an_interface_that_nobody_names_takes_the_source_with_it() {
    let mut host = Host::one(tracking());
    let told = [(SOURCE, 32)];
    host.handle(Event::AddressSnapshot {
        iface: "lo",
        addresses: &told,
    });
    assert_eq!(host.state(), State::Backup);
    host.link("lo", LinkState::Gone);
    assert_eq!(host.state(), State::Fault);
    assert_eq!(host.status(0).reason, missing());
}
