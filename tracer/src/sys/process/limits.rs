//! How many files this process may have open, and how large a core file of it may be.

use std::os::fd::BorrowedFd;

use crate::sys::{Errno, Result};

/// Raises the soft limit of open files to the hard one.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills, then reads, one rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// How many descriptors this process may have.
pub(crate) fn file_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills one rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// Whether this process may make as many more descriptors, tried on copies of one that it has.
pub(crate) fn has_room_for(count: usize, one: BorrowedFd<'_>) -> Result<()> {
    let mut copies = Vec::with_capacity(count);
    for _ in 0..count {
        match one.try_clone_to_owned() {
            Ok(copy) => copies.push(copy),
            // A sandbox may refuse the copying, which says nothing of the room.
            Err(error) => match error.raw_os_error() {
                Some(errno @ (libc::EMFILE | libc::ENFILE)) => return Err(Errno(errno)),
                _ => return Ok(()),
            },
        }
    }
    Ok(())
}

/// No core file is written when we end ourselves by the application's signal.
pub(crate) fn forbid_core() {
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
}
