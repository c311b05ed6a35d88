//! inotify: for directories and links that get another name, and for files that are opened.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{Result, check};

/// Something that was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Noticed {
    /// Number of the watch; -1 when the kernel had more to tell than it kept.
    pub(crate) watch: i32,
    /// `IN_*` bits.
    pub(crate) mask: u32,
    /// Name in the directory that is watched; empty for the watched thing itself.
    pub(crate) name: Vec<u8>,
}

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

    /// Tells of these events (`IN_*`) of what a path leads to; gives the number of the watch, the
    /// same for the same file.
    pub(crate) fn watch(&self, path: &CStr, mask: u32) -> Result<i32> {
        // SAFETY: the path lives during the call.
        let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask) };
        Ok(check(watch.into())? as i32)
    }

    /// Everything that waits to be told.
    pub(crate) fn noticed(&self) -> Vec<Noticed> {
        const HEAD: usize = size_of::<libc::inotify_event>();
        let mut all = Vec::new();
        let mut buffer = [0u8; 4096];
        loop {
            // SAFETY: the kernel writes at most the buffer's length.
            let got =
                unsafe { libc::read(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
            let Some(mut rest) = usize::try_from(got).ok().and_then(|got| buffer.get(..got)) else {
                return all;
            };
            while let Some((head, behind)) = rest.split_at_checked(HEAD) {
                let word = |at: usize| head[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
                let length = (word(12) as usize).min(behind.len());
                let (name, next) = behind.split_at(length);
                let end = name.iter().position(|byte| *byte == 0).unwrap_or(length);
                all.push(Noticed {
                    watch: word(0) as i32,
                    mask: word(4),
                    name: name[..end].to_vec(),
                });
                rest = next;
            }
        }
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
