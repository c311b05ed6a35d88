//! Files that were looked up before: the second look at a file that is only read takes one
//! system call instead of four.
//!
//! What is kept is where a path led. It is used again only if the path still leads to the same
//! file, unchanged, which one `statx` shows, and if that file can be in one place only: a
//! regular file with one name, in one mount, on a file system that notes renames in the change
//! time. What that cannot show, another name of a directory above, inotify tells: every such
//! directory is watched before anything below it is kept. Where that is refused, nothing is
//! kept.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::os::fd::{AsFd, BorrowedFd};

use picket_events::File;

use crate::decode::{self, Located};
use crate::mounts::Mounts;
use crate::resolve::{Resolved, Root, View};
use crate::sys::files::{self, AT_FDCWD, Metadata};
use crate::sys::{poll, watch};

/// Paths kept, at most.
const PATHS_MAX: usize = 512;
/// Directories watched, at most.
const DIRECTORIES_MAX: usize = 512;
/// Paths remembered as looked at.
const RECENT: usize = 256;
/// How long a place is taken from memory before it is looked up anew, milliseconds.
const AGE_MAX: u64 = 1_000;
/// A file that changed this short a time ago may have changed again in the same tick of its
/// file system's clock, nanoseconds.
const SETTLED: u64 = 2_000_000_000;
/// File systems that note a rename in the change time.
const FILE_SYSTEMS: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "overlay", "tmpfs", "erofs", "squashfs",
];

/// Where a path led.
#[derive(Debug)]
struct Place {
    path: Vec<u8>,
    metadata: Metadata,
    /// When it was looked up (milliseconds, monotonic).
    since: u64,
}

/// The places that are known.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    watcher: Option<watch::Watcher>,
    /// Directories that are watched, canonical.
    watched: HashMap<Vec<u8>, i32>,
    /// Places by path as it was written, apart for each way to treat a final link.
    places: [HashMap<Vec<u8>, Place>; 2],
    /// Hashes of paths that were looked at, each where its low bits say.
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

    /// A directory has another name, or none: forgets everything.
    pub(crate) fn changed(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.drain();
        }
        self.watched.clear();
        self.forget();
    }

    /// Ends every watch: there are too many.
    fn start_over(&mut self) {
        for watch in self.watched.values() {
            if let Some(watcher) = &self.watcher {
                watcher.remove(*watch);
            }
        }
        self.changed();
    }

    /// Forgets where paths led.
    fn forget(&mut self) {
        for places in &mut self.places {
            places.clear();
        }
    }

    /// Follows a path in a view, as [`decode::look`] does.
    pub(crate) fn look(
        &mut self,
        view: &View<'_>,
        at: &Located,
        mounts: &Mounts,
    ) -> (File, Resolved) {
        let is_plain = at.fault.is_none() && at.descriptor.is_none();
        if self.watcher.is_none() || !is_plain || !matches!(view.root, Root::Ours) {
            return decode::look(view, at, mounts);
        }
        if let Some(resolved) = self.known(at) {
            return (decode::file_of(&resolved, mounts), resolved);
        }
        let (file, resolved) = decode::look(view, at, mounts);
        // Most files are read once: those are not worth a watch.
        if self.was_looked_at(&at.path)
            && can_be_kept(&file, &resolved)
            && self.watch_above(&resolved.path)
        {
            self.keep(at, &resolved);
        }
        (file, resolved)
    }

    /// Whether a path was looked at not long ago; from now on it was.
    fn was_looked_at(&mut self, path: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(path);
        let hash = hasher.finish();
        let recent = &mut self.recent[hash as usize % RECENT];
        std::mem::replace(recent, hash) == hash
    }

    /// Where the path leads, if it leads where it did.
    fn known(&mut self, at: &Located) -> Option<Resolved> {
        let places = &mut self.places[usize::from(at.follow)];
        let place = places.get(&at.path)?;
        let path = std::ffi::CString::new(at.path.as_slice()).ok()?;
        let now = files::metadata(AT_FDCWD, &path, at.follow).ok();
        let is_same = now == Some(place.metadata) && poll::monotonic_ms() < place.since + AGE_MAX;
        if is_same {
            return Some(Resolved {
                path: place.path.clone(),
                metadata: now,
                error: None,
            });
        }
        places.remove(&at.path);
        None
    }

    fn keep(&mut self, at: &Located, resolved: &Resolved) {
        let Some(metadata) = resolved.metadata else {
            return;
        };
        let places = &mut self.places[usize::from(at.follow)];
        if places.len() >= PATHS_MAX {
            places.clear();
        }
        let place = Place {
            path: resolved.path.clone(),
            metadata,
            since: poll::monotonic_ms(),
        };
        places.insert(at.path.clone(), place);
    }

    /// Watches every directory above a canonical path. True if all were watched already: only
    /// then nothing can have happened to them since the path was followed.
    fn watch_above(&mut self, path: &[u8]) -> bool {
        let mut all_known = true;
        let slashes = (0..path.len()).filter(|at| path[*at] == b'/');
        for directory in slashes.map(|at| &path[..at.max(1)]) {
            if self.watched.contains_key(directory) {
                continue;
            }
            all_known = false;
            if self.watched.len() >= DIRECTORIES_MAX {
                self.start_over();
                return false;
            }
            let Some(watcher) = &self.watcher else {
                return false;
            };
            let Ok(text) = std::ffi::CString::new(directory) else {
                return false;
            };
            let Ok(watch) = watcher.add_directory(&text) else {
                return false;
            };
            self.watched.insert(directory.to_vec(), watch);
        }
        all_known
    }
}

/// Whether a file can be in one place only, as far as its metadata show.
fn can_be_kept(file: &File, resolved: &Resolved) -> bool {
    let Some(metadata) = &resolved.metadata else {
        return false;
    };
    let is_regular = metadata.mode & libc::S_IFMT == libc::S_IFREG;
    let is_settled = metadata.change_time.saturating_add(SETTLED) < poll::now();
    is_regular
        && metadata.links == 1
        && metadata.mount_id != 0
        && is_settled
        && FILE_SYSTEMS.contains(&file.filesystem.as_str())
}

#[cfg(test)]
#[path = "looks_tests.rs"]
mod tests;
