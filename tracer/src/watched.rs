//! Files whose opens are watched with inotify: those that rules ask about while the filter lets
//! most reads pass.
//!
//! The agent says which, as patterns of paths. Every file that fits is watched for opens, and
//! every directory on the way for names that would fit, so that files which come later are
//! watched too. What is found is bounded, and the tracer sees as much as its own user may read:
//! what is missing is known.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use picket_events::wire::UnwatchedReason;

use crate::sys::files::{self, AT_FDCWD, Metadata};
use crate::sys::poll;
use crate::sys::watch::{Noticed, Watcher};
use crate::unwatched::{Missing, Who};

/// Files and directories watched, at most.
const FILES_MAX: usize = 256;
const DIRECTORIES_MAX: usize = 64;
/// Names of a directory that are looked at: those that fit, and all.
const NAMES_MAX: usize = 256;
const NAMES_READ_MAX: usize = 8192;
/// How deep `**` goes.
const DEPTH_MAX: usize = 6;
/// Time between two searches for files, milliseconds.
const SEARCH_EVERY: u64 = 50;

/// Of attributes and moves because its name may be another file's by then, while somebody holds this
/// one open, so that it is never gone.
const FILE_EVENTS: u32 = libc::IN_OPEN | libc::IN_ATTRIB | libc::IN_MOVE_SELF;
/// Of attributes because a file may become readable.
const DIRECTORY_EVENTS: u32 = libc::IN_CREATE
    | libc::IN_MOVED_TO
    | libc::IN_ATTRIB
    | libc::IN_MOVE_SELF
    | libc::IN_DELETE_SELF
    | libc::IN_ONLYDIR;

/// A file that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WatchedFile {
    /// Where it was found.
    pub(crate) path: Vec<u8>,
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// What is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    /// `None` where the kernel does not let us.
    watcher: Option<Watcher>,
    who: Who,
    patterns: Vec<Vec<u8>>,
    missing: Missing,
    files: HashMap<i32, WatchedFile>,
    /// Directories, with the parts of patterns that their names may fit.
    directories: HashMap<i32, Vec<Vec<u8>>>,
    /// When to search anew (milliseconds, monotonic).
    search_at: Option<u64>,
    searched_at: u64,
    /// The kernel had more to tell than it kept.
    has_overflowed: bool,
}

