//! Reading `/proc`.

mod memory;
mod stat;

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

use picket_events::Credentials;

#[cfg(feature = "fuzz")]
pub(crate) use self::memory::mapping_in;
pub(crate) use self::memory::{auxiliary, mapping, protection};
pub(crate) use self::stat::{OpenStat, Stat, Strings, parse_stat, stat, stat_as_tracee};
use crate::sys::{Errno, Result, files, process};

/// What `/proc/TID/status` tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) tgid: u32,
    pub(crate) parent: u32,
    /// Who traces it with ptrace, 0 for nobody.
    pub(crate) tracer: u32,
    pub(crate) credentials: Credentials,
    pub(crate) groups: Vec<u32>,
    /// File mode creation mask.
    pub(crate) umask: u32,
    /// How many seccomp filters it has; `None` before Linux 5.9.
    pub(crate) filters: Option<u32>,
}

/// Reads at most `limit` bytes of a file: a regular one, or one of `/proc` that the kernel
/// gives in one piece, so that a read which gives less than asked for was the last.
pub(crate) fn read(path: &str, limit: usize) -> Result<Vec<u8>> {
    const FIRST: usize = 4096;
    let path = CString::new(path).map_err(|_| Errno(libc::EINVAL))?;
    let file = files::open(&path, libc::O_RDONLY, 0)?;
    // Mostly it is short: no more memory is asked for than it takes.
    let mut first = [0; FIRST];
    let mut length = files::read_at(file.as_fd(), &mut first[..limit.min(FIRST)], 0)?;
    let mut bytes = first[..length].to_vec();
    if length < FIRST || length == limit {
        return Ok(bytes);
    }
    bytes.resize((FIRST * 4).min(limit), 0);
    loop {
        let got = files::read_at(file.as_fd(), &mut bytes[length..], length as u64)?;
        length += got;
        if length < bytes.len() || length == limit {
            bytes.truncate(length);
            return Ok(bytes);
        }
        bytes.resize((bytes.len() * 4).min(limit), 0);
    }
}

/// Reads at most `limit` bytes of a list of `/proc`, of which the kernel gives as many whole lines
/// as fit a page at a time.
pub(crate) fn read_pieces(path: &str, limit: usize) -> Result<Vec<u8>> {
    let path = CString::new(path).map_err(|_| Errno(libc::EINVAL))?;
    pieces(files::open(&path, libc::O_RDONLY, 0)?.as_fd(), limit)
}

/// The same of a list that is open.
pub(crate) fn pieces(file: BorrowedFd<'_>, limit: usize) -> Result<Vec<u8>> {
    const PIECE: usize = 4096;
    let mut bytes = Vec::new();
    while bytes.len() < limit {
        let length = bytes.len();
        bytes.resize(length + PIECE, 0);
        let got = files::read_at(file, &mut bytes[length..], length as u64)?;
        bytes.truncate(length + got);
        if got == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// Reads a symbolic link below `/proc`.
pub(crate) fn link(path: &str) -> Result<Vec<u8>> {
    let path = CString::new(path).map_err(|_| Errno(libc::EINVAL))?;
    let mut buffer = [0u8; 4096];
    let length = files::read_link(files::AT_FDCWD, &path, &mut buffer)?;
    Ok(buffer[..length].to_vec())
}

/// The text of a thread's status, whole: behind its groups, of which there may be 65,536 with up to ten
/// digits each, stand its capabilities and its ids in other name spaces.
pub(crate) fn status_of(tid: u32) -> Result<Vec<u8>> {
    const LONGEST: usize = 1 << 20;
    read(&format!("/proc/{tid}/status"), LONGEST)
}

/// Status of a thread. `login` is its login user id, where that is known already.
pub(crate) fn status(tid: u32, login: Option<u32>) -> Result<Status> {
    let mut status = parse_status(&status_of(tid)?);
    status.credentials.auid = login.unwrap_or_else(|| login_of(tid));
    Ok(status)
}

/// Credentials of a thread that may be changing them from these.
pub(crate) fn settled_credentials(tid: u32, before: &Credentials) -> Result<Credentials> {
    settled(before, || Ok(status(tid, Some(before.auid))?.credentials))
}

/// The kernel tells of ids first and of capabilities then, by two looks at the thread (`proc_pid_status`):
/// between them it may have changed both. What two readings agree on was not read in that moment.
fn settled(before: &Credentials, read: impl Fn() -> Result<Credentials>) -> Result<Credentials> {
    let mut now = read()?;
    while now != *before {
        let again = read()?;
        if again == now {
            break;
        }
        now = again;
    }
    Ok(now)
}

/// Login user id of a thread, `u32::MAX` for none.
pub(crate) fn login_of(tid: u32) -> u32 {
    let login = read(&format!("/proc/{tid}/loginuid"), 16).ok();
    login
        .and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok())
        .unwrap_or(u32::MAX)
}

/// The ids of a thread's process and of the thread itself in the PID name space that it is in.
pub(crate) fn innermost_ids(tid: u32) -> Option<(u32, u32)> {
    let text = status_of(tid).ok()?;
    let text = String::from_utf8_lossy(&text);
    let innermost = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next_back()?.parse().ok()
    };
    Some((innermost("NStgid:")?, innermost("NSpid:")?))
}

