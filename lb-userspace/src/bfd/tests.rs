//! The rules of RFC 5880 as tables and stories.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::Bfd;
use crate::time::Time;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
/// The discriminator of the neighbour in these tests.
const THEIRS: u32 = 77;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn at(millis: u64) -> Time {
    Time::ZERO + ms(millis)
}

fn bfd() -> Bfd {
    Bfd {
        multiplier: 3,
        ..Bfd::new("b", THERE)
    }
}

/// A packet of the neighbour that knows nothing yet.
fn down() -> Packet {
    Packet {
        diag: Diag::NONE,
        state: State::Down,
        poll: false,
        last: false,
        demand: false,
        multiplier: 3,
        my_discriminator: THEIRS,
        your_discriminator: 0,
        min_tx: 1_000_000,
        min_rx: 10_000,
    }
}

/// What a [`Sessions`] did: packets, and the rest in words.
#[derive(Debug, Default)]
struct Did {
    sent: Vec<Packet>,
    said: Vec<String>,
}

struct Test {
    sessions: Sessions,
    now: Time,
}

impl Test {
    fn new(config: Bfd) -> Test {
        let mut sessions = Sessions::default();
        sessions.configure(&[config], at(0), &mut || 5);
        Test {
            sessions,
            now: at(0),
        }
    }

    fn discriminator(&self) -> u32 {
        self.sessions.status()[0].discriminator
    }

    /// The neighbour's packet in a state that it can only have when it knows this side.
    fn says(&self, state: State) -> Packet {
        Packet {
            state,
            your_discriminator: self.discriminator(),
            ..down()
        }
    }

    fn take(&mut self) -> Did {
        let mut did = Did::default();
        while let Some(action) = self.sessions.poll_action() {
            match action {
                Action::Send { packet, .. } => did.sent.push(Packet::parse(&packet).unwrap().0),
                Action::Changed(c) => {
                    did.said
                        .push(format!("{} -> {}, {}", c.from.name(), c.to.name(), c.diag))
                }
                Action::Told(up) => did.said.push(format!("up: {}", up.up)),
            }
        }
        did
    }

    fn hear(&mut self, packet: &Packet) -> Did {
        self.hear_raw(&packet.emit(), 255)
    }

    fn hear_raw(&mut self, payload: &[u8], ttl: u8) -> Did {
        let datagram = Datagram {
            from: THERE,
            to: HERE,
            ttl,
            payload,
        };
        self.sessions.receive(datagram, self.now, 1 << 63);
        self.take()
    }

    /// Lets time pass until `until`.
    fn run(&mut self, until: Time) -> Did {
        let mut did = Did::default();
        while let Some(due) = self.sessions.next_deadline().filter(|d| *d <= until) {
            self.now = due.max(self.now);
            self.sessions.tick(self.now, self.now, &mut || 1 << 63);
            let more = self.take();
            did.sent.extend(more.sent);
            did.said.extend(more.said);
        }
        self.now = until;
        did
    }

    fn state(&self) -> State {
        self.sessions.status()[0].state
    }

    /// Up, with a neighbour that is up, sends every 10 ms and has answered the poll.
    fn up(config: Bfd) -> Test {
        let mut t = Test::new(config);
        t.run(at(0));
        t.hear(&down());
        t.hear(&t.says(State::Init));
        let fast = Packet {
            min_tx: 10_000,
            last: true,
            ..t.says(State::Up)
        };
        t.hear(&fast);
        assert_eq!(t.state(), State::Up);
        t
    }
}

