//! Reads of watched files that the filter let pass.
//!
//! inotify tells that a file was opened, not by whom. The filter stops for every open that can
//! write and for reads as tools make them; those are told already, by who made them. For the rest
//! the descriptors of our processes are searched for one that was not there before. Of a program
//! that has closed its own by then, it may show from its arguments that it was started for that.
//! Otherwise its read is told of process 0.

mod opens;
mod starts;

use std::collections::HashSet;
use std::ffi::CString;

use picket_events::file::FileFault;
use picket_events::wire::{Notice, ToAgent};
use picket_events::{EventKind, EventType, File, OpenInterest, Outcome, text};

use self::opens::{Opener, Opens};
use super::{TOKEN_READS, Worker};
use crate::confirm::Check;
use crate::decode::{self, Located, Verdict, handles};
use crate::proc;
use crate::sys::files::{self, AT_FDCWD};
use crate::sys::poll;
use crate::table::OPEN_WRITING;
use crate::unwatched::Missing;
use crate::watched::{Watched, WatchedFile};

/// Descriptors that are looked at in a search, at most: of one process, and of all.
const DESCRIPTORS_MAX: usize = 64;
const SEARCH_MAX: usize = 1024;
/// An open descriptor of a process: process, number, device and inode.
type Holder = (u32, u32, u64, u64);

/// What is known of reads of watched files.
#[derive(Debug)]
pub(super) struct Reads {
    watched: Watched,
    /// Opens that are told.
    opens: Opens,
    /// Descriptors for watched files that the last search has found.
    held: HashSet<Holder>,
    /// What was told not to be watched.
    told_missing: Missing,
}

impl Reads {
    /// When names are to be searched anew (milliseconds, monotonic).
    pub(super) fn search_at(&self) -> Option<u64> {
        self.watched.search_at()
    }
}

