//! Sums of files that tracers were asked for, and what waits for them.
//!
//! In a pod only a container's tracer can read the container's files. An event that rules on sums
//! look at is evaluated against all other rules at once, and against these when the sums are
//! there, as the processes were at the event; a finding with a `hash` action waits to be
//! written. Nothing waits longer than [`PATIENCE`], and there is a limit to how much does.

use picket_events::wire::{SumRequest, ToTracer};
use picket_events::{Event, File};

use super::{ConnectionId, Output, Outputs};
use crate::finding::Finding;
use crate::hashes::{FileId, Unhashed};
use crate::tree::{Key, ProcessNode};

/// How long a tracer is waited for: 10 s, in nanoseconds.
const PATIENCE: u64 = 10_000_000_000;
/// Most files that tracers are asked for at a time. One has half of them at most, and never more than it
/// leaves: what is done in one container keeps nothing of another from being looked at.
const MOST_ASKED: usize = 512;
/// Most events and findings that wait, shared in the same way.
const MOST_HELD: usize = 1024;

/// A request that was not answered yet.
#[derive(Debug)]
struct Asked {
    number: u64,
    connection: ConnectionId,
    file: FileId,
    limit: u64,
    deadline: u64,
}

/// An event whose files' sums are not known yet, with the processes as they were.
#[derive(Debug)]
pub(super) struct HeldEvent {
    pub(super) connection: ConnectionId,
    pub(super) event: Event,
    pub(super) process: Option<ProcessNode>,
    pub(super) executed: Option<ProcessNode>,
    pub(super) ancestors: Vec<Key>,
    pub(super) target: Option<Key>,
    pub(super) target_ancestors: Vec<Key>,
    pub(super) hostnames: Vec<String>,
    /// Every file whose sums rules compare.
    pub(super) files: Vec<FileId>,
}

/// A finding with `hash` actions that are not done yet.
#[derive(Debug)]
pub(super) struct HeldFinding {
    pub(super) connection: ConnectionId,
    pub(super) finding: Box<Finding>,
    /// Which of the finding's actions, and of which file.
    pub(super) actions: Vec<(usize, FileId)>,
}

/// What need not wait any more.
#[derive(Debug, Default)]
pub(super) struct Released {
    pub(super) events: Vec<HeldEvent>,
    pub(super) findings: Vec<HeldFinding>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    last: u64,
    asked: Vec<Asked>,
    events: Vec<HeldEvent>,
    findings: Vec<HeldFinding>,
}

impl Waiting {
    /// Asks the tracer of a connection for a file's sums, unless it was asked already.
    ///
    /// # Errors
    /// [`Unhashed::Busy`] when too much is asked for.
    pub(super) fn ask(
        &mut self,
        connection: ConnectionId,
        (file, id): (&File, FileId),
        (process, limit): (u32, u64),
        now: u64,
        outputs: &mut dyn Outputs,
    ) -> Result<(), Unhashed> {
        // What waits for one file counts, too: it can be executed as often as somebody likes.
        if self.held_of(connection) >= MOST_HELD.saturating_sub(self.held()) {
            return Err(Unhashed::Busy);
        }
        // Each tracer is asked for itself: what waits is released by its own connection, over
        // which its rules act.
        let same = |asked: &Asked| {
            (asked.file, asked.connection) == (id, connection) && asked.limit >= limit
        };
        if self.asked.iter().any(same) {
            return Ok(());
        }
        let own = self
            .asked
            .iter()
            .filter(|asked| asked.connection == connection);
        if own.count() >= MOST_ASKED.saturating_sub(self.asked.len()) {
            return Err(Unhashed::Busy);
        }
        self.last += 1;
        self.asked.push(Asked {
            number: self.last,
            connection,
            file: id,
            limit,
            deadline: now.saturating_add(PATIENCE),
        });
        let request = SumRequest {
            request: self.last,
            pid: process,
            path: file.path.clone(),
            device: file.device,
            inode: file.inode,
            change_time: file.change_time,
            limit,
        };
        let message = ToTracer::Sum(Box::new(request));
        outputs.push(Output::Message(connection, message));
        Ok(())
    }

    fn held(&self) -> usize {
        self.events.len() + self.findings.len()
    }

    fn held_of(&self, connection: ConnectionId) -> usize {
        let events = self.events.iter().map(|held| held.connection);
        let all = events.chain(self.findings.iter().map(|held| held.connection));
        all.filter(|one| *one == connection).count()
    }

    /// Keeps an event until its files' sums are there.
    pub(super) fn hold_event(&mut self, event: HeldEvent) {
        self.events.push(event);
    }

    /// Keeps a finding until its actions are done.
    pub(super) fn hold_finding(&mut self, finding: HeldFinding) {
        self.findings.push(finding);
    }

    /// The file that a request was about, if it was made on this connection and still waits.
    pub(super) fn answered(
        &mut self,
        connection: ConnectionId,
        number: u64,
    ) -> Option<(FileId, u64)> {
        let mut asked = self.asked.iter();
        let index = asked.position(|one| (one.number, one.connection) == (number, connection))?;
        let asked = self.asked.swap_remove(index);
        Some((asked.file, asked.limit))
    }

    /// Files that are waited for no longer: their tracer took too long.
    pub(super) fn expired(&mut self, now: u64) -> Vec<FileId> {
        self.give_up(|asked| asked.deadline <= now)
    }

    /// Files that are waited for no longer: nobody is left who could tell.
    pub(super) fn hung_up(&mut self, connection: ConnectionId) -> Vec<FileId> {
        self.give_up(|asked| asked.connection == connection)
    }

    /// Files that are waited for no longer, all of them.
    pub(super) fn all(&mut self) -> Vec<FileId> {
        self.give_up(|_| true)
    }

    fn give_up(&mut self, which: impl Fn(&Asked) -> bool) -> Vec<FileId> {
        let gone = self.asked.extract_if(.., |asked| which(asked));
        gone.map(|asked| asked.file).collect()
    }

    /// Takes out what waits for nothing any more.
    pub(super) fn release(&mut self) -> Released {
        if self.held() == 0 {
            return Released::default();
        }
        let asked = &self.asked;
        let waits = |connection: ConnectionId, file: &FileId| {
            let mut asked = asked.iter();
            asked.any(|asked| (asked.file, asked.connection) == (*file, connection))
        };
        let events = self.events.extract_if(.., |held| {
            let mut files = held.files.iter();
            !files.any(|file| waits(held.connection, file))
        });
        let findings = self.findings.extract_if(.., |held| {
            let mut actions = held.actions.iter();
            !actions.any(|(_, file)| waits(held.connection, file))
        });
        Released {
            events: events.collect(),
            findings: findings.collect(),
        }
    }
}
