//! Mounts: their file system types, and which is on top of a path.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use smol_str::SmolStr;

use crate::proc;
use crate::resolve::View;
use crate::sys::{files, poll};

/// A mount's id in `mountinfo`.
pub(crate) type MountId = u64;

/// The types of our own name space's mounts, as `mountinfo` tells them. An id is given anew once its
/// mount is gone, so what was read holds until the kernel says that there are others.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// `None` where it cannot be opened.
    list: Option<OwnedFd>,
    known: RefCell<Known>,
}

#[derive(Debug, Default)]
struct Known {
    types: HashMap<MountId, SmolStr>,
    /// The list was read since it last changed.
    is_read: bool,
    /// Before that it is not read again (nanoseconds, monotonic).
    next_read: u64,
}

impl Known {
    /// Forgets what was read.
    fn forget(&mut self) {
        self.types.clear();
        self.is_read = false;
    }
}

/// How much of the time may go into reading a list that is long, which is for whoever mounts to say:
/// one part in so many.
const READING_SHARE: u64 = 10;
/// Bytes of a list that is not long: some six hundred mounts.
const SHORT_LIST: usize = 64 * 1024;

impl Mounts {
    /// Opens the list.
    pub(crate) fn new() -> Self {
        Self {
            list: files::open(c"/proc/self/mountinfo", libc::O_RDONLY, 0).ok(),
            known: RefCell::default(),
        }
    }

    /// Has something urgent to say when [`Self::changed`] has to be called before the next look.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.list.as_ref().map(AsFd::as_fd)
    }

    /// Whether [`Self::changed`] has to be called. Says so once.
    pub(crate) fn have_changed(&self) -> bool {
        self.descriptor().is_some_and(poll::is_urgent)
    }

    /// Something was mounted or unmounted.
    pub(crate) fn changed(&self) {
        self.known.borrow_mut().forget();
    }

    /// Type of a mount's file system; empty where unknown.
    pub(crate) fn filesystem(&self, mount_id: MountId) -> SmolStr {
        if mount_id == 0 {
            return SmolStr::default();
        }
        let mut known = self.known.borrow_mut();
        if let Some(filesystem) = known.types.get(&mount_id) {
            return filesystem.clone();
        }
        // It may be newer than our last look whether there are others.
        if known.is_read && self.have_changed() {
            known.forget();
        }
        if !known.is_read {
            let begun = poll::monotonic();
            if begun < known.next_read {
                return SmolStr::default();
            }
            let text = self.descriptor().map(|list| proc::pieces(list, LISTED_MAX));
            let text = text.and_then(Result::ok).unwrap_or_default();
            known.types.extend(parse(&String::from_utf8_lossy(&text)));
            known.is_read = true;
            if text.len() > SHORT_LIST {
                let done = poll::monotonic();
                known.next_read = done + done.saturating_sub(begun) * READING_SHARE;
            }
        }
        // A mount of another name space is not listed: do not look for it again.
        known.types.entry(mount_id).or_default().clone()
    }
}

/// A mount in a process's own name space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: MountId,
    pub(crate) filesystem: String,
}

/// Most of a `mountinfo` that is read.
const LISTED_MAX: usize = 1 << 20;

/// Id of the mount that a canonical path of a thread's leads to: another one, once something is mounted
/// there or no longer is. Where there are many mounts, the list that [`on_top`] reads is long, and others
/// would wait for each mount.
pub(crate) fn at(view: &View<'_>, path: &str) -> Option<MountId> {
    let quick = || match view.root.strip_text(path) {
        // Its own root shows what it was when it began.
        "/" => None,
        _ => view.mount_of(path.as_bytes()).ok().filter(|id| *id != 0),
    };
    quick().or_else(|| on_top(view, path).map(|mount| mount.id))
}

/// The mount that is on top at a canonical path of a thread.
pub(crate) fn on_top(view: &View<'_>, path: &str) -> Option<Mount> {
    let list = format!("/proc/{}/mountinfo", view.tid);
    let text = proc::read_pieces(&list, LISTED_MAX).ok()?;
    // The list has them by their paths in the caller's root.
    on_top_in(&text, view.root.strip_text(path))
}