impl Worker<'_> {
    /// Watches files that fit these patterns for reads, and no others, as the agent wants it.
    pub(super) fn watch_reads(&mut self, patterns: Vec<String>) {
        self.watch(patterns);
        self.tell_unwatched();
    }

    /// The same before there is an agent.
    pub(super) fn watch(&mut self, patterns: Vec<String>) {
        if self.interest.open == OpenInterest::All || !self.interest.contains(EventType::Open) {
            return; // the filter stops for all of them, or nobody asks
        }
        if self.reads.is_none() && !patterns.is_empty() {
            let watched = self.start.watched.take();
            let reads = Reads {
                watched: watched.unwrap_or_else(Watched::new),
                opens: Opens::default(),
                held: HashSet::new(),
                told_missing: Missing::default(),
            };
            self.follow_watches(&reads.watched);
            self.reads = Some(reads);
        }
        let Some(mut reads) = self.reads.take() else {
            return;
        };
        let had_none = reads.watched.descriptor().is_none();
        reads.watched.set(patterns);
        if had_none {
            self.follow_watches(&reads.watched);
        }
        self.reads = Some(reads);
    }

    fn follow_watches(&mut self, watched: &Watched) {
        if let Some(descriptor) = watched.descriptor() {
            let _ = self.poller.add(descriptor, TOKEN_READS);
            self.transport.hand_over(descriptor);
        }
    }

    /// Tells what is not watched and should be, where that is news.
    fn tell_unwatched(&mut self) {
        let are_plain_seen = self.interest.open >= OpenInterest::NoTerminal;
        let Some(reads) = &mut self.reads else {
            return;
        };
        let missing = reads.watched.missing();
        if missing.is_news_after(&reads.told_missing) {
            let files = missing.told();
            reads.told_missing = missing.clone();
            let notice = Notice::ReadsUnwatched {
                are_plain_seen,
                files,
            };
            self.transport.push(&ToAgent::Notice(notice));
        }
    }

    /// The same for an agent that knows nothing yet.
    pub(super) fn tell_unwatched_again(&mut self) {
        if let Some(reads) = &mut self.reads {
            reads.told_missing = Missing::default();
        }
        self.tell_unwatched();
    }

    /// Names have changed a while ago.
    pub(super) fn search_reads(&mut self) {
        let reads = self.reads.as_mut();
        if reads.is_some_and(|reads| reads.watched.search_if_due()) {
            self.tell_unwatched();
        }
    }

    /// Remembers an open that is told, so that it is not told again, and what it may be for. Names
    /// the file where only its handle was known, if it is one that is watched.
    pub(super) fn note_open(&mut self, pid: u32, tid: u32, kind: &mut EventKind) {
        let EventKind::Open { file, flags, .. } = kind else {
            return;
        };
        if handles::is_nameless(file) {
            *file = handles::without_name(std::mem::take(file));
        }
        // Only a process itself can set its login user id, and only through this file.
        if *flags & OPEN_WRITING != 0
            && file.name == "loginuid"
            && let Some(entry) = self.processes.get_mut(pid)
        {
            entry.may_change_login = true;
        }
        let Some(reads) = &mut self.reads else {
            return;
        };
        if let Some(watched) = reads.watched.find(file.device, file.inode) {
            if file.path.is_empty() && file.fault == Some(FileFault::Unresolved) {
                let named = File::from_path(text::from_bytes(&watched.path));
                (file.path, file.name, file.fault) = (named.path, named.name, None);
            }
            let opener = Opener {
                pid,
                tid,
                device: file.device,
                inode: file.inode,
            };
            reads.opens.told(opener, poll::monotonic_ms());
        }
    }

    /// Tells of watched files that were opened.
    pub(super) fn reads_noticed(&mut self) {
        let opened = self.reads.as_mut().map(|reads| reads.watched.opened());
        for file in opened.into_iter().flatten() {
            self.read_noticed(&file);
        }
    }

    fn read_noticed(&mut self, file: &WatchedFile) {
        // First of all: it may be closed at any moment.
        let holders = self.holders(file);
        let waiting = self.waiting_openers(file);
        let Some(reads) = &mut self.reads else {
            return;
        };
        let (now, inode) = (poll::monotonic_ms(), (file.device, file.inode));
        let is_known = reads.opens.noticed(inode, &waiting, now);
        let this = |holder: &Holder| (holder.2, holder.3) == inode;
        let new = holders.difference(&reads.held).copied();
        let is_told = |pid| reads.opens.are_just_of(pid, inode, now);
        let new: Vec<Holder> = new.filter(|(pid, ..)| !is_told(*pid)).collect();
        reads.held.retain(|holder| !this(holder));
        reads.held.extend(holders);
        for (pid, number, ..) in &new {
            self.tell_read(*pid, Some(*number), file);
        }
        if new.is_empty() && !is_known {
            let pid = self.started_for(file).unwrap_or(0);
            self.tell_read(pid, None, file);
        }
    }

    /// Descriptors of our processes for a file, those of the youngest programs looked for first.
    fn holders(&self, file: &WatchedFile) -> HashSet<Holder> {
        let mut all: Vec<_> = self.processes.all().collect();
        all.sort_unstable_by_key(|entry| {
            std::cmp::Reverse(entry.executed_at.max(entry.started_at))
        });
        let mut found = HashSet::new();
        let mut looks = 0;
        for entry in all {
            if !entry.view(entry.pid).follows {
                continue;
            }
            self.start.board.is_about(entry.pid);
            let numbers = || proc::descriptors(entry.pid, DESCRIPTORS_MAX);
            let numbers = proc::as_tracee(&entry.credentials, numbers);
            for number in numbers.unwrap_or_default() {
                looks += 1;
                if looks > SEARCH_MAX {
                    return found;
                }
                let path = CString::new(format!("/proc/{}/fd/{number}", entry.pid));
                let path = path.unwrap_or_default();
                let look = || files::metadata(AT_FDCWD, &path, true);
                let is_it = proc::as_tracee(&entry.credentials, look)
                    .is_ok_and(|now| (now.device, now.inode) == (file.device, file.inode));
                if is_it {
                    found.insert((entry.pid, number, file.device, file.inode));
                }
            }
        }
        found
    }

    /// Threads whose opens of this file the filter has stopped for, and which are not told yet.
    fn waiting_openers(&mut self, file: &WatchedFile) -> Vec<Opener> {
        let mut found = Vec::new();
        let Self {
            pending,
            processes,
            looks,
            mounts,
            traced,
            ..
        } = self;
        let waiting = pending.iter();
        let waiting = waiting.map(|call| (call.pid, call.tid, &call.kind, &call.check));
        let running = traced.calls().filter_map(|call| match &call.verdict {
            Verdict::Watch(kind, check) => Some((call.pid, call.tid, kind, check)),
            _ => None,
        });
        let wanted = (file.device, file.inode);
        for (pid, tid, kind, check) in waiting.chain(running) {
            let is_it = match (check, processes.get(pid)) {
                (Check::Open { at, .. }, Some(entry)) => {
                    let (_, now) = looks.look(&entry.view(tid), at, mounts);
                    now.metadata
                        .is_some_and(|now| (now.device, now.inode) == wanted)
                }
                (Check::Opened(_), Some(_)) => {
                    let meant = kind.file();
                    meant.is_some_and(|meant| (meant.device, meant.inode) == wanted)
                }
                _ => false,
            };
            if is_it {
                found.push(Opener {
                    pid,
                    tid,
                    device: file.device,
                    inode: file.inode,
                });
            }
        }
        found
    }

    fn tell_read(&mut self, pid: u32, number: Option<u32>, file: &WatchedFile) {
        if let Some(reads) = self.reads.as_mut().filter(|_| pid != 0) {
            let opener = Opener {
                pid,
                tid: pid,
                device: file.device,
                inode: file.inode,
            };
            reads.opens.found(opener, poll::monotonic_ms());
        }
        let entry = self.processes.get(pid);
        let found = match entry.zip(number) {
            Some((entry, number)) => entry.view(pid).descriptor(number as i32),
            None => Default::default(),
        };
        // Closed meanwhile, or by nobody we know: the file is known all the same.
        let is_it = |now: &files::Metadata| (now.device, now.inode) == (file.device, file.inode);
        let file = if found.metadata.as_ref().is_some_and(is_it) {
            decode::file_of(&found, &self.mounts)
        } else {
            let at = Located {
                path: file.path.clone(),
                descriptor: None,
                follow: true,
                fault: None,
                below: None,
            };
            let main = self.main_pid();
            match entry.or_else(|| self.processes.get(main)) {
                Some(entry) => decode::look(&entry.view(entry.pid), &at, &self.mounts).0,
                None => picket_events::File::from_path(picket_events::text::from_bytes(&file.path)),
            }
        };
        let kind = EventKind::Open {
            file,
            flags: 0, // but for reading, it is not known how
            mode: 0,
        };
        self.emit(pid, pid, poll::now(), Outcome::Succeeded, kind);
    }
}
