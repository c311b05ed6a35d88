//! A timer that interrupts what a thread sleeps in.

use super::{Result, check, process, signals};

/// Interrupts the thread that made it.
#[derive(Debug)]
pub(crate) struct Alarm(libc::c_int);

/// `struct sigevent`.
#[repr(C)]
struct Event {
    value: u64,
    signal: i32,
    notify: i32,
    tid: i32,
    padding: [i32; 11],
}

impl Alarm {
    /// One that is not set. From now on the calling thread lets the signal through that
    /// interrupts it.
    pub(crate) fn new() -> Result<Self> {
        const THREAD: i32 = 4; // SIGEV_THREAD_ID
        signals::interrupt_by(signals::INTERRUPT);
        signals::unblock(signals::INTERRUPT);
        let event = Event {
            value: 0,
            signal: signals::INTERRUPT,
            notify: THREAD,
            tid: process::own_tid(),
            padding: [0; 11],
        };
        let mut timer: libc::c_int = 0;
        // SAFETY: the kernel reads one event and writes one int.
        check(unsafe {
            libc::syscall(
                libc::SYS_timer_create,
                libc::CLOCK_MONOTONIC,
                &raw const event,
                &raw mut timer,
            )
        })?;
        Ok(Self(timer))
    }

    /// Goes off every so many milliseconds, or not any more (0).
    pub(crate) fn set(&self, milliseconds: u32) {
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: libc::c_long::from(milliseconds.min(999)) * 1_000_000,
        };
        let times = libc::itimerspec {
            it_interval: time,
            it_value: time,
        };
        let none = std::ptr::null_mut::<libc::itimerspec>();
        // SAFETY: the kernel reads one itimerspec. It does not fail for a timer that is there.
        unsafe { libc::syscall(libc::SYS_timer_settime, self.0, 0, &raw const times, none) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn it_interrupts_whoever_made_it() {
        let alarm = Alarm::new().unwrap();
        let start = Instant::now();
        alarm.set(5);
        // SAFETY: no descriptors; sleeps until the time is over or a signal comes.
        let result = check(unsafe { libc::poll(std::ptr::null_mut(), 0, 60_000) }.into());
        alarm.set(0);
        assert_eq!(result, Err(crate::sys::Errno(libc::EINTR)));
        assert!(start.elapsed() >= Duration::from_millis(4));
    }
}
