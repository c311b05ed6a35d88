//! From a trapped call to what it means. One decoder per shape of call; [`crate::table`] says
//! which decoder serves which call.

pub(crate) mod accepting;
pub(crate) mod acts;
pub(crate) mod asking;
pub(crate) mod attributes;
pub(crate) mod dns;
mod empty;
pub(crate) mod files;
pub(crate) mod filters;
pub(crate) mod handles;
pub(crate) mod ids;
pub(crate) mod kernel;
mod messages;
pub(crate) mod metadata;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod quarantine;
pub(crate) mod rights;
mod spaces;
pub(crate) mod streams;
pub(crate) mod tracer_safety;
pub(crate) mod traffic;
mod within;

use std::ffi::CString;
use std::os::fd::OwnedFd;

use picket_events::file::FileFault;
use picket_events::{EventKind, File, Outcome};

use crate::confirm::Check;
use crate::memory::PATH_MAX;
use crate::mounts::Mounts;
use crate::pin::Pinned;
use crate::processes::Entry;
use crate::resolve::{Resolved, Start, View};
use crate::sys::acting::Identity;
use crate::sys::files::{self as sys_files, Metadata};
use crate::sys::{Errno, Result, process as sys_process};
use crate::table::Abi;

/// Turns a call into a verdict.
pub(crate) type Decoder = fn(&Call<'_>) -> Verdict;

/// What to do about a call.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Let it run; there is nothing to say.
    Pass,
    /// Let it run; say this once it was checked.
    Watch(EventKind, Check),
    /// Let it run; say this at once: no later look would tell more.
    Tell(Vec<EventKind>, Outcome),
    /// Do not let it run.
    Refuse {
        /// What the program gets, positive.
        errno: i32,
        /// What is said about it.
        event: Option<EventKind>,
        /// True when it was aimed at the tracer itself.
        tampering: bool,
    },
    /// An exec: it is confirmed in a way of its own.
    Exec {
        /// The program as it was named, canonical directory included where it was relative.
        path: Option<Vec<u8>>,
    },
    /// The process is about to end with this code.
    ExitGroup(u32),
    /// We have made the call in its place, or do so.
    Done(Box<Done>),
}

/// A call that we make in the caller's place.
#[derive(Debug)]
pub(crate) struct Done {
    /// What was asked for; `None` where nothing was done.
    pub(crate) act: Option<acts::Act>,
    pub(crate) answer: Answer,
    /// What is said about it, and how its effect is seen.
    pub(crate) told: Option<(EventKind, Check)>,
}

/// What the caller gets.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 0, or a negative errno.
    Value(i64),
    /// A descriptor for this file; `left` is the number at which the caller has it already, from a
    /// call that a signal interrupted.
    Descriptor {
        file: OwnedFd,
        close_on_exec: bool,
        left: Option<u32>,
    },
    /// A descriptor, once this could be opened.
    Later {
        pinned: Pinned,
        flags: u32,
        identity: Identity,
    },
}

impl Verdict {
    /// Refuses what is aimed at the tracer.
    pub(crate) fn tampering() -> Self {
        Verdict::Refuse {
            errno: libc::EPERM,
            event: None,
            tampering: true,
        }
    }
}

/// The tracer's own processes and socket, which tracees have to leave alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own {
    pub(crate) keeper: u32,
    pub(crate) worker: u32,
    /// The next worker, where one is kept ready; else the keeper.
    pub(crate) spare: u32,
    /// The agent's socket, canonical; empty without an agent.
    pub(crate) socket: Vec<u8>,
    /// The file that it was when we connected last: it may have been given another name since.
    pub(crate) socket_file: Option<Metadata>,
}

impl Own {
    /// What the agent's socket is now, by its name.
    pub(crate) fn socket_now(&self) -> Option<Metadata> {
        let path = CString::new(self.socket.as_slice()).ok()?;
        sys_files::metadata(sys_files::AT_FDCWD, &path, true).ok()
    }

    /// Whether a process group has none but ours in it.
    pub(crate) fn leads(&self, group: u32) -> bool {
        group == self.worker || group == self.spare && self.spare != self.keeper
    }

    /// Whether a process id is ours, or that of a thread of this very process, by which most calls
    /// mean the process as well.
    pub(crate) fn is(&self, pid: u32) -> bool {
        [self.keeper, self.worker, self.spare].contains(&pid) || sys_process::is_own_thread(pid)
    }
}

