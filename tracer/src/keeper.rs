//! The keeper: stands between whoever started us and the application. It passes signals and
//! the exit code on, reaps orphans, and answers notifications while there is no worker, so
//! that the application never notices the death of ours.

mod takeover;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use picket_events::Interest;
use picket_events::wire::{Engine, Hello, VERSION};

use crate::cli::OWN_FAILURE;
use crate::config::{Choice, Config};
use crate::start::{Before, await_listener, shares_descriptors, start_worker, step};
use crate::sys::handed::{self, Handed};
use crate::sys::poll::{Poller, Space};
use crate::sys::process::{self, Change, Side};
use crate::sys::seccomp::{self, Notification};
use crate::sys::shared::{Board, WORKER_STAYS};
use crate::sys::signals::{self, Mask, Received};
use crate::sys::{Errno, files, poll};
use crate::worker::WORKER_NAME;
use crate::{image, launch, proc, spare, table, transport};

use self::takeover::Watch;
pub(crate) use self::takeover::{interrupt_blocked, let_run};

/// Why the application cannot be traced.
struct Failure {
    step: &'static str,
    errno: Errno,
}

impl Failure {
    /// What a reader can make of the errno.
    fn hint(&self) -> &'static str {
        match self.errno.0 {
            libc::EBUSY => "; another tracer has a listener already",
            libc::EPERM | libc::EACCES => "; the sandbox refuses it",
            libc::ENOSYS | libc::EINVAL => "; the kernel does not have it",
            libc::EMFILE => "; the limit of open files is too low",
            libc::EAGAIN if handed::has_deadline() => {
                "; a process under SCHED_DEADLINE may not fork"
            }
            libc::EAGAIN => "; the limit of processes is too low",
            _ => "",
        }
    }
}

fn at<T>(step: &'static str, result: Result<T, Errno>) -> Result<T, Failure> {
    result.map_err(|errno| Failure { step, errno })
}

