//! The worker: the tracer proper. One thread, one loop: it answers notifications, confirms
//! what became of calls, keeps the table of processes, and tells the agent.

mod agent;
mod answering;
mod asking;
mod backlog;
mod callers;
mod calls;
mod closed;
mod crowd;
mod denying;
mod ends;
mod execs;
mod interrupted;
mod judging;
mod leaving;
mod makers;
mod making;
mod programs;
mod reads;
mod report;
mod settling;
mod starting;
mod timers;
mod traced;
pub(crate) mod waking;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use picket_events::Interest;

use self::backlog::Wait;
pub(crate) use self::starting::{resume, run};
use crate::accounts::Accounts;
use crate::config::Config;
use crate::confirm::Pending;
use crate::decode::Own;
use crate::denials::Denials;
use crate::familiar::Familiar;
use crate::idmap::IdMap;
use crate::images::Environments;
use crate::looks::Looks;
use crate::mounts::Mounts;
use crate::openers::Openers;
use crate::processes::Processes;
use crate::sums::Summing;
use crate::sys::poll::{Direct, Poller, Space};
use crate::sys::shared::Board;
use crate::sys::{poll, process, signals};
use crate::transport::Transport;
use crate::watched::Watched;

/// What a worker starts with.
pub(crate) struct Start<'a> {
    pub(crate) config: &'a Config,
    pub(crate) board: &'static Board,
    /// Wakes the keeper.
    pub(crate) wake: BorrowedFd<'a>,
    /// Where notifications come from; `None` under the ptrace engine.
    pub(crate) listener: Option<BorrowedFd<'a>>,
    /// Process id of the keeper.
    pub(crate) keeper: u32,
    /// 0 for the first worker.
    pub(crate) generation: u32,
    /// Files that are watched from the start on.
    pub(crate) watched: Option<Watched>,
    /// Signal that ended the worker before.
    pub(crate) died_by: Option<u32>,
}

/// How the worker is called in `ps`.
pub(crate) const WORKER_NAME: &std::ffi::CStr = c"picket-tracer";

const TOKEN_SIGNALS: u64 = 1 << 32;
const TOKEN_AGENT: u64 = 2 << 32;
const TOKEN_WATCHES: u64 = 3 << 32;
const TOKEN_SUMS: u64 = 4 << 32;
const TOKEN_OPENED: u64 = 5 << 32;
const TOKEN_READS: u64 = 6 << 32;
const TOKEN_KEEPER: u64 = 7 << 32;
// A token below 1 << 32 is a process id: its pidfd tells of its end.

/// How long the last events may take to get out, milliseconds: to an agent that is or was
/// there, and to one that has not yet started. A busy node takes a while to start it, and a
/// short application may be over by then.
const FLUSH_KNOWN: u64 = 1_000;
const FLUSH_UNKNOWN: u64 = 3_000;

struct Worker<'a> {
    start: Start<'a>,
    interest: Interest,
    own: Own,
    poller: Poller,
    processes: Processes,
    mounts: Mounts,
    looks: Looks,
    environments: Environments,
    accounts: Accounts,
    transport: Transport,
    /// Calls that wait to be confirmed.
    pending: Vec<Pending>,
    /// Execs that wait to be confirmed, by process.
    execs: IdMap<execs::Attempt>,
    /// Programs that are known to start as usual.
    familiar: Familiar,
    /// Threads that we have seized to see an exec, and their processes.
    seized: IdMap<u32>,
    /// Threads that we have seized because signals may interrupt them.
    attended: IdMap<interrupted::Attended>,
    /// Threads whose calls are made again, since a timer of theirs has rung.
    made_again: IdMap<timers::MadeAgain>,
    /// Threads whose calls were interrupted, and their signals that are kept back.
    interrupted: IdMap<interrupted::Interrupted>,
    /// Threads that are followed to the question they send.
    askers: IdMap<asking::Asker>,
    /// Go programs all of whose threads are.
    crowds: IdMap<crowd::Crowd>,
    /// Only a fatal signal ends a thread's wait for our answer.
    waits_are_killable: bool,
    /// Under the ptrace engine: every thread that we trace.
    traced: traced::Traced,
    /// Where threads go on after their answers.
    waking: waking::Waking,
    /// Whether many threads wait at once.
    backlog: backlog::Backlog,
    /// When the last wait ended (nanoseconds, monotonic).
    woken_at: u64,
    /// Reads files for the agent; there once it has asked for the first.
    summing: Option<Summing>,
    /// What the agent wants to be refused.
    denials: Denials,
    /// Opens in our tracees' place that may block; there once something is denied.
    openers: Option<Openers<answering::Apart>>,
    /// Reads that the filter lets pass; there once the agent has asked for some.
    reads: Option<reads::Reads>,
    /// Calls that were made in a thread's place, and whose answer it has not taken.
    unclaimed: IdMap<answering::Unclaimed>,
    /// What such calls have given, as far as the kernel says that it was taken.
    given: IdMap<makers::Given>,
    /// Processes that have said that they end, in that order.
    leaving: Vec<leaving::Leaving>,
    /// No process has the filter any more.
    all_gone: bool,
    /// Tells of the keeper's end, where that does not end us as well.
    keeper: Option<OwnedFd>,
    /// The main process has been in the table.
    is_main_known: bool,
    /// When the main process was seen to have ended (milliseconds, monotonic).
    ended_at: Option<u64>,
}

