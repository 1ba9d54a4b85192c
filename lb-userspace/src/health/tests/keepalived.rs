//! keepalived 2.2.7's state changes, transcribed statement by statement (`check_api.c`:
//! `tcp_epilog`; `ipwrapper.c`: `init_service_vs`, `init_service_rs`, `perform_svr_state`,
//! `update_quorum_state`, `perform_quorum_state`, `update_svr_checker_state`; `ipvswrapper.c`:
//! `ipvs_cmd`), driven with random services and verdicts beside ours.

use super::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
struct CheckerT {
    is_up: bool,
    has_run: bool,
    retry: u32,
    retry_it: u32,
}

#[derive(Clone, Debug)]
struct Rs {
    id: u8,
    weight: u16,
    inhibit: bool,
    alive: bool,
    set: bool,
    num_failed_checkers: i32,
    checkers: Vec<CheckerT>,
}

#[derive(Debug)]
struct Vs {
    quorum: i64,
    hysteresis: i64,
    quorum_state_up: bool,
    rs: Vec<Rs>,
    s_svr: Option<Rs>,
    ipvs: BTreeMap<u8, u16>,
}

#[derive(Clone, Copy, PartialEq)]
enum Cmd {
    Add,
    Del,
    Edit,
}

fn ipvs_cmd(ipvs: &mut BTreeMap<u8, u16>, mut cmd: Cmd, rs: &mut Rs) {
    let mut weight = rs.weight;
    if cmd == Cmd::Del && rs.inhibit {
        weight = 0;
        cmd = Cmd::Edit;
    } else if cmd == Cmd::Add && rs.inhibit && rs.set {
        cmd = Cmd::Edit;
    } else if cmd == Cmd::Add && !rs.set {
        rs.set = true;
        if rs.inhibit && rs.num_failed_checkers > 0 {
            weight = 0;
        }
    } else if cmd == Cmd::Del && rs.set {
        rs.set = false;
    }
    match cmd {
        Cmd::Add | Cmd::Edit => {
            ipvs.insert(rs.id, weight);
        }
        Cmd::Del => {
            ipvs.remove(&rs.id);
        }
    }
}

impl Vs {
    fn new(s: &Service) -> Vs {
        let rs = s.real_servers.iter().map(|r| {
            let IpAddr::V4(a) = r.addr else {
                unreachable!()
            };
            Rs {
                id: a.octets()[3],
                weight: r.weight,
                inhibit: r.inhibit_on_failure,
                alive: false,
                set: false,
                num_failed_checkers: r.checks.iter().filter(|c| c.alpha).count() as i32,
                checkers: r
                    .checks
                    .iter()
                    .map(|c| CheckerT {
                        is_up: !c.alpha,
                        has_run: false,
                        retry: c.retry,
                        retry_it: c.retry,
                    })
                    .collect(),
            }
        });
        let s_svr = s.sorry_server.map(|s| Rs {
            id: 99,
            weight: 1,
            inhibit: s.inhibit,
            alive: false,
            set: false,
            num_failed_checkers: 0,
            checkers: vec![],
        });
        let mut vs = Vs {
            quorum: i64::from(s.quorum),
            hysteresis: i64::from(s.hysteresis),
            quorum_state_up: false,
            rs: rs.collect(),
            s_svr,
            ipvs: BTreeMap::new(),
        };
        // set_quorum_states(): nothing is alive yet
        vs.quorum_state_up = vs.weigh_live_realservers() >= vs.quorum + vs.hysteresis;
        // init_service_rs()
        for rs in &mut vs.rs {
            if (rs.num_failed_checkers == 0 && !rs.alive) || (rs.inhibit && !rs.set) {
                ipvs_cmd(&mut vs.ipvs, Cmd::Add, rs);
                if rs.num_failed_checkers == 0 {
                    rs.alive = true;
                }
            }
        }
        vs.update_quorum_state(true);
        if let Some(s) = vs.s_svr.as_mut().filter(|s| s.inhibit && !s.set) {
            s.num_failed_checkers = 1;
            ipvs_cmd(&mut vs.ipvs, Cmd::Add, s);
            s.num_failed_checkers = 0;
        }
        vs
    }

    fn weigh_live_realservers(&self) -> i64 {
        self.rs
            .iter()
            .filter(|r| r.alive)
            .map(|r| i64::from(r.weight))
            .sum()
    }

    fn perform_quorum_state(&mut self, add: bool) {
        for rs in &mut self.rs {
            if !rs.alive {
                continue;
            }
            ipvs_cmd(&mut self.ipvs, if add { Cmd::Add } else { Cmd::Del }, rs);
        }
    }

    fn update_quorum_state(&mut self, init: bool) {
        let weight_sum = self.weigh_live_realservers();
        let threshold = self.quorum
            + if self.quorum_state_up {
                -self.hysteresis
            } else {
                self.hysteresis
            };
        let s_svr_alive = self.s_svr.as_ref().is_some_and(|s| s.alive);
        if !self.quorum_state_up && weight_sum >= threshold {
            self.quorum_state_up = true;
            if s_svr_alive {
                let s = self.s_svr.as_mut().unwrap();
                ipvs_cmd(&mut self.ipvs, Cmd::Del, s);
                s.alive = false;
                self.perform_quorum_state(true);
            }
        } else if (self.quorum_state_up && (weight_sum == 0 || weight_sum < threshold))
            || (init && !self.quorum_state_up && self.s_svr.is_some() && !s_svr_alive)
        {
            self.quorum_state_up = false;
            if self.s_svr.is_some() && !s_svr_alive {
                self.perform_quorum_state(false);
                let s = self.s_svr.as_mut().unwrap();
                ipvs_cmd(&mut self.ipvs, Cmd::Add, s);
                s.alive = true;
            }
        }
    }

