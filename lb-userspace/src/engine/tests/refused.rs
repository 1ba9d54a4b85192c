//! For which virtual addresses nothing but services is accepted.

use super::*;

/// An instance that accepts nothing; a second address is excluded from its adverts.
fn silent() -> Model {
    let mut conf = (*model(vec![service(80, &[1])])).clone();
    let instance = &mut conf.instances[0];
    instance.accept = false;
    let mut second = instance.addresses[0].clone();
    second.addr = "2001:db8::2".parse().unwrap();
    second.prefix_len = 128;
    instance.excluded.push(second);
    conf
}

fn both() -> Option<BTreeSet<IpAddr>> {
    Some([vip(), "2001:db8::2".parse().unwrap()].into())
}

#[test]
fn they_are_refused_while_they_are_here() {
    let mut host = Host::start(Arc::new(silent()), true);
    host.link_up();
    assert_eq!(host.refused, Some(BTreeSet::new()), "as a backup");
    host.run_until("MASTER");
    assert_eq!(host.refused, both());
    host.engine.handle(Event::Shutdown, host.now);
    host.run_until("stopped");
    assert_eq!(host.refused, Some(BTreeSet::new()));
}

#[test]
fn a_reload_takes_it_back_and_says_it_again() {
    let mut host = Host::start(Arc::new(silent()), true);
    host.link_up();
    host.run_until("MASTER");
    let mut open = silent();
    open.instances[0].accept = true;
    host.engine.reload(Arc::new(open), host.now, &mut || 0);
    host.turn();
    assert_eq!(host.refused, Some(BTreeSet::new()));
    host.engine.reload(Arc::new(silent()), host.now, &mut || 0);
    host.turn();
    assert_eq!(host.refused, both());
}
