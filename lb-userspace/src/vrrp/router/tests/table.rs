//! Every state times every event.

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    Init,
    Backup,
    Master,
    Fault,
    /// Shut down while master: the addresses are offered.
    Offering,
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Lower,
    EqualFromLower,
    EqualFromHigher,
    Higher,
    Resignation,
    Timer,
    LinkUp,
    LinkDown,
    LinkGone,
    NoAddress,
    NotReady,
    Shutdown,
}

const STARTS: [Start; 6] = [
    Start::Init,
    Start::Backup,
    Start::Master,
    Start::Fault,
    Start::Offering,
    Start::Stopped,
];
const INPUTS: [Input; 12] = [
    Input::Lower,
    Input::EqualFromLower,
    Input::EqualFromHigher,
    Input::Higher,
    Input::Resignation,
    Input::Timer,
    Input::LinkUp,
    Input::LinkDown,
    Input::LinkGone,
    Input::NoAddress,
    Input::NotReady,
    Input::Shutdown,
];

fn host(start: Start) -> Host {
    let config = instance("VI_1", "eth0", 62);
    match start {
        Start::Init => Host::unknown(&[config], &[], &Global::default(), &BTreeMap::new()),
        Start::Backup => Host::one(config),
        Start::Master => master(&config),
        Start::Fault => {
            let mut host = Host::one(config);
            host.link("eth0", LinkState::Down);
            host
        }
        Start::Offering => {
            let mut host = master(&config);
            host.handle(Event::Shutdown);
            host
        }
        Start::Stopped => {
            let mut host = Host::one(config);
            host.handle(Event::Shutdown);
            host
        }
    }
}

fn apply(host: &mut Host, input: Input) {
    let config = instance("VI_1", "eth0", 62);
    host.take();
    match input {
        Input::Lower => host.hear(&config, HIGHER_PEER, 99),
        Input::EqualFromLower => host.hear(&config, LOWER_PEER, 100),
        Input::EqualFromHigher => host.hear(&config, HIGHER_PEER, 100),
        Input::Higher => host.hear(&config, LOWER_PEER, 101),
        Input::Resignation => host.hear(&config, LOWER_PEER, 0),
        Input::Timer => host.run(Duration::from_secs(5)),
        Input::LinkUp => host.link("eth0", LinkState::Up),
        Input::LinkDown => host.link("eth0", LinkState::Down),
        Input::LinkGone => host.link("eth0", LinkState::Gone),
        Input::NoAddress => host.handle(Event::AddressRemoved {
            iface: "eth0",
            addr: OWN,
            prefix_len: 24,
        }),
        Input::NotReady => host.handle(Event::Ready(&false.into())),
        Input::Shutdown => host.handle(Event::Shutdown),
    }
}

/// The reported state and what becomes of the addresses.
fn expected(start: Start, input: Input) -> (State, Hold) {
    use Hold::{Absent, Lingering, Offered, Owned};
    use Input::{
        EqualFromHigher, EqualFromLower, Higher, LinkDown, LinkGone, LinkUp, Lower, NoAddress,
        NotReady, Resignation, Shutdown, Timer,
    };
    match start {
        Start::Init => match input {
            // An interface that was never told of has neither link nor addresses.
            Lower | EqualFromLower | EqualFromHigher | Higher | Resignation | Timer | LinkUp => {
                (State::Init, Absent)
            }
            LinkDown | NoAddress | NotReady => (State::Init, Absent),
            // Nothing to wait for: there are no addresses of what is not there.
            LinkGone => (State::Fault, Absent),
            Shutdown => (State::Stopped, Absent),
        },
        Start::Backup => match input {
            Lower | EqualFromLower | EqualFromHigher | Higher | Resignation | LinkUp => {
                (State::Backup, Absent)
            }
            Timer => (State::Master, Owned),
            LinkDown | LinkGone | NoAddress | NotReady => (State::Fault, Absent),
            Shutdown => (State::Stopped, Absent),
        },
        Start::Master => match input {
            Lower | EqualFromLower | Resignation | Timer | LinkUp => (State::Master, Owned),
            EqualFromHigher | Higher => (State::Backup, Lingering),
            LinkDown | LinkGone | NotReady => (State::Fault, Absent),
            NoAddress => (State::Fault, Offered),
            Shutdown => (State::Stopped, Offered),
        },
        Start::Fault => match input {
            Lower | EqualFromLower | EqualFromHigher | Higher | Resignation | Timer => {
                (State::Fault, Absent)
            }
            LinkUp => (State::Backup, Absent),
            LinkDown | LinkGone | NoAddress | NotReady => (State::Fault, Absent),
            Shutdown => (State::Stopped, Absent),
        },
        Start::Offering => match input {
            // The successor may have any priority.
            Lower | EqualFromLower | EqualFromHigher | Higher => (State::Stopped, Lingering),
            Resignation | LinkUp | LinkDown | NoAddress | NotReady | Shutdown => {
                (State::Stopped, Offered)
            }
            LinkGone => (State::Stopped, Offered),
            Timer => (State::Stopped, Absent),
        },
        Start::Stopped => match input {
            Lower | EqualFromLower | EqualFromHigher | Higher | Resignation | Timer | LinkUp
            | LinkDown | LinkGone | NoAddress | NotReady | Shutdown => (State::Stopped, Absent),
        },
    }
}

#[test]
fn every_state_times_every_event() {
    for start in STARTS {
        for input in INPUTS {
            let mut host = host(start);
            apply(&mut host, input);
            assert_eq!(
                (host.state(), host.hold()),
                expected(start, input),
                "{start:?} x {input:?}"
            );
            let has = host.hold() != Hold::Absent && !matches!(input, Input::LinkGone);
            assert!(
                !has || host.has(100),
                "{start:?} x {input:?}: the address is not there"
            );
        }
    }
}

#[test]
fn whatever_happens_in_any_order_nothing_breaks() {
    // A walk through the table from a fixed seed, with real time between.
    let mut seed = 7u64;
    let mut next = |n: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    for round in 0..300 {
        let mut host = host(STARTS[round % 3]);
        for _ in 0..60 {
            match next(6) {
                0 => host.run(Duration::from_millis(next(4000) as u64)),
                1 => host.handle(Event::Ready(&true.into())),
                2 => {
                    host.present.insert(("eth0".into(), OWN, 24));
                    host.link("eth0", LinkState::Up);
                    host.snapshot("eth0");
                }
                _ => apply(&mut host, INPUTS[next(INPUTS.len() - 1)]),
            }
            assert_eq!(host.state() == State::Master, host.hold() == Hold::Owned);
        }
        host.present.insert(("eth0".into(), OWN, 24));
        host.handle(Event::Ready(&true.into()));
        host.link("eth0", LinkState::Up);
        host.snapshot("eth0");
        host.run(Duration::from_secs(10));
        assert_eq!(host.state(), State::Master);
        assert!(host.has(100));
    }
}