    fn perform_svr_state(&mut self, alive: bool, rs: usize) {
        if self.rs[rs].alive == alive {
            return;
        }
        if self.quorum_state_up || self.s_svr.as_ref().is_none_or(|s| !s.alive) {
            ipvs_cmd(
                &mut self.ipvs,
                if alive { Cmd::Add } else { Cmd::Del },
                &mut self.rs[rs],
            );
        }
        self.rs[rs].alive = alive;
        self.update_quorum_state(false);
    }

    fn update_svr_checker_state(&mut self, alive: bool, rs: usize, c: usize) {
        let checker = &mut self.rs[rs].checkers[c];
        if checker.is_up == alive {
            checker.has_run = true;
            return;
        }
        checker.has_run = true;
        if alive {
            if self.rs[rs].num_failed_checkers <= 1 {
                self.perform_svr_state(true, rs);
            }
        } else if self.rs[rs].num_failed_checkers == 0 {
            self.perform_svr_state(false, rs);
        }
        // set_checker_state()
        self.rs[rs].checkers[c].is_up = alive;
        self.rs[rs].num_failed_checkers += if alive { -1 } else { 1 };
    }

    /// Whether the next run comes after `delay_loop` (or after `delay_before_retry`).
    fn tcp_epilog(&mut self, is_success: bool, rs: usize, c: usize) -> bool {
        let checker = &mut self.rs[rs].checkers[c];
        let delay_loop;
        if is_success || checker.retry_it >= checker.retry {
            delay_loop = true;
            checker.retry_it = 0;
            if !checker.has_run || is_success != checker.is_up {
                self.update_svr_checker_state(is_success, rs, c);
            }
        } else {
            delay_loop = false;
            checker.retry_it += 1;
        }
        self.rs[rs].checkers[c].has_run = true;
        delay_loop
    }
}

fn a_check() -> impl Strategy<Value = (u32, bool)> {
    (0u32..3, any::<bool>())
}

fn a_service() -> impl Strategy<Value = Service> {
    let rs = (
        0u16..5,
        any::<bool>(),
        prop::collection::vec(a_check(), 0..3),
    );
    let sorry = prop::option::of(any::<bool>());
    (prop::collection::vec(rs, 1..6), 1u32..9, 0u32..9, sorry).prop_map(
        |(rs, quorum, hysteresis, sorry)| Service {
            quorum,
            hysteresis: hysteresis.min(quorum - 1),
            sorry_server: sorry.map(|inhibit| SorryServer {
                addr: ip(99),
                port: 80,
                method: ForwardMethod::Dr,
                inhibit,
            }),
            ..service(
                rs.into_iter()
                    .zip(1u8..)
                    .map(|((weight, inhibit_on_failure, checks), n)| {
                        let checks = checks.into_iter().zip(1000u16..);
                        let checks = checks.map(|((retry, alpha), port)| Check {
                            retry,
                            alpha,
                            port,
                            ..check(n)
                        });
                        RealServer {
                            inhibit_on_failure,
                            ..server(n, weight, checks.collect())
                        }
                    })
                    .collect(),
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_same_table_after_every_verdict(s in a_service(), verdicts in prop::collection::vec(any::<bool>(), 1..80)) {
        let mut theirs = Vs::new(&s);
        let mut h = health(&s);
        let mut verdicts = verdicts.into_iter();
        prop_assert_eq!(table(&h).into_iter().collect::<BTreeMap<_, _>>(), theirs.ipvs.clone(), "at start");
        'all: while let Some(now) = h.next_probe() {
            let mut probes = Vec::new();
            h.start(now, usize::MAX, &mut probes);
            for p in probes {
                let Some(ok) = verdicts.next() else { break 'all };
                let IpAddr::V4(a) = p.check.addr else { unreachable!() };
                let (rs, c) = (usize::from(a.octets()[3]) - 1, usize::from(p.check.port) - 1000);
                let delay_loop = theirs.tcp_epilog(ok, rs, c);
                h.verdict(p.id, &if ok { Verdict::Ok } else { Verdict::Failed(Failure::Refused) }, SECOND, now);
                prop_assert_eq!(table(&h).into_iter().collect::<BTreeMap<_, _>>(), theirs.ipvs.clone());
                let (up, weight) = h.quorum(&key()).unwrap();
                prop_assert_eq!((up, weight as i64), (theirs.quorum_state_up, theirs.weigh_live_realservers()));
                let delay = if delay_loop { p.check.interval } else { p.check.retry_delay };
                let index: usize = s.real_servers[..rs].iter().map(|r| r.checks.len()).sum::<usize>() + c;
                let next = h.report(now)[index].next_in_ms;
                prop_assert_eq!(next, Some(delay.as_millis() as u64));
            }
        }
    }
}