/// A trapped call with all that a decoder may need.
pub(crate) struct Call<'a> {
    /// Which it is, as its row says; empty for none.
    pub(crate) name: &'static str,
    pub(crate) abi: Abi,
    pub(crate) args: [u64; 6],
    pub(crate) tid: u32,
    pub(crate) process: &'a Entry,
    pub(crate) mounts: &'a Mounts,
    pub(crate) own: &'a Own,
}

/// A path argument, ready to be followed: absolute, but not canonical.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    /// Absolute path in our root; as the program wrote it when `fault` is set.
    pub(crate) path: Vec<u8>,
    /// Set for a path that refers to an open descriptor itself (`AT_EMPTY_PATH`).
    pub(crate) descriptor: Option<i32>,
    /// Whether a symbolic link at the end is followed.
    pub(crate) follow: bool,
    /// Why it cannot be followed.
    pub(crate) fault: Option<FileFault>,
    /// The directory that it is relative to, where that has no path that could be put before it:
    /// both together are longer than a path may be.
    pub(crate) below: Option<Start>,
}

impl Call<'_> {
    /// An argument as the 32 bits that an `int` is.
    pub(crate) fn int(&self, argument: usize) -> i32 {
        self.args[argument] as u32 as i32
    }

    /// An argument as an unsigned 32-bit number.
    pub(crate) fn word(&self, argument: usize) -> u32 {
        self.args[argument] as u32
    }

    /// An argument as an address.
    pub(crate) fn address(&self, argument: usize) -> u64 {
        match self.abi.register_size() {
            4 => u64::from(self.word(argument)),
            _ => self.args[argument],
        }
    }

    /// The caller's view of the file system.
    pub(crate) fn view(&self) -> View<'_> {
        self.process.view(self.tid)
    }

    /// Reads memory of the caller.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.process
            .memory()
            .ok_or(Errno(libc::EACCES))?
            .read(address, buffer)
    }

    /// Reads a string of the caller, cut at `limit` bytes.
    pub(crate) fn string(&self, argument: usize, limit: usize) -> Result<Vec<u8>> {
        let memory = self.process.memory().ok_or(Errno(libc::EACCES))?;
        Ok(memory.string(self.address(argument), limit)?.0)
    }

    /// A string argument as text; empty when it cannot be read.
    pub(crate) fn text(&self, argument: usize, limit: usize) -> String {
        picket_events::text::from_bytes(&self.string(argument, limit).unwrap_or_default())
    }

    /// A path argument relative to the working directory.
    pub(crate) fn path(&self, argument: usize, follow: bool) -> Located {
        self.path_at(libc::AT_FDCWD, argument, follow)
    }

    /// A path argument relative to a directory descriptor.
    pub(crate) fn path_at(&self, directory: i32, argument: usize, follow: bool) -> Located {
        let unreadable = Located {
            path: Vec::new(),
            descriptor: None,
            follow,
            fault: Some(FileFault::Unreadable),
            below: None,
        };
        let Some(memory) = self.process.memory() else {
            return unreadable;
        };
        match memory.path(self.address(argument)) {
            Ok(path) => self.locate(directory, path, follow),
            Err(_) => unreadable,
        }
    }

    /// A path that was read, relative to a directory descriptor.
    pub(crate) fn locate(&self, directory: i32, path: Vec<u8>, follow: bool) -> Located {
        if path.is_empty() {
            return Located {
                path,
                descriptor: empty::means_descriptor(self).then_some(directory),
                follow,
                fault: None,
                below: None,
            };
        }
        if path.first() == Some(&b'/') {
            return self.held_fast(Located {
                path: self.process.root.unstripped(&path),
                descriptor: None,
                follow,
                fault: None,
                below: None,
            });
        }
        let start = self.view().directory(directory);
        let is_too_long = match &start {
            Ok(start) => start.len() + 1 + path.len() >= PATH_MAX,
            Err(error) => *error == Errno(libc::ENAMETOOLONG),
        };
        match start {
            Ok(mut full) if full.first() == Some(&b'/') && !is_too_long => {
                full.push(b'/');
                full.extend_from_slice(&path);
                self.held_fast(Located {
                    path: full,
                    descriptor: None,
                    follow,
                    fault: None,
                    below: None,
                })
            }
            _ => Located {
                path,
                descriptor: None,
                follow,
                fault: Some(FileFault::Unresolved),
                below: is_too_long.then(|| self.view().start(directory)).flatten(),
            },
        }
    }

    /// A path that is to be looked at after the call, and by then may lead elsewhere
    /// (`/proc/self/cwd`, `/dev/fd/3`), as where it leads now.
    fn held_fast(&self, at: Located) -> Located {
        if !is_fleeting(&at.path) {
            return at;
        }
        let found = self.view().resolve(&at.path, at.follow);
        let is_named = match &found.metadata {
            Some(metadata) => metadata.links != 0,
            None => found.is_missing(),
        };
        // Some have no path by which they could be looked at again.
        if !is_named || found.path.first() != Some(&b'/') || !found.is_fleeting {
            return at;
        }
        let mut path = found.path;
        // Only a directory may have one.
        if at.path.last() == Some(&b'/') && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        Located { path, ..at }
    }

    /// Follows a path now, before the call.
    pub(crate) fn look(&self, at: &Located) -> (File, Resolved) {
        look(&self.view(), at, self.mounts)
    }

    /// What an open descriptor of the caller refers to.
    pub(crate) fn descriptor(&self, descriptor: i32) -> (File, Resolved) {
        let resolved = self.view().descriptor(descriptor);
        (file_of(&resolved, self.mounts), resolved)
    }
}

