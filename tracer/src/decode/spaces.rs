//! Ids as calls name them: those of the caller's own name spaces, in which another process or user has
//! the number that one of ours has here.

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

/// The name space of a kind that a process is in.
fn space(call: &Call<'_>, pid: u32, kind: &str) -> Option<Vec<u8>> {
    let link = || proc::link(&format!("/proc/{pid}/ns/{kind}"));
    proc::as_tracee(&call.process.credentials, link).ok()
}

/// What an id is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    User,
    Group,
}

/// The user or group here that a caller means by a number. One that it has no number for is nobody, and
/// the kernel refuses it.
pub(super) fn owner(call: &Call<'_>, of: Owner, number: u32) -> u32 {
    static OURS: OnceLock<Option<Vec<u8>>> = OnceLock::new();
    let theirs = space(call, call.tid, "user");
    let ours = OURS.get_or_init(|| proc::link("/proc/self/ns/user").ok());
    if theirs.is_none() || theirs == *ours {
        return number;
    }
    let map = match of {
        Owner::User => "uid_map",
        Owner::Group => "gid_map",
    };
    let map = proc::read(&format!("/proc/{}/{map}", call.tid), MAP_MAX).unwrap_or_default();
    outside(&String::from_utf8_lossy(&map), number).unwrap_or(number)
}

/// Bytes of a map of ids: 340 lines, of 33 at most.
const MAP_MAX: usize = 340 * 33;

/// What a number is outside, by lines of numbers: the first inside, the first outside, how many.
fn outside(map: &str, number: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut words = line.split_whitespace().map(str::parse::<u32>);
        let mut next = || words.next()?.ok();
        let (inside, outside, count) = (next()?, next()?, next()?);
        let offset = number
            .checked_sub(inside)
            .filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
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
    let theirs = space(call, call.tid, "pid");
    let ours = OURS.get_or_init(|| proc::link("/proc/self/ns/pid").ok());
    if theirs.is_some() && theirs == *ours {
        return None;
    }
    let depth = ids(call.tid, Id::Process)?.len().checked_sub(1)?;
    (depth > 0).then_some(depth)
}

fn find(call: &Call<'_>, id: Id, number: u32, depth: usize) -> Option<u32> {
    let theirs = space(call, call.tid, "pid");
    let mut found = None;
    for pid in proc::all().into_iter().take(LOOKED_AT_MAX) {
        let Some(ids) = ids(pid, id).filter(|ids| ids.get(depth) == Some(&number)) else {
            continue;
        };
        // Another name space as far below may have the same number.
        let its = space(call, pid, "pid");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_in_the_line_that_has_it() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), Some(1000));
        assert_eq!(outside(map, 1), Some(100_000));
        assert_eq!(outside(map, 65_536), Some(165_535));
        assert_eq!(outside(map, 65_537), None);
        assert_eq!(outside("", 0), None);
    }
}
