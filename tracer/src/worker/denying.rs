//! Denying by path.
//!
//! What a path in memory says can be changed by another thread before the kernel reads it, so a
//! call whose type has rules that deny is never let through: what it names is held by a
//! descriptor, judged, and the call is made here, in the caller's place and with its rights, on
//! what is held. An exec cannot be made here; one that turns out to be of a denied program is
//! ended at the new program's first instruction.

use std::os::fd::AsFd;

use picket_events::{EventKind, EventType, File, Image, Outcome};

use super::Worker;
use super::making::Found;
use crate::confirm::{self, Check};
use crate::decode::acts::{self, Act};
use crate::decode::files::MADE;
use crate::decode::{self, Answer, Call, Done, Verdict};
use crate::denials::{self, Denials, Subject, names};
use crate::pin::{self, Pinned};
use crate::proc;
use crate::resolve::Resolved;
use crate::sys::acting::{self, Identity};
use crate::sys::{Errno, process, ptrace};
use crate::table::Row;

impl Worker<'_> {
    /// What is decided about a call of a type of which something may be denied.
    ///
    /// `still_waits` says whether the caller does: what nobody asks for any more is not done.
    /// `is_held` says whether the caller was [seized](super::makers) for what is made in its place.
    pub(super) fn deny(
        &self,
        call: &Call<'_>,
        row: &Row,
        verdict: Verdict,
        still_waits: impl Fn() -> bool,
        is_held: &mut bool,
    ) -> Verdict {
        match &verdict {
            Verdict::Exec { .. } => self.deny_exec(call, row, verdict),
            Verdict::Refuse { .. } => verdict,
            // It names nothing that was there before.
            Verdict::Watch(_, Check::Descriptor(_)) => verdict,
            _ => self.deny_act(call, row, verdict, still_waits, is_held),
        }
    }

    fn deny_exec(&self, call: &Call<'_>, row: &Row, verdict: Verdict) -> Verdict {
        let at = match row.name {
            "execve" => call.path(0, true),
            _ => call.path_at(call.int(0), 1, true),
        };
        let view = call.view();
        let found = proc::as_tracee(view.credentials, || pin::file(&view, &at));
        let Ok(pinned) = found else {
            return verdict; // the kernel finds none either, or the stop shows which it was
        };
        let subject = Subject {
            path: names(view.root, pinned.path()),
            called: picket_events::text::from_bytes(&at.path),
            ..Subject::default()
        };
        if !self.denials.refuse(EventType::Exec, &subject, call.process) {
            return verdict;
        }
        let image = Image {
            file: self.held_file(&subject, Some(&pinned)),
            ..Image::clone(&call.process.image)
        };
        refusal(Some(EventKind::Exec(Box::new(image))))
    }

    /// Before an exec is let through: whether it will stop for us at the new program. False
    /// where a debugger would see it instead, and could make another of it.
    pub(super) fn can_see_exec(&mut self, pid: u32, tid: u32) -> bool {
        if self.start.listener.is_none() || self.seized.contains_key(&tid) {
            return true;
        }
        if self.processes.seize(pid, tid, ptrace::OPTION_EXEC).is_ok() {
            self.seized.insert(tid, pid);
            return true;
        }
        proc::status(tid, Some(0)).is_ok_and(|status| status.tracer == 0)
    }

    fn deny_act(
        &self,
        call: &Call<'_>,
        row: &Row,
        verdict: Verdict,
        still_waits: impl Fn() -> bool,
        is_held: &mut bool,
    ) -> Verdict {
        let told = match verdict {
            Verdict::Watch(kind, check) => Some((kind, check)),
            _ => None,
        };
        let keep = |told: Option<(EventKind, Check)>| match told {
            Some((kind, check)) => Verdict::Watch(kind, check),
            None => Verdict::Pass,
        };
        let act = match acts::act(call, row.name) {
            Ok(act) => act,
            Err(Errno(libc::EPERM)) => return refusal(told.map(|(kind, _)| kind)),
            Err(errno) => return failure(errno),
        };
        let event = event_of(&act);
        if !Denials::concern(self.start.board, [event]) {
            return keep(told);
        }
        // These flags stand in a register, which nobody else can change.
        let flags = match &act {
            Act::Open { flags, .. } if row.name != "openat2" => Some(*flags),
            Act::Make { .. } => Some(MADE),
            _ => None,
        };
        if flags.is_some_and(|flags| !self.denials.may_refuse_open(flags)) {
            return keep(told);
        }
        let Ok(status) = proc::status(call.tid, Some(0)) else {
            return keep(told); // it is gone
        };
        let identity = identity(call.tid, &status);
        let umask = status.umask;
        let makes = self.start.listener.is_some();
        // Before it is asked whether it waits: from then on no signal goes by unseen.
        *is_held = makes && self.seizes_maker(call.process.pid, call.tid);
        if !still_waits() {
            return keep(told); // what was read may be another's
        }
        let found = acting::with_identity(&identity, || {
            self.carry_out(call, event, &act, umask, makes)
        });
        let close_on_exec =
            matches!(&act, Act::Open { flags, .. } if flags & libc::O_CLOEXEC as u32 != 0);
        let done = |answer, told| {
            let act = Some(act);
            Verdict::Done(Box::new(Done { act, answer, told }))
        };
        match found {
            Ok(Ok(Found::Made(Answer::Descriptor { file, .. }))) => {
                let answer = Answer::Descriptor {
                    file,
                    close_on_exec,
                    left: None,
                };
                done(answer, told)
            }
            Ok(Ok(Found::Made(Answer::Later { pinned, flags, .. }))) => {
                let answer = Answer::Later {
                    pinned,
                    flags,
                    identity,
                };
                done(answer, told)
            }
            Ok(Ok(Found::Made(_))) if !makes => keep(told),
            Ok(Ok(Found::Made(answer))) => done(answer, told),
            Ok(Ok(Found::Denied(denied))) => {
                let (subject, pinned) = *denied;
                let file = self.held_file(&subject, pinned.as_ref());
                refusal(told.map(|(kind, _)| with_files(kind, file, &subject)))
            }
            Ok(Err(errno)) if makes => {
                let answer = Answer::Value(-i64::from(errno.0));
                done(answer, told)
            }
            Ok(Err(_)) => keep(told),
            // We may not become who calls, so we cannot do it in its place.
            Err(_) => refusal(told.map(|(kind, _)| kind)),
        }
    }

    fn held_file(&self, subject: &Subject, pinned: Option<&Pinned>) -> File {
        let [path, _] = &subject.path;
        let metadata = pinned.and_then(|pinned| pinned.metadata().ok());
        let resolved = Resolved {
            metadata,
            ..Resolved::default()
        };
        let named = File::from_path(path.clone());
        let found = decode::file_of(&resolved, &self.mounts);
        File {
            path: named.path,
            name: named.name,
            fault: None,
            ..found
        }
    }

    /// Ends a process that runs a program which is denied, before its first instruction; whether
    /// it was.
    pub(super) fn end_if_denied(&self, pid: u32, image: &Image) -> bool {
        if !Denials::concern(self.start.board, [EventType::Exec]) {
            return false;
        }
        let Some(entry) = self.processes.get(pid) else {
            return false;
        };
        let is_denied = self.denials.refuse_program(image, &entry.root, entry);
        if is_denied && let Some(pidfd) = &entry.pidfd {
            // It fails only where the process is gone.
            let _ = process::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
        }
        is_denied
    }

    /// Under the ptrace engine, which cannot make calls for others: ends a process that has got
    /// a file which is denied, because somebody has changed the path meanwhile.
    pub(super) fn end_if_opened(&self, pid: u32, file: &File, kind: &EventKind) -> bool {
        let EventKind::Open { flags, .. } = kind else {
            return false;
        };
        let Some(entry) = self.processes.get(pid) else {
            return false;
        };
        let subject = Subject {
            path: denials::both(&entry.root, &file.path),
            flags: *flags,
            ..Subject::default()
        };
        let is_denied = Denials::concern(self.start.board, [EventType::Open])
            && self.denials.refuse(EventType::Open, &subject, entry);
        if is_denied && let Some(pidfd) = &entry.pidfd {
            let _ = process::signal_pidfd(pidfd.as_fd(), libc::SIGKILL);
        }
        is_denied
    }
}

