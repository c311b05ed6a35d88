//! Relative paths from directories that have no path: they are deeper than a path may be long.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::{Resolved, Root, View};
use crate::proc;
use crate::sys::files::{self, AT_FDCWD, NO_MAGICLINKS};
use crate::sys::process;

/// A directory of a tracee's that is held, so that what it has become by now does not matter.
#[derive(Debug, Clone)]
pub(crate) struct Start(Arc<OwnedFd>);

impl PartialEq for Start {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Start {}

impl View<'_> {
    /// Holds a directory that relative paths start from. `None` in a foreign root, where nothing
    /// would keep `..` below that.
    pub(crate) fn start(&self, directory: i32) -> Option<Start> {
        if !self.follows || !matches!(self.root, Root::Ours) {
            return None;
        }
        let link = CString::new(self.start_link(directory)).ok()?;
        let open = || files::open_path(AT_FDCWD, &link, true, 0);
        let held = proc::as_tracee(self.credentials, open).ok()?;
        Some(Start(Arc::new(held)))
    }

    /// Follows a relative path from a directory that is held. The place is given as it was written
    /// where it has no path.
    pub(crate) fn below(&self, start: &Start, path: &[u8], follow: bool) -> Option<Resolved> {
        let text = CString::new(path).ok()?;
        let found = files::open_path(start.0.as_raw_fd(), &text, follow, NO_MAGICLINKS);
        let resolved = match found {
            Ok(file) => Resolved {
                path: proc::link(&format!("/proc/self/fd/{}", file.as_raw_fd()))
                    .unwrap_or_else(|_| path.to_vec()),
                metadata: files::metadata(file.as_raw_fd(), c"", false).ok(),
                error: None,
                is_fleeting: false,
            },
            Err(error) => Resolved {
                path: path.to_vec(),
                metadata: None,
                error: Some(error),
                is_fleeting: false,
            },
        };
        // `/proc/self` leads to our own.
        let own = format!("/proc/{}", process::own_pid());
        (!resolved.path.starts_with(own.as_bytes())).then_some(resolved)
    }
}
