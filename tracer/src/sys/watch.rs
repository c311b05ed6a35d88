//! inotify, for directories and links that get another name.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Result, check};

/// An inotify instance.
#[derive(Debug)]
pub(crate) struct Watcher(OwnedFd);

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Watcher {
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: plain values.
        let fd =
            check(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) }.into())?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Tells when a directory, or a symbolic link itself, gets another name or is removed;
    /// gives the number of the watch.
    pub(crate) fn add(&self, path: &CStr) -> Result<i32> {
        let mask = libc::IN_MOVE_SELF | libc::IN_DELETE_SELF | libc::IN_DONT_FOLLOW;
        // SAFETY: the path lives during the call.
        let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask) };
        Ok(check(watch.into())? as i32)
    }

    /// Ends a watch.
    pub(crate) fn remove(&self, watch: i32) {
        // SAFETY: plain values.
        unsafe { libc::inotify_rm_watch(self.0.as_raw_fd(), watch) };
    }

    /// Throws away what waits to be told.
    pub(crate) fn drain(&self) {
        let mut buffer = [0u8; 4096];
        loop {
            // SAFETY: the kernel writes at most the buffer's length.
            let got =
                unsafe { libc::read(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
            if got <= 0 {
                return;
            }
        }
    }
}
