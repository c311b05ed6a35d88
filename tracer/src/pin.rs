//! Files and directories of a tracee, held by a descriptor: whatever is renamed, replaced or
//! rewritten afterwards, what is done with the descriptor is done to what was looked at.

mod ourselves;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::decode::Located;
use crate::proc;
use crate::resolve::{Root, View};
use crate::sys::acting::NO_SYMLINKS;
use crate::sys::files::{self, AT_FDCWD, IN_ROOT, Metadata, NO_MAGICLINKS};
use crate::sys::{Errno, Result};

/// Something that is held. Opened with `O_PATH`: nothing was read, nothing blocks.
#[derive(Debug)]
pub(crate) struct Pinned {
    file: OwnedFd,
    /// Where the kernel says it is, in our root.
    path: Vec<u8>,
}

impl Pinned {
    fn of(file: OwnedFd) -> Result<Self> {
        let path = proc::link(&format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        match ourselves::is_kept(&file, &path) {
            true => Err(Errno(libc::EACCES)),
            false => Ok(Self { file, path }),
        }
    }

    /// The descriptor.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Its path in our root.
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Its metadata.
    pub(crate) fn metadata(&self) -> Result<Metadata> {
        files::metadata(self.file.as_raw_fd(), c"", false)
    }

    /// A path that leads to it and to nothing else.
    pub(crate) fn magic_path(&self) -> CString {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        CString::new(path).unwrap_or_default()
    }
}

/// A name in a directory that is held.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) directory: Pinned,
    /// The name, with a slash at its end where the program wrote one.
    pub(crate) name: CString,
}

impl Entry {
    /// The path of the name, in our root.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut path = self.directory.path().to_vec();
        if path != b"/" {
            path.push(b'/');
        }
        let name = self.name.as_bytes();
        path.extend_from_slice(name.strip_suffix(b"/").unwrap_or(name));
        path
    }
}

/// Holds what a path leads to.
pub(crate) fn file(view: &View<'_>, at: &Located) -> Result<Pinned> {
    if at.fault.is_some() {
        return Err(Errno(libc::EACCES));
    }
    let own = |path: String| {
        let path = CString::new(path).map_err(|_| Errno(libc::EINVAL))?;
        files::open_path(AT_FDCWD, &path, true, 0)
    };
    let file = match at.descriptor {
        Some(libc::AT_FDCWD) => own(format!("/proc/{}/cwd", view.tid))?,
        Some(number) => {
            own(format!("/proc/{}/fd/{number}", view.tid)).map_err(|error| match error {
                Errno(libc::ENOENT) => Errno(libc::EBADF),
                other => other,
            })?
        }
        None if at.path.is_empty() => return Err(Errno(libc::ENOENT)),
        None => {
            let pinned = follow(view, &at.path, at.follow)?;
            let is_directory = || {
                let metadata = pinned.metadata();
                metadata.is_ok_and(|found| found.mode & libc::S_IFMT == libc::S_IFDIR)
            };
            return match at.path.last() == Some(&b'/') && !is_directory() {
                true => Err(Errno(libc::ENOTDIR)),
                false => Ok(pinned),
            };
        }
    };
    Pinned::of(file)
}

/// Follows a path as the kernel would for the tracee.
fn follow(view: &View<'_>, path: &[u8], follow: bool) -> Result<Pinned> {
    // `/proc/self` would have led to our own. Where processes are shown elsewhere as well, we may have
    // another number.
    let is_ours = |pinned: &Pinned| match view.root.strip(pinned.path()) {
        shown if shown.starts_with(b"/proc/") => ourselves::is_ours(shown),
        _ => files::is_of_processes(&pinned.file),
    };
    let opened = open(view, path, follow, NO_MAGICLINKS).and_then(Pinned::of);
    if let Some(pinned) = opened.ok().filter(|pinned| !is_ours(pinned)) {
        return Ok(pinned);
    }
    let mut passes_us = false;
    let walk = view.walk_by(path, follow, |directory| {
        passes_us |= ourselves::is_ours(view.root.strip(directory));
    });
    if let Some(error) = walk.error {
        return Err(error);
    }
    if passes_us && !ourselves::ends_in_the_open(&walk, view.root.strip(&walk.place)) {
        return Err(Errno(libc::EACCES));
    }
    if walk.magic.is_some() {
        let file = files::open_path(AT_FDCWD, &view.reach(&walk.place)?, true, 0)?;
        return Pinned::of(file);
    }
    place(view, &walk.place)
}

