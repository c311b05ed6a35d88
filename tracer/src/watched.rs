//! Files whose opens are watched with inotify: those that rules ask about while the filter lets
//! most reads pass.
//!
//! The agent says which, as patterns of paths. Every file that fits is watched for opens, and
//! every directory on the way for names that would fit, so that files which come later are
//! watched too. What is found is bounded; the tracer sees as much as its own user may read.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use crate::sys::files::{self, AT_FDCWD};
use crate::sys::poll;
use crate::sys::watch::{Noticed, Watcher};

/// Files and directories watched, at most.
const FILES_MAX: usize = 256;
const DIRECTORIES_MAX: usize = 64;
/// Names of a directory that are looked at.
const NAMES_MAX: usize = 256;
/// How deep `**` goes.
const DEPTH_MAX: usize = 6;
/// Time between two searches for files, milliseconds.
const SEARCH_EVERY: u64 = 50;

const FILE_EVENTS: u32 = libc::IN_OPEN;
const DIRECTORY_EVENTS: u32 = libc::IN_CREATE
    | libc::IN_MOVED_TO
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
    watcher: Watcher,
    patterns: Vec<Vec<u8>>,
    files: HashMap<i32, WatchedFile>,
    /// Directories, with the parts of patterns that their names may fit.
    directories: HashMap<i32, Vec<Vec<u8>>>,
    /// When to search anew (milliseconds, monotonic).
    search_at: Option<u64>,
    searched_at: u64,
}

impl Watched {
    /// Watches nothing yet; `None` where the kernel does not let us.
    pub(crate) fn new() -> Option<Self> {
        Some(Self {
            watcher: Watcher::new().ok()?,
            patterns: Vec::new(),
            files: HashMap::new(),
            directories: HashMap::new(),
            search_at: None,
            searched_at: 0,
        })
    }

    /// Readable when [`Self::opened`] has something to tell.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.watcher.as_fd()
    }

    /// Watches files that fit these patterns, and no others.
    pub(crate) fn set(&mut self, patterns: Vec<String>) {
        let patterns = patterns.into_iter().map(String::into_bytes);
        let patterns: Vec<_> = patterns
            .filter(|pattern| pattern.first() == Some(&b'/'))
            .collect();
        // The agent says again what the tracer has found beside its socket.
        if patterns != self.patterns {
            self.patterns = patterns;
            self.search();
        }
    }

    /// When [`Self::search_if_due`] has to be called (milliseconds, monotonic).
    pub(crate) fn search_at(&self) -> Option<u64> {
        self.search_at
    }

    /// Searches anew if names have changed.
    pub(crate) fn search_if_due(&mut self) {
        if self.search_at.is_some_and(|at| at <= poll::monotonic_ms()) {
            self.search();
        }
    }

    /// Whether a file is watched.
    pub(crate) fn holds(&self, device: u64, inode: u64) -> bool {
        let mut files = self.files.values();
        files.any(|file| (file.device, file.inode) == (device, inode))
    }

    /// Files that were opened since the last call, each once.
    pub(crate) fn opened(&mut self) -> Vec<WatchedFile> {
        let mut opened: Vec<WatchedFile> = Vec::new();
        let mut has_changed = false;
        for Noticed { watch, mask, name } in self.watcher.noticed() {
            let is_open = mask & libc::IN_OPEN != 0;
            match (self.files.get(&watch), self.directories.get(&watch)) {
                (Some(file), _) if is_open && !opened.contains(file) => opened.push(file.clone()),
                (Some(_), _) if is_open => {}
                (None, Some(wanted)) if !name.is_empty() => {
                    has_changed |= wanted.iter().any(|part| fits(part, &name));
                }
                // The last of a watch that has ended.
                (None, None) if watch >= 0 => {}
                // It is gone or elsewhere, or the kernel had more to tell than it kept.
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
        let before: Vec<i32> = self.files.drain().map(|(watch, _)| watch).collect();
        let before = before
            .into_iter()
            .chain(self.directories.drain().map(|(watch, _)| watch));
        let before: Vec<i32> = before.collect();
        for pattern in std::mem::take(&mut self.patterns) {
            let parts: Vec<&[u8]> = pattern[1..].split(|byte| *byte == b'/').collect();
            self.follow(b"/", &parts, DEPTH_MAX);
            self.patterns.push(pattern);
        }
        for watch in before {
            if !self.files.contains_key(&watch) && !self.directories.contains_key(&watch) {
                self.watcher.remove(watch);
            }
        }
    }

    /// Finds what fits the parts below a directory, whose path ends in a slash.
    fn follow(&mut self, directory: &[u8], parts: &[&[u8]], depth: usize) {
        let Some((part, rest)) = parts.split_first() else {
            return;
        };
        if !self.watch_directory(directory, part) {
            return;
        }
        let is_below = *part == b"**" && rest.is_empty();
        let names = match part.contains(&b'*') {
            true => names(directory),
            false => vec![part.to_vec()],
        };
        for name in names.iter().filter(|name| fits(part, name)) {
            let path = [directory, name.as_slice()].concat();
            let Ok(text) = CString::new(path.as_slice()) else {
                continue;
            };
            let Ok(found) = files::metadata(AT_FDCWD, &text, true) else {
                continue;
            };
            let inner = || [path.as_slice(), b"/"].concat();
            match found.mode & libc::S_IFMT {
                libc::S_IFREG if rest.is_empty() => {
                    let file = WatchedFile {
                        path,
                        device: found.device,
                        inode: found.inode,
                    };
                    self.watch_file(&text, file);
                }
                libc::S_IFDIR if is_below && depth > 0 => self.follow(&inner(), parts, depth - 1),
                libc::S_IFDIR if !is_below => self.follow(&inner(), rest, depth),
                _ => {}
            }
        }
    }

    fn watch_file(&mut self, text: &CString, file: WatchedFile) {
        if self.files.len() < FILES_MAX
            && let Ok(watch) = self.watcher.watch(text, FILE_EVENTS)
        {
            self.files.entry(watch).or_insert(file);
        }
    }

    /// False where it cannot be, so that nothing below it can be found either.
    fn watch_directory(&mut self, path: &[u8], part: &[u8]) -> bool {
        let Ok(text) = CString::new(path) else {
            return false;
        };
        let Ok(watch) = self.watcher.watch(&text, DIRECTORY_EVENTS) else {
            return false;
        };
        if self.directories.len() >= DIRECTORIES_MAX && !self.directories.contains_key(&watch) {
            self.watcher.remove(watch);
            return false;
        }
        let parts = self.directories.entry(watch).or_default();
        if !parts.iter().any(|known| known == part) {
            parts.push(part.to_vec());
        }
        true
    }
}

/// Names in a directory.
fn names(directory: &[u8]) -> Vec<Vec<u8>> {
    let path = std::path::PathBuf::from(std::ffi::OsString::from_vec(directory.to_vec()));
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let entries = entries.flatten().take(NAMES_MAX);
    entries.map(|entry| entry.file_name().into_vec()).collect()
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
