//! From a path as a program wrote it to the file the kernel means: in the tracee's root and
//! directory, through `..`, symbolic links, `/proc/self` and descriptors.
//!
//! The kernel itself walks the path (`O_PATH`, nothing is opened). Only what differs between
//! tracer and tracee, `/proc/self` and the magic links below it, is walked here by hand.

mod below;
mod root;
mod walk;

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;

use picket_events::Credentials;

pub(crate) use self::below::Start;
pub(crate) use self::root::Root;
pub(crate) use self::walk::Walk;
use self::walk::has_self;
use crate::proc;
use crate::sys::files::{self, AT_FDCWD, IN_ROOT, Metadata, NO_MAGICLINKS};
use crate::sys::{Errno, Result, process};

/// Whose view of the file system counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) root: &'a Root,
    pub(crate) credentials: &'a Credentials,
    /// Its working directory, for where `/proc` does not show it.
    pub(crate) directory: Option<BorrowedFd<'a>>,
    /// Whether a file system may be asked where a path leads: [`crate::caution`].
    pub(crate) follows: bool,
}

/// Where a path leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Canonical, in our root: a root of the tracee's own gives nothing another name.
    pub(crate) path: Vec<u8>,
    /// `None` when there is no such file, or it is out of reach.
    pub(crate) metadata: Option<Metadata>,
    /// Why there is no metadata.
    pub(crate) error: Option<Errno>,
    /// It led through the tracee's own directory, root or descriptors: it may lead elsewhere by now.
    pub(crate) is_fleeting: bool,
}

impl Resolved {
    /// True when the path is known not to lead anywhere.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self.error, Some(Errno(libc::ENOENT | libc::ENOTDIR)))
    }

    /// True when, after a call, the path is known not to have led anywhere when that was made.
    pub(crate) fn was_missing(&self) -> bool {
        self.is_missing() && !self.is_fleeting
    }
}

/// Why nothing is known of a file that was not looked at.
const NOT_ASKED: Errno = Errno(libc::EAGAIN);

