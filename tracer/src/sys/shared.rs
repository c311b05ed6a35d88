//! A page of memory that keeper, worker and application child share.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::seccomp::Notification;
use super::stored::Stored;
use super::{Errno, Result, check, last};
use crate::caution::Cautions;
use crate::debts::Debts;
use crate::kept::KeptBack;

/// What the three processes tell each other. Everything is zero at first.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Board {
    /// How the installation went: 0, or one of the two bits with a value below.
    install: AtomicU32,
    /// Under the ptrace engine, whether the application was seized: 0, [`SEIZED`], or errno.
    seizure: AtomicU32,
    /// 1 when the worker has a descriptor table of its own.
    pub(crate) worker_ready: AtomicU32,
    /// Process id of the worker that is at work.
    pub(crate) worker_pid: AtomicI32,
    /// Process id of the spare that becomes the next worker, 0 for none.
    pub(crate) spare_pid: AtomicI32,
    /// How many workers there were before the present one.
    pub(crate) generation: AtomicU32,
    /// Process id of the application's main process.
    pub(crate) main_pid: AtomicI32,
    /// 1 when `main_status` holds the wait status of the main process.
    pub(crate) main_ended: AtomicU32,
    /// Raw wait status of the main process.
    pub(crate) main_status: AtomicI32,
    /// 1 when the keeper has failed by itself.
    pub(crate) keeper_failed: AtomicU32,
    /// Counted up each time the main process stops.
    pub(crate) main_stops: AtomicU32,
    /// Set when the keeper may go: [`WORKER_STAYS`] or [`WORKER_ENDS`].
    pub(crate) worker_done: AtomicU32,
    /// Who last sent each signal to a group that has the keeper in it, and when: process id, and
    /// the low half of milliseconds, monotonic.
    group_signal: [AtomicU64; 65],
    /// Last sequence number the worker has given; the next worker goes on from there.
    pub(crate) sequence: AtomicU64,
    /// Sequence number up to which everything, or its loss, was written to the agent's socket.
    pub(crate) sent: AtomicU64,
    /// Number of the descriptor that files are watched with, in the table that was shared at the
    /// start, and one more; 0 for none.
    watching: AtomicI32,
    /// 1 where the filter stops for more opens than was asked for, because files could not be
    /// watched.
    pub(crate) stops_for_more: AtomicU32,
    /// 1 while the container may not reach anybody over a network.
    pub(crate) quarantined: AtomicU32,
    /// Types of events that are denied, a bit for each.
    pub(crate) denied: AtomicU64,
    /// Notifications that were taken and wait for an open that blocks, by id; 0 for none.
    pub(crate) blocked: [AtomicU64; BLOCKED_MAX],
    /// What is denied, for the next worker.
    pub(crate) denials: Stored,
    /// Since when the worker has been at what it does now (milliseconds, monotonic), 0 while it
    /// waits for something to do.
    busy_since: AtomicU64,
    /// The process that it does it for, 0 for none.
    busy_with: AtomicU32,
    /// Processes that have held a worker up, for the next one, and how careful it is to be.
    pub(crate) cautions: Cautions,
    /// Calls that were let run and not told yet: their number, for the next worker.
    pub(crate) debts: Debts,
    /// Signals that the worker keeps back, for whoever comes after it.
    pub(crate) kept: KeptBack,
    /// Where the worker receives a notification; `id` is 0 once it was answered.
    slot: std::cell::UnsafeCell<Notification>,
}

/// The worker stays behind the keeper, for processes that outlive the main one.
pub(crate) const WORKER_STAYS: u32 = 1;
/// The worker has said all it has to say, and ends.
pub(crate) const WORKER_ENDS: u32 = 2;

/// Opens that may block at once in a tracee's place.
pub(crate) const BLOCKED_MAX: usize = 16;

const INSTALLED: u32 = 1 << 30;
const FAILED: u32 = 1 << 31;

const SEIZED: u32 = 1 << 30;

/// How the installation of the filter went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Install {
    /// The application's process has not tried yet.
    Undecided,
    /// It is installed; the listener has this number in the shared table.
    Installed(i32),
    /// It could not be installed, for this errno.
    Failed(i32),
}

// SAFETY: all fields but `slot` are atomics. `slot` is written only by the worker, and read by
// the keeper only after the worker has died, through volatile reads.
unsafe impl Sync for Board {}

