//! Copies of tracees' descriptors.
//!
//! A process's pidfd leads to the descriptors of its first thread. Another thread has its own once it
//! has said `unshare(CLONE_FILES)`, or once the first has ended.

use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::proc;
use crate::resolve::View;
use crate::sys::files::{self, AT_FDCWD};
use crate::sys::{Errno, Result, process};

/// The thread has another descriptor by this number than the process, and it cannot be taken.
pub(crate) const ANOTHER: Errno = Errno(libc::ESTALE);

/// The kernel has pidfds of processes only (before Linux 6.9).
static LACKS_THREADS: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The thread that something was taken from last, and what holds it: mostly the next is, too.
    static LAST: RefCell<Option<(u32, OwnedFd)>> = const { RefCell::new(None) };
}

/// A copy of a descriptor of the thread that a view is of. Some sandboxes refuse it.
pub(crate) fn take(view: &View<'_>, pidfd: Option<BorrowedFd<'_>>, number: i32) -> Result<OwnedFd> {
    if view.tid != view.pid && !LACKS_THREADS.load(Ordering::Relaxed) {
        match of_thread(view.tid, |thread| take_as(view, thread, number)) {
            Err(Errno(libc::EINVAL)) => LACKS_THREADS.store(true, Ordering::Relaxed),
            other => return other,
        }
    }
    let taken = take_as(view, pidfd.ok_or(Errno(libc::EBADF))?, number);
    match view.tid == view.pid || is_threads(view, number, taken.as_ref().ok()) {
        true => taken,
        false => Err(ANOTHER),
    }
}

/// Does something with what holds a thread. EINVAL where the kernel has nothing that does.
fn of_thread<T>(tid: u32, take: impl Fn(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
    LAST.with_borrow_mut(|last| {
        if let Some((of, thread)) = last
            && *of == tid
        {
            match take(thread.as_fd()) {
                // That one has ended, and its id may be another's.
                Err(Errno(libc::ESRCH)) => *last = None,
                other => return other,
            }
        }
        let thread = process::open_thread_pidfd(tid)?;
        let taken = take(thread.as_fd());
        *last = Some((tid, thread));
        taken
    })
}

fn take_as(view: &View<'_>, pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    let take = || process::take_descriptor(pidfd, number);
    proc::attached_as_tracee(view.credentials, take)
}

/// Whether what was taken by a number is what the thread has there.
fn is_threads(view: &View<'_>, number: i32, taken: Option<&OwnedFd>) -> bool {
    let path = CString::new(format!("/proc/{}/fd/{number}", view.tid)).unwrap_or_default();
    let theirs = proc::as_tracee(view.credentials, || files::metadata(AT_FDCWD, &path, true));
    let ours = taken.map(|taken| files::metadata(taken.as_raw_fd(), c"", false));
    match (theirs, ours) {
        (Ok(theirs), Some(Ok(ours))) => ours.same_file(&theirs),
        (Err(Errno(libc::ENOENT)), None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A thread that lives until the sender is gone: its id, and itself.
    fn thread() -> (i32, mpsc::Sender<()>, std::thread::JoinHandle<()>) {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let _ = tell.send(process::own_tid());
            let _ = ended.recv();
        });
        (told.recv().unwrap(), end, thread)
    }

    #[test]
    fn an_id_that_has_come_to_another_thread_means_that_one() {
        let (first, end, joined) = thread();
        let held = process::open_thread_pidfd(first as u32);
        drop(end);
        joined.join().unwrap();
        let (second, _end, _) = thread();
        let take = |thread: BorrowedFd<'_>| process::take_descriptor(thread, 0).map(drop);
        let fresh = process::open_thread_pidfd(second as u32);
        let expected = fresh.and_then(|thread| take(thread.as_fd()));
        // As if the first one's id had been given to the second.
        LAST.set(held.ok().map(|held| (second as u32, held)));
        assert_eq!(of_thread(second as u32, take), expected);
        let kept = LAST.with_borrow(|last| last.as_ref().map(|(_, thread)| take(thread.as_fd())));
        // Kept for the next, where the kernel has such a thing.
        assert_eq!(kept.unwrap_or(Err(Errno(libc::EINVAL))), expected);
    }
}