impl View<'_> {
    /// Follows an absolute path: one of ours, below the tracee's root or outside of it.
    pub(crate) fn resolve(&self, path: &[u8], follow: bool) -> Resolved {
        if path.is_empty() {
            return Resolved {
                error: Some(Errno(libc::ENOENT)),
                ..Resolved::default()
            };
        }
        if !self.follows {
            return Resolved {
                path: path.to_vec(),
                metadata: None,
                error: Some(NOT_ASKED),
                is_fleeting: false,
            };
        }
        self.by_kernel(path, follow)
            .unwrap_or_else(|| self.by_hand(path, follow))
    }

    /// Follows an absolute path by what it says alone. `None` when it may mean something else to
    /// another process, as what leads through `/proc/self` or a descriptor does, or cannot be walked.
    pub(crate) fn by_kernel(&self, path: &[u8], follow: bool) -> Option<Resolved> {
        if has_self(path) {
            return None;
        }
        // A final symbolic link that is not followed may be one whose target depends on the
        // reader, but itself it is the same for all.
        // Outside of its root the kernel would take absolute links for those of ours.
        let text = CString::new(self.root.inside(path)?).ok()?;
        let opened = match self.root {
            Root::Ours => files::open_path(AT_FDCWD, &text, follow, NO_MAGICLINKS),
            Root::Foreign { directory, .. } => files::open_path(
                directory.as_raw_fd(),
                &text,
                follow,
                NO_MAGICLINKS | IN_ROOT,
            ),
            Root::Unknown => return None,
        };
        let file = opened.ok()?;
        static OWN: OnceLock<String> = OnceLock::new();
        let own = OWN.get_or_init(|| format!("/proc/{}", process::own_pid()));
        let found = proc::link(&format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        if self.root.strip(&found).starts_with(own.as_bytes()) {
            return None;
        }
        let metadata = files::metadata(file.as_raw_fd(), c"", false).ok();
        Some(Resolved {
            path: found,
            metadata,
            error: None,
            is_fleeting: false,
        })
    }

    fn by_hand(&self, path: &[u8], follow: bool) -> Resolved {
        let walk = self.walk(path, follow);
        let is_fleeting = walk.is_fleeting;
        let (metadata, path) = match (walk.error, walk.magic) {
            (Some(error), _) => (Err(error), walk.place),
            (None, Some(target)) => (self.metadata(&walk.place, true), target),
            (None, None) => (self.metadata(&walk.place, false), walk.place),
        };
        Resolved {
            path,
            error: metadata.err(),
            metadata: metadata.ok(),
            is_fleeting,
        }
    }

    /// Metadata of a canonical path.
    pub(crate) fn metadata(&self, path: &[u8], follow: bool) -> Result<Metadata> {
        if !self.follows {
            return Err(NOT_ASKED);
        }
        let (start, path) = self.start_and_path(path)?;
        proc::as_tracee(self.credentials, || files::metadata(start, &path, follow))
    }

    /// Where we start from to come to a canonical path, and the path from there. A root of its own is held:
    /// by the link in `/proc` one may not come there, where the process hides.
    fn start_and_path(&self, path: &[u8]) -> Result<(RawFd, CString)> {
        match (self.root, self.root.inside(path)) {
            (Root::Foreign { directory, .. }, Some(inside)) => {
                let inside = CString::new([b".", inside].concat());
                let inside = inside.map_err(|_| Errno(libc::EINVAL))?;
                Ok((directory.as_raw_fd(), inside))
            }
            _ => Ok((AT_FDCWD, self.reach(path)?)),
        }
    }

    /// The mount that a canonical path leads to: [`files::mount_of`].
    pub(crate) fn mount_of(&self, path: &[u8]) -> Result<u64> {
        if !self.follows {
            return Err(NOT_ASKED);
        }
        let path = self.reach(path)?;
        proc::as_tracee(self.credentials, || files::mount_of(&path))
    }

    /// A path by which we come to a canonical one.
    pub(crate) fn reach(&self, path: &[u8]) -> Result<CString> {
        let full = match (self.root, self.root.inside(path)) {
            (Root::Ours, _)
            | (
                Root::Foreign {
                    is_below_ours: true,
                    ..
                },
                None,
            ) => path.to_vec(),
            (Root::Foreign { .. }, Some(inside)) => {
                [format!("/proc/{}/root", self.tid).as_bytes(), inside].concat()
            }
            (Root::Foreign { .. }, None) | (Root::Unknown, _) => return Err(NOT_ASKED),
        };
        CString::new(full).map_err(|_| Errno(libc::EINVAL))
    }

    /// The directory that relative paths start from: the working directory, or an open
    /// directory. Canonical, in our root.
    pub(crate) fn directory(&self, descriptor: i32) -> Result<Vec<u8>> {
        let path = self.start_link(descriptor);
        let shown = proc::as_tracee(self.credentials, || proc::link(&path));
        match (shown, self.directory) {
            (Err(Errno(libc::EACCES | libc::EPERM)), Some(held))
                if descriptor == libc::AT_FDCWD =>
            {
                proc::link(&format!("/proc/self/fd/{}", held.as_raw_fd()))
            }
            (shown, _) => shown,
        }
    }

    /// The link to where relative paths start from.
    pub(crate) fn start_link(&self, descriptor: i32) -> String {
        match descriptor {
            libc::AT_FDCWD => format!("/proc/{}/cwd", self.tid),
            _ => format!("/proc/{}/fd/{descriptor}", self.tid),
        }
    }

    /// What an open descriptor of the tracee refers to.
    pub(crate) fn descriptor(&self, descriptor: i32) -> Resolved {
        self.behind(&format!("/proc/{}/fd/{descriptor}", self.tid))
    }

    /// The file behind a magic link of `/proc`, of which the name is known.
    pub(crate) fn file_behind(&self, path: &str) -> Option<Metadata> {
        let path = CString::new(path).ok().filter(|_| self.follows)?;
        proc::as_tracee(self.credentials, || files::metadata(AT_FDCWD, &path, true)).ok()
    }

    /// What a link of the tracee's below `/proc`, which is not one by its text, refers to.
    pub(crate) fn behind(&self, path: &str) -> Resolved {
        let found = proc::as_tracee(self.credentials, || {
            let target = proc::link(path)?;
            let path = CString::new(path).map_err(|_| Errno(libc::EINVAL))?;
            match self.follows {
                true => Ok((target, Ok(files::metadata(AT_FDCWD, &path, true)?))),
                false => Ok((target, Err(NOT_ASKED))),
            }
        });
        match found {
            Ok((target, metadata)) => Resolved {
                path: target,
                error: metadata.err(),
                metadata: metadata.ok(),
                is_fleeting: true,
            },
            Err(error) => Resolved {
                path: Vec::new(),
                metadata: None,
                error: Some(error),
                is_fleeting: true,
            },
        }
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
