//! What an operator sets by hand goes through to the maps, and is kept.

use super::*;
use crate::health::{ByHand, SetServer};

fn key(host: &Host) -> crate::model::ServiceKey {
    host.engine.model().services[0].key
}

#[test]
fn a_drain_is_written_and_kept() {
    let mut host = Host::start(model(vec![service(80, &[1, 2])]), true);
    let near = neighbours(&[1, 2]);
    host.engine.handle(Event::Neighbours(near), host.now);
    host.link_up();
    host.run_until("MASTER");
    host.verdicts(&Verdict::Ok);
    host.did.clear();
    let key = key(&host);
    let report = host
        .engine
        .set_server(&key, server(1).into(), SetServer::Weight(0))
        .unwrap();
    assert_eq!(report.by_hand.weight, Some(0));
    assert_eq!(report.notes, Vec::<String>::new());
    host.turn();
    assert!(host.did.contains(&"write".to_owned()), "{:?}", host.did);
    let tables = host.engine.tables();
    let weight = |last| {
        let index = tables.backend_index(key, server(last).into(), 80);
        tables.weight(index.unwrap())
    };
    assert_eq!((weight(1), weight(2)), (Some(0), Some(1)));
    assert_eq!(
        host.kept.len(),
        1,
        "kept for the daemon after this one: {:?}",
        host.kept
    );

    let report = host
        .engine
        .set_server(&key, server(2).into(), SetServer::Disable)
        .unwrap();
    assert_eq!(
        report.notes,
        ["the service has no quorum any more (living weight 0), and no sorry server"]
    );
    host.turn();
    assert_eq!(host.kept.len(), 2);
    let shown = host
        .engine
        .status(super::super::Surroundings::default(), host.now);
    let by_hand: Vec<_> = shown.services[0]
        .backends
        .iter()
        .map(|b| (b.by_hand, b.listed, b.effective_weight))
        .collect();
    let set = |weight, disabled| ByHand { weight, disabled };
    assert_eq!(
        by_hand,
        [(set(Some(0), false), true, 0), (set(None, true), false, 0)]
    );
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let mut conf = service(80, &[1]);
    conf.sorry_server = Some(crate::model::SorryServer {
        addr: server(9).into(),
        port: 80,
        method: crate::model::ForwardMethod::Dr,
        inhibit: false,
    });
    let mut host = Host::start(model(vec![conf]), true);
    let key = key(&host);
    let mut set = |key, last| {
        let refused = host
            .engine
            .set_server(&key, server(last).into(), SetServer::Disable);
        refused.unwrap_err()
    };
    assert_eq!(
        set(key, 7),
        format!("service {key} has no real server {}", server(7))
    );
    assert!(set(key, 9).contains("is the sorry server"));
    let other = crate::model::ServiceKey { port: 81, ..key };
    assert_eq!(set(other, 1), format!("there is no service {other}"));
}
