//! Which CPUs threads of the daemon run on.

use std::collections::BTreeSet;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The CPUs of the host: `0-3,8`.
const PRESENT: &str = "/sys/devices/system/cpu/present";

/// Whether the host has a CPU; yes where that is not known.
pub(super) fn has(cpu: u16) -> bool {
    std::fs::read_to_string(PRESENT).map_or(true, |list| is_in(&list, cpu))
}

fn is_in(list: &str, cpu: u16) -> bool {
    list.trim().split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u16>(), last.parse::<u16>()), (Ok(a), Ok(b)) if (a..=b).contains(&cpu))
    })
}

/// What a thread is bound to.
#[derive(Debug)]
pub(super) struct Binding {
    thread: Pid,
    who: &'static str,
    cpus: BTreeSet<u16>,
}

impl Binding {
    /// Of a thread that is not bound; `thread` 0 is the one that calls [`Binding::keep`].
    pub(super) fn of(thread: Pid, who: &'static str) -> Binding {
        Binding {
            thread,
            who,
            cpus: BTreeSet::new(),
        }
    }

    /// Binds the thread to CPUs, unless it is; to none: it runs where the daemon's main thread, which is
    /// never bound, runs. The kernel leaves out those that the host lacks.
    ///
    /// # Errors
    /// In words, once for the same CPUs: the thread is not bound then.
    pub(super) fn keep(&mut self, cpus: &BTreeSet<u16>) -> Result<(), String> {
        if self.cpus == *cpus {
            return Ok(());
        }
        self.cpus.clone_from(cpus);
        if cpus.is_empty() {
            return self.release().map_err(|e| format!("{}: {e}", self.who));
        }
        let mut set = CpuSet::new();
        let bound = cpus.iter().try_for_each(|cpu| set.set(usize::from(*cpu)));
        let Err(error) = bound.and_then(|()| sched_setaffinity(self.thread, &set)) else {
            return Ok(());
        };
        let list: Vec<String> = cpus.iter().map(u16::to_string).collect();
        let list = list.join(" ");
        // It may have been bound to others.
        let released = self.release().map_or("on those of before", |()| "on any");
        Err(format!(
            "{} runs {released}: it cannot be bound to CPU {list} ({error})",
            self.who
        ))
    }

    fn release(&self) -> nix::Result<()> {
        sched_setaffinity(self.thread, &sched_getaffinity(Pid::this())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_the_kernel_has_its_ranges() {
        let has = |cpu| is_in("0-2,5,8-9\n", cpu);
        assert_eq!(
            (0..11).filter(|c| has(*c)).collect::<Vec<_>>(),
            [0, 1, 2, 5, 8, 9]
        );
        assert!(is_in("0\n", 0) && !is_in("0\n", 1) && !is_in("", 0));
    }

    /// The CPUs that a thread may run on.
    fn of(thread: Pid) -> BTreeSet<u16> {
        let set = sched_getaffinity(thread).expect("its CPUs");
        let all = 0..CpuSet::count() as u16;
        all.filter(|c| set.is_set(usize::from(*c)) == Ok(true))
            .collect()
    }

    #[test]
    fn a_thread_is_bound_bound_anew_and_released() {
        let here = || of(Pid::from_raw(0));
        std::thread::spawn(move || {
            let all = of(Pid::this());
            let (first, last) = (*all.first().expect("a CPU"), *all.last().expect("one"));
            let mut binding = Binding::of(Pid::from_raw(0), "the test");
            assert_eq!(binding.keep(&[first].into()), Ok(()));
            assert_eq!(here(), [first].into());
            // What the host lacks is left out.
            assert_eq!(binding.keep(&[last, 1023].into()), Ok(()));
            assert_eq!(here(), [last].into());
            assert_eq!(
                binding.keep(&[1023].into()),
                Err("the test runs on any: it cannot be bound to CPU 1023 (EINVAL: Invalid argument)".to_owned())
            );
            assert_eq!(here(), all);
            assert_eq!(binding.keep(&[1023].into()), Ok(()), "said once");
            assert_eq!(binding.keep(&[first].into()), Ok(()));
            assert_eq!(binding.keep(&BTreeSet::new()), Ok(()));
            assert_eq!(here(), all);
        })
        .join()
        .expect("the thread");
    }
}