/// Whether a path may lead through its reader's own directory, root or descriptors, as far as its
/// words tell.
fn is_fleeting(path: &[u8]) -> bool {
    let has = |names: &[&[u8]]| {
        path.split(|byte| *byte == b'/')
            .any(|part| names.contains(&part))
    };
    has(&[b"fd", b"stdin", b"stdout", b"stderr"])
        || has(&[b"proc", b"self", b"thread-self"]) && has(&[b"cwd", b"root", b"exe", b"map_files"])
}

/// Follows a path in a view.
pub(crate) fn look(view: &View<'_>, at: &Located, mounts: &Mounts) -> (File, Resolved) {
    if let Some(fault) = at.fault {
        let below = |start| view.below(start, &at.path, at.follow);
        let mut resolved = at.below.as_ref().and_then(below).unwrap_or_default();
        if resolved.path.first() == Some(&b'/') {
            return (file_of(&resolved, mounts), resolved);
        }
        let named = File::from_path(picket_events::text::from_bytes(&at.path));
        let file = File {
            path: named.path,
            name: named.name,
            fault: Some(fault),
            ..file_of(&resolved, mounts)
        };
        // Nobody can look at it by its path.
        resolved.metadata = None;
        return (file, resolved);
    }
    let resolved = match at.descriptor {
        Some(libc::AT_FDCWD) => match view.directory(libc::AT_FDCWD) {
            Ok(path) => view.resolve(&path, true),
            Err(error) => Resolved {
                error: Some(error),
                ..Resolved::default()
            },
        },
        Some(descriptor) => view.descriptor(descriptor),
        None => view.resolve(&at.path, at.follow),
    };
    (file_of(&resolved, mounts), resolved)
}

/// Describes a file that was found.
pub(crate) fn file_of(resolved: &Resolved, mounts: &Mounts) -> File {
    let mut path = resolved.path.as_slice();
    if resolved
        .metadata
        .is_some_and(|metadata| metadata.links == 0)
    {
        path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    }
    let mut file = match path {
        [b'/', rest @ ..] if rest.starts_with(b"memfd:") => File {
            name: picket_events::text::from_bytes(rest).into(),
            ..File::default()
        },
        [b'/', ..] => File::from_path(picket_events::text::from_bytes(path)),
        _ => File {
            name: picket_events::text::from_bytes(path).into(),
            ..File::default()
        },
    };
    match &resolved.metadata {
        Some(metadata) => {
            file.inode = metadata.inode;
            file.device = metadata.device;
            file.mode = metadata.mode;
            file.uid = metadata.uid;
            file.gid = metadata.gid;
            file.links = metadata.links;
            file.change_time = metadata.change_time;
            file.modification_time = metadata.modification_time;
            file.mount_id = metadata.mount_id;
            file.filesystem = mounts.filesystem(metadata.mount_id);
        }
        None => file.fault = Some(FileFault::NoMetadata),
    }
    file
}
