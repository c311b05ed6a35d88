//! What became of a call that was let through.
//!
//! A notification comes before its call runs, and the answer to it ends our say. So the
//! effect is looked for afterwards: at the next notification of the same thread, when the
//! call has certainly returned, or after 1, 5, 20 and 100 ms, and later still as long as a busy
//! machine has not let the thread run. What was not seen is reported as unconfirmed; what is
//! known to have failed is not reported.

mod check;

use picket_events::{Credentials, EventKind, File, Outcome};

pub(crate) use self::check::Check;

use crate::debts::Owed;
use crate::decode::{self, accepting};
use crate::looks::Looks;
use crate::memory::Memory;
use crate::mounts::{self, Mounts};
use crate::proc;
use crate::races::{self, Peer};
use crate::resolve::{Resolved, Root, View};
use crate::sys::files::Metadata;
use crate::sys::{Errno, poll, socket};
use crate::taking;

/// What a look at the effect has shown.
#[derive(Debug)]
pub(crate) enum Settled {
    /// Report it.
    Emit(Outcome),
    /// It failed, or never took place.
    Drop,
    /// Too early to tell.
    Wait,
    /// There is nothing to report, whatever the call returned.
    Nothing,
    /// The process has these ids now.
    Ids(Credentials),
    /// The process has this root now.
    Root(Root),
}

/// A call that waits to be confirmed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    /// When it was notified, nanoseconds since the epoch.
    pub(crate) time: u64,
    pub(crate) kind: EventKind,
    pub(crate) check: Check,
    /// Looks so far.
    pub(crate) looks: usize,
    /// When it was notified (milliseconds, monotonic).
    pub(crate) since: u64,
    /// Counted as untold until this is gone.
    pub(crate) owed: Option<Owed>,
}

/// File times are taken from a clock that ticks this coarsely, nanoseconds.
pub(crate) const CLOCK_TICK: u64 = 10_000_000;

/// The time of a call that is about to be made (nanoseconds since the epoch): now, or as much earlier as
/// the clock of file times is behind by more than a tick, for the processor that turns it may have been taken
/// away from a virtual machine. What the call changes gets no time before that, less [`CLOCK_TICK`].
pub(crate) fn call_time() -> u64 {
    poll::now().min(poll::last_tick().saturating_add(CLOCK_TICK))
}

/// When to look, milliseconds after the notification. From the look after [`PATIENCE`] on the
/// next one decides, unless the thread still waits for a processor; the last one always does.
pub(crate) const LOOKS: [u64; 9] = [1, 5, 20, 100, 200, 400, 800, 1600, 3200];

/// Time between looks at a call that may sleep for ever, milliseconds.
const LONG_WAIT: u64 = 1000;

/// Looks at a buffer that waits for a DNS answer: half a minute of them.
const ANSWER_LOOKS: usize = LOOKS.len() + 30;

/// By then a thread that was let run has made its call, milliseconds.
const PATIENCE: u64 = 100;

/// Whether the look at this time decides about a thread's call.
fn decides(looks: usize, tid: u32) -> bool {
    let is_late = LOOKS.get(looks).is_none_or(|after| *after >= PATIENCE);
    is_late && (looks + 1 >= LOOKS.len() || !proc::is_runnable(tid))
}

impl Pending {
    /// When the next look is due (milliseconds, monotonic).
    pub(crate) fn due(&self) -> u64 {
        match LOOKS.get(self.looks) {
            Some(after) => self.since + after,
            // Some wait for what may never come.
            None => {
                let more = (self.looks - LOOKS.len() + 1) as u64;
                self.since + LOOKS[LOOKS.len() - 1] + more * LONG_WAIT
            }
        }
    }

