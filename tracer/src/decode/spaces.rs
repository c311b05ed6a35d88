//! Process ids as calls name them: those of the caller's own PID name space, in which another process
//! has the number that one of ours has here.

use std::sync::OnceLock;

use super::Call;
use crate::proc;

/// Processes that are looked at for a number, at most: others wait meanwhile.
const LOOKED_AT_MAX: usize = 512;

/// What a number is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Id {
    Process,
    Group,
}

impl Id {
    /// The line of `/proc/PID/status` that has it, as each name space does, ours first.
    fn field(self) -> &'static str {
        match self {
            Self::Process => "NSpid:",
            Self::Group => "NSpgid:",
        }
    }
}

/// The id here of the process or group that a caller means by a number; 0 where it is not found.
pub(super) fn here(call: &Call<'_>, id: Id, number: u32) -> u32 {
    match depth(call) {
        None => number,
        Some(depth) => find(call, id, number, depth).unwrap_or(0),
    }
}

/// The name space of a process.
fn space(call: &Call<'_>, pid: u32) -> Option<Vec<u8>> {
    let link = || proc::link(&format!("/proc/{pid}/ns/pid"));
    proc::as_tracee(&call.process.credentials, link).ok()
}

fn ids(pid: u32, id: Id) -> Option<Vec<u32>> {
    let status = proc::status_of(pid).ok()?;
    let status = String::from_utf8_lossy(&status);
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(id.field()))?;
    Some(
        line.split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect(),
    )
}

/// How far below ours the caller's name space is; `None` where it is ours.
fn depth(call: &Call<'_>) -> Option<usize> {
    static OURS: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let theirs = space(call, call.tid);
    let ours = OURS.get_or_init(|| proc::link("/proc/self/ns/pid").ok());
    if theirs.is_some() && theirs == *ours {
        return None;
    }
    let depth = ids(call.tid, Id::Process)?.len().checked_sub(1)?;
    (depth > 0).then_some(depth)
}

fn find(call: &Call<'_>, id: Id, number: u32, depth: usize) -> Option<u32> {
    let theirs = space(call, call.tid);
    let mut found = None;
    for pid in proc::all().into_iter().take(LOOKED_AT_MAX) {
        let Some(ids) = ids(pid, id).filter(|ids| ids.get(depth) == Some(&number)) else {
            continue;
        };
        // Another name space as far below may have the same number.
        let its = space(call, pid);
        let is_another = ids.len() == depth + 1 && its.is_some() && its != theirs;
        if !is_another {
            match found {
                Some(other) if other != ids[0] => return None,
                _ => found = Some(ids[0]),
            }
        }
    }
    found
}
