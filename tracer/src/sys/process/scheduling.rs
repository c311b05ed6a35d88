//! When the kernel runs us.

/// Lets everybody else go first: lowers the priority of the calling thread.
pub(crate) fn prefer_others() {
    const LATER: i32 = 10;
    // SAFETY: plain values; 0 is the calling thread, which may always lower itself.
    unsafe { libc::setpriority(libc::PRIO_PROCESS as _, 0, LATER) };
}

/// `struct sched_attr` up to what every kernel with the call has.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::sys) struct Scheduling {
    size: u32,
    pub(in crate::sys) policy: u32,
    pub(in crate::sys) flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Scheduling {
    /// As processes are scheduled that nobody has said anything of, but as nice as this one is.
    pub(in crate::sys) fn usual() -> Self {
        Self {
            size: size_of::<Self>() as u32,
            policy: libc::SCHED_OTHER as u32,
            // SAFETY: plain values; it reads the calling thread's own.
            nice: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
            ..Self::default()
        }
    }
}

/// Asks to be run soon after each wake-up, for a short while (Linux 6.12; no effect before):
/// the share of the processor stays what it was.
pub(crate) fn prefer_short_turns() {
    const SHORTEST: u64 = 100_000; // nanoseconds; the kernel takes no less
    // SAFETY: reads the calling thread's own value; plain arguments. musl's function of this name
    // knows better than to ask.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    if policy != libc::c_long::from(libc::SCHED_OTHER) {
        return; // somebody chose another for the whole container
    }
    let wanted = Scheduling {
        runtime: SHORTEST,
        ..Scheduling::usual()
    };
    // SAFETY: the kernel reads the structure, whose size it has. Refused, nothing changes.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
}

/// Lets waits of the calling thread, and of what it forks, last longer by so many nanoseconds.
pub(crate) fn set_timer_slack(nanoseconds: libc::c_ulong) {
    // SAFETY: plain values.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanoseconds) };
}