/// Holds what is at a path without links.
fn place(view: &View<'_>, path: &[u8]) -> Result<Pinned> {
    Pinned::of(open(view, path, false, NO_SYMLINKS | NO_MAGICLINKS)?)
}

fn open(view: &View<'_>, path: &[u8], follow: bool, resolve: u64) -> Result<OwnedFd> {
    let text = |path: &[u8]| CString::new(path).map_err(|_| Errno(libc::EINVAL));
    match (view.root, view.root.inside(path)) {
        (Root::Foreign { directory, .. }, Some(inside)) => {
            let (directory, inside) = (directory.as_raw_fd(), text(inside)?);
            files::open_path(directory, &inside, follow, resolve | IN_ROOT)
        }
        // Absolute links that lie outside of its root lead into it, which only a walk can do.
        (Root::Foreign { .. }, None) if resolve & NO_SYMLINKS == 0 => Err(Errno(libc::EXDEV)),
        (Root::Foreign { .. }, None) => {
            files::open_path(AT_FDCWD, &view.reach(path)?, follow, resolve)
        }
        (Root::Ours, _) => files::open_path(AT_FDCWD, &text(path)?, follow, resolve),
        (Root::Unknown, _) => Err(Errno(libc::EACCES)),
    }
}

/// Holds the directory that a path's last name is in; links are followed on the way there, not
/// at the end.
pub(crate) fn entry(view: &View<'_>, at: &Located) -> Result<Entry> {
    if at.fault.is_some() {
        return Err(Errno(libc::EACCES));
    }
    if at.descriptor.is_some() {
        return Err(Errno(libc::ENOENT)); // an empty path names nothing
    }
    let is_root = |path: &[u8]| path.iter().all(|byte| *byte == b'/');
    let end = at.path.iter().rposition(|byte| *byte != b'/');
    let Some(end) = end.filter(|_| !view.root.inside(&at.path).is_some_and(is_root)) else {
        return Err(Errno(libc::EBUSY)); // the root
    };
    let end = end + 1;
    let start = at.path[..end].iter().rposition(|byte| *byte == b'/');
    let start = start.map_or(0, |slash| slash + 1);
    let (name, directory) = (&at.path[start..end], &at.path[..start]);
    if name == b"." || name == b".." {
        return Err(Errno(libc::EINVAL));
    }
    let mut name = name.to_vec();
    if end < at.path.len() {
        name.push(b'/');
    }
    Ok(Entry {
        directory: follow(view, directory, true)?,
        name: CString::new(name).map_err(|_| Errno(libc::EINVAL))?,
    })
}

/// Holds the directory in which an open would make a file: the path's last name may be a link to
/// what is not there.
pub(crate) fn entry_to_make(view: &View<'_>, at: &Located) -> Result<Entry> {
    if at.path.last() == Some(&b'/') {
        return Err(Errno(libc::EISDIR));
    }
    let walk = view.walk(&at.path, at.follow);
    match walk.error {
        Some(Errno(libc::ENOENT)) if walk.is_last => {}
        Some(error) => return Err(error),
        None if !at.follow && walk.magic.is_none() => {}
        // It is there by now: the caller looks again.
        None => return Err(Errno(libc::EEXIST)),
    }
    let slash = walk.place.iter().rposition(|byte| *byte == b'/');
    let slash = slash.unwrap_or(0);
    let name = CString::new(&walk.place[slash + 1..]).map_err(|_| Errno(libc::EINVAL))?;
    let directory = place(
        view,
        if slash == 0 {
            b"/"
        } else {
            &walk.place[..slash]
        },
    )?;
    Ok(Entry { directory, name })
}
