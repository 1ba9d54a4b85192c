//! Two hosts with a session over a line that loses, delays and is cut. Everything comes from a seed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::model::Bfd;
use crate::random::Random;
use crate::time::Time;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct World {
    now: Time,
    random: Random,
    hosts: [Sessions; 2],
    /// Datagrams under way: when, to whom.
    line: BTreeMap<(Time, u64), (usize, [u8; LENGTH])>,
    /// When the last one of each arrives.
    last: [Time; 2],
    count: u64,
    /// Percent.
    loss: u64,
    cut: bool,
    /// When each host said what it thinks of the session.
    told: Vec<(Time, usize, bool)>,
    /// Packets that each sent and when, but for answers to polls.
    sent: [Vec<Time>; 2],
}

fn addr(host: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, host as u8 + 1])
}

impl World {
    fn new(seed: u64, configs: [Bfd; 2]) -> World {
        let mut world = World {
            now: Time::ZERO + ms(1000),
            random: Random(seed),
            hosts: [Sessions::default(), Sessions::default()],
            line: BTreeMap::new(),
            last: [Time::ZERO; 2],
            count: 0,
            loss: 0,
            cut: false,
            told: Vec::new(),
            sent: [Vec::new(), Vec::new()],
        };
        for (host, config) in configs.into_iter().enumerate() {
            world.configure(host, config);
        }
        world
    }

    fn configure(&mut self, host: usize, config: Bfd) {
        let random = &mut self.random;
        self.hosts[host].configure(&[config], self.now, &mut || random.next());
    }