impl Watched {
    /// Watches nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            watcher: Watcher::new().ok(),
            who: Who::own(),
            patterns: Vec::new(),
            missing: Missing::default(),
            files: HashMap::new(),
            directories: HashMap::new(),
            search_at: None,
            searched_at: 0,
            has_overflowed: false,
        }
    }

    /// Readable when [`Self::opened`] has something to tell; `None` where nothing can be watched.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.watcher.as_ref().map(AsFd::as_fd)
    }

    /// What the last search has found, or would have, and is not watched.
    pub(crate) fn missing(&self) -> &Missing {
        &self.missing
    }

    /// Watches files that fit these patterns, and no others.
    pub(crate) fn set(&mut self, patterns: Vec<String>) {
        let patterns = patterns.into_iter().map(String::into_bytes);
        let mut patterns: Vec<_> = patterns
            .filter(|pattern| pattern.first() == Some(&b'/'))
            .collect();
        // Whoever makes many files that fit some pattern keeps none from being watched that a rule
        // names.
        patterns.sort_by_key(|pattern| pattern.contains(&b'*'));
        // The agent says again what the tracer has found beside its socket.
        let had_none = self.watcher.is_none();
        if had_none {
            self.watcher = Watcher::new().ok();
        }
        if patterns != self.patterns || had_none {
            self.patterns = patterns;
            self.search();
        }
    }

    /// When [`Self::search_if_due`] has to be called (milliseconds, monotonic).
    pub(crate) fn search_at(&self) -> Option<u64> {
        self.search_at
    }

    /// Searches anew if names have changed; whether it did.
    pub(crate) fn search_if_due(&mut self) -> bool {
        let is_due = self.search_at.is_some_and(|at| at <= poll::monotonic_ms());
        if is_due {
            self.search();
        }
        is_due
    }

    /// Whether a file is watched.
    pub(crate) fn holds(&self, device: u64, inode: u64) -> bool {
        self.find(device, inode).is_some()
    }

    /// A file that is watched, by what it is.
    pub(crate) fn find(&self, device: u64, inode: u64) -> Option<&WatchedFile> {
        let mut files = self.files.values();
        files.find(|file| (file.device, file.inode) == (device, inode))
    }

    /// Files that were opened since the last call, each once.
    pub(crate) fn opened(&mut self) -> Vec<WatchedFile> {
        let mut opened: Vec<WatchedFile> = Vec::new();
        let mut has_changed = false;
        let noticed = self.watcher.as_ref().map(Watcher::noticed);
        for Noticed { watch, mask, name } in noticed.into_iter().flatten() {
            self.has_overflowed |= mask & libc::IN_Q_OVERFLOW != 0;
            let is_open = mask & libc::IN_OPEN != 0;
            match (self.files.get(&watch), self.directories.get(&watch)) {
                (Some(file), _) if is_open && !opened.contains(file) => opened.push(file.clone()),
                (Some(_), _) if is_open => {}
                (None, Some(wanted)) if !name.is_empty() => {
                    has_changed |= wanted.iter().any(|part| fits(part, &name));
                }
                // The last of a watch that has ended.
                (None, None) if watch >= 0 => {}
                // It is gone or elsewhere, or what was told of it is lost.
                _ => has_changed = true,
            }
        }
        if has_changed && self.search_at.is_none() {
            let earliest = self.searched_at + SEARCH_EVERY;
            self.search_at = Some(earliest.max(poll::monotonic_ms()));
        }
        opened
    }

    fn search(&mut self) {
        self.searched_at = poll::monotonic_ms();
        self.search_at = None;
        self.missing = Missing::default();
        let before: Vec<i32> = self.files.drain().map(|(watch, _)| watch).collect();
        let before = before
            .into_iter()
            .chain(self.directories.drain().map(|(watch, _)| watch));
        let before: Vec<i32> = before.collect();
        for pattern in std::mem::take(&mut self.patterns) {
            let parts: Vec<&[u8]> = pattern[1..].split(|byte| *byte == b'/').collect();
            match self.watcher {
                Some(_) => self.follow(b"/", &parts, DEPTH_MAX),
                None => self.missing.add(UnwatchedReason::NoInstance, &pattern),
            }
            self.patterns.push(pattern);
        }
        // Said once: the next search, which is to come, finds it over.
        if std::mem::take(&mut self.has_overflowed) {
            for pattern in &self.patterns {
                self.missing.add(UnwatchedReason::Overflowed, pattern);
            }
            self.search_at = Some(self.searched_at + SEARCH_EVERY);
        }
        for watch in before {
            if !self.files.contains_key(&watch) && !self.directories.contains_key(&watch) {
                self.remove(watch);
            }
        }
    }

    fn remove(&self, watch: i32) {
        if let Some(watcher) = &self.watcher {
            watcher.remove(watch);
        }
    }

    /// Finds what fits the parts below a directory, whose path ends in a slash.
    fn follow(&mut self, directory: &[u8], parts: &[&[u8]], depth: usize) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        let is_watched = self.watch_directory(directory, part);
        let is_below = *part == b"**" && rest.is_empty();
        let names = match (is_watched, part.contains(&b'*')) {
            // What is named can be watched all the same.
            (_, false) => vec![part.to_vec()],
            (false, true) => return,
            (true, true) => self.names(directory, part),
        };
        for name in &names {
            let path = [directory, name.as_slice()].concat();
            let Ok(text) = CString::new(path.as_slice()) else {
                continue;
            };
            let found = match files::metadata(AT_FDCWD, &text, true) {
                Ok(found) => found,
                Err(errno) => {
                    self.missing.refused(errno, &path, None, self.who);
                    continue;
                }
            };
            let inner = || [path.as_slice(), b"/"].concat();
            match found.mode & libc::S_IFMT {
                libc::S_IFREG if rest.is_empty() => {
                    let file = WatchedFile {
                        path,
                        device: found.device,
                        inode: found.inode,
                    };
                    self.watch_file(&text, file, &found);
                    self.watch_link(directory, &text);
                }
                libc::S_IFDIR if is_below && depth == 0 => {
                    self.missing.add(UnwatchedReason::TooMany, &path);
                }
                libc::S_IFDIR if is_below => self.follow(&inner(), parts, depth - 1),
                libc::S_IFDIR => self.follow(&inner(), rest, depth),
                _ => {}
            }
        }
    }

    fn watch_file(&mut self, text: &CString, file: WatchedFile, found: &Metadata) {
        let Some(watcher) = &self.watcher else {
            return;
        };
        if self.files.len() >= FILES_MAX && !self.holds(file.device, file.inode) {
            self.missing.add(UnwatchedReason::TooMany, &file.path);
            return;
        }
        match watcher.watch(text, FILE_EVENTS) {
            Ok(watch) => drop(self.files.entry(watch).or_insert(file)),
            Err(errno) => self
                .missing
                .refused(errno, &file.path, Some(found), self.who),
        }
    }

    /// Of a file that is named by a link to somewhere below its own directory, watches the first name on
    /// that way too: Kubernetes puts another folder in that one's place.
    fn watch_link(&mut self, directory: &[u8], path: &CString) {
        let mut target = [0; 256];
        let Ok(length) = files::read_link(AT_FDCWD, path, &mut target) else {
            return; // none
        };
        let first = target[..length].split(|byte| *byte == b'/').next();
        if let Some(first) = first.filter(|first| !first.is_empty() && *first != b".") {
            self.watch_directory(directory, first);
        }
    }

    /// Whether it is watched: if not, what comes into it later is not found.
    fn watch_directory(&mut self, path: &[u8], part: &[u8]) -> bool {
        let (Ok(text), Some(watcher)) = (CString::new(path), &self.watcher) else {
            return false;
        };
        let watch = match watcher.watch(&text, DIRECTORY_EVENTS) {
            Ok(watch) => watch,
            Err(errno) => {
                let found = files::metadata(AT_FDCWD, &text, true).ok();
                self.missing.refused(errno, path, found.as_ref(), self.who);
                return false;
            }
        };
        if self.directories.len() >= DIRECTORIES_MAX && !self.directories.contains_key(&watch) {
            self.remove(watch);
            self.missing.add(UnwatchedReason::TooMany, path);
            return false;
        }
        let parts = self.directories.entry(watch).or_default();
        if !parts.iter().any(|known| known == part) {
            parts.push(part.to_vec());
        }
        true
    }

    /// Names in a directory that fit a part.
    fn names(&mut self, directory: &[u8], part: &[u8]) -> Vec<Vec<u8>> {
        let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(directory.to_vec()));
        let Ok(entries) = std::fs::read_dir(path) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (number, entry) in entries.flatten().enumerate() {
            let name = entry.file_name().into_vec();
            let is_fit = fits(part, &name);
            if number >= NAMES_READ_MAX || is_fit && found.len() >= NAMES_MAX {
                let pattern = [directory, part].concat();
                self.missing.add(UnwatchedReason::TooMany, &pattern);
                break;
            }
            if is_fit {
                found.push(name);
            }
        }
        found
    }
}

/// Whether a name fits a part of a pattern, in which `*` stands for any characters.
fn fits(part: &[u8], name: &[u8]) -> bool {
    let mut pieces = part.split(|byte| *byte == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        if piece.is_empty() {
            continue;
        }
        let Some(at) = rest.windows(piece.len()).position(|window| window == piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

#[cfg(test)]
#[path = "watched_tests.rs"]
mod tests;
