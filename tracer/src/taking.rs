//! Copies of tracees' descriptors.
//!
//! A process's pidfd leads to the descriptors of its first thread. Another thread has its own once it
//! has said `unshare(CLONE_FILES)`, or once the first has ended.

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

/// A copy of a descriptor of the thread that a view is of. Some sandboxes refuse it.
pub(crate) fn take(view: &View<'_>, pidfd: Option<BorrowedFd<'_>>, number: i32) -> Result<OwnedFd> {
    if view.tid != view.pid && !LACKS_THREADS.load(Ordering::Relaxed) {
        match process::open_thread_pidfd(view.tid) {
            Ok(thread) => return take_as(view, thread.as_fd(), number),
            Err(Errno(libc::EINVAL)) => LACKS_THREADS.store(true, Ordering::Relaxed),
            Err(error) => return Err(error),
        }
    }
    let taken = take_as(view, pidfd.ok_or(Errno(libc::EBADF))?, number);
    match view.tid == view.pid || is_threads(view, number, taken.as_ref().ok()) {
        true => taken,
        false => Err(ANOTHER),
    }
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
