//! The spare: the next worker, kept ready between keeper and worker.
//!
//! Under Yama's scope 1 a process is read and traced by its ancestors only. A worker that the
//! keeper starts later is none: the application stands beside it. The spare stands above the
//! application from the beginning, inherits it when the worker dies, and becomes the worker.
//! Until then it does nothing but wait.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Duration;

use picket_events::wire::Engine;

use crate::config::Config;
use crate::start::shares_descriptors;
use crate::sys::process::{self, Side};
use crate::sys::shared::{self, Board, Install};
use crate::sys::{files, signals};
use crate::{keeper, worker};

/// Starts the worker below this process, and stands by. `keeper_pid` is our parent's.
pub(crate) fn stand(
    config: &Config,
    board: &'static Board,
    wake: &OwnedFd,
    engine: &Engine,
    keeper_pid: u32,
    start_worker: impl FnOnce(),
) -> ! {
    // Without that the application would go to the keeper.
    let _ = process::set_subreaper();
    board
        .spare_pid
        .store(process::own_pid() as i32, Ordering::Release);
    let worker = match process::fork(shares_descriptors(engine)) {
        Ok(Side::Child) => {
            start_worker();
            process::exit(1)
        }
        Ok(Side::Parent(pid)) => pid,
        Err(errno) => {
            board.decide(Install::Failed(errno.0));
            process::exit(0)
        }
    };
    let worker_ended = || process::has_ended(worker);
    while board.install() == Install::Undecided {
        board.await_install();
        if worker_ended() {
            board.decide(Install::Failed(libc::ECHILD));
        }
    }
    let Install::Installed(listener) = board.install() else {
        // The worker ends by itself; its end is not left to the keeper to wait for.
        while process::await_change().is_some_and(|change| change.pid != worker || !change.ended())
        {
        }
        process::exit(0)
    };
    while board.worker_ready.load(Ordering::Acquire) == 0 && !worker_ended() {
        shared::wait_while(&board.worker_ready, 0, Duration::from_millis(50));
    }
    let _ = process::unshare_files();
    if shares_descriptors(engine) {
        board.let_go_of_watching();
    }
    let listener = (*engine == Engine::UserNotification).then(|| process::adopt(listener));
    process::set_not_dumpable();
    process::new_session();
    process::set_name(c"picket-spare");
    files::let_go(&config.inherited);

    let status = until_ended(board, worker);
    board.kept.send_all();
    let listener = listener.as_ref().map(AsFd::as_fd);
    if let (Some(listener), Some(held)) = (listener, board.unanswered()) {
        keeper::let_run(board, listener, held.id, &held.data);
    }
    board.answered();
    if let Some(listener) = listener {
        keeper::interrupt_blocked(board, listener);
    }
    board.spare_pid.store(0, Ordering::Release);
    if board.worker_done.load(Ordering::Acquire) != 0 {
        process::exit(0)
    }
    let generation = board.generation.fetch_add(1, Ordering::AcqRel) + 1;
    worker::resume(worker::Start {
        config,
        board,
        wake: wake.as_fd(),
        listener,
        keeper: keeper_pid,
        generation,
        watched: None,
        died_by: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status) as u32),
    })
}

/// Waits for the worker's end, reaping orphans, and gives its wait status.
fn until_ended(board: &Board, worker: i32) -> i32 {
    while let Some(change) = process::await_change() {
        let is_worker = change.pid == worker;
        if is_worker && change.ended() {
            return change.status;
        }
        if is_worker && change.stopped() {
            let _ = signals::kill(worker, libc::SIGCONT);
        }
        // It came to us by the worker's death, which we have not been told of yet.
        if change.ended() && change.pid == board.main_pid.load(Ordering::Acquire) {
            board.main_status.store(change.status, Ordering::Release);
            board.main_ended.store(1, Ordering::Release);
        }
    }
    process::exit(0)
}
