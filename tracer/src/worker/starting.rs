//! How a worker begins: with the application, or in the place of one that has died.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use picket_events::wire::{Engine, LossReason, Lost, Notice, ToAgent};

use super::{
    Start, TOKEN_KEEPER, TOKEN_WATCHES, WORKER_NAME, Worker, backlog, must, traced, waking,
};
use crate::accounts::Accounts;
use crate::config::Config;
use crate::decode::Own;
use crate::denials::Denials;
use crate::familiar::Familiar;
use crate::idmap::IdMap;
use crate::images::Environments;
use crate::keeper;
use crate::looks::Looks;
use crate::mounts::Mounts;
use crate::proc;
use crate::processes::Processes;
use crate::start::interest;
use crate::sys::poll::{self, Poller};
use crate::sys::{Errno, acting, files, process, seccomp, signals};
use crate::transport::Transport;

/// By how much a wait may be longer than it was to be, nanoseconds. Nearly every call sets a time
/// for a look at what became of it, and the next call comes before that: a timer that would be the
/// processor's next costs more to set and to take back than the call, above all in a virtual
/// machine. One that may be late is left to the processor's regular ticks.
const TIMER_SLACK: u64 = 3_000_000;

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
