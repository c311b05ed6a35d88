//! From a path as a program wrote it to the file the kernel means: in the tracee's root and
//! directory, through `..`, symbolic links, `/proc/self` and descriptors.
//!
//! The kernel itself walks the path (`O_PATH`, nothing is opened). Only what differs between
//! tracer and tracee, `/proc/self` and the magic links below it, is walked here by hand.

mod below;
mod root;

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;

use picket_events::Credentials;

pub(crate) use self::below::Start;
pub(crate) use self::root::Root;
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

/// Where following a path component by component has come to.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The place, without links on the way; what was left to walk is appended where there was an
    /// error.
    pub(crate) place: Vec<u8>,
    /// The place is a link that the kernel follows by other means than its text, and leads here.
    pub(crate) magic: Option<Vec<u8>>,
    /// Why it went no further.
    pub(crate) error: Option<Errno>,
    /// The error is about the last component.
    pub(crate) is_last: bool,
    /// [`Resolved::is_fleeting`].
    pub(crate) is_fleeting: bool,
}

const LINKS_MAX: usize = 40;
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

    /// Follows a path component by component.
    pub(crate) fn walk(&self, path: &[u8], follow: bool) -> Walk {
        self.walk_by(path, follow, |_| ())
    }

    /// The same; `visit` is given each directory in which a name is looked for (empty for `/`).
    pub(crate) fn walk_by(&self, path: &[u8], follow: bool, mut visit: impl FnMut(&[u8])) -> Walk {
        let root = self.root.prefix();
        let mut done: Vec<u8> = Vec::new();
        let mut rest: Vec<Vec<u8>> = Vec::new();
        match self.root.inside(path) {
            Some(inside) => {
                done.extend_from_slice(root);
                push_components(&mut rest, inside);
            }
            None => push_components(&mut rest, path),
        }
        let mut links = 0;
        let mut is_fleeting = false;
        while let Some(component) = rest.pop() {
            if component == b".." {
                if done == root {
                    continue;
                }
                let parent = done.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                done.truncate(parent);
                continue;
            }
            visit(&done);
            let parent = done.len();
            done.push(b'/');
            done.extend_from_slice(&component);
            if rest.is_empty() && !follow {
                break;
            }
            let inside = self.root.strip(&done);
            let is_process = inside == b"/proc/self";
            let is_own = is_process || inside == b"/proc/thread-self";
            if !is_own && is_self(&component) && self.is_of_processes(&done[..parent]) {
                done = self.own_processes();
                let own = match component.as_slice() {
                    b"self" => format!("/{}", self.pid),
                    _ => format!("/{}/task/{}", self.pid, self.tid),
                };
                done.extend_from_slice(own.as_bytes());
                continue;
            }
            // A `/proc` of another PID name space has no such links for us.
            let mut inner = None;
            let target = match self.read_link(&done) {
                Ok(target) => target,
                Err(Errno(libc::ENOENT)) if is_own && self.is_in_other_proc() => {
                    inner = proc::innermost_ids(self.tid);
                    Vec::new()
                }
                Err(Errno(libc::EINVAL)) => continue,
                Err(error) => {
                    let is_last = rest.is_empty();
                    for component in rest.iter().rev() {
                        done.push(b'/');
                        done.extend_from_slice(component);
                    }
                    return Walk {
                        place: done,
                        magic: None,
                        error: Some(error),
                        is_last,
                        is_fleeting,
                    };
                }
            };
            links += 1;
            if links > LINKS_MAX {
                return Walk {
                    place: done,
                    magic: None,
                    error: Some(Errno(libc::ELOOP)),
                    is_last: false,
                    is_fleeting,
                };
            }
            if is_own {
                let (pid, tid) = inner.unwrap_or((self.pid, self.tid));
                let thread = format!("/{pid}/task/{tid}");
                let process = format!("/{pid}");
                let own = if is_process { process } else { thread };
                done.truncate(parent);
                done.extend_from_slice(own.as_bytes());
            } else if is_magic(self.root.strip(&done)) {
                // The kernel gives the target as a path of ours, canonical; or a name in
                // brackets that is no path.
                is_fleeting = true;
                if rest.is_empty() || target.first() != Some(&b'/') {
                    return Walk {
                        place: done,
                        magic: Some(target),
                        error: None,
                        is_last: true,
                        is_fleeting,
                    };
                }
                done = if target == b"/" { Vec::new() } else { target };
            } else {
                done.truncate(parent);
                if target.first() == Some(&b'/') {
                    done.clear();
                    done.extend_from_slice(root);
                }
                push_components(&mut rest, &target);
            }
        }
        if done.is_empty() {
            done.push(b'/');
        }
        Walk {
            place: done,
            magic: None,
            error: None,
            is_last: true,
            is_fleeting,
        }
    }

    /// Whether a directory is the uppermost one of a file system of processes.
    fn is_of_processes(&self, directory: &[u8]) -> bool {
        const FIRST: u64 = 1;
        let magic = || files::file_system_magic(&self.reach(directory)?);
        let found = self.metadata(directory, false);
        found.is_ok_and(|found| found.inode == FIRST) && magic() == Ok(files::PROC)
    }

    /// Where a process's own folder is to be found that was named in such a file system elsewhere (another
    /// mount, or of another PID name space, in which it has another number).
    fn own_processes(&self) -> Vec<u8> {
        match self.root {
            Root::Foreign {
                is_below_ours: false,
                ..
            } => self.root.unstripped(b"/proc"),
            _ => b"/proc".to_vec(),
        }
    }

    /// Whether a file system of processes is at `/proc`, and not ours.
    fn is_in_other_proc(&self) -> bool {
        let first = || self.root.unstripped(b"/proc/1");
        matches!(self.root, Root::Foreign { .. }) && self.metadata(&first(), true).is_ok()
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let (start, path) = self.start_and_path(path)?;
        proc::as_tracee(self.credentials, || {
            let mut buffer = [0u8; 4096];
            let length = files::read_link(start, &path, &mut buffer)?;
            Ok(buffer[..length].to_vec())
        })
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

/// Puts the components of a path in front of what is still to be walked (last one first).
fn push_components(rest: &mut Vec<Vec<u8>>, path: &[u8]) {
    let components = path.split(|byte| *byte == b'/');
    rest.extend(
        components
            .filter(|c| !c.is_empty() && *c != b".")
            .map(<[u8]>::to_vec)
            .rev(),
    );
}

/// Whether a name may be that of the link, in a file system of processes, to its reader's own folder.
fn is_self(name: &[u8]) -> bool {
    name == b"self" || name == b"thread-self"
}

fn has_self(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(is_self)
}

/// Whether a symbolic link is one that the kernel follows by other means than its text.
fn is_magic(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/').skip(1);
    if parts.next() != Some(b"proc".as_slice()) {
        return false;
    }
    let numeric = |part: Option<&[u8]>| part.is_some_and(|p| p.iter().all(u8::is_ascii_digit));
    if !numeric(parts.next()) {
        return false;
    }
    let mut name = parts.next();
    if name == Some(b"task".as_slice()) {
        if !numeric(parts.next()) {
            return false;
        }
        name = parts.next();
    }
    match name {
        Some(b"root" | b"cwd" | b"exe") => parts.next().is_none(),
        Some(b"fd" | b"ns" | b"map_files") => parts.next().is_some(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
