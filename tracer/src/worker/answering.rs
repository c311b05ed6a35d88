//! Answering calls that we make in the caller's place.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use picket_events::{EventKind, File, Outcome};

use super::Worker;
use crate::confirm::{self, Check};
use crate::decode::acts::{self, Act};
use crate::decode::{self, Answer, Call, Done};
use crate::proc;
use crate::resolve::Resolved;
use crate::sys::seccomp::{self, Data};
use crate::sys::{Errno, files, poll};
use crate::table::{self, Abi};

/// An open in a thread of its own, and what is told of it.
#[derive(Debug)]
pub(super) struct Apart {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) time: u64,
    pub(super) close_on_exec: bool,
    pub(super) told: Option<(EventKind, Check)>,
}

/// A call that we have made for a thread which did not take the answer.
#[derive(Debug)]
pub(super) struct Unclaimed {
    data: Data,
    done: Done,
    at: (u32, u32, u64),
    /// Milliseconds, monotonic.
    since: u64,
    /// The thread is attached to: it stops for us before it does anything else, and may take its time.
    is_attached: bool,
}

/// How long a thread that we are not attached to has to make its call again, milliseconds: a handler
/// of a signal may run before.
const CLAIM_WITHIN: u64 = 1_000;

impl Unclaimed {
    /// Whether a call of its thread is the one that was made.
    fn is_of(&self, data: &Data, act: &Act) -> bool {
        self.data == *data && self.done.act.as_ref() == Some(act)
    }

    /// Whether it is the call in which the thread, that we are attached to, was interrupted.
    pub(super) fn is_for(&self, data: &Data) -> bool {
        self.is_attached && self.data == *data
    }

    fn is_open(&self, now: u64) -> bool {
        self.is_attached || now.saturating_sub(self.since) < CLAIM_WITHIN
    }

    /// What its thread is to get.
    pub(super) fn answer(&self) -> &Answer {
        &self.done.answer
    }
}

impl Worker<'_> {
    /// Gives the caller what a call that we made in its place has come to, and reports that.
    pub(super) fn answer_in_its_place(
        &mut self,
        listener: BorrowedFd<'_>,
        (id, data): (u64, Data),
        done: Done,
        at: (u32, u32, u64),
    ) {
        let Done {
            act,
            mut answer,
            told,
        } = done;
        let (_, tid, _) = at;
        let mut may_be_dropped = false;
        let mut look = || may_be_dropped = self.may_drop(tid);
        let (value, opened) = match &mut answer {
            Answer::Value(value) => {
                look();
                (answer_value(listener, id, *value), None)
            }
            Answer::Descriptor {
                file,
                close_on_exec,
                left,
            } => {
                // Before it is theirs, to be closed again at once.
                let seen = self.file_behind(file.as_fd());
                let value =
                    answer_descriptor((listener, id), file.as_fd(), *close_on_exec, left, look);
                (value, Some(seen))
            }
            Answer::Later { .. } => {
                self.begin_apart(listener, id, answer, (at, told));
                self.start.board.answered();
                return;
            }
        };
        self.start.board.answered();
        if let Some(value) = value
            && !self.waits_are_killable
        {
            if may_be_dropped {
                self.note_given(tid, data, value);
            }
            self.send_kept_back(tid);
        }
        match (value, told) {
            (Some(value), Some(told)) => self.made(at, told, opened, value),
            // A signal was faster: the kernel makes the call again, which we have made already.
            (None, told) if !self.waits_are_killable => {
                let done = Done { act, answer, told };
                let unclaimed = Unclaimed {
                    data,
                    done,
                    at,
                    since: poll::monotonic_ms(),
                    is_attached: self.is_attached(tid),
                };
                self.unclaimed.insert(tid, unclaimed);
            }
            _ => {}
        }
    }

    /// A call that we have made was put into the registers of its thread.
    pub(super) fn tell_made(&mut self, unclaimed: Unclaimed, value: i64) {
        let Done { answer, told, .. } = unclaimed.done;
        let opened = match &answer {
            Answer::Descriptor { file, .. } => Some(self.file_behind(file.as_fd())),
            _ => None,
        };
        if let Some(told) = told {
            self.made(unclaimed.at, told, opened, value);
        }
    }

    /// What a call has come to that we have made in the caller's place before, when a signal
    /// kept the caller from taking it.
    pub(super) fn claimed(&mut self, tid: u32, data: &Data) -> Option<(Done, (u32, u32, u64))> {
        if self.unclaimed.is_empty() {
            return None;
        }
        let now = poll::monotonic_ms();
        self.unclaimed.retain(|_, unclaimed| unclaimed.is_open(now));
        // Its memory may say something else by now: then it is another call, in the same place.
        let is_same = self.unclaimed.get(&tid)?.data == *data;
        let act = is_same.then(|| self.act_of(tid, data)).flatten()?;
        let is_it = self
            .unclaimed
            .get(&tid)
            .is_some_and(|one| one.is_of(data, &act));
        let unclaimed = is_it.then(|| self.unclaimed.remove(&tid)).flatten()?;
        Some((unclaimed.done, unclaimed.at))
    }

    /// What a call asks for.
    fn act_of(&mut self, tid: u32, data: &Data) -> Option<Act> {
        let (abi, number) = Abi::of(data.arch, data.number as u32)?;
        let row = table::find(abi, number)?;
        let pid = self.process_of(tid)?;
        self.processes.open_memory(pid, tid);
        let call = Call {
            name: row.name,
            abi,
            args: data.args,
            tid,
            process: self.processes.get(pid)?,
            mounts: &self.mounts,
            own: &self.own,
        };
        acts::act(&call, row.name).ok()
    }

    /// Opens what may block in a thread of its own.
    fn begin_apart(
        &mut self,
        listener: BorrowedFd<'_>,
        id: u64,
        answer: Answer,
        ((pid, tid, time), told): ((u32, u32, u64), Option<(EventKind, Check)>),
    ) {
        let Answer::Later {
            pinned,
            flags,
            identity,
        } = answer
        else {
            return;
        };
        let apart = Apart {
            pid,
            tid,
            time,
            close_on_exec: flags & libc::O_CLOEXEC as u32 != 0,
            told,
        };
        const MAKING: u32 = 0o100 | 0o200;
        let flags = (flags & !MAKING) as i32 & !libc::O_NOFOLLOW;
        let begun = self.openers.as_mut().is_some_and(|openers| {
            let board = self.start.board;
            openers.begin(board, (id, tid), (pinned, flags), identity, apart)
        });
        if !begun {
            answer_value(listener, id, -i64::from(libc::ENFILE));
        }
    }

    /// Reports a call that we have made in the caller's place; `opened` is what it was given.
    fn made(
        &mut self,
        at: (u32, u32, u64),
        (mut kind, check): (EventKind, Check),
        opened: Option<File>,
        value: i64,
    ) {
        match opened.filter(|_| value >= 0) {
            Some(file) => {
                let (pid, tid, time) = at;
                confirm::set_file(&mut kind, file);
                self.emit(pid, tid, time, Outcome::Returned(value), kind);
            }
            None => self.returned(at, kind, check, value),
        }
    }

    /// What a descriptor of ours refers to.
    fn file_behind(&self, file: BorrowedFd<'_>) -> File {
        let resolved = Resolved {
            path: proc::link(&format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default(),
            metadata: files::metadata(file.as_raw_fd(), c"", false).ok(),
            error: None,
            is_fleeting: false,
        };
        decode::file_of(&resolved, &self.mounts)
    }

    /// Opens that were made in threads of their own have ended.
    pub(super) fn opened(&mut self) {
        let Some(listener) = self.start.listener else {
            return;
        };
        let ended = self.openers.as_mut().map(crate::openers::Openers::ended);
        for opened in ended.into_iter().flatten() {
            let close_on_exec = opened.subject.close_on_exec;
            let seen = match &opened.result {
                Ok(file) => Some(self.file_behind(file.as_fd())),
                Err(_) => None,
            };
            let value = match &opened.result {
                // Where a signal comes in the last moment, the caller keeps it without knowing.
                Ok(file) => {
                    let to = (listener, opened.id);
                    answer_descriptor(to, file.as_fd(), close_on_exec, &mut None, || ())
                }
                Err(errno) => answer_value(listener, opened.id, -i64::from(errno.0)),
            };
            opened.answered(self.start.board);
            let Apart {
                pid,
                tid,
                time,
                told,
                ..
            } = opened.subject;
            if let (Some(value), Some(told)) = (value, told) {
                self.made((pid, tid, time), told, seen, value);
            }
        }
    }

    /// Gives up opens whose callers are gone, and those whose callers have got a signal: a call
    /// that is taken from the kernel is not interrupted by one.
    pub(super) fn look_at_openers(&mut self) {
        let (Some(openers), Some(listener)) = (&mut self.openers, self.start.listener) else {
            return;
        };
        openers.look(self.start.board, |id, tid| {
            if !seccomp::is_valid(listener, id) {
                return false;
            }
            if !proc::has_signal(tid) {
                return true;
            }
            let _ = seccomp::answer_errno(listener, id, libc::EINTR);
            false
        });
    }
}

