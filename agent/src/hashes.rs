//! Sums of files, for `hash` actions and for rules that compare with lists of them.
//!
//! The agent of a pod has its own file system: what a container executes is in another one, which
//! only the container's tracer can read, so that the tracer is asked (`pipeline::waiting`).
//! `picket run` shares the command's, and reads by itself. Either way a path proves nothing:
//! what is opened counts only when it is the very file of the event, by device, inode and time
//! of its last change.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use picket_events::File;
use picket_events::wire::{SumFault, Sums};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// Largest file that is read because a rule compares its sums: 16 MiB.
pub(crate) const COMPARED_LIMIT: u64 = 16 * 1024 * 1024;

/// Files whose sums are remembered.
const MOST_KNOWN: usize = 1024;

/// Why a file has no sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unhashed {
    /// It is not where it could be opened.
    #[error("the file is out of reach: in another file system, changed since, or gone")]
    OutOfReach,
    /// It is larger than was asked for.
    #[error("the file is larger than {0} bytes")]
    TooLarge(u64),
    /// A directory, a device, a pipe.
    #[error("it is not a regular file")]
    NotRegular,
    /// The event does not say which file it was.
    #[error("nothing is known about the file but its path")]
    Unidentified,
    /// Reading it failed.
    #[error("the file could not be read")]
    Unreadable,
    /// Too many files were to be read at a time.
    #[error("too many files were to be read at a time")]
    Busy,
    /// The sums were not there in time.
    #[error("reading the file took too long")]
    TimedOut,
}

impl Unhashed {
    /// What a finding says of it (`hash_state`).
    pub(crate) const fn state(self) -> &'static str {
        match self {
            Unhashed::OutOfReach => "file_not_found",
            Unhashed::TooLarge(_) => "file_too_big",
            Unhashed::NotRegular => "not_regular",
            Unhashed::Unidentified => "pathname_resolution_error",
            Unhashed::Unreadable => "file_open_error",
            Unhashed::Busy => "hash_was_rate_limited",
            Unhashed::TimedOut => "timed_out",
        }
    }

    /// What a tracer says of a file that it was to read up to `limit` bytes of.
    pub(crate) const fn told(fault: SumFault, limit: u64) -> Self {
        match fault {
            SumFault::OutOfReach => Unhashed::OutOfReach,
            SumFault::NotRegular => Unhashed::NotRegular,
            SumFault::TooLarge => Unhashed::TooLarge(limit),
            SumFault::Unreadable => Unhashed::Unreadable,
            SumFault::TooSlow => Unhashed::TimedOut,
            SumFault::Busy => Unhashed::Busy,
        }
    }
}

/// `hash_state` of a file that was read.
pub(crate) const DONE: &str = "done";

/// Sums as rules and findings have them.
pub(crate) fn texts(sums: &Sums) -> Vec<String> {
    vec![
        format!("sha256:{}", hexadecimal(&sums.sha256)),
        format!("sha1:{}", hexadecimal(&sums.sha1)),
    ]
}

/// Which file, in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
    change_time: u64,
}

impl FileId {
    /// The identity of an event's file; `None` where the event does not tell it.
    pub(crate) fn of(file: &File) -> Option<Self> {
        (file.inode != 0).then_some(Self {
            device: file.device,
            inode: file.inode,
            change_time: file.change_time,
        })
    }

    fn fits(self, metadata: &fs::Metadata) -> bool {
        let seconds = u64::try_from(metadata.ctime()).unwrap_or(0);
        let nanoseconds = u64::try_from(metadata.ctime_nsec()).unwrap_or(0);
        self.inode == metadata.ino()
            && self.device == metadata.dev()
            && self.change_time == seconds * 1_000_000_000 + nanoseconds
    }
}

/// Reads files and remembers their sums.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    known: HashMap<FileId, Result<Vec<String>, Unhashed>>,
    /// Files that a tracer could not read, why, and until when it is not asked again
    /// (nanoseconds since the epoch).
    refused: HashMap<FileId, (Unhashed, u64)>,
}

/// How long a tracer is not asked again for a file that it could not read: 10 s.
const RETRY_AFTER: u64 = 10_000_000_000;

impl Hashes {
    /// The sums of a file, as `sha256:…` and `sha1:…`. `executed` is a process that runs it,
    /// through which a file without a path can be read.
    pub(crate) fn of(
        &mut self,
        file: &File,
        executed: Option<u32>,
        limit: u64,
    ) -> Result<Vec<String>, Unhashed> {
        let id = FileId::of(file).ok_or(Unhashed::Unidentified)?;
        match self.known.get(&id) {
            // A limit may be another one this time, and a file may come into reach.
            Some(Ok(sums)) => return Ok(sums.clone()),
            Some(Err(Unhashed::TooLarge(before))) if *before >= limit => {
                return Err(Unhashed::TooLarge(limit));
            }
            _ => {}
        }
        let sums = read(id, file, executed, limit);
        self.remember(id, sums.clone());
        sums
    }

    /// What is known of a file without reading it.
    pub(crate) fn known(&self, id: FileId) -> Option<&Result<Vec<String>, Unhashed>> {
        self.known.get(&id)
    }

