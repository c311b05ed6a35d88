//! The table of traced processes.

mod directories;
mod held;
mod memories;
mod roots;
mod threads;

use std::os::fd::OwnedFd;
use std::rc::Rc;

use picket_events::{Address, Credentials, Image, Process};

use crate::decode::{dns, metadata};

use self::directories::Directory;
use self::held::SWEEP_EVERY;
pub(crate) use self::memories::Aside;
use self::threads::{THREADS_ROOM, Thread};
use crate::births::Births;
use crate::caution::{Caution, Cautions};
use crate::debts::Owed;
use crate::idmap::IdMap;
use crate::memory::Memory;
use crate::proc;
use crate::resolve::{Root, View};
use crate::sys::seccomp::Data;
use crate::sys::{Errno, Result, poll, process, ptrace};

/// Services that a process, or one that it descends from, has spoken to: whose traffic is
/// looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Contacts {
    /// A name server.
    pub(crate) name_server: bool,
    /// A metadata service.
    pub(crate) metadata: bool,
}

impl Contacts {
    /// Where nothing is known.
    pub(crate) const ALL: Self = Self {
        name_server: true,
        metadata: true,
    };

    /// What lives at an address.
    pub(crate) fn of(address: &Address) -> Self {
        match address {
            Address::Ip { ip, port } => Self {
                name_server: *port == dns::PORT,
                metadata: metadata::is_service(*ip),
            },
            _ => Self::default(),
        }
    }
}

/// One traced process.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) started_at: u64,
    pub(crate) session: u32,
    pub(crate) credentials: Credentials,
    pub(crate) image: Rc<Image>,
    pub(crate) executed_at: u64,
    pub(crate) pidfd: Option<OwnedFd>,
    pub(crate) root: Root,
    /// Its threads may have different ones (`unshare(CLONE_FS)`): `root` is that of the one looked at last.
    has_roots: bool,
    /// As many changes of roots there had been when it was looked at.
    root_at: u64,
    /// That is its own, and not its parent's because its own was not to be seen.
    is_root_seen: bool,
    /// Its address space, once something had to be read from it.
    memory: Option<Memory>,
    /// It may not be dumpable any more: once closed, its memory could not be opened again.
    keeps_memory: bool,
    /// Its working directory, where it may be closed to us.
    directory: Directory,
    /// The kernel keeps its memory from us.
    pub(crate) is_hidden: bool,
    /// The agent knows that.
    pub(crate) is_hidden_told: bool,
    /// Threads that were seen, the leader included.
    threads: Vec<u32>,
    /// How many of them there may be before those that have ended are looked for.
    threads_room: usize,
    /// Code given to `exit_group`.
    pub(crate) exit_code: Option<u32>,
    /// Since then its end is counted as untold.
    pub(crate) exit_owed: Option<Owed>,
    /// False when the agent was not told of its present state, because the buffer was full.
    pub(crate) is_announced: bool,
    pub(crate) contacts: Contacts,
    /// It asks name servers by calls that the filter stops for.
    pub(crate) asks_in_sight: bool,
    /// It takes their answers by calls that the filter stops for.
    pub(crate) hears_in_sight: bool,
    /// It has executed a program itself, as far as is known.
    pub(crate) has_executed: bool,
    /// It was found to run a new program, and has not yet begun as programs of a C library do.
    pub(crate) is_new_program: bool,
    /// Until its first exec: its credentials are its parent's, and were not looked at.
    pub(crate) is_taken_after_parent: bool,
    /// Until then, too: where what is to be read of its new program stands.
    pub(crate) stat: Option<proc::OpenStat>,
    /// It, or one that it descends from, may have set its login user id.
    pub(crate) may_change_login: bool,
    /// It, or one that it descends from, may have a seccomp filter of its own: that can keep ours from
    /// stopping for a call.
    pub(crate) has_own_filter: bool,
    /// A timer of its (`setitimer`) sends it SIGALRM again and again.
    pub(crate) has_timer: bool,
    /// Its last call that we were asked about.
    pub(crate) received: Data,
    /// It, or one that it descends from, has held a worker up.
    pub(crate) caution: Caution,
}

impl Entry {
    /// How this process sees the file system.
    pub(crate) fn view(&self, tid: u32) -> View<'_> {
        View {
            pid: self.pid,
            tid,
            root: &self.root,
            credentials: &self.credentials,
            directory: self.directory.held(),
            follows: !matches!(self.root, Root::Unknown)
                && self.caution.allows_paths(poll::monotonic_ms),
        }
    }

    /// Attaches to one of its threads without stopping it. A debugger's own tracees stay its own.
    pub(crate) fn seize(&self, tid: u32, options: usize) -> Result<()> {
        proc::attached_as_tracee(&self.credentials, || ptrace::seize(tid, options))
    }

    /// What `stat` says of it now.
    pub(crate) fn stat_now(&self) -> Result<proc::Stat> {
        match &self.stat {
            Some(stat) => stat.read_as_tracee(&self.credentials),
            None => proc::stat_as_tracee(self.pid, &self.credentials),
        }
    }

    /// As the agent is told.
    pub(crate) fn describe(&self) -> Process {
        Process {
            image: Some(Image::clone(&self.image)),
            ..self.describe_as_child()
        }
    }

    /// The same, without its program: that is its parent's.
    pub(crate) fn describe_as_child(&self) -> Process {
        Process {
            pid: self.pid,
            parent: self.parent,
            started_at: self.started_at,
            session: self.session,
            credentials: self.credentials.clone(),
            image: None,
            executed_at: self.executed_at,
        }
    }
}

