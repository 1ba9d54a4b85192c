//! A director's link that carries 1400 bytes where hosts believe in 1500.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_tests::conf::PairConf;
use lb_tests::director::Kind;
use lb_tests::lab::{Lab, Spec};
use lb_tests::switch::Switch;
use lb_tests::transfer::upload;
use lb_userspace::model::Protocol;

use super::{ADVERT, BYTES, LIMIT, NARROW, counted, start};

/// The director's link to the real server is narrow: the director itself tells the client.
#[test]
fn an_upload_over_a_narrow_link_of_the_director_comes_through() -> Result<()> {
    let mut conf = PairConf::http(2, ADVERT);
    conf.services.truncate(1);
    conf.services[0].reals.truncate(1);
    let topology = conf.topology();
    // The director reaches the server by its second link; answers go by the server's first.
    let [ds1, ds2, rs] = [10, 11, 21].map(|last| Ipv4Addr::new(10, 88, 0, last));
    conf.services[0].reals[0].0 = rs;
    let mut spec = Spec::pair(&conf, [Kind::Lbd; 2]);
    spec.topology = topology;
    let mut lab = Lab::new(&spec)?;
    let mut narrow = Switch::another(1)?;
    let mut cables = Vec::new();
    for (director, addr) in lab.directors.iter().zip([ds1, ds2]) {
        cables.push(narrow.cable(&director.host.ns, "eth1", &[(addr, 24)], true)?);
        director.host.ns.set_mtu("eth1", NARROW)?;
    }
    let server = &lab.reals[0].host.ns;
    cables.push(narrow.cable(server, "eth1", &[(rs, 24)], false)?);
    // What comes in by one link is answered by the other.
    for scope in ["all", "eth1"] {
        server.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    let ping = start(&mut lab)?;
    lab.wait_services(LIMIT)?;

    let to = lab.service(Protocol::Tcp)?;
    let name = upload(&lab.client.ns, to, BYTES, LIMIT);
    let name = name.map_err(|e| anyhow::anyhow!("upload: {e:?}\n{}", lab.logs()))?;
    assert_eq!(name, "rs1");
    let told = counted(&lab.directors[0], "too_big_answered")?;
    assert!(told >= 1, "{told} told");
    drop((ping, cables, narrow));
    lab.finish()
}