#[test]
fn a_session_comes_up_and_says_each_step_at_once() {
    let mut t = Test::new(bfd());
    let first = t.run(at(0)).sent;
    assert_eq!(first.len(), 1);
    assert_eq!(
        (first[0].state, first[0].your_discriminator),
        (State::Down, 0)
    );
    assert_eq!((first[0].min_tx, first[0].min_rx), (1_000_000, 10_000));
    // At the slow rate, each packet 75 to 100 % of a second after the one before.
    assert_eq!(t.run(at(874)).sent.len(), 0);
    assert_eq!(t.run(at(876)).sent.len(), 1);
    let did = t.hear(&down());
    assert_eq!(did.said, ["Down -> Init, no diagnostic"]);
    assert_eq!(did.sent[0].state, State::Init);
    assert_eq!(did.sent[0].your_discriminator, THEIRS);
    let did = t.hear(&t.says(State::Init));
    assert_eq!(did.said, ["up: true", "Init -> Up, no diagnostic"]);
    let up = did.sent[0];
    assert_eq!((up.state, up.poll, up.min_tx), (State::Up, true, 10_000));
    // Fast at once, and asking until it is answered.
    let sent = t.run(t.now + ms(100)).sent;
    assert!((10..=13).contains(&sent.len()), "{}", sent.len());
    assert!(sent.iter().all(|p| p.poll));
    let answer = Packet {
        last: true,
        min_tx: 10_000,
        ..t.says(State::Up)
    };
    t.hear(&answer);
    assert!(t.run(t.now + ms(20)).sent.iter().all(|p| !p.poll));
}

#[test]
fn a_neighbour_that_falls_silent_is_missed_after_its_multiplier_of_intervals() {
    let mut t = Test::up(bfd());
    let heard = t.now;
    assert_eq!(t.run(heard + ms(29)).said, [] as [&str; 0]);
    let did = t.run(heard + ms(30));
    assert_eq!(
        did.said,
        ["up: false", "Up -> Down, control detection time expired"]
    );
    let told = did.sent.last().unwrap();
    assert_eq!((told.state, told.diag), (State::Down, Diag::EXPIRED));
    assert_eq!(told.your_discriminator, 0, "it is not known any more");
    assert_eq!(told.min_tx, 1_000_000, "slow again");
    assert_eq!(t.run(t.now + ms(800)).sent.len(), 0);
}

#[test]
fn what_was_not_read_yet_is_no_silence() {
    let mut t = Test::up(bfd());
    let late = t.now + ms(500);
    let did = |t: &mut Test, heard| {
        t.sessions.tick(late, heard, &mut || 1 << 63);
        t.take()
    };
    let before = t.now + ms(29);
    let went_on = did(&mut t, before);
    assert_eq!(went_on.said, [] as [&str; 0]);
    assert_eq!(went_on.sent.len(), 1, "it is not silent itself");
    let before = t.now + ms(30);
    assert_eq!(did(&mut t, before).said[0], "up: false");
}

#[test]
fn what_the_neighbour_signals_is_answered_with_its_diagnostic() {
    let mut t = Test::up(bfd());
    let did = t.hear(&down());
    assert_eq!(
        did.said,
        ["up: false", "Up -> Down, neighbor signaled session down"],
        "a neighbour that begins anew does not know this side yet"
    );
    assert_eq!(did.sent[0].diag, Diag::SIGNALED);
}

#[test]
fn a_neighbour_that_is_taken_down_by_its_operator_counts_as_before() {
    let mut t = Test::up(bfd());
    let did = t.hear(&t.says(State::AdminDown));
    assert_eq!(did.said, ["Up -> Down, neighbor signaled session down"]);
    // Nor when it is silent then.
    assert_eq!(t.run(t.now + ms(60_000)).said, [] as [&str; 0]);
    // One that is wanted again and does not come up is missed after a while.
    t.hear(&t.says(State::Up));
    assert_eq!(t.run(t.now + ms(2999)).said, [] as [&str; 0]);
    assert_eq!(t.run(t.now + ms(2)).said, ["up: false"]);
}

#[test]
fn a_session_that_never_came_up_counts_as_down_after_its_multiplier_of_idle_intervals() {
    let mut t = Test::new(bfd());
    assert_eq!(t.sessions.standings().next().unwrap().1, None);
    assert_eq!(t.run(at(2999)).said, [] as [&str; 0]);
    assert_eq!(t.run(at(3000)).said, ["up: false"]);
    assert_eq!(t.sessions.standings().next().unwrap().1, Some(false));
}