    fn take(&mut self, host: usize) {
        while let Some(action) = self.hosts[host].poll_action() {
            match action {
                Action::Send { packet, .. } => {
                    let (parsed, _) = Packet::parse(&packet).expect("what is sent is good");
                    if !parsed.last {
                        self.sent[host].push(self.now);
                    }
                    if !self.cut && self.random.below(100) >= self.loss {
                        let delay = Duration::from_micros(50 + self.random.below(100));
                        // A line does not let packets overtake each other.
                        let at = (self.now + delay).max(self.last[host]);
                        self.last[host] = at;
                        self.count += 1;
                        let key = (at, self.count);
                        self.line.insert(key, (1 - host, packet));
                    }
                }
                Action::Told(up) => self.told.push((self.now, host, up.up)),
                Action::Changed(_) => {}
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let due = self.hosts.iter().filter_map(Sessions::next_deadline);
            let arrives = self.line.keys().next().map(|(at, _)| *at);
            let Some(next) = due.chain(arrives).min().filter(|at| *at <= until) else {
                break;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.line.first_entry()
                && entry.key().0 <= self.now
            {
                let (host, packet) = entry.remove();
                let datagram = Datagram {
                    from: addr(1 - host),
                    to: addr(host),
                    ttl: 255,
                    payload: &packet,
                };
                let random = self.random.next();
                self.hosts[host].receive(datagram, self.now, random);
                self.take(host);
            }
            for host in 0..2 {
                let random = &mut self.random;
                self.hosts[host].tick(self.now, self.now, &mut || random.next());
                self.take(host);
            }
        }
        self.now = until;
    }

    fn states(&self) -> [State; 2] {
        [0, 1].map(|host: usize| self.hosts[host].status()[0].state)
    }
}

fn configs(random: &mut Random) -> [Bfd; 2] {
    [0, 1].map(|host| {
        let interval = |r: &mut Random| ms([2, 10, 50, 300, 1500][r.below(5) as usize]);
        Bfd {
            min_rx: interval(random),
            min_tx: interval(random),
            multiplier: 1 + random.below(5) as u8,
            // One of them has to begin.
            passive: host == 1 && random.below(3) == 0,
            ..Bfd::new("s", addr(1 - host))
        }
    })
}

#[test]
fn both_sides_come_up_and_notice_a_cut_in_their_detection_time() {
    for seed in 0..300 {
        let mut world = World::new(seed, configs(&mut Random(seed)));
        world.run(ms(4000));
        assert_eq!(world.states(), [State::Up; 2], "seed {seed}");
        assert!(world.told.iter().all(|(_, _, up)| *up), "seed {seed}");
        // The polls have ended: each goes by what the other wants.
        world.run(ms(4000));
        let status = [0, 1].map(|h: usize| world.hosts[h].status().remove(0));
        world.told.clear();
        world.cut = true;
        world.line.clear();
        let cut = world.now;
        world.run(ms(20_000));
        assert_eq!(world.states(), [State::Down; 2], "seed {seed}");
        for host in 0..2 {
            let told: Vec<_> = world.told.iter().filter(|(_, h, _)| *h == host).collect();
            let [(at, _, false)] = told[..] else {
                panic!("seed {seed}: {told:?}");
            };
            let (took, detection) = (at.since(cut), status[host].detection);
            assert!(took <= detection, "seed {seed}: {took:?} of {detection:?}");
            let least = detection.saturating_sub(status[1 - host].interval.unwrap() + ms(2));
            assert!(took >= least, "seed {seed}: {took:?}, not {least:?}");
        }
        world.told.clear();
        world.cut = false;
        world.run(ms(8000));
        assert_eq!(world.states(), [State::Up; 2], "seed {seed}: it heals");
        assert_eq!(world.told.len(), 2, "seed {seed}: {:?}", world.told);
    }
}

#[test]
fn a_line_that_loses_packets_keeps_a_session_whose_multiplier_bears_it() {
    for seed in 0..40 {
        let config = |host: usize| Bfd {
            multiplier: 8,
            ..Bfd::new("s", addr(1 - host))
        };
        let mut world = World::new(seed, [config(0), config(1)]);
        world.loss = 10;
        world.run(ms(30_000));
        assert_eq!(world.states(), [State::Up; 2], "seed {seed}");
        let downs: u64 = world.hosts.iter().map(|h| h.status()[0].went_down).sum();
        assert_eq!(downs, 0, "seed {seed}");
    }
}

#[test]
fn a_line_that_loses_most_never_ends_in_disagreement() {
    for seed in 0..60 {
        let mut world = World::new(seed, configs(&mut Random(seed)));
        world.loss = 60;
        world.run(ms(60_000));
        world.loss = 0;
        world.run(ms(30_000));
        assert_eq!(world.states(), [State::Up; 2], "seed {seed}");
        for host in 0..2 {
            let last = world.told.iter().rfind(|(_, h, _)| *h == host);
            assert!(last.is_some_and(|(_, _, up)| *up), "seed {seed}");
        }
    }
}

#[test]
fn packets_keep_their_distance_and_other_intervals_take_nobody_down() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let [a, b] = configs(&mut random);
        let mut world = World::new(seed, [a.clone(), b]);
        world.run(ms(8000));
        world.sent = [Vec::new(), Vec::new()];
        world.run(ms(10_000));
        for host in 0..2 {
            let interval = world.hosts[host].status()[0].interval.unwrap();
            let gaps = world.sent[host].windows(2).map(|w| w[1].since(w[0]));
            for gap in gaps {
                assert!(
                    gap >= interval * 3 / 4,
                    "seed {seed}: {gap:?} of {interval:?}"
                );
                assert!(gap <= interval, "seed {seed}: {gap:?} of {interval:?}");
            }
        }
        let [c, _] = configs(&mut random);
        let other = Bfd {
            min_rx: c.min_rx,
            min_tx: c.min_tx,
            multiplier: c.multiplier,
            ..a
        };
        world.told.clear();
        world.configure(0, other.clone());
        world.run(ms(10_000));
        assert!(world.told.is_empty(), "seed {seed}: {:?}", world.told);
        let there = world.hosts[1].status().remove(0);
        assert!(there.interval.unwrap() >= other.min_rx, "seed {seed}");
    }
}
