//! Checks with several URLs: stories, and beside keepalived's `check_http.c`, transcribed.

use super::*;
use crate::model::{Http, HttpVersion, StatusCodes, Url};

fn url(path: &str) -> Url {
    Url {
        path: path.into(),
        host: None,
        status: StatusCodes::default(),
        digest: None,
        regex: None,
    }
}

fn web(urls: usize, fast_recovery: bool) -> Check {
    let http = Http {
        tls: false,
        sni: false,
        trust: crate::model::Trust::default(),
        version: HttpVersion::default(),
        fast_recovery,
        urls: (0..urls).map(|n| url(&format!("/{n}"))).collect(),
    };
    Check {
        kind: CheckKind::Http(http),
        ..check(1)
    }
}

/// Runs what is due at `now`: the URL, and how long until the next run.
fn ask(h: &mut Health, now: Time, good: bool) -> (usize, Duration) {
    let mut probes = Vec::new();
    h.start(now, 1, &mut probes);
    let probe = &probes[0];
    let verdict = match good {
        true => Verdict::Ok,
        false => Verdict::Failed(Failure::Answer("status 500".into())),
    };
    h.verdict(probe.id, &verdict, Duration::ZERO, now);
    (probe.url, h.next_probe().unwrap().since(now))
}

fn up(h: &Health) -> bool {
    h.targets(&key()).unwrap()[0].up
}

#[test]
fn urls_are_asked_for_in_turn() {
    let mut h = health(&service(vec![server(1, 1, vec![web(3, false)])]));
    let mut now = at(0);
    for want in [0, 1, 2, 0, 1, 2, 0] {
        let (url, next) = ask(&mut h, now, true);
        assert_eq!((url, next), (want, 10 * SECOND));
        now = now + next;
    }
    assert_eq!(
        said(&mut h),
        [
            "HTTP_GET of 10.0.0.1:80 succeeds (service TCP 192.0.2.1:80)",
            "quorum gained for service TCP 192.0.2.1:80: living weight 1, needed 1"
        ]
        .into_iter()
        .rev()
        .collect::<Vec<_>>(),
        "once, when the first round is whole"
    );
}

/// The story of one outage: what is asked for, what it gives, how long until the next, up.
#[test]
fn the_one_that_failed_is_asked_for_until_it_is_good_and_then_all() {
    for (fast, pause) in [(false, 10 * SECOND), (true, MILLI)] {
        let mut h = health(&service(vec![server(1, 1, vec![web(2, fast)])]));
        let mut now = at(0);
        let long = 10 * SECOND;
        let retry = 3 * SECOND;
        for (n, (good, url, next, is_up)) in [
            (true, 0, pause, true),
            (true, 1, long, true),
            (true, 0, long, true),
            (false, 1, retry, true),
            (true, 1, long, true),
            (true, 0, long, true),
            (false, 1, retry, true),
            (false, 1, retry, true),
            // Two retries.
            (false, 1, long, false),
            (false, 1, long, false),
            (true, 1, pause, false),
            (true, 0, pause, false),
            (false, 1, retry, false),
            (false, 1, retry, false),
            (true, 1, long, true),
            (true, 0, long, true),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(ask(&mut h, now, good), (url, next), "step {n}, {fast}");
            assert_eq!(up(&h), is_up, "step {n}");
            now = now + next;
        }
    }
}

const MILLI: Duration = Duration::from_millis(1);

#[test]
fn the_first_round_forgives_nothing() {
    for alpha in [false, true] {
        let mut h = health(&service(vec![server(
            1,
            1,
            vec![Check {
                alpha,
                ..web(2, true)
            }],
        )]));
        assert_eq!(up(&h), !alpha);
        assert_eq!(ask(&mut h, at(0), true), (0, MILLI));
        assert_eq!(up(&h), !alpha, "half a round is none");
        assert_eq!(ask(&mut h, at(1), false), (1, 10 * SECOND));
        assert!(!up(&h));
    }
}

#[test]
fn a_forgiven_failure_names_what_is_wrong() {
    for log_all_failures in [false, true] {
        let web = Check {
            log_all_failures,
            ..web(1, false)
        };
        let mut h = health(&service(vec![server(1, 1, vec![web])]));
        ask(&mut h, at(0), true);
        said(&mut h);
        ask(&mut h, at(10), false);
        let line = "HTTP_GET of 10.0.0.1:80 failed: status 500, retry 1 follows (service TCP 192.0.2.1:80)";
        let want: Vec<&str> = log_all_failures.then_some(line).into_iter().collect();
        assert_eq!(said(&mut h), want);
    }
}

