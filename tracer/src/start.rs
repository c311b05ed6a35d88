//! Starting worker and application: who installs the filter, and who waits for whom.

use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use picket_events::wire::Engine;
use picket_events::{Interest, OpenInterest};

use crate::config::Config;
use crate::filter::{self, Ours};
use crate::sys::handed::Handed;
use crate::sys::process::{self, Side};
use crate::sys::seccomp::{self, Instruction};
use crate::sys::shared::{self, Board, Install};
use crate::sys::signals::{self, Mask};
use crate::sys::{Errno, inherited, poll, ptrace};
use crate::watched::Watched;
use crate::{launch, worker};

/// How long the start may take before it counts as failed.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How the application's surroundings were before we changed them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    pub(crate) mask: Mask,
    pub(crate) child_signal_ignored: bool,
    pub(crate) handed: Handed,
}

impl Before {
    /// Gives the calling process the same surroundings again.
    pub(crate) fn restore(&self) {
        if self.child_signal_ignored {
            signals::set_ignored(libc::SIGCHLD);
        }
        inherited::restore();
        self.handed.give();
        signals::restore(&self.mask);
    }
}

/// Whether keeper, worker and application have one descriptor table until the application is
/// started: a listener is made in the application's process and has to come to the others.
pub(crate) fn shares_descriptors(engine: &Engine) -> bool {
    *engine == Engine::UserNotification
}

/// Becomes the worker: starts the application, then traces it.
pub(crate) fn start_worker(
    config: &Config,
    board: &'static Board,
    wake: &OwnedFd,
    engine: &Engine,
    before: Before,
    keeper: u32,
) -> ! {
    let ours = Ours {
        processes: [keeper, process::parent_pid(), process::own_pid()],
        group: process::group_of(0).map_or(keeper, |group| group as u32),
    };
    let watched = watch(config, board);
    let program = filter::compile(&interest(config, board), ours, action(engine));
    let main = match process::fork(shares_descriptors(engine)) {
        Ok(Side::Child) => start_application(config, board, engine, &program, before),
        Ok(Side::Parent(pid)) => pid,
        Err(errno) => {
            board.decide(Install::Failed(errno.0));
            process::exit(0)
        }
    };
    if *engine == Engine::Ptrace {
        let seized = ptrace::seize(main as u32, ptrace::FOLLOW);
        board.seized(seized.err());
    }
    while board.install() == Install::Undecided {
        board.await_install();
        if process::has_ended(main) {
            board.decide(Install::Failed(libc::ECHILD));
        }
    }
    let Install::Installed(listener) = board.install() else {
        process::exit(0)
    };
    // From here on the descriptor tables are three.
    let _ = process::unshare_files();
    let listener = (*engine == Engine::UserNotification).then(|| process::adopt(listener));
    shared::set_and_wake(&board.worker_ready, 1);
    worker::run(worker::Start {
        config,
        board,
        wake: wake.as_fd(),
        listener: listener.as_ref().map(AsFd::as_fd),
        keeper,
        generation: 0,
        watched,
        died_by: None,
    })
}

/// Watches files for reads that the filter is to let pass, where it is known already which. A
/// filter cannot be changed: where something is not watched, it is made to stop for such reads as
/// can be told apart from most.
fn watch(config: &Config, board: &Board) -> Option<Watched> {
    if config.interest.open != OpenInterest::Plain || config.socket.is_none() {
        return None;
    }
    let mut watched = Watched::new();
    watched.set(config.watched.clone());
    match watched.descriptor() {
        Some(descriptor) => board.is_watching(descriptor),
        // Nor will there be one when the agent says which.
        None => board.stops_for_more.store(1, Ordering::Release),
    }
    if !watched.missing().is_nothing() {
        board.stops_for_more.store(1, Ordering::Release);
    }
    Some(watched)
}

/// What the filter is made for.
pub(crate) fn interest(config: &Config, board: &Board) -> Interest {
    let mut interest = config.interest;
    if board.stops_for_more.load(Ordering::Acquire) != 0 {
        interest.insert_open(OpenInterest::NoTerminal);
    }
    interest
}

