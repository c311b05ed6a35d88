//! Threads in whose place we make calls, where any signal ends their wait for us.
//!
//! Before Linux 5.19 a signal that comes meanwhile keeps the thread from taking our answer. The kernel
//! drops it, now and then after it has said that it was taken (where the thread has seen the signal and
//! waits for the lock, `seccomp_do_user_notification`), and the call is made again, or gives EINTR. Made
//! twice, a call would tell of what it has done itself: EEXIST, ENOENT.
//!
//! So the thread is seized before we make its call. From then on its signals come to us first, and with
//! them its registers as the signal has found them, which tell whether it has taken the answer. Has it
//! not, then what the call has come to is put there: as if the signal had come a moment later. It stays
//! seized until it executes something, ends, is stopped, or is followed for what it sends: to be let go
//! at once it would have to be stopped, in whatever call it is by then.

use super::Worker;
use super::answering::Unclaimed;
use super::interrupted::{Attended, OPTIONS};
use crate::decode::Answer;
use crate::proc;
use crate::sys::ptrace;
use crate::sys::seccomp::Data;

/// What a thread was given last for a call that we have made.
#[derive(Debug)]
pub(super) struct Given {
    data: Data,
    value: i64,
}

impl Worker<'_> {
    /// A call of a thread is about to be made in its place: whether the thread is seized for that.
    /// Where it cannot be, because somebody debugs it, it may make the call again.
    pub(super) fn seizes_maker(&self, pid: u32, tid: u32) -> bool {
        if self.waits_are_killable || self.askers.contains_key(&tid) {
            return false;
        }
        self.seized.contains_key(&tid) || self.processes.seize(pid, tid, OPTIONS).is_ok()
    }

    /// A thread was seized so.
    pub(super) fn attend_maker(&mut self, pid: u32, tid: u32) {
        self.seized.insert(tid, pid);
        self.attended.insert(tid, Attended::Maker);
    }

    /// A thread is to be followed: lets go of the one that is seized for the calls that are made for it, or
    /// for its timer, and tells whether it is. It stays attached to.
    pub(super) fn hand_over(&mut self, pid: u32, tid: u32) -> bool {
        if !self.may_be_handed_over(tid) {
            return false;
        }
        self.seized.remove(&tid);
        self.attends_no_more(pid, tid);
        true
    }

    /// Whether a thread has its signals come to us for something else than [`hand_over`](Self::hand_over)
    /// can give up.
    pub(super) fn is_seized_otherwise(&self, tid: u32) -> bool {
        self.seized.contains_key(&tid) && !self.may_be_handed_over(tid)
    }

    fn may_be_handed_over(&self, tid: u32) -> bool {
        use Attended::{Maker, Timer};
        matches!(self.attended.get(&tid), Some(Maker | Timer))
    }

    /// Before a thread is answered: whether the kernel may drop what it says is taken. Then a signal has the
    /// thread leave its wait, and stop for us before it does anything else. Without one, a thread that is
    /// found to be interrupted in the same call later makes it a second time.
    pub(super) fn may_drop(&self, tid: u32) -> bool {
        !self.waits_are_killable && self.is_attached(tid) && proc::has_signal(tid)
    }

    /// Whether a thread stops for us before its signals are delivered.
    pub(super) fn is_attached(&self, tid: u32) -> bool {
        self.seized.contains_key(&tid) || self.askers.contains_key(&tid)
    }

    /// Says the kernel, a thread has taken this; and it may be wrong.
    pub(super) fn note_given(&mut self, tid: u32, data: Data, value: i64) {
        self.given.insert(tid, Given { data, value });
    }

    /// A thread that is attached to has stopped before it goes on in its program: puts there what a call of
    /// its has come to that we have made, if it has not taken it.
    pub(super) fn put_answer(&mut self, tid: u32) {
        if self.given.is_empty() && self.unclaimed.is_empty() {
            return;
        }
        let given = self.given.remove(&tid);
        let Some(data) = ptrace::interrupted(tid) else {
            return;
        };
        if let Some(given) = given.filter(|given| given.data == data) {
            // It fails only where the thread was killed meanwhile.
            let _ = ptrace::set_returned(tid, given.value);
            self.send_kept_back(tid);
        } else if let Some(value) = self
            .unclaimed
            .get(&tid)
            .filter(|unclaimed| unclaimed.is_for(&data))
            .and_then(Unclaimed::value)
            && ptrace::set_returned(tid, value).is_ok()
            && let Some(unclaimed) = self.unclaimed.remove(&tid)
        {
            self.tell_made(unclaimed, value);
            self.send_kept_back(tid);
        }
    }

    /// A thread makes another call than the one whose answer it has not taken. One that is attached to would
    /// have stopped before it did anything else.
    pub(super) fn gives_up_claim(&mut self, tid: u32) {
        if !self.unclaimed.is_empty() && self.is_attached(tid) {
            self.unclaimed.remove(&tid);
        }
    }

    /// Whether the call in which a thread was interrupted is one that we have made, and whose result the
    /// thread can only be given when it makes the call again.
    pub(super) fn is_unclaimed(&self, tid: u32, data: &Data) -> bool {
        let unclaimed = self.unclaimed.get(&tid);
        unclaimed.is_some_and(|unclaimed| unclaimed.is_for(data))
    }
}

impl Unclaimed {
    /// What the thread would have got; `None` for a descriptor that it has not got yet.
    fn value(&self) -> Option<i64> {
        match self.answer() {
            Answer::Value(value) => Some(*value),
            Answer::Descriptor { left, .. } => left.map(i64::from),
            Answer::Later { .. } => None,
        }
    }
}