impl Board {
    /// Maps a fresh board, shared with every process forked from now on.
    pub(crate) fn map() -> Result<&'static Board> {
        // SAFETY: an anonymous mapping at an address of the kernel's choice aliases nothing.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Board>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(last());
        }
        // SAFETY: the mapping is large enough, page aligned, zeroed (a valid Board), and is
        // never unmapped.
        Ok(unsafe { &*address.cast::<Board>() })
    }

    /// Settles how the installation went, if nobody has yet; true if it was us.
    pub(crate) fn decide(&self, outcome: Install) -> bool {
        let word = match outcome {
            Install::Undecided => 0,
            Install::Installed(listener) => INSTALLED | listener as u32,
            Install::Failed(errno) => FAILED | errno as u32,
        };
        let won = self
            .install
            .compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire);
        set_and_wake(&self.install, self.install.load(Ordering::Acquire));
        won.is_ok()
    }

    /// How the installation went.
    pub(crate) fn install(&self) -> Install {
        let word = self.install.load(Ordering::Acquire);
        let value = (word & !(INSTALLED | FAILED)) as i32;
        match word & (INSTALLED | FAILED) {
            INSTALLED => Install::Installed(value),
            FAILED => Install::Failed(value),
            _ => Install::Undecided,
        }
    }

    /// Says whether the application was seized.
    pub(crate) fn seized(&self, failure: Option<Errno>) {
        let word = failure.map_or(SEIZED, |errno| errno.0 as u32);
        set_and_wake(&self.seizure, word);
    }

    /// Waits until the application is seized, or cannot be.
    pub(crate) fn await_seizure(&self) -> Result<()> {
        loop {
            match self.seizure.load(Ordering::Acquire) {
                0 => wait_while(&self.seizure, 0, Duration::from_millis(50)),
                SEIZED => return Ok(()),
                errno => return Err(Errno(errno as i32)),
            }
            // Nobody will tell us if the worker is gone.
            if self.install() != Install::Undecided {
                return Err(Errno(libc::ECHILD));
            }
        }
    }

    /// Notes that a process sends a signal to a group that has the keeper in it.
    pub(crate) fn note_group_signal(&self, signal: u32, sender: u32, now: u64) {
        if let Some(at) = self.group_signal.get(signal as usize) {
            let word = u64::from(sender) << 32 | now & u64::from(u32::MAX);
            at.store(word, Ordering::Release);
        }
    }

    /// How long ago a process has sent a signal to such a group, milliseconds.
    pub(crate) fn since_group_signal(&self, signal: i32, sender: i32, now: u64) -> Option<u32> {
        let at = self.group_signal.get(usize::try_from(signal).ok()?)?;
        let word = at.load(Ordering::Acquire);
        let is_it = word != 0 && (word >> 32) as u32 == sender as u32;
        is_it.then(|| (now as u32).wrapping_sub(word as u32))
    }

    /// Notes what files are watched with, for those who share the worker's descriptors.
    pub(crate) fn is_watching(&self, descriptor: BorrowedFd<'_>) {
        let number = descriptor.as_raw_fd();
        self.watching.store(number + 1, Ordering::Release);
    }

    /// Lets go of what the worker watches files with, in a table that is not shared with it any
    /// more.
    pub(crate) fn let_go_of_watching(&self) {
        let number = self.watching.load(Ordering::Acquire) - 1;
        if number >= 0 {
            drop(super::process::adopt(number));
        }
    }

    /// Waits a little for the installation to be settled.
    pub(crate) fn await_install(&self) {
        wait_while(&self.install, 0, Duration::from_millis(50));
    }

    /// The receive buffer, for the worker.
    ///
    /// Only the one worker thread calls this, and drops the reference before its next call.
    #[allow(clippy::mut_from_ref)]
    pub(crate) fn slot(&self) -> &mut Notification {
        // SAFETY: the worker is single-threaded and the keeper reads only when there is no
        // worker, so this is the only live reference.
        unsafe { &mut *self.slot.get() }
    }

    /// Marks the received notification as answered.
    pub(crate) fn answered(&self) {
        // SAFETY: see `slot`; volatile, so that the store is made before whatever follows.
        unsafe { std::ptr::write_volatile(&raw mut (*self.slot.get()).id, 0) };
    }

    /// The worker sets to work.
    pub(crate) fn begins(&self, now: u64) {
        self.busy_with.store(0, Ordering::Relaxed);
        self.busy_since.store(now, Ordering::Release);
    }

    /// What the worker does now it does for this process.
    pub(crate) fn is_about(&self, pid: u32) {
        self.busy_with.store(pid, Ordering::Relaxed);
    }

    /// The worker has nothing to do, or only waits.
    pub(crate) fn rests(&self) {
        self.busy_since.store(0, Ordering::Release);
    }

    /// Since when the worker has been at what it does now (milliseconds, monotonic), 0 while it
    /// rests; and the process that it does it for, 0 for none.
    pub(crate) fn busy(&self) -> (u64, u32) {
        let since = self.busy_since.load(Ordering::Acquire);
        (since, self.busy_with.load(Ordering::Relaxed))
    }

    /// A notification that a dead worker received and did not answer.
    pub(crate) fn unanswered(&self) -> Option<Notification> {
        // SAFETY: the worker is dead (the caller's duty); the memory is plain data.
        let slot = unsafe { std::ptr::read_volatile(self.slot.get()) };
        (slot.id != 0).then_some(slot)
    }
}

/// Waits until `word` is no longer `value`, or for `limit`.
pub(crate) fn wait_while(word: &AtomicU32, value: u32, limit: Duration) {
    let time = libc::timespec {
        tv_sec: limit.as_secs() as _,
        tv_nsec: limit.subsec_nanos().into(),
    };
    let none = std::ptr::null::<u32>();
    // SAFETY: the word is a live, aligned u32 and the time a live timespec. Failure (value
    // changed, interrupted, timed out) means: look again, which the caller does.
    let _ = check(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            &time,
            none,
            0,
        )
    });
}

/// Sets `word` and wakes all who wait for it.
pub(crate) fn set_and_wake(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    let none = std::ptr::null::<u32>();
    // SAFETY: the word is a live, aligned u32.
    let _ = check(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            i32::MAX,
            none,
            none,
            0,
        )
    });
}