/// All traced processes, by process and by thread.
#[derive(Debug)]
pub(crate) struct Processes {
    entries: IdMap<Entry>,
    /// Each thread that was seen.
    threads: IdMap<Thread>,
    /// How long a thread that was there is taken to be there still, milliseconds.
    trust: u64,
    /// The tracer's own processes: they are nobody's parent.
    tracers: [u32; 3],
    /// Nanoseconds since the epoch at boot.
    boot_time: u64,
    /// Address spaces that are open.
    memories: memories::Count,
    /// Processes that are held by a pidfd, and may be: descriptors are limited, and it is the
    /// application that says how many processes there are.
    handles: usize,
    handles_max: usize,
    /// When the others are looked at (milliseconds, monotonic), where there are any.
    sweep_at: Option<u64>,
    births: Births,
    changes: roots::Changes,
    /// Processes that have held earlier workers up.
    cautions: &'static Cautions,
}

/// Stands for a login user id that is not read, because it is put in later.
pub(crate) const UNKNOWN_LOGIN: u32 = u32::MAX;

impl Processes {
    pub(crate) fn new(tracers: [u32; 3], boot_time: u64, cautions: &'static Cautions) -> Self {
        let trust = threads::trust();
        let files = process::file_limit();
        Self {
            entries: IdMap::default(),
            threads: IdMap::default(),
            trust,
            tracers,
            boot_time,
            memories: memories::Count::of(files),
            handles: 0,
            handles_max: files / 4,
            sweep_at: None,
            births: Births::new(trust != 0),
            changes: roots::Changes::default(),
            cautions,
        }
    }

    pub(crate) fn get(&self, pid: u32) -> Option<&Entry> {
        self.entries.get(&pid)
    }

    /// Attaches to a thread of a process without stopping it ([`Entry::seize`]).
    pub(crate) fn seize(&self, pid: u32, tid: u32, options: usize) -> Result<()> {
        let entry = self.get(pid).ok_or(Errno(libc::ESRCH))?;
        entry.seize(tid, options)
    }

    /// Whether a process runs what its parent does, and the agent knows the parent to.
    pub(crate) fn runs_what_parent_was_told_to(&self, child: &Entry) -> bool {
        let parent = self.entries.get(&child.parent);
        parent.is_some_and(|parent| parent.is_announced && Rc::ptr_eq(&parent.image, &child.image))
    }

    pub(crate) fn get_mut(&mut self, pid: u32) -> Option<&mut Entry> {
        self.entries.get_mut(&pid)
    }

    /// Every living process.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Registers a process that the kernel shows, and its ancestors that are not yet known;
    /// their ids are appended to `added`, ancestors first. `status` is the process's own, where
    /// it was read already.
    pub(crate) fn add(
        &mut self,
        pid: u32,
        status: Option<proc::Status>,
        added: &mut Vec<u32>,
    ) -> Result<()> {
        if self.entries.contains_key(&pid) || self.tracers.contains(&pid) {
            return Ok(());
        }
        let mut status = match status {
            Some(status) => status,
            None => proc::status(pid, Some(UNKNOWN_LOGIN))?,
        };
        let parent = if self.tracers.contains(&status.parent) {
            0
        } else {
            status.parent
        };
        if parent != 0 && !self.entries.contains_key(&parent) && self.is_traced(parent) {
            // It may end while we look; the child is registered all the same.
            let _ = self.add(parent, None, added);
        }
        // A fork inherits the login user id.
        let (parent, login) = match self.entries.get(&parent) {
            Some(entry) => (parent, entry.credentials.auid),
            None => (0, proc::login_of(pid)),
        };
        status.credentials.auid = login;
        let stat = proc::stat(pid)?;
        let pidfd = match self.has_room() {
            true => process::open_pidfd(pid).ok(),
            false => None,
        };
        self.insert(pid, parent, status.credentials, &stat, pidfd);
        added.push(pid);
        Ok(())
    }

