//! What opens have left: a file, and a descriptor for it.

use picket_events::{Credentials, EventKind, File, Outcome};

use super::{CLOCK_TICK, Settled, Sight, set_file};
use crate::decode::{self, accepting};
use crate::proc;
use crate::races;
use crate::resolve::{Resolved, View};
use crate::sys::Errno;
use crate::sys::files::Metadata;

impl Sight<'_> {
    /// An open of a file that was just looked at; it may come into being by the call, be changed by
    /// it, and have new times from it.
    pub(super) fn open(
        &self,
        kind: &mut EventKind,
        (file, resolved): (File, Resolved),
        (may_create, writes, stamps): (bool, bool, bool),
    ) -> Settled {
        if resolved.was_missing() {
            if !may_create {
                return Settled::Drop;
            }
            if !self.decides() {
                return Settled::Wait;
            }
        }
        // A directory is not opened to write to it (EISDIR).
        if writes && is_directory(&resolved) && !takes_directory(kind) {
            return match self.may_be_another() {
                true => Settled::Emit(Outcome::Unconfirmed),
                false => Settled::Drop,
            };
        }
        let flags = match kind {
            EventKind::Open { flags, .. } => *flags,
            _ => 0,
        };
        let is_stamped = stamps
            && resolved.metadata.is_some_and(|now| {
                now.change_time.saturating_add(CLOCK_TICK) >= self.time
                    && may_have_stamped(self.view.credentials, flags, &now)
            });
        // What a thread only reads it has mostly closed by its next call: not worth
        // another look then.
        let is_worth_it = writes || !self.returned;
        let descriptor = (!is_stamped && is_worth_it)
            .then(|| descriptor_of(self.view, &resolved, writes, Some(flags)))
            .flatten();
        let is_open = is_stamped || descriptor.is_some();
        // The name may have been given to another file between both looks.
        let is_another = |number: &i32| {
            let link = format!("/proc/{}/fd/{number}", self.view.tid);
            let behind = self.view.file_behind(&link).zip(resolved.metadata);
            behind.is_some_and(|(behind, found)| !behind.same_file(&found))
        };
        let file = match descriptor.filter(is_another) {
            Some(number) => decode::file_of(&self.view.descriptor(number), self.mounts),
            None => file,
        };
        set_file(kind, file);
        // It may be another file that was opened, and this one open since long ago: with other
        // threads, and where the path leads elsewhere by now.
        let may_be_another = || resolved.is_fleeting || races::has_threads(self.pid);
        let seen = || match may_be_another() {
            true => Outcome::Unconfirmed,
            false => Outcome::Succeeded,
        };
        self.if_shown(is_open.then(seen))
    }

    /// An open by something else than a path: there is a descriptor that was not among these.
    pub(super) fn opened(&self, kind: &mut EventKind, before: &[i32]) -> Settled {
        let open = accepting::descriptors(self.view).into_iter();
        let new = open.filter(|number| !before.contains(number));
        let mut new = new.map(|number| self.view.descriptor(number));
        let has_threads = races::has_threads(self.pid);
        // A new descriptor may already be for something else again. Another thread may have had
        // something else opened.
        let meant = kind.file().filter(|file| file.inode != 0);
        let found = match meant.filter(|_| !has_threads) {
            Some(meant) => new.find(|found| {
                let found = found.metadata.as_ref();
                let found = found.map(|found| (found.inode, found.device));
                found == Some((meant.inode, meant.device))
            }),
            None => new.next(),
        };
        if let Some(found) = &found {
            set_file(kind, decode::file_of(found, self.mounts));
        }
        let seen = match has_threads {
            true => Outcome::Unconfirmed,
            false => Outcome::Succeeded,
        };
        self.if_shown(found.map(|_| seen))
    }

    /// Something without a path: there is a descriptor whose link reads like this.
    pub(super) fn descriptor(&self, link: &[u8]) -> Settled {
        let resolved = Resolved {
            path: link.to_vec(),
            ..Resolved::default()
        };
        let is_there = has_descriptor(self.view, &resolved);
        self.if_shown(is_there.then_some(Outcome::Succeeded))
    }
}

