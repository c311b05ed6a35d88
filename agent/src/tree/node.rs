//! One process of the tree.

use std::sync::Arc;

use picket_events::{Credentials, Image, Process};

use super::{Key, Program};

/// A process, or what a process ran before it executed something else.
#[derive(Debug, Clone)]
pub struct ProcessNode {
    /// Process id in the tracer's namespace.
    pub pid: u32,
    /// Parent's process id when this process was made; 0 where that is outside.
    pub parent_pid: u32,
    /// When the process was made, nanoseconds since the epoch; 0 where unknown.
    pub started_at: u64,
    /// When it executed its program, nanoseconds since the epoch; 0 if it never did.
    pub executed_at: u64,
    /// When it ended or executed another program; `None` while it lives.
    pub ended_at: Option<u64>,
    /// Session id.
    pub session: u32,
    /// Ids and capabilities.
    pub credentials: Credentials,
    /// What it runs; shared with those it inherited it from.
    pub program: Arc<Program>,
    /// Name it gave itself, where that differs from the program's.
    pub(super) renamed: Option<Box<str>>,
    pub(super) parent: Option<Key>,
    pub(super) children: u32,
    /// Not confirmed by the snapshot that follows a reconnect.
    pub(super) stale: bool,
}

impl ProcessNode {
    /// The kernel's name of the process.
    pub fn comm(&self) -> &str {
        self.renamed.as_deref().unwrap_or(&self.program.image.comm)
    }

    /// True when the process executed its program itself, false when it inherited it.
    pub fn is_exec(&self) -> bool {
        self.executed_at != 0
    }

    /// This process as it would be if it had executed this program.
    pub(crate) fn running(&self, image: Image, time: u64) -> Self {
        Self {
            program: Arc::new(Program::new(image)),
            executed_at: time,
            renamed: None,
            ..self.clone()
        }
    }

    /// A number that this process keeps through every exec and shares with no other.
    pub fn identity(&self) -> u64 {
        self.started_at ^ u64::from(self.pid).rotate_right(22)
    }

    pub(super) fn new(process: Process, program: Arc<Program>, parent: Option<Key>) -> Self {
        Self {
            pid: process.pid,
            parent_pid: process.parent,
            started_at: process.started_at,
            executed_at: process.executed_at,
            ended_at: None,
            session: process.session,
            credentials: process.credentials,
            program,
            renamed: None,
            parent,
            children: 0,
            stale: false,
        }
    }
}