#[test]
fn a_session_that_is_not_up_asks_at_its_idle_interval() {
    let mut t = Test::new(Bfd {
        idle_tx: ms(5000),
        ..bfd()
    });
    let sent = t.run(at(30_000)).sent;
    // Each up to a quarter sooner.
    assert!((6..=9).contains(&sent.len()), "{}", sent.len());
    assert!(sent.iter().all(|p| p.min_tx == 5_000_000));
    // Also once it was up.
    t.hear(&t.says(State::Init));
    assert_eq!(t.state(), State::Up);
    t.hear(&down());
    t.hear(&t.says(State::AdminDown));
    assert_eq!(t.state(), State::Down);
    let sent = t.run(t.now + ms(20_000)).sent;
    assert!(sent.len() <= 7, "{}", sent.len());
    assert!(sent.iter().skip(1).all(|p| p.min_tx == 5_000_000));
}

#[test]
fn init_ends_too_when_nothing_is_heard() {
    let mut t = Test::new(bfd());
    t.run(at(100));
    t.hear(&down());
    assert_eq!(t.state(), State::Init);
    assert_eq!(
        t.run(at(3100)).said,
        ["up: false", "Init -> Down, control detection time expired"]
    );
}

#[test]
fn passive_waits_to_be_asked() {
    let mut t = Test::new(Bfd {
        passive: true,
        ..bfd()
    });
    assert_eq!(t.run(at(10_000)).sent.len(), 0);
    assert_eq!(t.hear(&down()).sent.len(), 1);
    assert!(!t.run(t.now + ms(1000)).sent.is_empty());
    // Forgotten, it is silent again.
    t.run(t.now + ms(5000));
    assert_eq!(t.run(t.now + ms(10_000)).sent.len(), 0);
}

#[test]
fn a_poll_is_answered_at_once_and_only_once() {
    let mut t = Test::up(bfd());
    let poll = Packet {
        poll: true,
        ..t.says(State::Up)
    };
    let sent = t.hear(&poll).sent;
    assert_eq!(sent.len(), 1);
    assert!(sent[0].last && !sent[0].poll);
    assert!(t.run(t.now + ms(50)).sent.iter().all(|p| !p.last));
}

#[test]
fn the_neighbour_is_sent_no_more_than_it_can_receive() {
    for (min_rx, want) in [(10_000, 10), (100_000, 100), (3_000_000, 3000), (0, 0)] {
        let mut t = Test::up(bfd());
        let slow = Packet {
            min_rx,
            ..t.says(State::Up)
        };
        t.hear(&slow);
        t.run(t.now + ms(10));
        let interval = t.sessions.status()[0].interval;
        assert_eq!(interval.map_or(0, |i| i.as_millis()), want);
    }
    // Demand mode: silent while both are up.
    let mut t = Test::up(bfd());
    let demand = Packet {
        demand: true,
        ..t.says(State::Up)
    };
    t.hear(&demand);
    assert_eq!(t.run(t.now + ms(25)).sent.len(), 0);
}

#[test]
fn longer_intervals_wait_until_the_neighbour_knows() {
    let mut t = Test::up(bfd());
    let own = t.discriminator();
    let slower = Bfd {
        min_tx: ms(200),
        min_rx: ms(5),
        ..bfd()
    };
    t.sessions
        .configure(std::slice::from_ref(&slower), t.now, &mut || 5);
    assert_eq!(t.discriminator(), own, "the session goes on");
    let status = |t: &Test| {
        let s = t.sessions.status().remove(0);
        (s.interval.unwrap().as_millis(), s.detection.as_millis())
    };
    assert_eq!(status(&t), (10, 30));
    let sent = t.run(t.now + ms(20)).sent;
    let offered = sent.last().unwrap();
    assert_eq!((offered.min_tx, offered.min_rx), (200_000, 5000));
    assert!(offered.poll);
    let known = Packet {
        last: true,
        min_tx: 1000,
        ..t.says(State::Up)
    };
    t.hear(&known);
    assert_eq!(status(&t), (200, 15));
    // Shorter ones and a slower receiver hold at once.
    t.sessions.configure(&[bfd()], t.now, &mut || 5);
    assert_eq!(status(&t), (10, 30));
    // What is changed during a poll is asked for after it.
    t.sessions.configure(&[slower], t.now, &mut || 5);
    assert_eq!(status(&t), (10, 30));
    t.hear(&known);
    assert_eq!(status(&t), (10, 30), "that answered the question before");
    t.hear(&known);
    assert_eq!(status(&t), (200, 15));
}

