//! The root directory of a tracee, and paths as we and as the tracee write them.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::OnceLock;

use picket_events::Credentials;

use crate::proc;
use crate::sys::files::{self, AT_FDCWD, Metadata};
use crate::sys::{Errno, Result};

/// The root directory of a tracee.
#[derive(Debug, Clone)]
pub(crate) enum Root {
    /// The tracer's own.
    Ours,
    /// Another, after chroot, pivot_root or a mount name space of its own.
    Foreign {
        /// The directory.
        directory: Rc<OwnedFd>,
        /// Its path in the tracer's root, or, in a mount name space of its own, in that of the name
        /// space; without trailing slash, empty for `/`.
        prefix: Vec<u8>,
        /// Its files are below the tracer's root as well: what lies outside of it can be looked at
        /// there.
        is_below_ours: bool,
    },
    /// It may have changed since we could look: nothing is looked up.
    Unknown,
}

impl Root {
    /// The root of a process as it is now.
    pub(crate) fn of(pid: u32, credentials: &Credentials) -> Result<Self> {
        static NAMESPACE: OnceLock<Option<Vec<u8>>> = OnceLock::new();
        static ROOT: OnceLock<Option<Metadata>> = OnceLock::new();
        let ours = ROOT.get_or_init(|| files::metadata(AT_FDCWD, c"/", true).ok());
        proc::as_tracee(credentials, || {
            let path =
                CString::new(format!("/proc/{pid}/root")).map_err(|_| Errno(libc::EINVAL))?;
            let theirs = files::metadata(AT_FDCWD, &path, true)?;
            let own = || NAMESPACE.get_or_init(|| proc::link("/proc/self/ns/mnt").ok());
            let link = || proc::link(&format!("/proc/{pid}/ns/mnt"));
            if ours.is_some_and(|ours| theirs.same_file(&ours)) {
                // A mount belongs to one name space.
                let is_our_mount =
                    theirs.mount_id != 0 && ours.map(|ours| ours.mount_id) == Some(theirs.mount_id);
                if is_our_mount || own().as_ref() == Some(&link()?) {
                    return Ok(Self::Ours);
                }
            }
            let directory = files::open_path(AT_FDCWD, &path, true, 0)?;
            let mut prefix = proc::link(&format!("/proc/{pid}/root"))?;
            if prefix == b"/" {
                prefix.clear();
            }
            let is_below_ours = own().is_some() && own().as_ref() == link().ok().as_ref();
            Ok(Self::Foreign {
                directory: Rc::new(directory),
                prefix,
                is_below_ours,
            })
        })
    }

    /// Whether it is the same directory of the same mount, under the same name. After a
    /// pivot_root only the directory differs.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let directories = match (self, other) {
            (Self::Ours, Self::Ours) | (Self::Unknown, Self::Unknown) => return true,
            (
                Self::Foreign {
                    directory, prefix, ..
                },
                Self::Foreign {
                    directory: other,
                    prefix: others,
                    ..
                },
            ) if prefix == others => [directory, other],
            _ => return false,
        };
        let [one, other] =
            directories.map(|directory| files::metadata(directory.as_raw_fd(), c"", false));
        match (one, other) {
            (Ok(one), Ok(other)) => one.same_file(&other) && one.mount_id == other.mount_id,
            _ => false,
        }
    }

    /// What the paths of everything below it begin with.
    pub(super) fn prefix(&self) -> &[u8] {
        match self {
            Self::Foreign { prefix, .. } => prefix,
            Self::Ours | Self::Unknown => b"",
        }
    }

    /// An absolute path as the tracee writes it, as we would.
    pub(crate) fn unstripped(&self, path: &[u8]) -> Vec<u8> {
        [self.prefix(), path].concat()
    }

    /// A path of ours as the tracee would write it; `None` for what lies outside of its root.
    pub(crate) fn inside<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        match path.strip_prefix(self.prefix())? {
            [] => Some(b"/"),
            rest @ [b'/', ..] => Some(rest),
            _ => None,
        }
    }

    /// The same, with what lies outside as it is.
    pub(crate) fn strip<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        self.inside(path).unwrap_or(path)
    }

    /// The same of a path that is told.
    pub(crate) fn strip_text<'a>(&self, path: &'a str) -> &'a str {
        let prefix = picket_events::text::from_bytes(self.prefix());
        match path.strip_prefix(&prefix) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            _ => path,
        }
    }
}