/// What cannot go wrong on a kernel that has notifications, and leaves nothing to do if it
/// does: the keeper takes over.
fn must<T>(result: crate::sys::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(_) => process::exit(1),
    }
}

impl Worker<'_> {
    fn main_pid(&self) -> u32 {
        self.start.board.main_pid.load(Ordering::Acquire) as u32
    }

    fn serve(&mut self) -> ! {
        let signals = must(signals::descriptor());
        must(self.poller.add(signals.as_fd(), TOKEN_SIGNALS));
        let mut space = Space::new();
        loop {
            let asleep_at = poll::monotonic();
            let wait = self.backlog.next_wait();
            let timeout = match wait {
                Wait::Usual => self.timeout(asleep_at),
                Wait::Look | Wait::Known => 0,
            };
            self.start.board.rests();
            let listener = self.start.listener.filter(|_| !self.all_gone);
            let asked = listener.filter(|_| wait != Wait::Known);
            let (notified, has_other_mounts, ready) =
                self.poller
                    .wait_with(asked, self.mounts.descriptor(), &mut space, timeout);
            self.woken_at = poll::monotonic();
            self.start.board.begins(poll::milliseconds(self.woken_at));
            let time = self.woken_at.saturating_sub(asleep_at);
            self.waking.waited(time);
            let notified = self.backlog.waited(wait, time, notified);
            if has_other_mounts {
                self.forget_mounts();
            }
            // Ends and exec stops first: a notification of a new program comes after its
            // exec, one with a recycled id after the end of the first.
            let is_behind = self.traced.is_behind();
            if is_behind || ready.iter().any(|ready| ready.token == TOKEN_SIGNALS) {
                signals::drain(signals.as_fd());
                self.children_changed();
            }
            // Before ends: who has opened a file is found only as long as it lives.
            if ready.iter().any(|ready| ready.token == TOKEN_READS) {
                self.reads_noticed();
            }
            for ready in ready {
                match ready.token {
                    TOKEN_SIGNALS | TOKEN_READS => {}
                    TOKEN_AGENT => self.agent_ready(ready),
                    TOKEN_WATCHES => self.looks.changed(),
                    TOKEN_SUMS => self.summed(),
                    TOKEN_OPENED => self.opened(),
                    TOKEN_KEEPER => self.keeper_ended(),
                    pid => self.process_ended(pid as u32),
                }
            }
            // Whoever has waited for one of them tells of what it does afterwards.
            // Who is known to wait was there when they were last looked at, and still is.
            if wait != Wait::Known {
                self.look_at_leaving();
            }
            self.look_for_ends();
            match (notified, listener) {
                // What the others have to tell comes before it.
                (Direct::Readable, Some(_)) if ready.len() == poll::BATCH => {}
                (Direct::Readable, Some(listener)) => self.notified(listener),
                (Direct::HungUp, _) => self.all_gone = true,
                _ => {}
            }
            self.settle_due();
            self.look_at_openers();
            self.search_reads();
            self.let_crowds_go();
            self.connect();
            self.send();
            self.finish_if_done();
        }
    }

    /// Something was mounted or unmounted.
    fn forget_mounts(&mut self) {
        self.mounts.changed();
        self.looks.changed();
    }

    /// Milliseconds from `now` (nanoseconds, monotonic) until something is due, -1 for nothing.
    fn timeout(&self, now: u64) -> i32 {
        if self.traced.is_behind() {
            return 0;
        }
        let looks = self.pending.iter().map(Pending::due);
        let execs = self.execs.values().filter_map(execs::Attempt::due);
        let linger = self.ended_at.map(|at| at + ends::LINGER_AFTER);
        let is_main_gone = self.all_gone || self.processes.get(self.main_pid()).is_none();
        if is_main_gone && self.is_main_known && self.ended_at.is_none() {
            // After a takeover the keeper is its parent, and is about to tell its status.
            return 1;
        }
        let due = looks
            .chain(execs)
            .chain(self.transport.retry_at())
            .chain(self.transport.flush_at())
            .chain(self.openers.as_ref().and_then(Openers::due))
            .chain(linger)
            .chain(self.processes.sweep_at())
            .chain(self.leaving.first().map(leaving::Leaving::due))
            .chain(self.reads.as_ref().and_then(reads::Reads::search_at))
            .chain(self.crowds.values().map(crowd::Crowd::until))
            .min();
        let now = poll::milliseconds(now);
        due.map_or(-1, |due| due.saturating_sub(now).min(60_000) as i32)
    }
}
