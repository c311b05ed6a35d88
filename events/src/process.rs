//! Processes: identity, credentials, and what they run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::file::File;

/// All ids and capability sets of a process, as `/proc/PID/status` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// File system user id.
    pub fsuid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Saved group id.
    pub sgid: u32,
    /// File system group id.
    pub fsgid: u32,
    /// Effective capabilities, bit n = capability n.
    pub cap_effective: u64,
    /// Permitted capabilities, bit n = capability n.
    pub cap_permitted: u64,
    /// Login uid of the audit system; `u32::MAX` when unset.
    pub auid: u32,
}

/// What a process runs: the outcome of its last `execve`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The program file. For a script, the script.
    pub file: File,
    /// The interpreter that the kernel started for a script (`#!`), where there is one.
    pub interpreter: Option<File>,
    /// The absolute path under which `file` was executed, where a symbolic link makes it another
    /// one than `file.path`; empty otherwise.
    pub called: String,
    /// Arguments, `argv[0]` first, after scrubbing.
    pub argv: Vec<String>,
    /// True when arguments were cut or left out.
    pub argv_truncated: bool,
    /// Environment: `NAME` for each variable, `NAME=value` only for the few whose values
    /// matter to a detection (`LD_PRELOAD`, …). Values of others never leave the tracer. Shared,
    /// for mostly it is the same for all programs of a container; over the wire it goes apart
    /// ([`crate::wire::environments`]).
    #[serde(skip)]
    pub envs: Arc<Vec<String>>,
    /// True when variables were left out.
    pub envs_truncated: bool,
    /// The kernel's name of the process, at most 15 bytes.
    pub comm: String,
    /// Controlling terminal, such as `pts/0`; empty without one.
    pub tty: String,
    /// Working directory at the time of the exec, canonical; empty where unknown.
    pub cwd: String,
}

/// A process as the tracer's table holds it: sent once when it is first seen, again after a
/// reconnect, so that an agent that starts late or restarts loses no context.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id (thread group id) in the tracer's PID namespace.
    pub pid: u32,
    /// Parent process id at the time the process was made; 0 where it is outside the namespace.
    pub parent: u32,
    /// When the process was made, nanoseconds since the epoch. Together with `pid` this
    /// identifies a process for good.
    pub started_at: u64,
    /// Session id.
    pub session: u32,
    /// Ids and capabilities.
    pub credentials: Credentials,
    /// What it runs. `None` where that is what its parent runs, as far as it was told before: so
    /// at its fork.
    pub image: Option<Image>,
    /// When it last called `execve`, nanoseconds since the epoch; 0 if never.
    pub executed_at: u64,
}