fn is_directory(resolved: &Resolved) -> bool {
    let mode = resolved.metadata.map(|found| found.mode & libc::S_IFMT);
    mode == Some(libc::S_IFDIR)
}

/// Whether an open that could write takes a directory all the same: for a file without a name in it
/// (`O_TMPFILE`), or for nothing but its place.
fn takes_directory(kind: &EventKind) -> bool {
    let bits = (libc::O_TMPFILE & !libc::O_DIRECTORY | libc::O_PATH) as u32;
    matches!(kind, EventKind::Open { flags, .. } if flags & bits != 0)
}

/// How many descriptors are looked at in a search.
const SEARCH_LIMIT: usize = 64;

/// Whether a process may have made or emptied a file by an open: it is its own, or may be written to.
/// Somebody else may have, in the same moment.
fn may_have_stamped(credentials: &Credentials, flags: u32, now: &Metadata) -> bool {
    const CAP_DAC_OVERRIDE: u64 = 1 << 1;
    let has = |bits: i32| flags & bits as u32 != 0;
    let is_owner = now.uid == credentials.fsuid;
    let may_write = now.mode & if is_owner { 0o200 } else { 0o022 } != 0;
    credentials.cap_effective & CAP_DAC_OVERRIDE != 0
        || has(libc::O_CREAT) && is_owner
        || has(libc::O_TRUNC) && may_write
}

/// Whether the thread has a descriptor for a file.
pub(crate) fn has_descriptor(view: &View<'_>, resolved: &Resolved) -> bool {
    descriptor_of(view, resolved, true, None).is_some()
}

/// Whether a descriptor was opened for what these flags ask for, as far as that can be seen. One for
/// something else was there before.
fn is_opened_for(tid: u32, number: u32, flags: u32) -> bool {
    let access = match flags & libc::O_PATH as u32 {
        0 => flags & libc::O_ACCMODE as u32,
        _ => 0,
    };
    let Ok(info) = proc::read(&format!("/proc/{tid}/fdinfo/{number}"), 256) else {
        return true;
    };
    let mut lines = info.split(|byte| *byte == b'\n');
    let flags = lines.find_map(|line| line.strip_prefix(b"flags:"));
    // Octal: the last digit has the access, and two bits that say something else.
    let last = flags.and_then(|flags| flags.last().copied());
    last.is_none_or(|digit| u32::from(digit & 3) == access)
}

/// The thread's descriptor for a file, if it has one; with `flags`, one that was opened with such.
/// Reading programs close again what they opened, so for them only the most likely number is tried; a
/// search costs more than it finds.
fn descriptor_of(
    view: &View<'_>,
    resolved: &Resolved,
    search: bool,
    flags: Option<u32>,
) -> Option<i32> {
    const MOST_LIKELY: u32 = 3;
    let is_it = |number: &u32| {
        let link = proc::link(&format!("/proc/{}/fd/{number}", view.tid))?;
        let is_such = || flags.is_none_or(|flags| is_opened_for(view.tid, *number, flags));
        Ok::<_, Errno>(link == resolved.path && is_such())
    };
    if resolved.path.is_empty() {
        return None;
    }
    let found = proc::as_tracee(view.credentials, || {
        if !search {
            return Ok(is_it(&MOST_LIKELY)?.then_some(MOST_LIKELY));
        }
        for number in proc::descriptors(view.tid, SEARCH_LIMIT)? {
            match is_it(&number) {
                Ok(true) => return Ok(Some(number)),
                // Root may list them all the same.
                Err(refused @ Errno(libc::EACCES | libc::EPERM)) => return Err(refused),
                // Another, or closed meanwhile.
                _ => {}
            }
        }
        Ok(None)
    });
    Some(found.ok()?? as i32)
}