/// The last one listed covers those before it.
pub(crate) fn on_top_in(text: &[u8], path: &str) -> Option<Mount> {
    text.split(|byte| *byte == b'\n').rev().find_map(|line| {
        let mut words = line.split(|byte| *byte == b' ');
        let id = words.next()?;
        let at = words.nth(3)?;
        if picket_events::text::from_bytes(&unescape(at)) != path {
            return None;
        }
        // Optional fields end with a lone dash; the type follows it.
        let filesystem = words.skip_while(|word| *word != b"-").nth(1)?;
        Some(Mount {
            id: std::str::from_utf8(id).ok()?.parse().ok()?,
            filesystem: picket_events::text::from_bytes(filesystem),
        })
    })
}

/// `mountinfo` writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|digits| {
            *first == b'\\' && digits.iter().all(|digit| matches!(digit, b'0'..=b'7'))
        });
        rest = match digits {
            Some(digits) => {
                plain.push(digits.iter().fold(0u8, |byte, digit| {
                    byte.wrapping_mul(8).wrapping_add(digit - b'0')
                }));
                &after[3..]
            }
            None => {
                plain.push(*first);
                after
            }
        };
    }
    plain
}

/// Whether a descriptor is for the root of a mount that is attached nowhere: its link reads
/// as the root directory's does, which is another mount.
pub(crate) fn is_detached(view: &View<'_>, descriptor: i32) -> bool {
    let behind = view.descriptor(descriptor);
    let mount = |path: &[u8]| view.metadata(path, true).map(|found| found.mount_id);
    behind.path == b"/"
        && behind
            .metadata
            .is_some_and(|found| Ok(found.mount_id) != mount(b"/"))
}

/// Type of the detached mount that a descriptor is for; `None` for any other descriptor.
pub(crate) fn filesystem_behind(view: &View<'_>, descriptor: i32) -> Option<String> {
    if !is_detached(view, descriptor) {
        return None;
    }
    let path = CString::new(format!("/proc/{}/fd/{descriptor}", view.tid)).ok()?;
    let magic = proc::as_tracee(view.credentials, || files::file_system_magic(&path)).ok();
    let known = |magic| MAGIC.iter().find(|(number, _)| *number == magic);
    let name = magic.and_then(known).map(|(_, name)| *name);
    Some(name.unwrap_or_default().to_owned())
}

/// File systems by the number that `statfs(2)` gives (`linux/magic.h`).
const MAGIC: &[(u32, &str)] = &[
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlay"),
    (0x9fa0, "proc"),
    (0x6265_6572, "sysfs"),
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x6969, "nfs"),
    (0x6573_5546, "fuse"),
    (0x8584_58f6, "ramfs"),
    (0x6367_7270, "cgroup2"),
    (0x0027_e0eb, "cgroup"),
    (0x1cd1, "devpts"),
    (0x1980_0202, "mqueue"),
    (0xcafe_4a11, "bpf"),
    (0x6462_6720, "debugfs"),
    (0x7472_6163, "tracefs"),
    (0x7371_7368, "squashfs"),
    (0xe0f5_e1e2, "erofs"),
];

fn parse(text: &str) -> impl Iterator<Item = (u64, SmolStr)> + '_ {
    text.lines().filter_map(|line| {
        let id = line.split(' ').next()?.parse().ok()?;
        // Optional fields end with a lone dash; the type follows it.
        let filesystem = line.split(" - ").nth(1)?.split(' ').next()?;
        Some((id, filesystem.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Mount, on_top_in};

    #[test]
    fn the_last_mount_at_a_path_is_on_top() {
        let text = b"36 35 0:1 / /a\\040b rw - tmpfs one rw\n\
                    37 36 0:2 / /a\\040b rw shared:1 - proc two rw\n\
                    38 35 0:3 / /c rw - ext4 three rw\n";
        let expected = Mount {
            id: 37,
            filesystem: "proc".to_owned(),
        };
        assert_eq!(on_top_in(text, "/a b"), Some(expected));
        assert_eq!(on_top_in(text, "/a"), None);
    }

    #[test]
    fn types_follow_the_dash() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let all: Vec<_> = super::parse(line).collect();
        assert_eq!(all, [(36, "ext3".into())]);
    }
}
