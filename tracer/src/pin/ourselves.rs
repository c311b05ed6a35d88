//! What the kernel shows of a process to itself, and to others only if they may trace it. We open files in
//! a program's place, and must not open for it what is kept from it of us.

use std::os::fd::OwnedFd;

use crate::resolve::Walk;
use crate::sys::{files, process};

/// In a process's folder: what whoever opens it needs the right to trace it for (proc(5)). Of the rest of the
/// kind, the kernel asks whoever reads it.
const GUARDED: [&[u8]; 15] = [
    b"auxv",
    b"cwd",
    b"environ",
    b"exe",
    b"fd",
    b"fdinfo",
    b"map_files",
    b"maps",
    b"mem",
    b"ns",
    b"numa_maps",
    b"pagemap",
    b"root",
    b"smaps",
    b"smaps_rollup",
];

/// The number that a path below `/proc` begins with, and what comes behind it and the thread's.
fn parts(path: &[u8]) -> Option<(u32, &[u8])> {
    let rest = path.strip_prefix(b"/proc/")?;
    let mut parts = rest.split(|byte| *byte == b'/');
    let number = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let mut name = parts.next().unwrap_or_default();
    if name == b"task" {
        name = parts.nth(1).unwrap_or_default();
    }
    Some((number, name))
}

/// Whether a path, as the tracee would write it, is of our own folder or something in it.
pub(super) fn is_ours(path: &[u8]) -> bool {
    parts(path).is_some_and(|(number, _)| process::is_own_thread(number))
}

/// Whether a walk that went through our own folder has ended at something that the kernel shows to all.
pub(super) fn ends_in_the_open(walk: &Walk, place: &[u8]) -> bool {
    let is_open =
        |(number, name): (u32, &[u8])| process::is_own_thread(number) && !GUARDED.contains(&name);
    walk.magic.is_none() && parts(place).is_some_and(is_open)
}

/// Whether something that is held is kept from others of ours. Of a file system of processes that is
/// mounted elsewhere, in which we may have another number, everything of the kind is.
pub(super) fn is_kept(file: &OwnedFd, path: &[u8]) -> bool {
    if let Some((number, name)) = parts(path) {
        return process::is_own_thread(number) && GUARDED.contains(&name);
    }
    let is_guarded = path
        .split(|byte| *byte == b'/')
        .any(|part| GUARDED.contains(&part));
    is_guarded && files::is_of_processes(file)
}