#[test]
fn another_neighbour_is_another_session() {
    let mut t = Test::up(bfd());
    let other = Bfd {
        neighbor: "10.0.0.9".parse().unwrap(),
        ..bfd()
    };
    let both = [
        bfd(),
        Bfd {
            name: "c".to_owned(),
            ..other.clone()
        },
    ];
    t.sessions.configure(&both, t.now, &mut || 5);
    let status = t.sessions.status();
    assert_eq!(status[0].state, State::Up);
    assert_ne!(status[0].discriminator, status[1].discriminator);
    t.sessions.configure(&[other], t.now, &mut || 5);
    assert_eq!(t.state(), State::Down);
    assert_eq!(t.sessions.status().len(), 1);
}

#[test]
fn a_session_is_found_by_its_discriminator_or_by_its_addresses() {
    let two: IpAddr = "10.0.0.3".parse().unwrap();
    let config = |name: &str, source| Bfd {
        source: Some(source),
        ..Bfd::new(name, THERE)
    };
    let mut sessions = Sessions::default();
    let mut next = 100;
    let wanted = [config("a", HERE), config("b", two)];
    sessions.configure(&wanted, at(0), &mut || {
        next += 1;
        next
    });
    let mut receive = |from, to, packet: Packet| {
        let payload = &packet.emit();
        let datagram = Datagram {
            from,
            to,
            ttl: 255,
            payload,
        };
        sessions.receive(datagram, at(0), 0);
        let states = sessions.status().into_iter().map(|s| s.state.name());
        let refused = sessions.refused().get(Reject::UnknownSession);
        (states.collect::<Vec<_>>().join(" "), refused)
    };
    let init = Packet {
        state: State::Init,
        your_discriminator: 102,
        ..down()
    };
    let stranger: IpAddr = "10.0.0.8".parse().unwrap();
    for (from, to, packet, want) in [
        (stranger, HERE, down(), ("Down Down", 1)),
        (THERE, stranger, down(), ("Down Down", 2)),
        (THERE, two, down(), ("Down Init", 2)),
        (THERE, HERE, down(), ("Init Init", 2)),
        (
            stranger,
            HERE,
            Packet {
                your_discriminator: 9,
                ..init
            },
            ("Init Init", 3),
        ),
        (THERE, HERE, init, ("Init Up", 3)),
    ] {
        let (states, refused) = receive(from, to, packet);
        assert_eq!((states.as_str(), refused), want);
    }
}

#[test]
fn what_is_wrong_is_counted_under_its_reason_and_changes_nothing() {
    let t = Test::up(bfd());
    let good = t.says(State::Up).emit();
    let own = t.discriminator();
    let with = |at: usize, value: u8| {
        let mut packet = good.to_vec();
        packet[at] = value;
        packet
    };
    let emit = |p: Packet| p.emit().to_vec();
    let longer = |extra: usize| [&good[..], &vec![0; extra]].concat();
    let rows: Vec<(Reject, Vec<u8>, u8)> = vec![
        (Reject::Length, vec![], 255),
        (Reject::Length, good[..23].to_vec(), 255),
        (Reject::Length, with(3, 23), 255),
        (Reject::Length, with(3, 25), 255),
        (Reject::Version, with(0, 0), 255),
        (Reject::Version, with(0, 2 << 5), 255),
        (Reject::DetectMult, with(2, 0), 255),
        (Reject::Multipoint, with(1, good[1] | 1), 255),
        (
            Reject::MyDiscriminator,
            emit(Packet {
                my_discriminator: 0,
                ..down()
            }),
            255,
        ),
        (
            Reject::YourDiscriminator,
            emit(Packet {
                state: State::Up,
                ..down()
            }),
            255,
        ),
        (
            Reject::YourDiscriminator,
            emit(Packet {
                state: State::Init,
                ..down()
            }),
            255,
        ),
        (Reject::PollFinal, with(1, good[1] | 0x30), 255),
        (
            Reject::UnknownSession,
            emit(Packet {
                your_discriminator: own + 1,
                ..down()
            }),
            255,
        ),
        (Reject::Ttl, emit(down()), 254),
        (Reject::Ttl, emit(down()), 0),
        (Reject::Authentication, with(1, good[1] | 4), 255),
        // With its authentication section.
        (
            Reject::Authentication,
            {
                let mut p = longer(4);
                p[1] |= 4;
                p[3] = 28;
                p
            },
            255,
        ),
    ];
    for (reject, payload, ttl) in rows {
        let mut t = Test::up(bfd());
        let before = t.sessions.status();
        let did = t.hear_raw(&payload, ttl);
        assert_eq!(t.sessions.status(), before, "{reject:?} {payload:?}");
        assert_eq!((did.sent.len(), did.said.len()), (0, 0), "{reject:?}");
        let counted: Vec<(Reject, u64)> = t
            .sessions
            .refused()
            .iter()
            .filter(|(_, n)| *n != 0)
            .collect();
        assert_eq!(counted, [(reject, 1)], "{payload:?} {ttl}");
    }
    // What follows the packet is none of it.
    let mut t = Test::up(bfd());
    let before = t.sessions.status()[0].received;
    t.hear_raw(&longer(7), 255);
    assert_eq!(t.sessions.status()[0].received, before + 1);
}

