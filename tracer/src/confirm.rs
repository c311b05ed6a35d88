//! What became of a call that was let through.
//!
//! A notification comes before its call runs, and the answer to it ends our say. So the
//! effect is looked for afterwards: at the next notification of the same thread, when the
//! call has certainly returned, or after 1, 5, 20 and 100 ms, and later still as long as a busy
//! machine has not let the thread run. What was not seen is reported as unconfirmed; what is
//! known to have failed is not reported.

mod changes;
mod check;
mod opens;
mod sockets;

use std::os::fd::BorrowedFd;

use picket_events::{Credentials, EventKind, File, Outcome};

pub(crate) use self::check::Check;
pub(crate) use self::opens::has_descriptor;

use crate::debts::Owed;
use crate::looks::Looks;
use crate::mounts::Mounts;
use crate::proc;
use crate::races;
use crate::resolve::{Resolved, Root, View};
use crate::sys::{Errno, poll};

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
        pidfd: Option<BorrowedFd<'_>>,
        known_mounts: &Mounts,
        looks: &mut Looks,
        returned: bool,
    ) -> Settled {
        // Before the effect is looked for: a call that is made in between is seen.
        let last = !returned && decides(self.looks, self.tid);
        self.looks += 1;
        let sight = Sight {
            pid: self.pid,
            tid: self.tid,
            time: self.time,
            view,
            pidfd,
            mounts: known_mounts,
            ways: self.check.ways(),
            returned,
            last,
        };
        let kind = &mut self.kind;
        match &self.check {
            Check::Nothing => Settled::Emit(Outcome::Unconfirmed),
            Check::Open {
                at,
                creates,
                writes,
                stamps,
            } => {
                let found = looks.look(view, at, known_mounts);
                let may_create = *creates && !at.path.is_empty();
                sight.open(kind, found, (may_create, *writes, *stamps))
            }
            Check::Opened(before) => sight.opened(kind, before),
            Check::Descriptor(link) => sight.descriptor(link),
            Check::Gone { path, before, .. } => sight.gone(path, before),
            Check::Moved { to, before, .. } => sight.moved(kind, to, before),
            Check::Appears(at) => sight.appears(kind, at),
            Check::Exists(at) => sight.exists(kind, at),
            Check::Mode { path, mode, .. } => sight.mode(path, *mode),
            Check::Owner { path, uid, gid, .. } => sight.owner(path, *uid, *gid),
            Check::Mounted { at, before } => sight.mounted(kind, at, *before),
            Check::Detached(before) => sight.detached(kind, before),
            Check::Ids => sight.ids(kind),
            Check::Root(before) => sight.root(kind, before),
            Check::Connected {
                descriptor,
                cookie,
                before,
            } => sight.connected(kind, *descriptor, *cookie, before.as_deref()),
            Check::Accepted {
                room,
                before,
                is_there,
            } => sight.accepted(kind, room.as_ref(), before, *is_there),
            // A server may take its time.
            Check::Answered { at, before } => {
                sight.answered(kind, *at, before, self.looks > ANSWER_LOOKS)
            }
        }
    }
}

/// What there is to see of a call by now.
struct Sight<'a> {
    pid: u32,
    tid: u32,
    /// When the call was notified, nanoseconds since the epoch.
    time: u64,
    view: &'a View<'a>,
    pidfd: Option<BorrowedFd<'a>>,
    mounts: &'a Mounts,
    /// As [`Check::ways`] has it.
    ways: [&'a [u8]; 2],
    /// The call is known to have returned.
    returned: bool,
    /// It is the last look at one that may not have.
    last: bool,
}

impl Sight<'_> {
    /// What the call has changed has no time before this one (nanoseconds since the epoch).
    fn since(&self) -> u64 {
        self.time.saturating_sub(CLOCK_TICK)
    }

    /// Whether there will be no other look.
    fn decides(&self) -> bool {
        self.returned || self.last
    }

    /// Another thread or process may have had the kernel do it to something else.
    fn may_be_another(&self) -> bool {
        let is_unsteady = |way: &&[u8]| races::is_unsteady(self.view, way, self.since());
        races::has_threads(self.pid) || self.ways.iter().any(is_unsteady)
    }

    /// A name that was made may be gone again, by a call that we do not stop for.
    fn may_be_undone(&self, resolved: &Resolved) -> bool {
        self.returned && races::has_changed(self.view, &resolved.path, self.time)
    }

    /// What has to be seen where the call did not fail; `None` where there was nothing to be seen for
    /// us, whatever became of it.
    fn unless_seen(&self, seen: Option<bool>) -> Settled {
        match (seen, self.returned, self.last) {
            (Some(true), _, _) => Settled::Emit(Outcome::Succeeded),
            (None, true, _) => Settled::Emit(Outcome::Unconfirmed),
            (_, true, _) if self.may_be_another() => Settled::Emit(Outcome::Unconfirmed),
            (_, true, _) => Settled::Drop,
            (_, false, true) => Settled::Emit(Outcome::Unconfirmed),
            (_, false, false) => Settled::Wait,
        }
    }

    /// What seeing it says of something that may be over by now: not to see it says nothing.
    fn if_shown(&self, shown: Option<Outcome>) -> Settled {
        match (shown, self.decides()) {
            (Some(outcome), _) => Settled::Emit(outcome),
            (None, true) => Settled::Emit(Outcome::Unconfirmed),
            (None, false) => Settled::Wait,
        }
    }

    fn ids(&self, kind: &mut EventKind) -> Settled {
        match proc::settled_credentials(self.tid, self.view.credentials) {
            Ok(now) if now != *self.view.credentials => Settled::Ids(now),
            Ok(now) if self.decides() => {
                set_ids(kind, now);
                Settled::Emit(Outcome::Unconfirmed)
            }
            Ok(_) => Settled::Wait,
            Err(_) => Settled::Emit(Outcome::Unconfirmed),
        }
    }

    fn root(&self, kind: &EventKind, before: &Root) -> Settled {
        // A chroot of one thread changes it for all that share it, which not all do.
        match Root::of(self.view.tid, self.view.credentials) {
            Ok(root) if !root.is(before) => Settled::Root(root),
            Err(Errno(libc::EACCES | libc::EPERM)) if self.decides() => {
                Settled::Root(Root::Unknown)
            }
            // Whoever enters name spaces may enter others than that of mounts.
            _ if matches!(kind, EventKind::Unshare { entered: true, .. }) => self.unless_seen(None),
            _ => self.unless_seen(Some(false)),
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
