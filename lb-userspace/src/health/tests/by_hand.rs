//! What is set by hand, beside checks, quorum, sorry server and reload.

use super::*;

/// What is done in a story, at one second after the other.
enum Do {
    Set(u8, SetServer),
    Check(&'static [u8]),
    Weights([u16; 2]),
}
use Do::{Check as Fails, Set, Weights};

fn pool(weights: [u16; 2], change: impl Fn(&mut Service)) -> Service {
    let mut s = service(vec![
        server(1, weights[0], vec![check(1)]),
        server(2, weights[1], vec![check(2)]),
    ]);
    change(&mut s);
    s
}

fn with_sorry(s: &mut Service) {
    s.sorry_server = Some(SorryServer {
        addr: ip(9),
        port: 80,
        method: ForwardMethod::Dr,
        inhibit: false,
    });
}

/// Goes through a story; the table and the living weight after each step.
fn story(change: impl Fn(&mut Service), steps: &[Do]) -> Vec<(Vec<(u8, u16)>, u64)> {
    let mut h = health(&pool([3, 2], &change));
    let mut now = at(0);
    let mut seen = Vec::new();
    for step in steps {
        match step {
            Set(last, set) => {
                assert!(h.set_by_hand(&key(), ip(*last), 80, *set).is_some());
            }
            // Every check runs, with its retries.
            Fails(dead) => {
                for _ in 0..4 {
                    now = h.next_probe().unwrap().max(now);
                    run(&mut h, now, |a| {
                        let dead = dead.iter().any(|d| ip(*d) == a);
                        if dead { fails(a) } else { Verdict::Ok }
                    });
                }
            }
            Weights(weights) => {
                h.apply(&[pool(*weights, &change)], now, &mut || 1 << 63);
            }
        }
        let (_, weight) = h.quorum(&key()).unwrap();
        seen.push((table(&h), weight));
    }
    seen
}

#[test]
fn weights_drain_disable_and_enable() {
    let seen = story(
        |_| {},
        &[
            Set(1, SetServer::Weight(7)),
            Set(1, SetServer::WeightDefault),
            Set(1, SetServer::Weight(0)),
            Set(2, SetServer::Disable),
            // Neither is touched by what the checks say.
            Fails(&[1, 2]),
            Fails(&[]),
            Set(1, SetServer::Disable),
            Set(1, SetServer::Enable),
            Set(2, SetServer::Enable),
        ],
    );
    let want: [(&[(u8, u16)], u64); 9] = [
        (&[(1, 7), (2, 2)], 9),
        (&[(1, 3), (2, 2)], 5),
        (&[(1, 0), (2, 2)], 2),
        (&[(1, 0)], 0),
        (&[], 0),
        (&[(1, 0)], 0),
        (&[], 0),
        (&[(1, 3)], 3),
        (&[(1, 3), (2, 2)], 5),
    ];
    assert_eq!(seen, want.map(|(table, weight)| (table.to_vec(), weight)));
}

#[test]
fn the_sorry_server_stands_in_for_what_was_taken_out_by_hand() {
    for set in [SetServer::Weight(0), SetServer::Disable] {
        let seen = story(
            with_sorry,
            &[
                Set(1, set),
                Set(2, set),
                // A check that passes changes nothing.
                Fails(&[]),
                Set(2, SetServer::Enable),
            ],
        );
        let (first, _) = &seen[0];
        assert_eq!(first.last(), Some(&(2, 2)), "{set:?}");
        assert_eq!(seen[1], (vec![(9, 1)], 0), "{set:?}");
        assert_eq!(seen[2], (vec![(9, 1)], 0), "{set:?}");
        assert_eq!((seen[3].0.last(), seen[3].1), (Some(&(2, 2)), 2), "{set:?}");
    }
}

#[test]
fn a_weight_by_hand_counts_for_the_quorum_with_its_hysteresis() {
    let mut s = pool([3, 2], with_sorry);
    (s.quorum, s.hysteresis) = (4, 1);
    let mut h = health(&s);
    let mut up = |set| {
        h.set_by_hand(&key(), ip(1), 80, set);
        h.quorum(&key()).unwrap()
    };
    assert_eq!(up(SetServer::Weight(1)), (true, 3), "kept at 4 - 1");
    assert_eq!(up(SetServer::Weight(0)), (false, 2));
    assert_eq!(up(SetServer::Weight(2)), (false, 4), "won at 4 + 1");
    assert_eq!(up(SetServer::Weight(3)), (true, 5));
}

#[test]
fn an_inhibited_server_stays_in_the_table_with_weight_0() {
    let inhibit = |s: &mut Service| {
        for server in &mut s.real_servers {
            server.inhibit_on_failure = true;
        }
    };
    let seen = story(
        inhibit,
        &[
            Set(1, SetServer::Disable),
            Set(1, SetServer::Weight(9)),
            Fails(&[2]),
            Set(1, SetServer::Enable),
        ],
    );
    let want = [
        (vec![(1, 0), (2, 2)], 2),
        (vec![(1, 0), (2, 2)], 2),
        (vec![(1, 0), (2, 0)], 0),
        (vec![(1, 3), (2, 0)], 3),
    ];
    assert_eq!(seen, want);
}

#[test]
fn a_reload_ends_a_weight_when_it_gives_another_one_and_nothing_else() {
    let seen = story(
        |_| {},
        &[
            Set(1, SetServer::Weight(9)),
            Set(2, SetServer::Disable),
            Weights([3, 5]),
            Weights([4, 5]),
            Set(2, SetServer::Enable),
        ],
    );
    let want: [(&[(u8, u16)], u64); 5] = [
        (&[(1, 9), (2, 2)], 11),
        (&[(1, 9)], 9),
        (&[(1, 9)], 9),
        (&[(1, 4)], 4),
        (&[(1, 4), (2, 5)], 9),
    ];
    assert_eq!(seen, want.map(|(table, weight)| (table.to_vec(), weight)));
}

#[test]
fn what_was_set_is_kept_over_a_restart_unless_the_file_says_otherwise() {
    let mut h = health(&pool([3, 2], |_| {}));
    h.set_by_hand(&key(), ip(1), 80, SetServer::Weight(9));
    h.set_by_hand(&key(), ip(2), 80, SetServer::Weight(1));
    h.set_by_hand(&key(), ip(2), 80, SetServer::Disable);
    let kept = h.kept();
    for (weights, want) in [
        ([3, 2], (vec![(1, 9)], Some(1))),
        ([4, 5], (vec![(1, 4)], None)),
    ] {
        let mut next = Health::with_by_hand(&kept);
        next.apply(&[pool(weights, |_| {})], at(0), &mut || 0);
        assert_eq!(table(&next), want.0);
        let second = next.targets(&key()).unwrap()[1].by_hand;
        assert_eq!((second.disabled, second.weight), (true, want.1));
        // It starts so: nothing is taken out.
        let told = said(&mut next);
        assert!(!told.iter().any(|l| l.contains("removing")), "{told:?}");
    }
    // One that is not configured any more is forgotten.
    let mut next = Health::with_by_hand(&kept);
    let only = service(vec![server(2, 2, vec![])]);
    next.apply(&[only], at(0), &mut || 0);
    assert_eq!(next.kept().len(), 1);
    assert_eq!(
        next.set_by_hand(&key(), ip(1), 80, SetServer::Disable),
        None
    );
}

#[test]
fn it_is_said_once_with_what_follows_from_it() {
    let mut h = health(&pool([3, 2], with_sorry));
    run(&mut h, at(0), passes);
    said(&mut h);
    for (last, set) in [
        (1, SetServer::Weight(0)),
        (1, SetServer::Weight(0)),
        (2, SetServer::Disable),
        (2, SetServer::Enable),
    ] {
        h.set_by_hand(&key(), ip(last), 80, set);
    }
    h.apply(&[pool([4, 2], with_sorry)], at(1), &mut || 0);
    let vs = "service TCP 192.0.2.1:80";
    let want = [
        format!("by hand: 10.0.0.1:80 of {vs} is draining (weight 0) (configured weight 3)"),
        format!("by hand: 10.0.0.2:80 of {vs} is disabled (configured weight 2)"),
        format!("removing 10.0.0.2:80 from {vs}: disabled by hand"),
        format!("quorum lost for {vs}: living weight 0, needed 1"),
        format!("sorry server 10.0.0.9:80 stands in for {vs}"),
        format!("by hand: 10.0.0.2:80 of {vs} is as configured (configured weight 2)"),
        format!("adding 10.0.0.2:80 to {vs}"),
        format!("quorum gained for {vs}: living weight 2, needed 1"),
        format!("sorry server 10.0.0.9:80 is not needed any more for {vs}"),
        format!("by hand: 10.0.0.1:80 of {vs} is as configured (configured weight 4)"),
    ];
    assert_eq!(said(&mut h), want);
}

#[test]
fn a_weight_by_hand_comes_before_what_a_check_says_which_is_not_forgotten() {
    let mut h = health(&service(vec![
        server(1, 3, vec![check(1)]),
        server(2, 2, vec![]),
    ]));
    h.set_by_hand(&key(), ip(1), 80, SetServer::Weight(0));
    run(&mut h, at(0), |_| Verdict::Weighs(Weighs::Exactly(8)));
    assert_eq!(table(&h), [(1, 0), (2, 2)]);
    assert_eq!(h.quorum(&key()), Some((true, 2)));
    h.set_by_hand(&key(), ip(1), 80, SetServer::Enable);
    assert_eq!(table(&h), [(1, 8), (2, 2)]);
    assert_eq!(h.quorum(&key()), Some((true, 10)));
}