    /// Why a tracer need not be asked for a file that is out of our own reach: it was just
    /// now, and could not read it.
    pub(crate) fn refused(&self, id: FileId, now: u64) -> Option<Unhashed> {
        let (reason, until) = self.refused.get(&id)?;
        (*until > now).then_some(*reason)
    }

    /// Takes in what a tracer said, or that it did not.
    pub(crate) fn told(&mut self, id: FileId, sums: Result<Vec<String>, Unhashed>, now: u64) {
        if let Err(reason) = sums {
            if self.refused.len() >= MOST_KNOWN {
                self.refused.clear();
            }
            let until = now.saturating_add(RETRY_AFTER);
            self.refused.insert(id, (reason, until));
        }
        self.remember(id, sums);
    }

    fn remember(&mut self, id: FileId, sums: Result<Vec<String>, Unhashed>) {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(id, sums);
    }
}

fn read(
    id: FileId,
    file: &File,
    executed: Option<u32>,
    limit: u64,
) -> Result<Vec<String>, Unhashed> {
    let running = executed.map(|pid| PathBuf::from(format!("/proc/{pid}/exe")));
    let rooted = executed
        .filter(|_| !file.path.is_empty())
        .map(|pid| PathBuf::from(format!("/proc/{pid}/root{}", file.path)));
    let plain = (!file.path.is_empty()).then(|| PathBuf::from(&file.path));
    for path in [running, rooted, plain].into_iter().flatten() {
        // Looked at before it is opened: opening a device can do things.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if !id.fits(&metadata) {
            continue;
        }
        if !metadata.is_file() {
            return Err(Unhashed::NotRegular);
        }
        if metadata.len() > limit {
            return Err(Unhashed::TooLarge(limit));
        }
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&path);
        let Ok(opened) = opened else { continue };
        if !opened.metadata().is_ok_and(|metadata| id.fits(&metadata)) {
            continue;
        }
        return sums(opened, limit);
    }
    Err(Unhashed::OutOfReach)
}

fn sums(mut file: impl Read, limit: u64) -> Result<Vec<String>, Unhashed> {
    let (mut sha256, mut sha1) = (
        Context::new(&SHA256),
        Context::new(&SHA1_FOR_LEGACY_USE_ONLY),
    );
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(Unhashed::Unreadable),
        };
        // It may grow while it is read.
        total += read as u64;
        if total > limit {
            return Err(Unhashed::TooLarge(limit));
        }
        sha256.update(&buffer[..read]);
        sha1.update(&buffer[..read]);
    }
    Ok(vec![
        format!("sha256:{}", hexadecimal(sha256.finish().as_ref())),
        format!("sha1:{}", hexadecimal(sha1.finish().as_ref())),
    ])
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(path: &std::path::Path) -> File {
        let metadata = fs::metadata(path).unwrap();
        File {
            inode: metadata.ino(),
            device: metadata.dev(),
            change_time: metadata.ctime() as u64 * 1_000_000_000 + metadata.ctime_nsec() as u64,
            ..File::from_path(path.to_str().unwrap())
        }
    }

    #[test]
    fn the_sums_of_a_file_are_those_that_others_compute() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let mut hashes = Hashes::default();
        let sums = hashes.of(&seen(&path), None, 100).unwrap();
        assert_eq!(
            sums,
            [
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
            ]
        );
    }

    #[test]
    fn only_the_very_file_of_the_event_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "before").unwrap();
        let mut hashes = Hashes::default();
        let other = File {
            inode: seen(&path).inode + 1,
            ..seen(&path)
        };
        assert_eq!(hashes.of(&other, None, 100), Err(Unhashed::OutOfReach));
        let changed = File {
            change_time: 5,
            ..seen(&path)
        };
        assert_eq!(hashes.of(&changed, None, 100), Err(Unhashed::OutOfReach));
        let unknown = File::from_path(path.to_str().unwrap());
        assert_eq!(hashes.of(&unknown, None, 100), Err(Unhashed::Unidentified));
        let gone = seen(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(hashes.of(&gone, None, 100), Err(Unhashed::OutOfReach));
    }

    #[test]
    fn large_files_pipes_and_folders_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        fs::write(&path, [0; 100]).unwrap();
        let mut hashes = Hashes::default();
        let file = seen(&path);
        assert_eq!(hashes.of(&file, None, 99), Err(Unhashed::TooLarge(99)));
        assert_eq!(hashes.of(&file, None, 50), Err(Unhashed::TooLarge(50)));
        assert!(hashes.of(&file, None, 100).is_ok());
        let folder = seen(folder.path());
        assert_eq!(hashes.of(&folder, None, 9999), Err(Unhashed::NotRegular));
    }

    #[test]
    fn a_program_is_read_through_the_process_that_runs_it() {
        let own = seen(&std::env::current_exe().unwrap());
        let nameless = File {
            path: String::new(),
            ..own
        };
        let mut hashes = Hashes::default();
        let limit = 1 << 30;
        assert_eq!(hashes.of(&nameless, None, limit), Err(Unhashed::OutOfReach));
        assert!(
            hashes
                .of(&nameless, Some(std::process::id()), limit)
                .is_ok()
        );
    }
}
