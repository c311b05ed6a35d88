//! What becomes of the application's calls when a worker dies, or hangs.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;

use super::{Keeper, TOKEN_LISTENER};
use crate::config::Config;
use crate::decode::quarantine;
use crate::denials::Denials;
use crate::sys::process::{self, Side};
use crate::sys::seccomp::{self, Notification};
use crate::sys::shared::Board;
use crate::sys::{poll, signals};
use crate::table::{self, Abi};
use crate::{proc, worker};

/// Workers that may die in a row, each within [`CRASH_SPACING`] of the last, before the
/// application goes on untraced for a while.
const CRASHES_MAX: u32 = 20;
/// Milliseconds.
const CRASH_SPACING: u64 = 5_000;
/// For how long then, milliseconds: at first, doubled each time that the next one dies as well,
/// and at most.
const PAUSE: u64 = 1_000;
const PAUSE_MAX: u64 = 60_000;
/// A worker that is at one thing for so long, and does not run, is stuck, milliseconds.
const STUCK_AFTER: u64 = 1_000;
/// One that is at it for so long is stuck in any case.
const SURELY_STUCK_AFTER: u64 = 10_000;
/// Time between looks at a worker: one that waits for something to do, one that does something,
/// and one that was killed.
const LOOK: u64 = 1_000;
const LOOK_BUSY: u64 = 250;
const LOOK_KILLED: u64 = 20;
/// How long a worker that was killed may take to be gone. Where the file system that it waits for
/// does not let it go, it never is; it does nothing any more all the same.
const DEATH_TAKES: u64 = 100;

/// How often one call is left to the next worker: as many degrees of caution there are.
const LEFT_MAX: u32 = 2;

/// What is known of the worker's doings.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// It does something.
    is_busy: bool,
    /// Since when it had been at one thing when that was last found to be too long, 0 for not.
    late_since: u64,
    /// When that was found (milliseconds, monotonic).
    late_at: u64,
    /// One that we have killed because it hung, until there is another; 0 for none.
    killed: i32,
    /// When that was (milliseconds, monotonic).
    killed_at: u64,
    /// The spare has not yet taken its place, so we answer.
    stands_in: bool,
    /// The notification that was last left to the next worker, and how often it was.
    left: (u64, u32),
    /// Workers that have died in a row.
    crashes: u32,
    last_crash: u64,
    /// How long the last pause was.
    pause: u64,
    /// When it is over, where there is one now (milliseconds, monotonic).
    resume_at: Option<u64>,
    /// When the last one was over.
    resumed_at: u64,
    /// A worker was started after the main process' end.
    has_told_the_rest: bool,
}

impl Watch {
    /// When to look again at the latest, in milliseconds.
    pub(super) fn next_look(&self) -> i32 {
        let look = match (self.killed, self.is_busy) {
            (0, false) => LOOK,
            (0, true) => LOOK_BUSY,
            _ => LOOK_KILLED,
        };
        look as i32
    }
}

impl Keeper {
    /// Without a worker: lets the next call run, or stops looking when there will be none.
    pub(super) fn answer(&self, readable: bool, slot: &mut Notification) {
        let Some(listener) = self.listener.as_ref().map(AsFd::as_fd) else {
            return;
        };
        if !readable {
            self.poller.remove(listener);
        } else if seccomp::receive(listener, slot).is_ok() {
            let_run(self.board, listener, slot.id, &slot.data);
        }
    }