fn failure(errno: Errno) -> Verdict {
    let answer = Answer::Value(-i64::from(errno.0));
    Verdict::Done(Box::new(Done {
        act: None,
        answer,
        told: None,
    }))
}

fn refusal(event: Option<EventKind>) -> Verdict {
    Verdict::Refuse {
        errno: libc::EPERM,
        event,
        tampering: false,
    }
}

/// The type of event that an act is.
fn event_of(act: &Act) -> EventType {
    match act {
        Act::Open { .. } | Act::Truncate { .. } | Act::Make { .. } => EventType::Open,
        Act::Unlink { flags, .. } if flags & libc::AT_REMOVEDIR as u32 != 0 => EventType::Rmdir,
        Act::Unlink { .. } => EventType::Unlink,
        Act::Rename { .. } => EventType::Rename,
        Act::Mkdir { .. } => EventType::Mkdir,
        Act::Link { .. } | Act::Symlink { .. } => EventType::Link,
        Act::Chmod { .. } => EventType::Chmod,
        Act::Chown { .. } => EventType::Chown,
    }
}

/// The event of a refused call, with the files as they were judged.
fn with_files(mut kind: EventKind, file: File, subject: &Subject) -> EventKind {
    let [destination, _] = &subject.destination;
    match &mut kind {
        EventKind::Rename { from, to } => {
            from.path.clone_from(&file.path);
            from.name.clone_from(&file.name);
            *to = File::from_path(destination.clone());
        }
        EventKind::Link { link, .. } => *link = File::from_path(destination.clone()),
        EventKind::Unlink { file: old, .. }
        | EventKind::Rmdir { file: old }
        | EventKind::Chmod { file: old, .. }
        | EventKind::Chown { file: old, .. } => {
            old.path = file.path;
            old.name = file.name;
        }
        _ => confirm::set_file(&mut kind, file),
    }
    kind
}

/// By what the kernel would judge a thread.
fn identity(tid: u32, status: &proc::Status) -> Identity {
    // Capabilities of a user name space of its own are none over our files.
    let theirs = proc::as_tracee(&status.credentials, || {
        proc::link(&format!("/proc/{tid}/ns/user"))
    });
    let is_ours = theirs.is_ok() && theirs == proc::link("/proc/self/ns/user");
    Identity {
        uid: status.credentials.fsuid,
        gid: status.credentials.fsgid,
        groups: status.groups.clone(),
        capabilities: if is_ours {
            status.credentials.cap_effective
        } else {
            0
        },
    }
}

/// How a refused exec of a program that has begun already is told.
pub(super) const ENDED: Outcome = Outcome::Denied(libc::EPERM);
