//! What the agent knows of processes once it has read what was written so far.
//!
//! Messages wait while the agent is away, and processes go on meanwhile. A new connection
//! therefore starts with the processes as they were before the first message that waits: had
//! they their present programs, an agent would judge old events by what came later.

use std::collections::HashMap;
use std::rc::Rc;

use picket_events::event::Event;
use picket_events::{Credentials, EventKind, Image, Outcome, Process};

/// What a message changes in the agent's picture of a process.
#[derive(Debug)]
pub(crate) enum Change {
    /// It is as described.
    Process(Box<Process>),
    /// It runs another program since then (nanoseconds since the epoch).
    Program(u32, Box<Image>, u64),
    /// It has other ids and capabilities.
    Credentials(u32, Box<Credentials>),
    /// It has these effective and permitted capabilities.
    Capabilities(u32, u64, u64),
    /// It is no more.
    Ended(u32),
}

impl Change {
    /// What an event changes, once it is told.
    pub(crate) fn of(event: Event) -> Option<Self> {
        let Event { pid, time, .. } = event;
        let failed = match event.outcome {
            Outcome::Returned(value) => value < 0,
            Outcome::Denied(_) => true,
            Outcome::Succeeded | Outcome::Unconfirmed => false,
        };
        match event.kind {
            EventKind::Fork(process) => Some(Self::Process(process)),
            EventKind::Exit(_) => Some(Self::Ended(pid)),
            _ if failed => None,
            EventKind::Exec(image) => Some(Self::Program(pid, image, time)),
            EventKind::SetUid(ids) | EventKind::SetGid(ids) => Some(Self::Credentials(pid, ids)),
            EventKind::Capset {
                effective,
                permitted,
            } => Some(Self::Capabilities(pid, effective, permitted)),
            _ => None,
        }
    }
}

/// A process whose program may be shared with others.
#[derive(Debug)]
struct Known {
    /// Without its program.
    process: Process,
    image: Rc<Image>,
}

/// The processes that the agent knows, as it knows them.
#[derive(Debug, Default)]
pub(crate) struct Told {
    known: HashMap<u32, Known>,
}

impl Told {
    /// A message was written that changes this.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Process(process) => self.insert(*process),
            Change::Program(pid, image, time) => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.image = Rc::from(image);
                    known.process.executed_at = time;
                }
            }
            Change::Credentials(pid, credentials) => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.process.credentials = *credentials;
                }
            }
            Change::Capabilities(pid, effective, permitted) => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.process.credentials.cap_effective = effective;
                    known.process.credentials.cap_permitted = permitted;
                }
            }
            Change::Ended(pid) => {
                self.known.remove(&pid);
            }
        }
    }

    fn insert(&mut self, mut process: Process) {
        let own = std::mem::take(&mut process.image);
        let parent = self.known.get(&process.parent).map(|parent| &parent.image);
        let image = match parent.filter(|image| ***image == own) {
            Some(shared) => Rc::clone(shared),
            None => Rc::new(own),
        };
        self.known.insert(process.pid, Known { process, image });
    }

    /// All of them, parents before those they made.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let mut all: Vec<Process> = self
            .known
            .values()
            .map(|known| Process {
                image: Image::clone(&known.image),
                ..known.process.clone()
            })
            .collect();
        all.sort_by_key(|process| (process.started_at, process.pid));
        all
    }
}
