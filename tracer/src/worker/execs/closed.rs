//! Execs of processes that nobody may look into, since they have changed their ids: what `gosu` and
//! `su-exec` search along `PATH`, and start.

use super::located;
use crate::processes::{Aside, Entry};
use crate::worker::Worker;

/// A process that nobody may look into asks for a program: it has changed its ids, as `gosu` and
/// `su-exec` do.
#[derive(Debug)]
pub(super) struct Closed {
    had_executed: bool,
    /// There is no such program, as where `PATH` is searched for one.
    leads_nowhere: bool,
    /// What was open of it.
    pub(super) before: Aside,
}

impl Closed {
    /// Whether the process, whose call has returned, is known to run what it has run before.
    pub(super) fn goes_on(&self, entry: &Entry) -> bool {
        match entry.stat_now() {
            Ok(stat) if !self.had_executed => !stat.has_executed,
            // Others may be in its memory (`CLONE_VM`), so that this alone says too little.
            Ok(_) => self.leads_nowhere && self.before.is_in_use(),
            Err(_) => false,
        }
    }
}

/// Whether a process is seen to run another program file than the one that it is known to run.
pub(super) fn runs_another(entry: &Entry) -> bool {
    let known = entry
        .image
        .interpreter
        .as_ref()
        .unwrap_or(&entry.image.file);
    let running = entry
        .view(entry.pid)
        .file_behind(&format!("/proc/{}/exe", entry.pid));
    running.is_some_and(|file| (file.device, file.inode) != (known.device, known.inode))
}

impl Worker<'_> {
    /// What is known of a closed process before it executes this.
    pub(super) fn closed_before(
        &mut self,
        (pid, tid): (u32, u32),
        path: Option<&[u8]>,
    ) -> Option<Closed> {
        let entry = self.processes.get(pid)?;
        let leads_nowhere = path.is_some_and(|path| {
            let at = located(path.to_vec());
            let found = self.looks.find(&entry.view(tid), &at, &self.mounts);
            found.was_missing()
        });
        let entry = self.processes.get_mut(pid)?;
        Some(Closed {
            had_executed: entry.has_executed,
            leads_nowhere,
            before: entry.put_memory_aside(),
        })
    }
}