    /// Ends a worker that hangs: that is at one thing for longer than the limit on two looks, and
    /// sleeps, so that one which was itself kept from running is not taken for stuck. Starts
    /// another when a pause is over.
    pub(super) fn watch_over(&mut self, config: &Config) {
        let now = poll::monotonic_ms();
        let worker = self.board.worker_pid.load(Ordering::Acquire);
        if self.watch.killed != 0 {
            self.follow_death(config, worker, now);
            return;
        }
        if self.answering {
            if self.watch.resume_at.is_some_and(|at| at <= now) {
                self.start_again(config);
            }
            return;
        }
        let (since, about) = self.board.busy();
        self.watch.is_busy = since != 0;
        let spent = match since {
            0 => 0,
            _ => now.saturating_sub(since),
        };
        let is_late = spent > STUCK_AFTER;
        // Of a pod that was frozen, one is thawed after the other: signals of that wake us again before
        // the worker can have gone on.
        let is_found_again = is_late
            && since == self.watch.late_since
            && now.saturating_sub(self.watch.late_at) >= LOOK_BUSY / 2;
        let is_stuck =
            is_found_again && (spent > SURELY_STUCK_AFTER || !proc::is_runnable(worker as u32));
        if !is_late {
            self.watch.late_since = 0;
        } else if since != self.watch.late_since {
            (self.watch.late_since, self.watch.late_at) = (since, now);
        }
        if is_stuck {
            if about != 0 {
                self.board.cautions.raise(about, now);
            }
            let _ = signals::kill(worker, libc::SIGKILL);
            (self.watch.killed, self.watch.killed_at) = (worker, now);
        }
    }

    /// Goes on without a worker that was killed, if it does not get to die.
    fn follow_death(&mut self, config: &Config, worker: i32, now: u64) {
        if worker != self.watch.killed {
            // The spare has taken its place.
            self.watch.killed = 0;
            self.stand_in(false);
            return;
        }
        let is_late = now.saturating_sub(self.watch.killed_at) > DEATH_TAKES;
        // Under the ptrace engine it still has all the tracees.
        if !is_late || self.listener.is_none() || self.watch.stands_in {
            return;
        }
        match self.board.spare_pid.load(Ordering::Acquire) {
            0 => self.worker_died(config, libc::SIGKILL),
            _ => {
                self.release();
                self.stand_in(true);
            }
        }
    }

    /// Answers in the worker's place, or no longer.
    fn stand_in(&mut self, stands_in: bool) {
        if self.watch.stands_in == stands_in {
            return;
        }
        self.watch.stands_in = stands_in;
        if let Some(listener) = &self.listener {
            match stands_in {
                true => drop(self.poller.add(listener.as_fd(), TOKEN_LISTENER)),
                false => self.poller.remove(listener.as_fd()),
            }
        }
    }

    /// Lets go what a dead worker has taken and not answered.
    fn release(&self) {
        let listener = self.listener.as_ref().map(AsFd::as_fd);
        if let (Some(listener), Some(held)) = (listener, self.board.unanswered()) {
            let_run(self.board, listener, held.id, &held.data);
        }
        self.board.answered();
    }

