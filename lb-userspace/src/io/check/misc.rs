//! `MISC_CHECK`: a script says by its exit status whether the server is good.

use std::time::Duration;

use crate::health::{Failure, NotRun, Verdict, Weighs};
use crate::io::script::{Ended, Scripts};
use crate::model::{Check, MiscCheck};

/// Runs the script once. One that cannot be run has failed: a check never passes by being absent.
pub(super) async fn probe(
    check: &Check,
    misc: &MiscCheck,
    scripts: &Scripts,
) -> (Verdict, Duration) {
    match scripts.check(misc.script.clone(), check.timeout).await {
        Ok((ended, took)) => (verdict(&ended, misc.dynamic), took),
        Err(_) => {
            let why = "too many scripts wait".to_owned();
            (Verdict::NotRun(NotRun { why }), Duration::ZERO)
        }
    }
}

fn verdict(ended: &Ended, dynamic: bool) -> Verdict {
    match ended {
        Ended::Exited(0) => Verdict::Ok,
        Ended::Exited(status @ 2..=255) if dynamic => {
            Verdict::Weighs(Weighs::Exactly(u16::try_from(status - 2).unwrap_or(0)))
        }
        Ended::TimedOut => Verdict::Failed(Failure::NoAnswer),
        Ended::Exited(_) | Ended::Signalled(_) | Ended::NotRun(_) => {
            Verdict::Failed(Failure::Answer(ended.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_mean_what_they_mean_in_keepalived() {
        let failed = |e: &Ended| Verdict::Failed(Failure::Answer(e.to_string()));
        for (status, plain, dynamic) in [
            (0, Some(Verdict::Ok), Some(Verdict::Ok)),
            (1, None, None),
            (2, None, Some(Verdict::Weighs(Weighs::Exactly(0)))),
            (3, None, Some(Verdict::Weighs(Weighs::Exactly(1)))),
            (255, None, Some(Verdict::Weighs(Weighs::Exactly(253)))),
        ] {
            let ended = Ended::Exited(status);
            let or_failed = |v: Option<Verdict>| v.unwrap_or_else(|| failed(&ended));
            assert_eq!(verdict(&ended, false), or_failed(plain));
            assert_eq!(verdict(&ended, true), or_failed(dynamic));
        }
        let timed_out = Verdict::Failed(Failure::NoAnswer);
        assert_eq!(verdict(&Ended::TimedOut, true), timed_out);
        for ended in [Ended::Signalled(9), Ended::NotRun("no such file".into())] {
            assert_eq!(verdict(&ended, true), failed(&ended));
        }
    }
}