    /// Looks for the effect. `returned`: the call is known to have returned.
    pub(crate) fn settle(
        &mut self,
        view: &View<'_>,
        pidfd: Option<std::os::fd::BorrowedFd<'_>>,
        known_mounts: &Mounts,
        looks: &mut Looks,
        returned: bool,
    ) -> Settled {
        // Before the effect is looked for: a call that is made in between is seen.
        let last = !returned && decides(self.looks, self.tid);
        self.looks += 1;
        let (pid, ways) = (self.pid, self.check.ways());
        let since = self.time.saturating_sub(CLOCK_TICK);
        let may_be_another = || {
            races::has_threads(pid) || ways.iter().any(|way| races::is_unsteady(view, way, since))
        };
        // `None` where there was nothing to be seen for us, whatever became of it.
        let time = self.time;
        let unless_seen = |seen: Option<bool>| match (seen, returned, last) {
            (Some(true), _, _) => Settled::Emit(Outcome::Succeeded),
            (None, true, _) => Settled::Emit(Outcome::Unconfirmed),
            // Another thread or process may have had the kernel do it to something else.
            (_, true, _) if may_be_another() => Settled::Emit(Outcome::Unconfirmed),
            (_, true, _) => Settled::Drop,
            (_, false, true) => Settled::Emit(Outcome::Unconfirmed),
            (_, false, false) => Settled::Wait,
        };
        // A name that was made may be gone again, by a call that we do not stop for.
        let may_be_undone =
            |resolved: &Resolved| returned && races::has_changed(view, &resolved.path, time);
        match &self.check {
            Check::Nothing => Settled::Emit(Outcome::Unconfirmed),
            Check::Open {
                at,
                creates,
                writes,
                stamps,
            } => {
                let (file, resolved) = looks.look(view, at, known_mounts);
                if resolved.was_missing() && (!*creates || at.path.is_empty()) {
                    return Settled::Drop;
                }
                if resolved.was_missing() && !(returned || last) {
                    return Settled::Wait;
                }
                // A directory is not opened to write to it (EISDIR).
                if *writes && is_directory(&resolved) && !takes_directory(&self.kind) {
                    return match may_be_another() {
                        true => Settled::Emit(Outcome::Unconfirmed),
                        false => Settled::Drop,
                    };
                }
                let flags = match &self.kind {
                    EventKind::Open { flags, .. } => *flags,
                    _ => 0,
                };
                let is_stamped = *stamps
                    && resolved.metadata.is_some_and(|now| {
                        now.change_time.saturating_add(CLOCK_TICK) >= self.time
                            && may_have_stamped(view.credentials, flags, &now)
                    });
                // What a thread only reads it has mostly closed by its next call: not worth
                // another look then.
                let is_worth_it = *writes || !returned;
                let descriptor = (!is_stamped && is_worth_it)
                    .then(|| descriptor_of(view, &resolved, *writes, Some(flags)))
                    .flatten();
                let is_open = is_stamped || descriptor.is_some();
                // The name may have been given to another file between both looks.
                let is_another = |number: &i32| {
                    let link = format!("/proc/{}/fd/{number}", view.tid);
                    let behind = view.file_behind(&link).zip(resolved.metadata);
                    behind.is_some_and(|(behind, found)| !behind.same_file(&found))
                };
                let file = match descriptor.filter(is_another) {
                    Some(number) => decode::file_of(&view.descriptor(number), known_mounts),
                    None => file,
                };
                set_file(&mut self.kind, file);
                // It may be another file that was opened, and this one open since long ago: with other
                // threads, and where the path leads elsewhere by now.
                let may_be_another = || resolved.is_fleeting || races::has_threads(self.pid);
                let seen = match is_open && may_be_another() {
                    true => Outcome::Unconfirmed,
                    false => Outcome::Succeeded,
                };
                match (is_open, returned || last) {
                    (true, _) => Settled::Emit(seen),
                    (false, true) => Settled::Emit(Outcome::Unconfirmed),
                    (false, false) => Settled::Wait,
                }
            }
            Check::Opened(before) => {
                let open = accepting::descriptors(view).into_iter();
                let new = open.filter(|number| !before.contains(number));
                let mut new = new.map(|number| view.descriptor(number));
                let has_threads = races::has_threads(self.pid);
                // A new descriptor may already be for something else again. Another thread may have had
                // something else opened.
                let meant = self.kind.file().filter(|file| file.inode != 0);
                let found = match meant.filter(|_| !has_threads) {
                    Some(meant) => new.find(|found| {
                        let found = found.metadata.as_ref();
                        let found = found.map(|found| (found.inode, found.device));
                        found == Some((meant.inode, meant.device))
                    }),
                    None => new.next(),
                };
                if let Some(found) = &found {
                    set_file(&mut self.kind, decode::file_of(found, known_mounts));
                }
                match (found.is_some(), returned || last) {
                    (true, _) if has_threads => Settled::Emit(Outcome::Unconfirmed),
                    (true, _) => Settled::Emit(Outcome::Succeeded),
                    (false, true) => Settled::Emit(Outcome::Unconfirmed),
                    (false, false) => Settled::Wait,
                }
            }
            Check::Descriptor(link) => {
                let resolved = Resolved {
                    path: link.clone(),
                    ..Resolved::default()
                };
                match (has_descriptor(view, &resolved), returned || last) {
                    (true, _) => Settled::Emit(Outcome::Succeeded),
                    (false, true) => Settled::Emit(Outcome::Unconfirmed),
                    (false, false) => Settled::Wait,
                }
            }
            Check::Gone { path, before, .. } => unless_seen(match view.metadata(path, false) {
                Ok(now) => Some(!now.same_file(before)),
                Err(Errno(libc::ENOENT | libc::ENOTDIR)) => Some(true),
                Err(_) => None,
            }),
            Check::Moved { to, before, .. } => {
                let (file, resolved) = decode::look(view, to, known_mounts);
                let seen = is_seen(&resolved, |now| now.same_file(before));
                if let EventKind::Rename { to, .. } = &mut self.kind {
                    *to = file;
                }
                unless_seen(seen.filter(|seen| *seen || !may_be_undone(&resolved)))
            }
            Check::Appears(at) => {
                let (file, resolved) = decode::look(view, at, known_mounts);
                set_file(&mut self.kind, file);
                let seen = is_seen(&resolved, |_| true);
                unless_seen(seen.filter(|seen| *seen || !may_be_undone(&resolved)))
            }
            Check::Exists(at) => {
                let (file, resolved) = decode::look(view, at, known_mounts);
                set_file(&mut self.kind, file);
                if resolved.was_missing() {
                    return Settled::Drop;
                }
                Settled::Emit(Outcome::Unconfirmed)
            }
            Check::Mode { path, mode, .. } => unless_seen(
                view.metadata(path, true)
                    .ok()
                    .map(|now| now.mode & 0o7777 == mode & 0o7777),
            ),
            Check::Owner { path, uid, gid, .. } => {
                unless_seen(view.metadata(path, false).ok().map(|now| {
                    uid.is_none_or(|uid| now.uid == uid) && gid.is_none_or(|gid| now.gid == gid)
                }))
            }
            // A look while it is about to be made would use the mount, which the kernel then calls busy.
            Check::Mounted { .. }
                if matches!(self.kind, EventKind::Umount { .. }) && !(returned || last) =>
            {
                Settled::Wait
            }
            Check::Mounted { at, before } => {
                let seen = mounts::at(view, at) != *before;
                if let (EventKind::Mount { fs_type, .. }, true) = (&mut self.kind, seen)
                    && fs_type.is_empty()
                    && let Some(now) = mounts::on_top(view, at)
                {
                    *fs_type = now.filesystem;
                }
                // An attempt that failed says something as well.
                match (seen, returned || last) {
                    (true, _) => Settled::Emit(Outcome::Succeeded),
                    (false, true) => Settled::Emit(Outcome::Unconfirmed),
                    (false, false) => Settled::Wait,
                }
            }
            Check::Detached(before) => {
                let found = accepting::descriptors(view)
                    .into_iter()
                    .filter(|number| !before.contains(number))
                    .find_map(|number| mounts::filesystem_behind(view, number));
                let seen = found.is_some();
                if let (EventKind::Mount { fs_type, .. }, Some(found)) = (&mut self.kind, found)
                    && fs_type.is_empty()
                {
                    *fs_type = found;
                }
                match (seen, returned || last) {
                    (true, _) => Settled::Emit(Outcome::Succeeded),
                    (false, true) => Settled::Emit(Outcome::Unconfirmed),
                    (false, false) => Settled::Wait,
                }
            }
            Check::Ids => match proc::settled_credentials(self.tid, view.credentials) {
                Ok(now) if now != *view.credentials => Settled::Ids(now),
                Ok(now) if returned || last => {
                    set_ids(&mut self.kind, now);
                    Settled::Emit(Outcome::Unconfirmed)
                }
                Ok(_) => Settled::Wait,
                Err(_) => Settled::Emit(Outcome::Unconfirmed),
            },
            Check::Root(before) => {
                // A chroot of one thread changes it for all that share it, which not all do.
                match Root::of(view.tid, view.credentials) {
                    Ok(root) if !root.is(before) => Settled::Root(root),
                    Err(Errno(libc::EACCES | libc::EPERM)) if returned || last => {
                        Settled::Root(Root::Unknown)
                    }
                    // Whoever enters name spaces may enter others than that of mounts.
                    _ if matches!(self.kind, EventKind::Unshare { entered: true, .. }) => {
                        unless_seen(None)
                    }
                    _ => unless_seen(Some(false)),
                }
            }
            Check::Connected {
                descriptor,
                cookie,
                before,
            } => {
                let peer = taking::take(view, pidfd, *descriptor).and_then(|socket| {
                    use std::os::fd::AsFd;
                    match socket::cookie(socket.as_fd()).ok() == *cookie {
                        true => socket::address(socket.as_fd(), socket::End::Peer),
                        false => Err(Errno(libc::EBADF)),
                    }
                });
                let peer =
                    peer.map(|peer| races::compare_peer(&mut self.kind, &peer, before.as_deref()));
                match (peer, returned || last) {
                    (Ok(Peer::AsTold | Peer::Corrected), _) => Settled::Emit(Outcome::Succeeded),
                    // Another thread may have put another path there.
                    (Ok(Peer::ByAnotherName), _) if races::has_threads(self.pid) => {
                        Settled::Emit(Outcome::Unconfirmed)
                    }
                    (Ok(Peer::ByAnotherName), _) => Settled::Emit(Outcome::Succeeded),
                    (Ok(Peer::AsBefore), false) => Settled::Wait,
                    (Ok(Peer::AsBefore), true) | (Err(_), true) => {
                        Settled::Emit(Outcome::Unconfirmed)
                    }
                    (Err(_), false) => Settled::Wait,
                }
            }
            Check::Accepted {
                room,
                before,
                is_there,
            } => {
                let written = room.as_ref().and_then(|room| room.written(view));
                let listening = match &self.kind {
                    EventKind::Accept { local, .. } => local.as_ref(),
                    _ => None,
                };
                let accepted = written
                    .map(Some)
                    .or_else(|| accepting::new_socket(view, pidfd, before, listening));
                match accepted {
                    Some(address) => {
                        if let EventKind::Accept { peer, .. } = &mut self.kind {
                            *peer = address;
                        }
                        Settled::Emit(Outcome::Succeeded)
                    }
                    // The new descriptor is one of too many, or closed again already.
                    None if returned && *is_there => Settled::Emit(Outcome::Unconfirmed),
                    None if returned || !proc::exists(self.tid) => Settled::Drop,
                    None => Settled::Wait,
                }
            }
            Check::Answered { at, before } => {
                let mut now = vec![0u8; before.len()];
                let memory = Memory::passing(self.tid, view.credentials);
                let is_there = memory.read(*at, &mut now).is_ok();
                let answer = decode::dns::decode(&now)
                    .filter(|dns| dns.response_code.is_some() && now != *before);
                match answer {
                    Some(dns) if is_there => {
                        self.kind = EventKind::Dns(Box::new(dns));
                        Settled::Emit(Outcome::Succeeded)
                    }
                    // A server may take its time.
                    _ if returned || !is_there || self.looks > ANSWER_LOOKS => Settled::Nothing,
                    _ => Settled::Wait,
                }
            }
        }
    }
}

/// Puts in the ids after the call.
pub(crate) fn set_ids(kind: &mut EventKind, credentials: Credentials) {
    if let EventKind::SetUid(ids) | EventKind::SetGid(ids) = kind {
        **ids = credentials;
    }
}

/// Puts in the file as it is after the call.
pub(crate) fn set_file(kind: &mut EventKind, found: File) {
    match kind {
        EventKind::Open { file, .. }
        | EventKind::Mkdir { file, .. }
        | EventKind::Link { link: file, .. }
        | EventKind::Utimes { file }
        | EventKind::Chdir { file }
        | EventKind::SetXattr { file, .. }
        | EventKind::RemoveXattr { file, .. }
        | EventKind::Chroot { file } => *file = found,
        _ => {}
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

/// Whether a file is there, and such; `None` where we cannot look at it.
fn is_seen(resolved: &Resolved, is_such: impl Fn(&Metadata) -> bool) -> Option<bool> {
    match &resolved.metadata {
        Some(now) => Some(is_such(now)),
        None => resolved.was_missing().then_some(false),
    }
}

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