    /// Lets the application go on at once, and starts another worker. `status` is the raw wait
    /// status of the one that is dead.
    pub(super) fn worker_died(&mut self, config: &Config, status: i32) {
        let was_stuck = std::mem::take(&mut self.watch.killed) != 0;
        self.stand_in(false);
        self.worker = 0;
        self.board.rests();
        self.board.kept.send_all();
        if let Some(listener) = self.listener.as_ref().map(AsFd::as_fd) {
            interrupt_blocked(self.board, listener);
        }
        let is_done = self.board.worker_done.load(Ordering::Acquire) != 0;
        let now = poll::monotonic_ms();
        let is_in_a_row = now.saturating_sub(self.watch.last_crash) < CRASH_SPACING;
        self.watch.crashes = if is_in_a_row {
            self.watch.crashes + 1
        } else {
            1
        };
        self.watch.last_crash = now;
        let goes_on = !is_done && self.watch.crashes <= CRASHES_MAX;
        // What a worker hangs on, the next one looks at with more care.
        let held = self.board.unanswered().filter(|_| goes_on && was_stuck);
        let left = held.map(|held| match self.watch.left {
            (id, times) if id == held.id => (id, times + 1),
            _ => (held.id, 1),
        });
        match left.filter(|(_, times)| *times <= LEFT_MAX) {
            Some(left) => self.watch.left = left,
            None => self.release(),
        }
        let died_by = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status) as u32);
        if !goes_on || !self.start_worker(config, died_by) {
            self.go_without(is_done, now);
        }
    }

    /// Starts another worker; false where there can be none.
    fn start_worker(&mut self, config: &Config, died_by: Option<u32>) -> bool {
        let generation = self.board.generation.fetch_add(1, Ordering::AcqRel) + 1;
        match process::fork(false) {
            Ok(Side::Child) => {
                super::abort_on_panic();
                let keeper = process::parent_pid();
                worker::resume(worker::Start {
                    config,
                    board: self.board,
                    wake: self.wake.as_fd(),
                    listener: self.listener.as_ref().map(AsFd::as_fd),
                    keeper,
                    generation,
                    watched: None,
                    died_by,
                })
            }
            Ok(Side::Parent(pid)) => {
                self.worker = pid;
                // Before it says so itself: the one before is not to be looked at any more.
                self.board.worker_pid.store(pid, Ordering::Release);
                true
            }
            Err(_) => false,
        }
    }

    /// Answers until there is another worker: after a pause, or, when all is done, never.
    fn go_without(&mut self, is_done: bool, now: u64) {
        self.answering = true;
        self.release();
        if is_done {
            return;
        }
        let is_soon = now.saturating_sub(self.watch.resumed_at) < CRASH_SPACING;
        self.watch.pause = match is_soon {
            true => (self.watch.pause * 2).clamp(PAUSE, PAUSE_MAX),
            false => PAUSE,
        };
        self.watch.resume_at = Some(now + self.watch.pause);
        // Nobody is there who could judge: better an application that is not protected for a
        // while than one that can open nothing. The next worker denies again.
        self.board.denied.store(0, Ordering::Release);
        if let Some(listener) = &self.listener {
            let _ = self.poller.add(listener.as_fd(), TOKEN_LISTENER);
        }
    }

    /// The main process has ended in a pause: another worker says what nobody has looked at, and goodbye.
    pub(super) fn have_the_rest_told(&mut self, config: &Config) {
        let is_first = !std::mem::replace(&mut self.watch.has_told_the_rest, true);
        if is_first && self.watch.resume_at.is_some() {
            self.start_again(config);
        }
    }

    /// A pause is over.
    fn start_again(&mut self, config: &Config) {
        if let Some(listener) = &self.listener {
            self.poller.remove(listener.as_fd());
        }
        self.answering = false;
        self.watch.resume_at = None;
        self.watch.resumed_at = poll::monotonic_ms();
        if !self.start_worker(config, None) {
            // Nobody has died: there is no room for one, and there may be at any moment.
            self.watch.pause = 0;
            self.go_without(false, poll::monotonic_ms());
        }
    }
}

/// Answers a call that nobody has judged, and counts it. What may be denied is refused as long as there is to be
/// another worker; in quarantine, so is what reaches out.
pub(crate) fn let_run(board: &Board, listener: BorrowedFd<'_>, id: u64, data: &seccomp::Data) {
    let row =
        Abi::of(data.arch, data.number as u32).and_then(|(abi, number)| table::find(abi, number));
    let is_refused = row.is_some_and(|row| {
        let is_denied = Denials::concern(board, row.events());
        let is_quarantined = board.quarantined.load(Ordering::Acquire) != 0;
        is_denied || is_quarantined && quarantine::concerns(row.name)
    });
    let answered = match is_refused {
        true => seccomp::answer_errno(listener, id, libc::EPERM),
        false => seccomp::answer_continue(listener, id),
    };
    // A failed answer means that the thread is gone.
    if let (Ok(()), Some(row)) = (answered, row) {
        board.debts.never_told(row.event);
    }
}

/// Answers those whose opens have ended with the worker that made them.
pub(crate) fn interrupt_blocked(board: &Board, listener: BorrowedFd<'_>) {
    for place in &board.blocked {
        match place.swap(0, Ordering::AcqRel) {
            0 => {}
            // A failed answer means that the thread is gone.
            id => drop(seccomp::answer_errno(listener, id, libc::EINTR)),
        }
    }
}