    /// Registers a process that is about to exec, with its parent's credentials: they are read
    /// when it has, or has failed to. `is_settled` says whether what is known of a process'
    /// credentials is up to date. False where it is no process, or its parent is not known.
    pub(crate) fn add_before_exec(
        &mut self,
        pid: u32,
        is_settled: impl Fn(u32) -> bool,
    ) -> Result<bool> {
        if !self.has_room() {
            return Ok(false);
        }
        // Of a thread that is not the first of its process there is none.
        let Ok(pidfd) = process::open_pidfd(pid) else {
            return Ok(false);
        };
        let file = proc::OpenStat::of(pid)?;
        let stat = file.read()?;
        let parent = self.entries.get(&stat.parent);
        let Some(parent) = parent.filter(|parent| is_settled(parent.pid)) else {
            return Ok(false);
        };
        let (parent, credentials) = (parent.pid, parent.credentials.clone());
        let entry = self.insert(pid, parent, credentials, &stat, Some(pidfd));
        entry.is_taken_after_parent = true;
        entry.stat = Some(file);
        Ok(true)
    }

    /// Children of a process that may be unknown.
    pub(crate) fn unknown_children(&self, pid: u32) -> Vec<u32> {
        let are_known = self.entries.get(&pid).is_some_and(|entry| {
            let since_boot = entry.started_at.saturating_sub(self.boot_time);
            self.births.are_known_since(pid, since_boot)
        });
        if are_known {
            Vec::new()
        } else {
            proc::children(pid)
        }
    }

    /// Nanoseconds since the epoch.
    fn started_at(&self, stat: &proc::Stat) -> u64 {
        let ticks_to_ns = 1_000_000_000 / 100; // USER_HZ is 100 on both architectures
        self.boot_time + stat.started * ticks_to_ns
    }

    /// Whether the kernel has so many ids that one is not given out again within moments.
    pub(crate) fn has_many_ids(&self) -> bool {
        self.trust != 0
    }

    /// Whether a process descends from the tracer: what does not is none of ours.
    pub(crate) fn is_traced(&self, pid: u32) -> bool {
        let mut at = pid;
        for _ in 0..64 {
            if self.tracers.contains(&at) || self.entries.contains_key(&at) {
                return true;
            }
            match proc::stat(at) {
                Ok(stat) if stat.parent != 0 => at = stat.parent,
                _ => return false,
            }
        }
        false
    }

    fn insert(
        &mut self,
        pid: u32,
        parent: u32,
        credentials: Credentials,
        stat: &proc::Stat,
        pidfd: Option<OwnedFd>,
    ) -> &mut Entry {
        let started_at = self.started_at(stat);
        let parents = self.entries.get(&parent);
        let image = parents.map(|parent| Rc::clone(&parent.image));
        let contacts = parents.map(|parent| parent.contacts).unwrap_or_default();
        let may_change_login = parents.is_some_and(|parent| parent.may_change_login);
        let has_own_filter = parents.is_some_and(|parent| parent.has_own_filter);
        let caution = parents.map(|parent| parent.caution).unwrap_or_default();
        // Not its parent's: it may have been made in a mount name space of its own.
        let root_at = self.changes.count();
        let own_root = Root::of(pid, &credentials);
        let is_root_seen = own_root.is_ok();
        let root = own_root.unwrap_or_else(|_| match self.entries.get(&parent) {
            Some(parent) => parent.root.clone(),
            None => Root::Ours,
        });
        let entry = Entry {
            pid,
            parent,
            started_at,
            session: stat.session,
            credentials,
            image: image.unwrap_or_default(),
            executed_at: 0,
            pidfd,
            root,
            has_roots: false,
            root_at,
            is_root_seen,
            memory: None,
            keeps_memory: false,
            directory: Directory::default(),
            is_hidden: false,
            is_hidden_told: false,
            threads: vec![pid],
            threads_room: THREADS_ROOM,
            exit_code: None,
            exit_owed: None,
            is_announced: false,
            contacts,
            asks_in_sight: false,
            hears_in_sight: false,
            has_executed: stat.has_executed,
            is_new_program: false,
            is_taken_after_parent: false,
            stat: None,
            may_change_login,
            has_own_filter,
            has_timer: false,
            received: Data::default(),
            caution: self.cautions.of(pid).unwrap_or(caution),
        };
        let seen = poll::monotonic_ms();
        match entry.pidfd {
            Some(_) => self.handles += 1,
            None => {
                self.sweep_at.get_or_insert(seen + SWEEP_EVERY);
            }
        }
        self.threads.insert(pid, Thread { pid, seen });
        self.births.saw(pid);
        self.entries.entry(pid).insert_entry(entry).into_mut()
    }

    /// Removes a process that ended.
    pub(crate) fn remove(&mut self, pid: u32) -> Option<Entry> {
        let entry = self.entries.remove(&pid)?;
        self.handles -= usize::from(entry.pidfd.is_some());
        for tid in &entry.threads {
            self.threads.remove(tid);
        }
        Some(entry)
    }
}

/// Nanoseconds since the epoch at boot.
pub(crate) fn boot_time() -> u64 {
    poll::now().saturating_sub(poll::since_boot())
}
