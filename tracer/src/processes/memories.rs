//! The address spaces of processes, as far as they are open.
//!
//! A process that is not dumpable (`PR_SET_DUMPABLE`; any change of its user or group) can be looked
//! into by nobody without CAP_SYS_PTRACE (`__ptrace_may_access` of Linux), but what was opened before
//! stays readable. Descriptors are limited, so what can be opened again is closed first.

use super::{Directory, Entry, Processes};
use crate::memory::Memory;
use crate::sys::{Errno, poll};

/// Address spaces kept open at once for speed alone, at most.
const MEMORIES_MAX: usize = 256;

/// How many address spaces are open, and may be.
#[derive(Debug)]
pub(super) struct Count {
    /// Since they were closed last.
    opened: usize,
    max: usize,
    /// Of those that could not be opened again.
    kept_max: usize,
}

impl Count {
    /// With so many descriptors at most.
    pub(super) fn of(files: usize) -> Self {
        Self {
            opened: 0,
            max: MEMORIES_MAX.min(files / 8),
            kept_max: files / 8,
        }
    }
}

/// What was open of a process, and known of it, when it asked for another program.
#[derive(Debug)]
pub(crate) struct Aside {
    memory: Option<Memory>,
    keeps_memory: bool,
    directory: Directory,
    is_hidden: bool,
    is_hidden_told: bool,
}

impl Aside {
    /// Whether somebody still runs in that address space. The kernel reads nothing at all from one
    /// that all have left, and refuses to read where nothing is mapped of any other.
    pub(crate) fn is_in_use(&self) -> bool {
        const UNMAPPED: u64 = 0;
        match &self.memory {
            Some(memory @ Memory::Opened(_)) => memory.read_some(UNMAPPED, &mut [0]) != Ok(0),
            _ => false,
        }
    }
}

impl Entry {
    /// Opens the address space if it is not open.
    pub(crate) fn open_memory(&mut self, tid: u32) {
        if !self.is_memory_open() {
            let opened = Memory::open(tid, &self.credentials);
            self.is_hidden = matches!(opened, Err(Errno(libc::EACCES | libc::EPERM)));
            self.memory = opened.ok();
        }
    }

    /// Has the address space read without opening it, if it is not open.
    pub(crate) fn pass_memory(&mut self, tid: u32) {
        if self.memory.is_none() {
            self.memory = Some(Memory::passing(tid, &self.credentials));
        }
    }

    fn is_memory_open(&self) -> bool {
        matches!(self.memory, Some(Memory::Opened(_)))
    }

    /// The address space, if it could be opened and may be read.
    pub(crate) fn memory(&self) -> Option<&Memory> {
        let is_allowed = self.caution.allows_memory(poll::monotonic_ms);
        self.memory.as_ref().filter(|_| is_allowed)
    }

    /// Forgets the address space: it is about to be replaced, or to stop being shared.
    pub(crate) fn drop_memory(&mut self) {
        self.put_memory_aside();
    }

    /// As [`Entry::drop_memory`], where it may come to be wanted again.
    pub(crate) fn put_memory_aside(&mut self) -> Aside {
        Aside {
            memory: self.memory.take(),
            keeps_memory: std::mem::take(&mut self.keeps_memory),
            directory: std::mem::take(&mut self.directory),
            is_hidden: std::mem::take(&mut self.is_hidden),
            is_hidden_told: std::mem::take(&mut self.is_hidden_told),
        }
    }

    /// It was not replaced: the process goes on as it was.
    pub(crate) fn take_memory_back(&mut self, aside: Aside) {
        self.memory = aside.memory;
        self.keeps_memory = aside.keeps_memory;
        self.directory = aside.directory;
        (self.is_hidden, self.is_hidden_told) = (aside.is_hidden, aside.is_hidden_told);
    }
}

impl Processes {
    /// Has the address space of a process read without opening it, if it is not open.
    pub(crate) fn pass_memory(&mut self, pid: u32, tid: u32) {
        if let Some(entry) = self.entries.get_mut(&pid) {
            entry.pass_memory(tid);
        }
    }

    /// Closes the address spaces that can be opened again, and the others where they are too many.
    fn close_memories(&mut self) {
        let is_kept = |entry: &Entry| entry.keeps_memory && entry.is_memory_open();
        let kept = self.entries.values().filter(|entry| is_kept(entry)).count();
        let are_too_many = kept >= self.memories.kept_max;
        for entry in self.entries.values_mut() {
            if are_too_many || !is_kept(entry) {
                entry.memory = None;
            }
        }
        self.memories.opened = 0;
    }

    /// Keeps the address space of a process open that is about to do what may keep us from opening it
    /// again.
    pub(crate) fn keep_memory(&mut self, pid: u32, tid: u32) {
        if let Some(entry) = self.entries.get_mut(&pid) {
            entry.keeps_memory = true;
            entry.hold_directory(tid);
        }
    }

    /// Opens the address space of a process, keeping the number of open ones bounded.
    pub(crate) fn open_memory(&mut self, pid: u32, tid: u32) {
        let Some(entry) = self.entries.get(&pid) else {
            return;
        };
        if entry.is_memory_open() {
            return;
        }
        if self.memories.opened >= self.memories.max {
            self.close_memories();
        }
        self.memories.opened += 1;
        if let Some(entry) = self.entries.get_mut(&pid) {
            entry.open_memory(tid);
        }
    }
}
