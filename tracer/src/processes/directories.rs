//! Working directories of processes that may hide.
//!
//! Of a process that is not dumpable, `/proc/PID/cwd` is closed as its memory is. So the directory is held
//! from before, and followed through its `chdir`s, for which the filter always stops.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Entry;
use crate::proc;
use crate::sys::files::{self, AT_FDCWD};
use crate::sys::{Errno, Result, process};

/// What is known of a working directory besides what `/proc` shows.
#[derive(Debug, Default)]
pub(super) enum Directory {
    /// Nothing.
    #[default]
    Unknown,
    /// This is it.
    Held(OwnedFd),
    /// That was it, and the process was about to go to an absolute path.
    Leaving(OwnedFd, Vec<u8>),
}

impl Directory {
    pub(super) fn held(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Held(directory) => Some(directory.as_fd()),
            Self::Unknown | Self::Leaving(..) => None,
        }
    }
}

impl Entry {
    /// Holds the working directory before it is closed to us; where that has happened, it goes on to be
    /// followed.
    pub(super) fn hold_directory(&mut self, tid: u32) {
        let link = CString::new(format!("/proc/{tid}/cwd")).unwrap_or_default();
        let opened = proc::as_tracee(&self.credentials, || {
            files::open_path(AT_FDCWD, &link, true, 0)
        });
        if let Ok(directory) = opened {
            self.directory = Directory::Held(directory);
        }
    }

    /// Whether its working directory is followed.
    pub(crate) fn holds_directory(&self) -> bool {
        self.directory.held().is_some()
    }

    /// It may hide, and where its relative paths start is not known any more.
    pub(crate) fn is_directory_lost(&self) -> bool {
        self.keeps_memory && matches!(self.directory, Directory::Unknown)
    }

    /// The process, which has [arrived](Self::arrive), is about to change to this absolute path, or to
    /// one that is not known.
    pub(crate) fn leaves_for(&mut self, path: Option<Vec<u8>>) {
        self.directory = match (std::mem::take(&mut self.directory), path) {
            (Directory::Held(from), Some(to)) => Directory::Leaving(from, to),
            _ => Directory::Unknown,
        };
    }

    /// What it was about to do is done: finds out whether it could.
    pub(crate) fn arrive(&mut self) {
        if !matches!(self.directory, Directory::Leaving(..)) {
            return;
        }
        let Directory::Leaving(from, to) = std::mem::take(&mut self.directory) else {
            return;
        };
        let found = self.view(self.pid).resolve(&to, true);
        self.directory = match enter(&found.path, self.credentials.fsuid, self.credentials.fsgid) {
            Ok(directory) if found.metadata.is_some() => Directory::Held(directory),
            _ if found.is_missing() => Directory::Held(from),
            Err(Errno(libc::ENOTDIR)) => Directory::Held(from),
            // A group that we do not know of may have let it in.
            _ => Directory::Unknown,
        };
    }
}

/// A directory that a user may change to. To walk to `.` in it takes the same right (`chdir(2)`).
fn enter(path: &[u8], uid: u32, gid: u32) -> Result<OwnedFd> {
    let inside = CString::new([path, b"/."].concat()).map_err(|_| Errno(libc::EINVAL))?;
    let open = || files::open_path(AT_FDCWD, &inside, true, 0);
    match (uid, gid) == process::effective_ids() {
        true => open(),
        false => process::with_file_system_ids(uid, gid, open),
    }
}
