//! Following a path component by component: what leads through `/proc/self` or a magic link means
//! something else to the tracer, so the kernel cannot be asked.

use super::{Root, View};
use crate::proc;
use crate::sys::{Errno, Result, files};

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
    /// [`super::Resolved::is_fleeting`].
    pub(crate) is_fleeting: bool,
}

/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

impl View<'_> {
    /// Follows a path component by component.
    pub(crate) fn walk(&self, path: &[u8], follow: bool) -> Walk {
        self.walk_by(path, follow, |_| ())
    }

    /// The same; `visit` is given each directory in which a name is looked for (empty for `/`).
    pub(crate) fn walk_by(&self, path: &[u8], follow: bool, mut visit: impl FnMut(&[u8])) -> Walk {
        let mut way = Way::new(self, path);
        while let Some(component) = way.rest.pop() {
            if component == b".." {
                way.leave();
                continue;
            }
            visit(&way.done);
            if let Some(end) = way.enter(&component, follow) {
                return way.ended(end);
            }
        }
        way.ended(End::There)
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
}

/// A walk that is under way.
struct Way<'a> {
    view: &'a View<'a>,
    /// The place, empty for `/`.
    done: Vec<u8>,
    /// Components that are still to be walked, last one first.
    rest: Vec<Vec<u8>>,
    /// Links on the way so far.
    links: usize,
    is_fleeting: bool,
}

/// Why a walk goes no further.
enum End {
    /// It has come to where the path leads.
    There,
    /// There is a link that the kernel follows by other means than its text, and leads here.
    Magic(Vec<u8>),
    TooManyLinks,
    Failed(Errno),
}

impl<'a> Way<'a> {
    fn new(view: &'a View<'a>, path: &[u8]) -> Self {
        let (mut done, mut rest) = (Vec::new(), Vec::new());
        match view.root.inside(path) {
            Some(inside) => {
                done.extend_from_slice(view.root.prefix());
                push_components(&mut rest, inside);
            }
            None => push_components(&mut rest, path),
        }
        Self {
            view,
            done,
            rest,
            links: 0,
            is_fleeting: false,
        }
    }

    /// Goes one directory up, but not out of the root.
    fn leave(&mut self) {
        if self.done != self.view.root.prefix() {
            let parent = self.done.iter().rposition(|byte| *byte == b'/');
            self.done.truncate(parent.unwrap_or(0));
        }
    }

    /// Goes on to a name in the place, and through it where it is a link.
    fn enter(&mut self, component: &[u8], follow: bool) -> Option<End> {
        let view = self.view;
        let parent = self.done.len();
        self.done.push(b'/');
        self.done.extend_from_slice(component);
        if self.rest.is_empty() && !follow {
            return Some(End::There);
        }
        let inside = view.root.strip(&self.done);
        let is_process = inside == b"/proc/self";
        let is_own = is_process || inside == b"/proc/thread-self";
        if !is_own && is_self(component) && view.is_of_processes(&self.done[..parent]) {
            self.done = view.own_processes();
            self.push_own(component == b"self", (view.pid, view.tid));
            return None;
        }
        let mut ids = (view.pid, view.tid);
        let target = match view.read_link(&self.done) {
            Ok(target) => target,
            // A `/proc` of another PID name space has no such links for us.
            Err(Errno(libc::ENOENT)) if is_own && view.is_in_other_proc() => {
                ids = proc::innermost_ids(view.tid).unwrap_or(ids);
                Vec::new()
            }
            Err(Errno(libc::EINVAL)) => return None,
            Err(error) => return Some(End::Failed(error)),
        };
        self.links += 1;
        if self.links > LINKS_MAX {
            return Some(End::TooManyLinks);
        }
        if is_own {
            self.done.truncate(parent);
            self.push_own(is_process, ids);
        } else if is_magic(view.root.strip(&self.done)) {
            // The kernel gives the target as a path of ours, canonical; or a name in
            // brackets that is no path.
            self.is_fleeting = true;
            if self.rest.is_empty() || target.first() != Some(&b'/') {
                return Some(End::Magic(target));
            }
            self.done = if target == b"/" { Vec::new() } else { target };
        } else {
            self.done.truncate(parent);
            if target.first() == Some(&b'/') {
                self.done.clear();
                self.done.extend_from_slice(view.root.prefix());
            }
            push_components(&mut self.rest, &target);
        }
        None
    }

    /// Goes on to the folder of a process, or of a thread in it.
    fn push_own(&mut self, is_process: bool, (pid, tid): (u32, u32)) {
        let own = match is_process {
            true => format!("/{pid}"),
            false => format!("/{pid}/task/{tid}"),
        };
        self.done.extend_from_slice(own.as_bytes());
    }

    fn ended(mut self, end: End) -> Walk {
        let is_last = match &end {
            End::There | End::Magic(_) => true,
            End::TooManyLinks => false,
            End::Failed(_) => self.rest.is_empty(),
        };
        let (magic, error) = match end {
            End::There => (None, None),
            End::Magic(target) => (Some(target), None),
            End::TooManyLinks => (None, Some(Errno(libc::ELOOP))),
            End::Failed(error) => {
                for component in self.rest.iter().rev() {
                    self.done.push(b'/');
                    self.done.extend_from_slice(component);
                }
                (None, Some(error))
            }
        };
        if self.done.is_empty() {
            self.done.push(b'/');
        }
        Walk {
            place: self.done,
            magic,
            error,
            is_last,
            is_fleeting: self.is_fleeting,
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

/// Whether a path may lead through such a link.
pub(super) fn has_self(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(is_self)
}

/// Whether a symbolic link is one that the kernel follows by other means than its text.
pub(super) fn is_magic(path: &[u8]) -> bool {
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
