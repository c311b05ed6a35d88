//! What an exec keeps and a fork does not: interval timers, being a subreaper, and scheduling that
//! is not inherited by children. Whoever started us meant it for the application, which is forked.

use super::check;
use super::process::Scheduling;

/// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`.
const TIMERS: usize = 3;
/// `SCHED_FLAG_RESET_ON_FORK`.
const RESET_ON_FORK: u64 = 1;
/// `SCHED_DEADLINE`.
const DEADLINE: u32 = 6;

/// What this process was started with, to be given to the application.
#[derive(Clone, Copy)]
pub(crate) struct Handed {
    timers: [libc::itimerval; TIMERS],
    is_subreaper: bool,
    scheduling: Option<Scheduling>,
}

impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handed")
    }
}

impl Handed {
    /// Takes the timers from this process, and looks at the rest.
    pub(crate) fn take() -> Self {
        // SAFETY: an itimerval is plain data, and one with zeroes stops a timer; the kernel reads
        // the one and writes the other.
        let timers = std::array::from_fn(|which| unsafe {
            let none: libc::itimerval = std::mem::zeroed();
            let mut old: libc::itimerval = std::mem::zeroed();
            libc::setitimer(which as _, &raw const none, &raw mut old);
            old
        });
        Self {
            timers,
            is_subreaper: is_subreaper(),
            scheduling: scheduling(),
        }
    }

    /// Gives it to the calling process. What is refused is left out.
    pub(crate) fn give(&self) {
        for (which, timer) in self.timers.iter().enumerate() {
            if timer.it_value.tv_sec == 0 && timer.it_value.tv_usec == 0 {
                continue;
            }
            // SAFETY: the kernel reads the one.
            unsafe { libc::setitimer(which as _, timer, std::ptr::null_mut()) };
        }
        // Also where it was not: the keeper has become one, and may be what runs the program.
        // SAFETY: plain values.
        unsafe {
            libc::prctl(
                libc::PR_SET_CHILD_SUBREAPER,
                libc::c_ulong::from(self.is_subreaper),
            )
        };
        if let Some(scheduling) = &self.scheduling {
            // SAFETY: the kernel reads the structure, whose size it has.
            unsafe { libc::syscall(libc::SYS_sched_setattr, 0, scheduling, 0) };
        }
    }
}

fn is_subreaper() -> bool {
    let mut is: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut is) };
    is != 0
}

/// How this process is scheduled, where its children will not be.
fn scheduling() -> Option<Scheduling> {
    let mut found = Scheduling::default();
    let size = size_of::<Scheduling>();
    // SAFETY: the kernel writes at most `size` bytes.
    check(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut found, size, 0) }).ok()?;
    let is_deadline = found.policy == DEADLINE;
    if is_deadline {
        leave_deadline(&found);
    }
    (is_deadline || found.flags & RESET_ON_FORK != 0).then_some(found)
}

/// A process with a deadline may not fork, and what it may use of the processor is taken for nobody
/// else: the application is to have it, and not the tracer. But only where it can be given.
fn leave_deadline(found: &Scheduling) {
    let set = |wanted: &Scheduling| {
        // SAFETY: the kernel reads the structure, whose size it has.
        check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, wanted, 0) })
    };
    if set(found).is_ok() {
        let _ = set(&Scheduling::usual());
    }
}

/// Whether this process has a deadline, and so may not fork.
pub(crate) fn has_deadline() -> bool {
    // SAFETY: a plain value. musl's function of this name knows better than to ask.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    policy & !libc::c_long::from(libc::SCHED_RESET_ON_FORK) == libc::c_long::from(DEADLINE)
}
