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
mod leaving;
mod makers;
mod making;
mod programs;
mod reads;
mod report;
mod settling;
mod timers;
mod traced;
pub(crate) mod waking;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use backlog::Wait;
use picket_events::Interest;
use picket_events::wire::{Engine, LossReason, Lost, Notice, ToAgent};

use crate::accounts::Accounts;
use crate::config::Config;
use crate::confirm::Pending;
use crate::decode::Own;
use crate::denials::Denials;
use crate::familiar::Familiar;
use crate::idmap::IdMap;
use crate::images::Environments;
use crate::keeper;
use crate::looks::Looks;
use crate::mounts::Mounts;
use crate::openers::Openers;
use crate::proc;
use crate::processes::Processes;
use crate::start::interest;
use crate::sums::Summing;
use crate::sys::poll::{Direct, Poller, Space};
use crate::sys::shared::Board;
use crate::sys::{Errno, acting, files, poll, process, seccomp, signals};
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

/// By how much a wait may be longer than it was to be, nanoseconds. Nearly every call sets a time
/// for a look at what became of it, and the next call comes before that: a timer that would be the
/// processor's next costs more to set and to take back than the call, above all in a virtual
/// machine. One that may be late is left to the processor's regular ticks.
const TIMER_SLACK: u64 = 3_000_000;

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

/// Traces from the first call of the application on. Never returns.
pub(crate) fn run(start: Start<'_>) -> ! {
    prepare(start.config, &start.config.inherited);
    let mut worker = Worker::new(start);
    if worker.start.listener.is_none() {
        // The keeper's child has seized it before it made its first call.
        worker.traced.add(worker.main_pid());
    }
    worker.watch(worker.start.config.watched.clone());
    worker.connect();
    worker.serve()
}

/// Takes over from a worker that has died. Never returns.
pub(crate) fn resume(start: Start<'_>) -> ! {
    prepare(start.config, &[]); // the keeper had let go of them
    let died_by = start.died_by;
    let board = start.board;
    let given = board.sequence.load(Ordering::Acquire);
    let unsent = given.saturating_sub(board.sent.load(Ordering::Acquire));
    // They get numbers as if they had been told.
    let interest = start.config.interest;
    let untold = board.debts.inherit(|event| interest.contains(event));
    let untold_count = untold.iter().map(|(_, count)| count).sum::<u64>();
    board.sequence.fetch_add(untold_count, Ordering::AcqRel);
    let mut worker = Worker::new(start);
    worker.deny_again();
    for pid in proc::all() {
        board.begins(poll::monotonic_ms());
        worker.find_again(pid);
    }
    if worker.start.listener.is_none() {
        worker.seize_all();
    }
    // It has ended together with the worker before us, and the keeper has reaped it: nothing else will
    // tell us of it.
    worker.is_main_known |= signals::kill(worker.main_pid() as i32, 0) == Err(Errno(libc::ESRCH));
    // Before anything that has a number: what is written with that is not counted a second time.
    worker
        .transport
        .push(&ToAgent::Notice(Notice::Restarted { signal: died_by }));
    for (count, by_type) in [(unsent, Vec::new()), (untold_count, untold)] {
        if count > 0 {
            let reason = LossReason::WorkerDied;
            let lost = Lost {
                count,
                by_type,
                reason,
            };
            worker.transport.push(&ToAgent::Lost(lost));
        }
    }
    worker.take_over();
    worker.watch(worker.start.config.watched.clone());
    worker.connect();
    worker.serve()
}

fn prepare(config: &Config, inherited: &[i32]) {
    if config.spare {
        // Where only ancestors may read a process, orphans have to stay our descendants.
        // Elsewhere they go to the keeper, which in a container is process 1, as they expect.
        let _ = process::set_subreaper();
    }
    process::set_not_dumpable();
    process::new_session();
    process::set_name(WORKER_NAME);
    acting::clear_umask();
    process::raise_file_limit();
    if !config.like_old_kernels {
        // Between a call of the application and its return stands our turn.
        process::prefer_short_turns();
    }
    process::set_timer_slack(TIMER_SLACK);
    files::let_go(inherited);
}

/// What cannot go wrong on a kernel that has notifications, and leaves nothing to do if it
/// does: the keeper takes over.
fn must<T>(result: crate::sys::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(_) => process::exit(1),
    }
}

impl<'a> Worker<'a> {
    fn new(start: Start<'a>) -> Self {
        let config = start.config;
        let poller = must(Poller::new());
        let waking = waking::Waking::new(start.listener.filter(|_| !config.like_old_kernels));
        let looks = Looks::new();
        if let Some(watches) = looks.descriptor() {
            must(poller.add(watches, TOKEN_WATCHES));
        }
        let keeper = (start.keeper != 1)
            .then(|| process::open_pidfd(start.keeper).ok())
            .flatten();
        if let Some(keeper) = &keeper {
            must(poller.add(keeper.as_fd(), TOKEN_KEEPER));
        }
        let worker = process::own_pid();
        let engine = match start.listener {
            Some(_) => Engine::UserNotification,
            None => Engine::Ptrace,
        };
        let interest = interest(config, start.board);
        let hello = keeper::hello(config, &interest, engine, start.generation);
        let mut transport = Transport::new(config.socket.clone(), hello);
        let numbers = [&start.board.sequence, &start.board.sent];
        let [sequence, sent] = numbers.map(|number| number.load(Ordering::Acquire));
        transport.go_on_after(sequence, sent);
        if let Some(watches) = looks.descriptor() {
            transport.hand_over(watches);
        }
        start
            .board
            .worker_pid
            .store(worker as i32, Ordering::Release);
        let spare = match start.board.spare_pid.load(Ordering::Acquire) {
            0 => start.keeper,
            pid => pid as u32,
        };
        let own = Own {
            keeper: start.keeper,
            worker,
            spare,
            socket: config
                .socket
                .as_ref()
                .map(|path| canonical(path))
                .unwrap_or_default(),
            socket_file: None,
        };
        Self {
            interest,
            own,
            poller,
            processes: Processes::new(
                [start.keeper, worker, spare],
                config.boot_time,
                &start.board.cautions,
            ),
            mounts: Mounts::new(),
            looks,
            environments: Environments::default(),
            accounts: Accounts::default(),
            transport,
            pending: Vec::new(),
            execs: IdMap::default(),
            familiar: Familiar::default(),
            seized: IdMap::default(),
            attended: IdMap::default(),
            made_again: IdMap::default(),
            interrupted: IdMap::default(),
            askers: IdMap::default(),
            crowds: IdMap::default(),
            waits_are_killable: !config.like_old_kernels
                && seccomp::knows_flag(seccomp::NEW_LISTENER | seccomp::WAIT_KILLABLE_RECV),
            traced: traced::Traced::default(),
            waking,
            backlog: backlog::Backlog::default(),
            woken_at: 0,
            summing: None,
            denials: Denials::default(),
            openers: None,
            reads: None,
            unclaimed: IdMap::default(),
            given: IdMap::default(),
            leaving: Vec::new(),
            all_gone: false,
            keeper,
            is_main_known: false,
            ended_at: None,
            start,
        }
    }

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

/// The agent's socket as a tracee's connect would resolve to.
fn canonical(path: &std::ffi::CStr) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
    // The socket may not be there yet; its directory is.
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    match (parent, path.file_name()) {
        (Some(parent), Some(name)) => parent.join(name).into_os_string().as_bytes().to_vec(),
        _ => path.as_os_str().as_bytes().to_vec(),
    }
}
