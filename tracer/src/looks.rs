//! Directories that were looked up before: a look at a file in one of them takes one system
//! call instead of four or more.
//!
//! What is kept is where the path of a directory, as programs write it, leads. It holds for as
//! long as nothing on the way gets another name, and of that inotify tells: every directory and
//! every symbolic link on the way, and above the place it leads to, is watched before the place
//! is looked up for keeping. The file itself is looked at anew each time. What is mounted over
//! something on the way shows in the file's mount. What leads through `/proc/self`, or a descriptor,
//! is another place for each process, or the next moment, and is not kept.

use std::collections::HashMap;
use std::ffi::CString;
use std::hash::{DefaultHasher, Hasher};
use std::os::fd::{AsFd, BorrowedFd};

use picket_events::File;

use crate::decode::{self, Located};
use crate::mounts::Mounts;
use crate::resolve::{Resolved, Root, View};
use crate::sys::files::{self, AT_FDCWD};
use crate::sys::{Errno, poll, watch};

/// Watches at once, at most.
const WATCHES_MAX: usize = 1024;
/// Directories remembered as met.
const RECENT: usize = 256;
/// How long a place holds before it is looked up anew, milliseconds: where the list of mounts
/// cannot be read, one that is moved as a whole shows nowhere else.
const AGE_MAX: u64 = 1_000;
/// File systems of this machine's own, whose changes inotify tells.
const FILE_SYSTEMS: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "overlay", "tmpfs", "erofs", "squashfs",
];

/// Where the path of a directory leads.
#[derive(Debug)]
struct Place {
    /// Canonical, without a slash at the end: empty for `/`.
    path: Vec<u8>,
    mount_id: u64,
    /// When it was looked up (milliseconds, monotonic).
    since: u64,
}

/// The directories that are known.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    watcher: Option<watch::Watcher>,
    /// Watches by path: of directories, and of symbolic links themselves.
    watches: HashMap<Vec<u8>, i32>,
    /// Places by path as it was written.
    places: HashMap<Vec<u8>, Place>,
    /// Hashes of directories that were met, each where its low bits say.
    recent: Box<[u64]>,
}

impl Looks {
    /// Starts to watch, if the kernel lets us.
    pub(crate) fn new() -> Self {
        Self {
            watcher: watch::Watcher::new().ok(),
            recent: vec![0; RECENT].into_boxed_slice(),
            ..Self::default()
        }
    }