fn answer_value(listener: BorrowedFd<'_>, id: u64, value: i64) -> Option<i64> {
    let answered = match value {
        0.. => seccomp::answer_value(listener, id, value),
        errno => seccomp::answer_errno(listener, id, -errno as i32),
    };
    // A failed answer means that the thread is gone.
    answered.is_ok().then_some(value)
}

fn answer_descriptor(
    (listener, id): (BorrowedFd<'_>, u64),
    file: BorrowedFd<'_>,
    close_on_exec: bool,
    left: &mut Option<u32>,
    between: impl FnOnce(),
) -> Option<i64> {
    match seccomp::answer_descriptor(listener, id, file, close_on_exec, left, between) {
        Ok(number) => Some(number),
        Err(Errno(libc::ENOENT | libc::EINPROGRESS)) => None,
        // It has too many open.
        Err(errno) => answer_value(listener, id, -i64::from(errno.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::Located;

    fn mkdir(path: &str) -> Act {
        let at = Located {
            path: path.into(),
            descriptor: None,
            follow: false,
            fault: None,
            below: None,
        };
        Act::Mkdir { at, mode: 0o755 }
    }

    /// A program that gives up after EINTR may write another path to the same place.
    #[test]
    fn a_call_with_another_path_in_the_same_place_is_made() {
        let data = Data {
            number: 83,
            args: [0x1000, 0o755, 0, 0, 0, 0],
            ..Data::default()
        };
        let unclaimed = Unclaimed {
            data,
            done: Done {
                act: Some(mkdir("/a")),
                answer: Answer::Value(0),
                told: None,
            },
            at: (1, 1, 0),
            since: 0,
            is_attached: false,
        };
        assert!(unclaimed.is_of(&data, &mkdir("/a")));
        assert!(!unclaimed.is_of(&data, &mkdir("/b")));
        let mut other = data;
        other.args[1] = 0o700;
        assert!(!unclaimed.is_of(&other, &mkdir("/a")));
    }
}