#[test]
fn every_reason_has_its_name_everywhere() {
    for reject in Reject::ALL {
        let json = serde_json::to_string(reject).unwrap();
        assert_eq!(json, format!("\"{}\"", reject.name()));
    }
}

#[test]
fn hops_are_counted_from_the_own_ttl() {
    for (ttl, max_hops, arrives, taken) in [
        (255, 0, 255, true),
        (255, 0, 254, false),
        (255, 2, 253, true),
        (255, 2, 252, false),
        (255, 255, 1, true),
        (64, 0, 64, true),
        (64, 0, 255, true),
        (64, 0, 63, false),
        (64, 1, 63, true),
    ] {
        let config = Bfd {
            ttl,
            max_hops,
            ..bfd()
        };
        assert_eq!(
            config.takes_ttl(arrives),
            taken,
            "{ttl} {max_hops} {arrives}"
        );
    }
}

fn packets() -> impl Strategy<Value = Packet> {
    let states = prop::sample::select(vec![State::AdminDown, State::Down, State::Init, State::Up]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let numbers = (
        1..=255u8,
        1..=u32::MAX,
        1..=u32::MAX,
        any::<u32>(),
        any::<u32>(),
    );
    (0..32u8, states, flags, numbers).prop_map(|(diag, state, (poll, last, demand), n)| {
        let (multiplier, my_discriminator, your_discriminator, min_tx, min_rx) = n;
        Packet {
            diag: Diag(diag),
            state,
            poll: poll && !last,
            last,
            demand,
            multiplier,
            my_discriminator,
            your_discriminator,
            min_tx,
            min_rx,
        }
    })
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed(packet in packets()) {
        let (parsed, authenticated) = Packet::parse(&packet.emit()).unwrap();
        prop_assert_eq!(parsed, packet);
        prop_assert!(!authenticated.0);
    }

    #[test]
    fn any_octets_are_a_packet_or_refused(octets in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut t = Test::up(bfd());
        t.hear_raw(&octets, 255);
        let refused: u64 = t.sessions.refused().iter().map(|(_, n)| n).sum();
        let received = t.sessions.status()[0].received;
        prop_assert_eq!(refused + received, 4);
    }

    /// Whatever a neighbour says: an answer for each packet at most, the timers stay in their bounds,
    /// and silence takes the session down.
    #[test]
    fn a_neighbour_that_says_anything_bounds_what_is_sent(
        said in prop::collection::vec((packets(), 0..50u64), 1..40)
    ) {
        let mut t = Test::new(bfd());
        t.run(at(0));
        let (mut sent, begun) = (0, t.now);
        for (packet, gap) in &said {
            let packet = Packet { your_discriminator: t.discriminator(), ..*packet };
            let answers = t.hear(&packet).sent.len();
            prop_assert!(answers <= 1);
            sent += answers + t.run(t.now + ms(*gap)).sent.len();
        }
        let periods = t.now.since(begun).as_millis() as usize * 4 / 30;
        prop_assert!(sent <= 2 * said.len() + periods + 2, "{} in {:?}", sent, t.now);
        let left = t.sessions.status()[0].detection;
        t.run(t.now + left + ms(1));
        prop_assert_eq!(t.state(), State::Down);
    }
}