    /// Readable when [`Self::changed`] has to be called before the next look.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(AsFd::as_fd)
    }

    /// Something that is watched has another name, or none: forgets everything.
    pub(crate) fn changed(&mut self) {
        if let Some(watcher) = &self.watcher {
            for watch in self.watches.values() {
                watcher.remove(*watch);
            }
            watcher.drain();
        }
        self.watches.clear();
        self.places.clear();
    }

    /// Follows a path in a view, as [`decode::look`] does.
    pub(crate) fn look(
        &mut self,
        view: &View<'_>,
        at: &Located,
        mounts: &Mounts,
    ) -> (File, Resolved) {
        if let Some(resolved) = self.in_known_directory(view, at, mounts) {
            return (decode::file_of(&resolved, mounts), resolved);
        }
        decode::look(view, at, mounts)
    }

    /// What a path leads to in a view, of which nothing has to be told.
    pub(crate) fn find(&mut self, view: &View<'_>, at: &Located, mounts: &Mounts) -> Resolved {
        self.in_known_directory(view, at, mounts)
            .unwrap_or_else(|| view.resolve(&at.path, at.follow))
    }

    /// `None` where the long way has to be taken.
    fn in_known_directory(
        &mut self,
        view: &View<'_>,
        at: &Located,
        mounts: &Mounts,
    ) -> Option<Resolved> {
        let is_plain = at.fault.is_none() && at.descriptor.is_none() && view.follows;
        if self.watcher.is_none() || !is_plain || !matches!(view.root, Root::Ours) {
            return None;
        }
        let slash = at.path.iter().rposition(|byte| *byte == b'/')?;
        let (directory, name) = (&at.path[..slash], &at.path[slash + 1..]);
        if name.is_empty() || name == b"." || name == b".." || !is_clean(directory) {
            return None;
        }
        if !self.is_known(directory) {
            if let Some(missing) = self.missing_below_known(&at.path, slash) {
                return Some(missing);
            }
            if !self.learn(view, directory, mounts) {
                return None;
            }
        }
        let place = self.places.get(directory)?;
        let mut path = Vec::with_capacity(place.path.len() + 1 + name.len());
        path.extend_from_slice(&place.path);
        path.push(b'/');
        path.extend_from_slice(name);
        let text = CString::new(path.as_slice()).ok()?;
        match files::metadata(AT_FDCWD, &text, false) {
            Ok(now) if now.mount_id != place.mount_id => None,
            // A link may lead anywhere; one that is not followed is what is meant.
            Ok(now) if now.mode & libc::S_IFMT == libc::S_IFLNK && at.follow => None,
            Ok(now) => Some(Resolved {
                path,
                metadata: Some(now),
                error: None,
                is_fleeting: false,
            }),
            Err(Errno(libc::ENOENT)) => Some(Resolved {
                path,
                metadata: None,
                error: Some(Errno(libc::ENOENT)),
                is_fleeting: false,
            }),
            Err(_) => None,
        }
    }

    fn is_known(&self, directory: &[u8]) -> bool {
        let place = self.places.get(directory);
        place.is_some_and(|place| poll::lately_ms() < place.since + AGE_MAX)
    }

    /// What becomes of a path whose directory, which ends at `slash`, is not known, but one above
    /// it is: most such paths lead nowhere from there on, for programs look in many places for
    /// what is in one. `None` where the way goes on.
    fn missing_below_known(&self, path: &[u8], slash: usize) -> Option<Resolved> {
        let mut end = slash;
        loop {
            let start = path[..end].iter().rposition(|byte| *byte == b'/')?;
            if self.is_known(&path[..start]) {
                let place = self.places.get(&path[..start])?;
                let next = [&place.path, &path[start..end]].concat();
                let next = CString::new(next).ok()?;
                return match files::metadata(AT_FDCWD, &next, false) {
                    Err(Errno(libc::ENOENT)) => Some(Resolved {
                        path: [&place.path, &path[start..]].concat(),
                        metadata: None,
                        error: Some(Errno(libc::ENOENT)),
                        is_fleeting: false,
                    }),
                    _ => None,
                };
            }
            end = start;
        }
    }

    /// Looks a directory up to keep it, when it is met for the second time: most are met once.
    fn learn(&mut self, view: &View<'_>, directory: &[u8], mounts: &Mounts) -> bool {
        (self.places.contains_key(directory) || self.was_met(directory))
            && self.keep(view, directory, mounts)
    }

    /// Looks a directory up to keep it. Where there is none, the one above is kept instead.
    fn keep(&mut self, view: &View<'_>, directory: &[u8], mounts: &Mounts) -> bool {
        self.places.remove(directory);
        let shown = if directory.is_empty() {
            b"/"
        } else {
            directory
        };
        // Once to know what to watch, and again when it is watched.
        let Some(first) = view.by_kernel(shown, true) else {
            if !view.resolve(shown, true).is_missing() {
                return false;
            }
            let above = directory.iter().rposition(|byte| *byte == b'/');
            let above = above.map(|slash| &directory[..slash]);
            if let Some(above) = above.filter(|above| !self.is_known(above)) {
                self.keep(view, above, mounts);
            }
            return false;
        };
        if !self.watch_way(directory) || !self.watch_way(&first.path) {
            return false;
        }
        let Some(second) = view.by_kernel(shown, true) else {
            return false;
        };
        let Some(metadata) = second.metadata else {
            return false;
        };
        let is_ours = FILE_SYSTEMS.contains(&mounts.filesystem(metadata.mount_id).as_str());
        let is_directory = metadata.mode & libc::S_IFMT == libc::S_IFDIR;
        if first.path != second.path || !is_ours || !is_directory {
            return false;
        }
        let mut path = second.path;
        if path == b"/" {
            path.clear();
        }
        let place = Place {
            path,
            mount_id: metadata.mount_id,
            since: poll::monotonic_ms(),
        };
        self.places.insert(directory.to_vec(), place);
        true
    }

    /// Whether a directory was met not long ago; from now on it was.
    fn was_met(&mut self, directory: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(directory);
        let hash = hasher.finish();
        let recent = &mut self.recent[hash as usize % RECENT];
        std::mem::replace(recent, hash) == hash
    }

    /// Watches everything on the way that a path names, its end included.
    fn watch_way(&mut self, path: &[u8]) -> bool {
        let inner = (1..path.len()).filter(|at| path[*at] == b'/');
        for end in inner.chain([path.len()]) {
            let part = &path[..end];
            if part.len() <= 1 || self.watches.contains_key(part) {
                continue;
            }
            if self.watches.len() >= WATCHES_MAX {
                self.changed();
                return false;
            }
            let (Some(watcher), Ok(text)) = (&self.watcher, CString::new(part)) else {
                return false;
            };
            let Ok(watch) = watcher.add(&text) else {
                return false;
            };
            self.watches.insert(part.to_vec(), watch);
        }
        true
    }
}

/// Whether an absolute path of a directory, without a slash at the end, has nothing that would
/// have to be worked out.
fn is_clean(path: &[u8]) -> bool {
    let mut parts = path.split(|byte| *byte == b'/');
    parts.next() == Some(b"".as_slice())
        && parts.all(|part| !part.is_empty() && part != b"." && part != b"..")
}

#[cfg(test)]
#[path = "looks_tests.rs"]
mod tests;
