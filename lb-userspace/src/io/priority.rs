//! The claim to the CPU of threads that have to be on time.

/// Above everything that is not real-time, and below all that is configured to be above it.
const DEFAULT: u8 = 1;
/// Nice value where real-time priority is not allowed.
const NICE: i32 = -20;

/// Asks for real-time priority for the calling thread; without the right to it, for the best that
/// ordinary threads have.
///
/// # Errors
/// When it is refused: in words, with `who` it is for and what may be `late`.
pub(super) fn take(wanted: Option<u8>, who: &str, late: &str) -> Result<(), String> {
    let wanted = wanted.unwrap_or(DEFAULT);
    let parameters = libc::sched_param {
        sched_priority: i32::from(wanted),
    };
    // What the thread might start does not inherit it.
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameters live until the call returns; 0 is the calling thread.
    let refused = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } != 0;
    if !refused {
        return Ok(());
    }
    let why = std::io::Error::last_os_error();
    // SAFETY: no memory is touched; 0 is the calling thread.
    let nice = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } == 0;
    let instead = if nice {
        format!("nice {NICE}")
    } else {
        "ordinary".to_owned()
    };
    Err(format!(
        "{who} has {instead} priority: real-time priority {wanted} is refused ({why}); CAP_SYS_NICE or \
         a limit of real-time priority (LimitRTPRIO=) allows it, without it a host whose CPUs are \
         busy may be late with {late}"
    ))
}
