//! epoll, eventfd, and the clocks.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Result, check};

/// An epoll instance: who is ready is told by the number it was added with.
#[derive(Debug)]
pub(crate) struct Poller(OwnedFd);

/// One readiness.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ready {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) hung_up: bool,
}

impl Poller {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: plain values.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into())?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Whether waiting is allowed.
    pub(crate) fn can_wait(&self) -> Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: the kernel writes at most one event.
        check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, 0) }.into())?;
        Ok(())
    }

    /// Watches a descriptor for reading.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, false)
    }

    /// Watches a descriptor for reading and, if asked, for writing.
    pub(crate) fn change(&self, fd: BorrowedFd<'_>, token: u64, write: bool) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, write)
    }

    /// Watches a descriptor no longer.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, false);
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, token: u64, write: bool) -> Result<()> {
        let events = libc::EPOLLIN | if write { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token,
        };
        // SAFETY: the event lives during the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.0.as_raw_fd(),
                operation,
                fd.as_raw_fd(),
                &raw mut event,
            )
        };
        check(result.into())?;
        Ok(())
    }

    /// Waits for up to `timeout` milliseconds (`-1` for ever) and gives who is ready.
    pub(crate) fn wait<'a>(&self, space: &'a mut Space, timeout: i32) -> &'a [Ready] {
        // SAFETY: the kernel writes at most as many events as there is room for.
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                space.events.as_mut_ptr(),
                space.events.len() as i32,
                timeout,
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for (ready, event) in space.ready.iter_mut().zip(&space.events[..count]) {
            let events = event.events as i32;
            *ready = Ready {
                token: event.u64,
                readable: events & libc::EPOLLIN != 0,
                writable: events & libc::EPOLLOUT != 0,
                hung_up: events & (libc::EPOLLHUP | libc::EPOLLERR) != 0,
            };
        }
        &space.ready[..count]
    }
}

impl Poller {
    /// Waits as [`Self::wait`] does, and besides for `direct`, a descriptor that was not added:
    /// the kernel wakes whoever polls it directly on the core of the waker where it was asked
    /// to, which through epoll it does not. Gives what became of `direct` first, and then whether
    /// `urgent` has something urgent to say: `/proc/PID/mountinfo` says so once for each time that it
    /// is asked, and epoll asks twice.
    ///
    /// `direct` is looked at before the others, so whatever was before it is among those.
    pub(crate) fn wait_with<'a>(
        &self,
        direct: Option<BorrowedFd<'_>>,
        urgent: Option<BorrowedFd<'_>>,
        space: &'a mut Space,
        timeout: i32,
    ) -> (Direct, bool, &'a [Ready]) {
        // The kernel passes over negative descriptors.
        let number = |fd: Option<BorrowedFd<'_>>| fd.map_or(-1, |fd| fd.as_raw_fd());
        let mut all = [
            entry(number(direct), libc::POLLIN),
            entry(self.0.as_raw_fd(), libc::POLLIN),
            entry(number(urgent), libc::POLLPRI),
        ];
        // SAFETY: the kernel writes to the three entries.
        let count = unsafe { libc::poll(all.as_mut_ptr(), 3, timeout) };
        if count <= 0 {
            return (Direct::Nothing, false, &[]);
        }
        let is_urgent = all[2].revents & libc::POLLPRI != 0;
        let direct = match all[0].revents {
            0 => Direct::Nothing,
            revents if revents & libc::POLLIN != 0 => Direct::Readable,
            _ => Direct::HungUp,
        };
        match all[1].revents {
            0 => (direct, is_urgent, &[]),
            _ => (direct, is_urgent, self.wait(space, 0)),
        }
    }
}

/// Whether a descriptor has something to read: of a process, whether it has ended.
pub(crate) fn is_readable(fd: BorrowedFd<'_>) -> bool {
    has_now(fd, libc::POLLIN)
}

/// Whether a descriptor has something urgent to say.
pub(crate) fn is_urgent(fd: BorrowedFd<'_>) -> bool {
    has_now(fd, libc::POLLPRI)
}

fn has_now(fd: BorrowedFd<'_>, events: i16) -> bool {
    let mut entry = entry(fd.as_raw_fd(), events);
    // SAFETY: the kernel writes to the one entry.
    let count = unsafe { libc::poll(&raw mut entry, 1, 0) };
    count > 0 && entry.revents & events != 0
}

const fn entry(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// What became of the descriptor that was polled directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direct {
    Nothing,
    Readable,
    HungUp,
}

/// As many as are given at once: there may be more then.
pub(crate) const BATCH: usize = 16;

/// Room for one [`Poller::wait`].
pub(crate) struct Space {
    events: [libc::epoll_event; BATCH],
    ready: [Ready; BATCH],
}

impl Space {
    pub(crate) const fn new() -> Self {
        Self {
            events: [libc::epoll_event { events: 0, u64: 0 }; BATCH],
            ready: [Ready {
                token: 0,
                readable: false,
                writable: false,
                hung_up: false,
            }; BATCH],
        }
    }
}

/// An eventfd: one process wakes another.
pub(crate) fn event() -> Result<OwnedFd> {
    // SAFETY: plain values.
    let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) }.into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Signals an eventfd.
pub(crate) fn notify(event: BorrowedFd<'_>) {
    let one: u64 = 1;
    // SAFETY: the kernel reads eight bytes.
    unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Resets an eventfd.
pub(crate) fn drain(event: BorrowedFd<'_>) {
    let mut count: u64 = 0;
    // SAFETY: the kernel writes eight bytes.
    unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8) };
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds since the epoch.
pub(crate) fn now() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// Nanoseconds since the epoch at the last tick of the clock, which file times are taken from.
pub(crate) fn last_tick() -> u64 {
    clock(libc::CLOCK_REALTIME_COARSE)
}

/// Nanoseconds since boot, time in suspend included: what `/proc/PID/stat` counts in.
pub(crate) fn since_boot() -> u64 {
    clock(libc::CLOCK_BOOTTIME)
}

/// The last time that was asked for, nanoseconds of the monotonic clock.
static LATELY: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds of the monotonic clock.
pub(crate) fn monotonic() -> u64 {
    let now = clock(libc::CLOCK_MONOTONIC);
    LATELY.store(now, Ordering::Relaxed);
    now
}

/// Milliseconds of the monotonic clock when it was last looked at, never 0: not before the worker was last
/// woken. For what is as well done a little later, in the midst of a call for whose answer a thread waits.
pub(crate) fn lately_ms() -> u64 {
    milliseconds(LATELY.load(Ordering::Relaxed))
}

/// Milliseconds of the monotonic clock, never 0.
pub(crate) fn monotonic_ms() -> u64 {
    milliseconds(monotonic())
}

/// A time of the monotonic clock in milliseconds, never 0.
pub(crate) fn milliseconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000_000 + 1
}