/// Runs the command, traced if at all possible, and gives its exit code.
pub(crate) fn run(config: Config) -> ExitCode {
    abort_on_panic();
    let before = Before {
        mask: signals::block_all(),
        child_signal_ignored: signals::set_default(libc::SIGCHLD),
        handed: Handed::take(),
    };
    let engines: &[Engine] = match config.engine {
        Choice::Auto => &[Engine::UserNotification, Engine::Ptrace],
        Choice::Only(ref engine) => std::slice::from_ref(engine),
    };
    let mut first_failure = None;
    for engine in engines {
        if *engine == Engine::Ptrace && first_failure.is_some() && is_nested() {
            break;
        }
        match Keeper::start(&config, before, engine, first_failure.as_ref()) {
            Ok(mut keeper) => return keeper.stand(&config),
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    let failure = first_failure.unwrap_or(Failure {
        step: "engine",
        errno: Errno(libc::ENOSYS),
    });
    untraced(&config, before, &failure)
}

/// A panic in any of our processes must not unwind into a copy of main.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|_| std::process::abort()));
}

/// Whether a tracer of ours stands above us: it sees what we would, and more.
fn is_nested() -> bool {
    // Our own name is the same until we give ourselves another.
    let mut pid = process::parent_pid();
    for _ in 0..64 {
        match proc::stat(pid) {
            Ok(stat) if stat.comm == WORKER_NAME.to_string_lossy() => return true,
            Ok(stat) if stat.parent != 0 => pid = stat.parent,
            _ => return false,
        }
    }
    false
}

/// Says that the second-best engine is at work.
fn tell_fallback(failure: &Failure) {
    let (step, errno, hint) = (failure.step, failure.errno, failure.hint());
    eprintln!(
        "picket-tracer: the program is traced with ptrace, which is slower: {step} failed: {errno}{hint}"
    );
}

/// Runs the application without us, saying so.
fn untraced(config: &Config, before: Before, failure: &Failure) -> ExitCode {
    let (step, errno) = (failure.step, failure.errno);
    let outcome = if config.require_tracing {
        "is not started"
    } else {
        "runs untraced"
    };
    let hint = failure.hint();
    eprintln!("picket-tracer: the program {outcome}: {step} failed: {errno}{hint}");
    let engine = Engine::Failed {
        step: step.to_owned(),
        errno: errno.0,
    };
    transport::send_hello(config, hello(config, &config.interest, engine, 0));
    if config.require_tracing {
        return ExitCode::from(OWN_FAILURE);
    }
    before.restore();
    ExitCode::from(launch::execute(&config.command) as u8)
}

/// Who we are, for the agent; `interest` is what the filter was made for.
pub(crate) fn hello(
    config: &Config,
    interest: &Interest,
    engine: Engine,
    generation: u32,
) -> Hello {
    // As much as is told of any program's arguments: a greeting that is longer than a frame may be
    // would not be sent, and the container not be known.
    let mut words = Vec::new();
    for word in &config.command {
        words.extend_from_slice(word.as_bytes());
        words.push(0);
    }
    let (entrypoint, _) = image::scrubbed_arguments(&words);
    Hello {
        version: VERSION,
        container: config.container.clone(),
        container_id: config.container_id.clone(),
        session_key: config.session_key,
        started_at: config.started_at,
        entrypoint,
        engine,
        interest: table::served(interest).to_string(),
        generation,
        session_token: config.session_token.clone(),
    }
}

/// Descriptors beside the keeper's that a worker cannot begin without.
const WORKER_DESCRIPTORS: usize = 12;

const TOKEN_SIGNALS: u64 = 0;
const TOKEN_WAKE: u64 = 1;
const TOKEN_LISTENER: u64 = 2;

struct Keeper {
    board: &'static Board,
    signals: OwnedFd,
    wake: OwnedFd,
    poller: Poller,
    /// Where notifications come from; `None` under the ptrace engine.
    listener: Option<OwnedFd>,
    worker: i32,
    /// No worker: we answer.
    answering: bool,
    watch: Watch,
    stops_seen: u32,
    /// When we were last continued after a stop (milliseconds, monotonic).
    continued_at: u64,
}

impl Keeper {
    /// Starts worker and application; `instead` says what made us take this engine. When it
    /// fails, nothing is left behind.
    fn start(
        config: &Config,
        before: Before,
        engine: &Engine,
        instead: Option<&Failure>,
    ) -> Result<Self, Failure> {
        if *engine == Engine::UserNotification {
            at("user notification", seccomp::has_notifications())?;
            // The listener comes to us through a table that all share at first.
            at("unshare", process::unshare_files())?;
        }
        at("getpid", process::knows_itself())?;
        at("wait", process::can_wait())?;
        let board = at("shared memory", Board::map())?;
        let wake = at("eventfd", poll::event())?;
        let signals = at("signalfd", signals::descriptor())?;
        let poller = at("epoll", Poller::new())?;
        at("epoll", poller.can_wait())?;
        at(
            "descriptors",
            process::has_room_for(WORKER_DESCRIPTORS, wake.as_fd()),
        )?;
        at("epoll", poller.add(signals.as_fd(), TOKEN_SIGNALS))?;
        at("epoll", poller.add(wake.as_fd(), TOKEN_WAKE))?;
        if process::own_pid() != 1 {
            at("subreaper", process::set_subreaper())?;
        }
        let keeper = process::own_pid();
        let worker = match at("clone", process::fork(shares_descriptors(engine)))? {
            Side::Child => {
                if config.spare {
                    spare::stand(config, board, &wake, engine, keeper, || {
                        start_worker(config, board, &wake, engine, before, keeper)
                    })
                }
                start_worker(config, board, &wake, engine, before, keeper)
            }
            Side::Parent(pid) => pid,
        };
        let listener = await_listener(board, worker, engine);
        if shares_descriptors(engine) {
            board.let_go_of_watching();
        }
        let listener = at(step(engine), listener)?;
        if let Some(failure) = instead {
            tell_fallback(failure);
        }
        std::panic::set_hook(Box::new(|_| {
            board.keeper_failed.store(1, Ordering::Release);
            std::process::abort()
        }));
        process::set_not_dumpable();
        process::set_name(c"picket-keeper");
        files::let_go(&config.inherited);
        Ok(Self {
            board,
            signals,
            wake,
            poller,
            listener,
            worker,
            answering: false,
            watch: Watch::default(),
            stops_seen: 0,
            continued_at: 0,
        })
    }

    /// Stands until the application's main process has ended.
    fn stand(&mut self, config: &Config) -> ExitCode {
        let mut space = Space::new();
        let mut slot = Notification::default();
        loop {
            // One that ends is waited for: else nobody is told what the application has used, and
            // somebody else has to reap it.
            let worker_stays = self.board.worker_done.load(Ordering::Acquire) == WORKER_STAYS;
            let ended = self.board.main_ended.load(Ordering::Acquire) != 0;
            if ended && self.answering {
                self.have_the_rest_told(config);
            }
            if ended && (worker_stays || self.answering) {
                return mirror(self.board.main_status.load(Ordering::Acquire));
            }
            for ready in self.poller.wait(&mut space, self.watch.next_look()) {
                match ready.token {
                    TOKEN_SIGNALS => {}
                    TOKEN_WAKE => poll::drain(self.wake.as_fd()),
                    _ => self.answer(ready.readable, &mut slot),
                }
            }
            while let Some(received) = signals::next(self.signals.as_fd()) {
                if received.signal != libc::SIGCHLD {
                    self.forward(received);
                }
            }
            self.reap(config);
            self.follow_stop();
            self.watch_over(config);
        }
    }

    fn main_pid(&self) -> i32 {
        self.board.main_pid.load(Ordering::Acquire)
    }

    /// Passes a signal on, unless the application has got it already.
    fn forward(&self, received: Received) {
        let main = self.main_pid();
        let signal = received.signal;
        if self.board.main_ended.load(Ordering::Acquire) != 0 {
            return;
        }
        let shares_group = || process::group_of(main) == process::group_of(0);
        if received.code == libc::SI_KERNEL && is_for_the_group(signal) && shares_group() {
            return;
        }
        // So did this very process, says the worker. We may have been kept from running since.
        const RECENT: u32 = 2_000;
        let now = poll::monotonic_ms();
        let since = self.board.since_group_signal(signal, received.sender, now);
        let is_recent = since.is_some_and(|since| since < RECENT);
        if received.sender != 0 && is_recent && shares_group() {
            return;
        }
        // What continued us after a stop continued the application as well.
        if signal == libc::SIGCONT && poll::monotonic_ms() - self.continued_at < 100 {
            return;
        }
        let _ = match received.code {
            // The only one that may be sent in another's name.
            libc::SI_QUEUE => signals::queue(main, received),
            _ => signals::kill(main, signal),
        };
    }

    /// Collects children that have ended: orphans, the worker, and, when a worker has died,
    /// the main process.
    fn reap(&mut self, config: &Config) {
        while let Some(change) = process::next_change() {
            if change.pid == self.main_pid() {
                self.main_changed(change);
            } else if change.pid == self.worker && change.ended() && self.is_spare(change.pid) {
                // Idle, so nothing is lost with it; the worker is our own child now.
                self.board.spare_pid.store(0, Ordering::Release);
                self.worker = self.board.worker_pid.load(Ordering::Acquire);
                if signals::kill(self.worker, 0).is_err() {
                    self.worker_died(config, change.status);
                }
            } else if change.pid == self.worker && change.ended() {
                self.worker_died(config, change.status);
            } else if change.pid == self.worker && change.stopped() {
                let _ = signals::kill(self.worker, libc::SIGCONT);
            }
        }
    }

    fn main_changed(&self, change: Change) {
        if change.ended() {
            self.board
                .main_status
                .store(change.status, Ordering::Release);
            self.board.main_ended.store(1, Ordering::Release);
        } else if change.stopped() {
            self.board.main_stops.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Stops ourselves when the main process has stopped, so that a shell sees it; goes on
    /// when we are continued.
    fn follow_stop(&mut self) {
        let stops = self.board.main_stops.load(Ordering::Acquire);
        if stops == self.stops_seen {
            return;
        }
        self.stops_seen = stops;
        if !process::is_stopped(self.main_pid()) {
            return;
        }
        let _ = signals::kill(process::own_pid() as i32, libc::SIGSTOP);
        self.continued_at = poll::monotonic_ms();
        // Whoever continued us alone meant the application.
        if process::is_stopped(self.main_pid()) {
            let _ = signals::kill(self.main_pid(), libc::SIGCONT);
        }
    }

    fn is_spare(&self, pid: i32) -> bool {
        self.board.spare_pid.load(Ordering::Acquire) == pid
    }
}

/// Whether the kernel sends a signal to whole groups, and so to the application where it is in ours:
/// the terminal does. But its hang-up, and the SIGCONT that follows, are for a session's leader
/// alone, and timers are for one process.
fn is_for_the_group(signal: i32) -> bool {
    match signal {
        libc::SIGALRM | libc::SIGVTALRM | libc::SIGPROF => false,
        libc::SIGHUP | libc::SIGCONT => !process::leads_session(),
        _ => true,
    }
}

/// Ends as the application did.
fn mirror(status: i32) -> ExitCode {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        process::forbid_core();
        signals::set_default(signal);
        signals::restore(&Mask::empty());
        let _ = signals::kill(process::own_pid() as i32, signal);
        // Process 1 of a name space does not die of it.
        return ExitCode::from(128 + signal as u8);
    }
    ExitCode::from(libc::WEXITSTATUS(status) as u8)
}
