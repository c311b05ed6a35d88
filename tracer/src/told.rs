//! What the agent knows of processes once it has read what was written so far.
//!
//! Messages wait while the agent is away, and processes go on meanwhile. A new connection
//! therefore starts with the processes as they were before the first message that waits: had
//! they their present programs, an agent would judge old events by what came later.

use std::rc::Rc;

use picket_events::event::Event;
use picket_events::wire::{Environment, Environments};
use picket_events::{Credentials, EventKind, Image, Outcome, Process};

use crate::idmap::IdMap;
use crate::images::Images;

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
    /// Programs have this environment from here on.
    Environment(Environment),
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

/// A process as the agent knows it.
#[derive(Debug)]
struct Known {
    parent: u32,
    started_at: u64,
    session: u32,
    credentials: Credentials,
    executed_at: u64,
    image: Rc<Image>,
}

/// The processes that the agent knows, as it knows them.
#[derive(Debug, Default)]
pub(crate) struct Told {
    known: IdMap<Known>,
    images: Images,
    environments: Environments,
}

impl Told {
    /// A message was written that changes this.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Process(process) => self.insert(*process),
            Change::Program(pid, image, time) => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.image = self.images.share(&image);
                    known.executed_at = time;
                }
            }
            Change::Credentials(pid, credentials) => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.credentials = *credentials;
                }
            }
            Change::Capabilities(pid, effective, permitted) => {
                if let Some(known) = self.known.get_mut(&pid) {
                    known.credentials.cap_effective = effective;
                    known.credentials.cap_permitted = permitted;
                }
            }
            Change::Ended(pid) => {
                self.known.remove(&pid);
            }
            Change::Environment(environment) => {
                // It is one that we have numbered.
                let _ = self.environments.apply(environment);
            }
        }
    }

    fn insert(&mut self, process: Process) {
        let image = match &process.image {
            Some(image) => self.images.share(image),
            None => {
                let parent = self.known.get(&process.parent);
                parent
                    .map(|known| Rc::clone(&known.image))
                    .unwrap_or_default()
            }
        };
        let known = Known {
            parent: process.parent,
            started_at: process.started_at,
            session: process.session,
            credentials: process.credentials,
            executed_at: process.executed_at,
            image,
        };
        self.known.insert(process.pid, known);
    }

    /// The copy of a program that is kept for all who run it.
    pub(crate) fn share(&self, image: &Image) -> Rc<Image> {
        self.images.share(image)
    }

    /// The environments as the agent knows them.
    pub(crate) fn environments(&self) -> &Environments {
        &self.environments
    }

    /// All of them, parents before those they made.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let all = self.known.iter().map(|(pid, known)| Process {
            pid: *pid,
            parent: known.parent,
            started_at: known.started_at,
            session: known.session,
            credentials: known.credentials.clone(),
            image: Some(Image::clone(&known.image)),
            executed_at: known.executed_at,
        });
        let mut all: Vec<Process> = all.collect();
        all.sort_by_key(|process| (process.started_at, process.pid));
        all
    }
}