pub(crate) fn parse_status(bytes: &[u8]) -> Status {
    let mut status = Status::default();
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let number = || value.trim().parse().unwrap_or(0);
        let hex = || u64::from_str_radix(value.trim(), 16).unwrap_or(0);
        let mut ids = value
            .split_whitespace()
            .filter_map(|id| id.parse::<u32>().ok());
        let mut id = || ids.next().unwrap_or(0);
        let credentials = &mut status.credentials;
        match key {
            "Tgid" => status.tgid = number(),
            "TracerPid" => status.tracer = number(),
            "PPid" => status.parent = number(),
            "Uid" => {
                credentials.uid = id();
                credentials.euid = id();
                credentials.suid = id();
                credentials.fsuid = id();
            }
            "Gid" => {
                credentials.gid = id();
                credentials.egid = id();
                credentials.sgid = id();
                credentials.fsgid = id();
            }
            "Umask" => status.umask = u32::from_str_radix(value.trim(), 8).unwrap_or(0),
            "Seccomp_filters" => status.filters = value.trim().parse().ok(),
            "Groups" => status.groups = ids.collect(),
            "CapPrm" => credentials.cap_permitted = hex(),
            "CapEff" => credentials.cap_effective = hex(),
            _ => {}
        }
    }
    status
}

/// Whether a signal waits for a thread, or for its process, that the thread does not block.
pub(crate) fn has_signal(tid: u32) -> bool {
    signal_sets(tid).is_some_and(|sets| sets.pending & !sets.blocked != 0)
}

/// Whether a thread's process has a handler for a signal.
pub(crate) fn is_caught(tid: u32, signal: i32) -> bool {
    signal_sets(tid).is_some_and(|sets| sets.caught & (1 << (signal - 1)) != 0)
}

/// Signals of a thread, bit n - 1 for signal n.
#[derive(Default)]
struct SignalSets {
    /// Those of its process included.
    pending: u64,
    blocked: u64,
    caught: u64,
}

fn signal_sets(tid: u32) -> Option<SignalSets> {
    let text = status_of(tid).ok()?;
    let mut sets = SignalSets::default();
    for line in String::from_utf8_lossy(&text).lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let set = || u64::from_str_radix(value.trim(), 16).unwrap_or(0);
        match key {
            "SigPnd" | "ShdPnd" => sets.pending |= set(),
            "SigBlk" => sets.blocked |= set(),
            "SigCgt" => sets.caught |= set(),
            _ => {}
        }
    }
    Some(sets)
}

/// Whether a thread is there.
pub(crate) fn exists(tid: u32) -> bool {
    std::fs::exists(format!("/proc/{tid}")).unwrap_or(false)
}

/// Whether a thread runs, or would if it had a processor. Its own file says so, without the sums of all
/// threads of its process: of thousands, adding them up takes milliseconds.
pub(crate) fn is_runnable(tid: u32) -> bool {
    let stat = read(&format!("/proc/{tid}/task/{tid}/stat"), 4096);
    stat.is_ok_and(|bytes| state(&bytes) == Some(b'R'))
}

/// The state letter, which stands behind the name.
fn state(stat: &[u8]) -> Option<u8> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(close + 2).copied()
}

/// Name of a terminal by its device number (`pts/0`), empty for none.
pub(crate) fn terminal_name(device: u32) -> String {
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        _ => String::new(),
    }
}

/// Threads of a process.
pub(crate) fn threads(pid: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| thread.file_name().to_str()?.parse().ok())
        .collect()
}

/// Numbers of the descriptors of a thread, the first `limit` of them.
pub(crate) fn descriptors(tid: u32, limit: usize) -> Result<Vec<u32>> {
    let path = CString::new(format!("/proc/{tid}/fd")).map_err(|_| Errno(libc::EINVAL))?;
    files::first_numbers(&path, limit)
}