#[test]
fn a_round_survives_a_reload_that_asks_for_the_same() {
    let mut h = health(&service(vec![server(1, 1, vec![web(2, false)])]));
    ask(&mut h, at(0), true);
    ask(&mut h, at(10), true);
    ask(&mut h, at(20), true);
    let apply = |h: &mut Health, check: Check| {
        let s = service(vec![server(1, 1, vec![check])]);
        h.apply(&[s], at(25), &mut || 0);
        let mut probes = Vec::new();
        h.start(at(40), 1, &mut probes);
        (probes[0].url, h.report(at(40))[0].runs)
    };
    assert_eq!(apply(&mut h, web(2, true)), (1, 3), "only the pace changes");
    let mut other = web(2, true);
    if let CheckKind::Http(http) = &mut other.kind {
        http.urls[1].path = "/other".into();
    }
    assert_eq!(apply(&mut h, other), (0, 0), "another URL is another check");
}

/// `http_checker_t`, `checker_t`; `url_it` counts, and `None` is the end of the list.
#[derive(Debug)]
struct T {
    urls: usize,
    url_it: Option<usize>,
    failed_url: Option<usize>,
    is_up: bool,
    has_run: bool,
    retry: u32,
    retry_it: u32,
    fast_recovery: bool,
    delay_loop: Duration,
    delay_before_retry: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Method {
    New,
    Retry,
    Failed,
}

impl T {
    fn epilog(&mut self, method: Method) -> Duration {
        if method == Method::New {
            self.url_it = self.url_it.map(|i| i + 1).filter(|i| *i < self.urls);
            self.retry_it = 0;
        } else if method == Method::Retry {
            self.retry_it += 1;
        }
        if method == Method::New && self.url_it.is_none() && self.failed_url.is_none() {
            if !self.is_up || !self.has_run {
                self.is_up = true;
                self.has_run = true;
            }
            self.url_it = Some(0);
            self.retry_it = 0;
        } else if method == Method::Retry && self.retry_it > self.retry {
            self.is_up = false;
            self.failed_url = self.url_it;
        } else if method == Method::New && self.failed_url.is_some() {
            self.failed_url = None;
            self.url_it = Some(0);
            self.retry_it = 0;
        }
        let delay;
        if method == Method::New {
            delay = self.delay_loop;
            if !self.has_run {
                self.retry_it = self.retry;
            }
        } else if self.failed_url.is_some() {
            delay = self.delay_before_retry.max(self.delay_loop);
        } else {
            delay = self.delay_before_retry;
        }
        if self.fast_recovery && (!self.has_run || (!self.is_up && self.failed_url.is_none())) {
            return Duration::ZERO;
        }
        delay
    }

    fn timeout_epilog(&mut self) -> Duration {
        if self.is_up || !self.has_run {
            self.has_run = true;
            return self.epilog(Method::Retry);
        }
        self.epilog(Method::Failed)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn as_in_keepalived(
        urls in 1usize..4,
        retry in 0u32..4,
        flags in any::<[bool; 2]>(),
        pauses in (1u64..20, 1u64..20),
        answers in prop::collection::vec(prop::bool::weighted(0.6), 1..60),
    ) {
        let [alpha, fast_recovery] = flags;
        let mut theirs = T {
            urls,
            url_it: Some(0),
            failed_url: None,
            is_up: !alpha,
            has_run: false,
            retry,
            retry_it: retry,
            fast_recovery,
            delay_loop: Duration::from_secs(pauses.0),
            delay_before_retry: Duration::from_secs(pauses.1),
        };
        let ours = Check {
            alpha,
            retry,
            interval: theirs.delay_loop,
            retry_delay: theirs.delay_before_retry,
            ..web(urls, fast_recovery)
        };
        let mut h = health(&service(vec![server(1, 1, vec![ours])]));
        let mut now = at(0);
        for good in answers {
            let asked = theirs.url_it.unwrap();
            let delay = match good {
                true => theirs.epilog(Method::New),
                false => theirs.timeout_epilog(),
            };
            // What is better here: a failure is not followed by another try at once.
            let delay = match good {
                true => delay.max(MILLI),
                false => delay.max(theirs.delay_before_retry),
            };
            let (url, next) = ask(&mut h, now, good);
            prop_assert_eq!((url, next, up(&h)), (asked, delay, theirs.is_up));
            now = now + next;
        }
    }
}