/// Becomes the application.
fn start_application(
    config: &Config,
    board: &'static Board,
    engine: &Engine,
    program: &[Instruction],
    before: Before,
) -> ! {
    // Not left to the worker, which may be killed before it gets to it.
    board
        .main_pid
        .store(process::own_pid() as i32, Ordering::Release);
    let installed = match engine {
        Engine::Ptrace => board
            .await_seizure()
            .and_then(|()| install_for_ptrace(program))
            .map(|()| 0),
        _ => install(program, config.like_old_kernels).map(IntoRawFd::into_raw_fd),
    };
    match installed {
        Ok(number) => {
            // Our copy of the listener goes with the exec; the others keep theirs.
            let _ = process::unshare_files();
            if !board.decide(Install::Installed(number)) {
                // Somebody gave us up: the program is started without us.
                process::exit(0);
            }
        }
        Err(errno) => {
            board.decide(Install::Failed(errno.0));
            process::exit(0);
        }
    }
    before.restore();
    process::exit(launch::execute(&config.command))
}

/// Installs the filter with the best flags that the kernel has, or those that old ones have. Without
/// CAP_SYS_ADMIN that takes no_new_privs.
pub(crate) fn install(program: &[Instruction], like_old_kernels: bool) -> Result<OwnedFd, Errno> {
    let choices = [
        seccomp::SPEC_ALLOW | seccomp::WAIT_KILLABLE_RECV,
        seccomp::SPEC_ALLOW,
        seccomp::WAIT_KILLABLE_RECV,
        0,
    ];
    let mut result = Err(Errno(libc::EINVAL));
    for flags in choices {
        if like_old_kernels && flags & seccomp::WAIT_KILLABLE_RECV != 0 {
            continue;
        }
        result = seccomp::install(program, flags);
        if matches!(result, Err(Errno(libc::EACCES))) {
            process::set_no_new_privs()?;
            result = seccomp::install(program, flags);
        }
        match result {
            Ok(listener) => {
                seccomp::can_ask(listener.as_fd())?;
                return Ok(listener);
            }
            Err(Errno(libc::EINVAL)) => {}
            Err(errno) => return Err(errno),
        }
    }
    result
}

/// Installs a filter that stops for a ptracer.
fn install_for_ptrace(program: &[Instruction]) -> Result<(), Errno> {
    let result = seccomp::install_quietly(program);
    if matches!(result, Err(Errno(libc::EACCES))) {
        process::set_no_new_privs()?;
        return seccomp::install_quietly(program);
    }
    result
}

/// What the filter answers for a call of interest.
pub(crate) fn action(engine: &Engine) -> u32 {
    match engine {
        Engine::Ptrace => seccomp::RETURN_TRACE,
        _ => seccomp::RETURN_USER_NOTIF,
    }
}

/// The step at which an engine's start mostly fails.
pub(crate) fn step(engine: &Engine) -> &'static str {
    match engine {
        Engine::Ptrace => "ptrace",
        _ => "seccomp",
    }
}

/// Waits until the application has its filter, and takes the listener.
pub(crate) fn await_listener(
    board: &Board,
    worker: i32,
    engine: &Engine,
) -> Result<Option<OwnedFd>, Errno> {
    let start = poll::monotonic_ms();
    let is_late = || poll::monotonic_ms() - start > START_LIMIT.as_millis() as u64;
    // Whoever was started by what has executed us may end at any time.
    let worker_ended = || process::has_ended(worker);
    while board.install() == Install::Undecided {
        board.await_install();
        // One that somebody stopped would keep the application from starting.
        let _ = signals::kill(worker, libc::SIGCONT);
        if (worker_ended() || is_late()) && board.decide(Install::Failed(libc::ECHILD)) {
            let _ = signals::kill(worker, libc::SIGKILL);
        }
    }
    let listener = match board.install() {
        Install::Installed(listener) => listener,
        Install::Failed(errno) => return Err(clean_up(board, worker, errno)),
        Install::Undecided => return Err(Errno(libc::ECHILD)),
    };
    while board.worker_ready.load(Ordering::Acquire) == 0 && !worker_ended() {
        shared::wait_while(&board.worker_ready, 0, Duration::from_millis(50));
        let _ = signals::kill(worker, libc::SIGCONT);
    }
    Ok((*engine == Engine::UserNotification).then(|| process::adopt(listener)))
}

/// After a failed start: leaves no process behind.
fn clean_up(board: &Board, worker: i32, errno: i32) -> Errno {
    process::await_end(worker);
    // The application's process, if it came to be, has become our child. It will start nothing any more.
    let main = board.main_pid.load(Ordering::Acquire);
    if main != 0 && process::is_child(main) {
        let _ = signals::kill(main, libc::SIGKILL);
        process::await_end(main);
    }
    Errno(errno)
}