/// Children of all threads of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    // A link for each thread, and the directory's own two.
    let task = CString::new(format!("/proc/{pid}/task")).unwrap_or_default();
    let is_single = files::metadata(files::AT_FDCWD, &task, true).is_ok_and(|task| task.links == 3);
    if is_single {
        children_of_thread(&format!("/proc/{pid}/task/{pid}/children"), &mut found);
        return found;
    }
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return found;
    };
    for thread in threads.flatten() {
        if let Some(path) = thread.path().join("children").to_str() {
            children_of_thread(path, &mut found);
        }
    }
    found
}

fn children_of_thread(path: &str, found: &mut Vec<u32>) {
    // The kernel gives as many whole numbers as fit a page: what is much shorter was all.
    const SURELY_ALL: usize = 2048;
    let Ok(path) = CString::new(path) else {
        return;
    };
    let Ok(file) = files::open(&path, libc::O_RDONLY, 0) else {
        return;
    };
    let mut buffer = [0; 4096];
    let mut at = 0;
    while let Ok(length @ 1..) = files::read_at(file.as_fd(), &mut buffer, at) {
        let children = buffer[..length].split(u8::is_ascii_whitespace);
        found.extend(children.filter_map(|pid| std::str::from_utf8(pid).ok()?.parse::<u32>().ok()));
        at += length as u64;
        if length < SURELY_ALL {
            return;
        }
    }
}

/// All process ids that `/proc` lists.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Runs `work`; where it is not permitted, runs it again as the tracee's own user.
pub(crate) fn as_tracee<T>(credentials: &Credentials, work: impl Fn() -> Result<T>) -> Result<T> {
    match work() {
        Err(Errno(libc::EACCES | libc::EPERM))
            if (credentials.uid, credentials.gid) != process::effective_ids() =>
        {
            process::with_file_system_ids(credentials.uid, credentials.gid, &work)
        }
        other => other,
    }
}

/// Runs `work`, which attaches to a tracee or takes something from it; where it is not permitted, runs it
/// again as the tracee's own user.
pub(crate) fn attached_as_tracee<T>(
    credentials: &Credentials,
    work: impl Fn() -> Result<T>,
) -> Result<T> {
    match work() {
        Err(Errno(libc::EPERM)) if (credentials.uid, credentials.gid) != process::real_ids() => {
            process::with_real_ids(credentials.uid, credentials.gid, &work)?
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_parsed() {
        let status = parse_status(
            b"Name:\tx\nTgid:\t7\nPPid:\t3\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10\nCapEff:\t00000000000000ff\n",
        );
        assert_eq!((status.tgid, status.parent), (7, 3));
        assert_eq!((status.credentials.uid, status.credentials.fsuid), (1, 4));
        assert_eq!(
            (status.credentials.egid, status.credentials.cap_effective),
            (6, 255)
        );
        assert_eq!(status.groups, [9, 10]);
    }

    #[test]
    fn credentials_that_change_while_they_are_read_are_read_again() {
        let of = |uid, cap_effective| Credentials {
            uid,
            cap_effective,
            ..Credentials::default()
        };
        let (before, torn, after) = (of(0, 7), of(0, 0), of(1001, 0));
        let reading = |all: &[&Credentials]| {
            let all = std::cell::RefCell::new(all.iter().copied().cloned().collect::<Vec<_>>());
            settled(&before, || Ok(all.borrow_mut().remove(0)))
        };
        assert_eq!(reading(&[&before]), Ok(before.clone()));
        assert_eq!(reading(&[&torn, &after, &after]), Ok(after.clone()));
        assert_eq!(reading(&[&after, &after]), Ok(after));
    }

    #[test]
    fn capabilities_are_told_alike_by_status_and_by_the_call() {
        let own = std::process::id();
        let status = status(own, Some(0)).unwrap().credentials;
        let found = process::capabilities(own).unwrap();
        assert_eq!(found, (status.cap_effective, status.cap_permitted));
    }

    #[test]
    fn a_thread_that_runs_is_told_from_one_that_sleeps() {
        // A thread that reads its own state runs.
        assert_eq!(
            state(&read("/proc/thread-self/stat", 4096).unwrap()),
            Some(b'R')
        );
        let mut sleeper = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let mut sleeps = false;
        for _ in 0..2000 {
            sleeps = !is_runnable(sleeper.id());
            if sleeps {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = sleeper.kill();
        let _ = sleeper.wait();
        assert!(sleeps);
    }
}
