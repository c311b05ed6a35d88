//! Confirming execs.
//!
//! There are three ways to see whether an exec has succeeded:
//!
//! * The kernel takes a mark from a process at its first exec. A process that was only made until
//!   now, and asks for a program that is known to start as C libraries do, is looked at where it
//!   stops next, which is as its C library starts ([`crate::familiar`], [`crate::asked`]). It costs
//!   least: most programs are started so.
//! * The thread is seized before it is answered, so that the kernel stops it when the new program
//!   stands before its first instruction; then it is let go for good.
//! * Where that is not allowed, or a debugger is attached already, the 16 random bytes that the
//!   kernel gives each new program tell whether there is one.

mod closed;

use picket_events::{EventKind, File, Image, Outcome, text};

use self::closed::{Closed, runs_another};
use super::Worker;
use super::programs::NewProgram;
use crate::asked::Asked;
use crate::confirm::LOOKS;
use crate::debts::Owed;
use crate::decode::{Call, Located};
use crate::image;
use crate::memory::Memory;
use crate::proc;
use crate::resolve::Resolved;
use crate::sys::{poll, ptrace};
use crate::table::{Abi, Row};

/// An exec that was let through.
#[derive(Debug)]
pub(super) struct Attempt {
    tid: u32,
    /// The program as it was named.
    path: Option<Vec<u8>>,
    sign: Sign,
    looks: usize,
    since: u64,
    /// Counted as untold until this is gone.
    owed: Option<Owed>,
}

/// What shows that an exec has succeeded.
#[derive(Debug)]
enum Sign {
    /// The kernel stops the thread for us.
    Stop,
    /// It is the process' first: its mark is gone.
    First {
        asked: Asked,
        /// Where the path led to.
        found: Resolved,
        /// Where its strings were when it was last looked at.
        strings: Option<proc::Strings>,
    },
    /// The program's random bytes are others than these.
    Random([u8; 16]),
    /// The process is closed to us, and a new program is not.
    Closed(Closed),
}

impl Attempt {
    /// When to look (milliseconds, monotonic): never for one that stops by itself. One that
    /// takes longer than the last look is decided by the thread's next call, or its end.
    pub(super) fn due(&self) -> Option<u64> {
        let is_looked_for = !matches!(self.sign, Sign::Stop);
        let after = LOOKS.get(self.looks).filter(|_| is_looked_for)?;
        Some(self.since + after)
    }
}

/// The random bytes that the kernel gave the present program.
fn random_bytes(pid: u32, credentials: &picket_events::Credentials) -> Option<[u8; 16]> {
    let found = proc::as_tracee(credentials, || proc::auxiliary(pid)).ok()?;
    let mut bytes = [0u8; 16];
    Memory::open(pid, credentials)
        .ok()?
        .read(found.random, &mut bytes)
        .ok()?;
    Some(bytes)
}

/// What is asked for by a call that is to be confirmed by the process' mark; `None` where another
/// way has to be taken.
pub(super) fn first_exec(call: &Call<'_>, row: &Row) -> Option<Asked> {
    let process = call.process;
    let is_plain = row.name == "execve" && call.abi == Abi::NATIVE[0] && call.tid == process.pid;
    // A filter of its own can answer the call that it would be met at.
    if !is_plain || process.has_executed || process.has_own_filter {
        return None;
    }
    Asked::read(process.memory()?, call.args[0], call.args[1])
}

fn located(path: Vec<u8>) -> Located {
    Located {
        path,
        descriptor: None,
        follow: true,
        fault: None,
        below: None,
    }
}

impl Worker<'_> {
    /// Prepares to see whether an exec succeeds. `asked` is what [`first_exec`] gives.
    pub(super) fn await_exec(
        &mut self,
        (pid, tid): (u32, u32),
        path: Option<Vec<u8>>,
        asked: Option<Asked>,
        owed: Option<Owed>,
    ) {
        let is_ours = self.start.listener.is_none();
        let sign = if is_ours || self.seized.contains_key(&tid) {
            // A seizure left over from an exec that failed serves again.
            Sign::Stop
        } else if let Some((asked, found)) =
            asked.and_then(|asked| Some((asked, self.familiar_at(pid, path.as_deref())?)))
        {
            Sign::First {
                asked,
                found,
                strings: None,
            }
        } else if self.processes.seize(pid, tid, ptrace::OPTION_EXEC).is_ok() {
            self.seized.insert(tid, pid);
            Sign::Stop
        } else {
            let entry = self.processes.get(pid);
            match entry.and_then(|entry| random_bytes(pid, &entry.credentials)) {
                Some(bytes) => Sign::Random(bytes),
                None => match self.closed_before((pid, tid), path.as_deref()) {
                    Some(closed) => Sign::Closed(closed),
                    None => return,
                },
            }
        };
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        // What is open now would go on showing the old program; a vfork child's, its parent.
        if !matches!(sign, Sign::Closed(_)) {
            entry.drop_memory();
        }
        let since = poll::monotonic_ms();
        let attempt = Attempt {
            tid,
            path,
            sign,
            looks: 0,
            since,
            owed,
        };
        self.execs.insert(pid, attempt);
    }

    /// Where a path leads to, if that is a program that is known to start as usual, or nothing.
    fn familiar_at(&mut self, pid: u32, path: Option<&[u8]>) -> Option<Resolved> {
        let entry = self.processes.get(pid)?;
        let at = located(path?.to_vec());
        let found = self.looks.find(&entry.view(pid), &at, &self.mounts);
        let is_usual = match &found.metadata {
            Some(file) => self.familiar.knows(file),
            None => found.is_missing(),
        };
        is_usual.then_some(found)
    }

    /// The kernel has stopped a process at a new program.
    pub(super) fn executed(&mut self, pid: u32) {
        if self.processes.get(pid).is_none() {
            self.register(pid);
        }
        let new = NewProgram::of(pid, Outcome::Returned(0));
        let new = match self.execs.remove(&pid) {
            Some(attempt) => NewProgram {
                path: attempt.path,
                _owed: attempt.owed,
                ..new
            },
            None => new,
        };
        self.new_program(new);
    }

    /// The process makes another call: an exec of its own has failed, or has succeeded
    /// without a stop.
    pub(super) fn settle_exec(&mut self, pid: u32, tid: u32) {
        let Some(attempt) = self.execs.get(&pid) else {
            return;
        };
        // Another thread may go on while the exec is still under way.
        let is_its = attempt.tid == tid;
        match attempt.sign {
            Sign::Stop if is_its => {
                self.execs.remove(&pid);
                self.exec_failed(pid);
            }
            Sign::First { .. } if is_its => self.look_at_first(pid, true),
            Sign::Random(_) | Sign::Closed(_) => self.compare(pid, is_its),
            _ => {}
        }
    }

    /// An exec that was prepared for does not take place.
    pub(super) fn forget_exec(&mut self, pid: u32, tid: u32) {
        if self
            .execs
            .get(&pid)
            .is_some_and(|attempt| attempt.tid == tid)
        {
            self.execs.remove(&pid);
        }
    }

    /// A process goes on with its own program: its credentials, which were taken to be its
    /// parent's, have to be read after all.
    fn exec_failed(&mut self, pid: u32) {
        if let Some(entry) = self.processes.get_mut(pid)
            && entry.is_taken_after_parent
        {
            entry.stat = None;
            self.read_credentials(pid);
        }
    }

    /// Somebody has to be known by the program that runs now: looks at execs that do not show by
    /// themselves.
    pub(super) fn settle_every_exec(&mut self) {
        for pid in self.execs.keys().copied().collect::<Vec<_>>() {
            match self.execs.get(&pid).map(|attempt| &attempt.sign) {
                Some(Sign::First { .. }) => self.look_at_first(pid, false),
                Some(Sign::Random(_) | Sign::Closed(_)) => self.compare(pid, false),
                _ => {}
            }
        }
    }

    pub(super) fn settle_due_execs(&mut self, now: u64) {
        let due = self
            .execs
            .iter()
            .filter(|(_, attempt)| attempt.due().is_some_and(|due| due <= now));
        for pid in due.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            match self.execs[&pid].sign {
                Sign::First { .. } => self.look_at_first(pid, false),
                _ => self.compare(pid, false),
            }
        }
    }

    /// Looks whether the process has made its first exec. `returned`: the call has.
    fn look_at_first(&mut self, pid: u32, returned: bool) {
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let Ok(stat) = entry.stat_now() else {
            return; // it is gone, and its end is told next
        };
        let Some(attempt) = self.execs.get_mut(&pid) else {
            return;
        };
        attempt.looks += 1;
        let Sign::First { strings, .. } = &mut attempt.sign else {
            return;
        };
        // Before it has returned, the kernel may still be about to put them there.
        let is_settled = returned || strings.is_some() && *strings == stat.strings;
        *strings = stat.strings;
        match (stat.has_executed, is_settled) {
            (true, true) => {
                let Some(Attempt {
                    path, sign, owed, ..
                }) = self.execs.remove(&pid)
                else {
                    return;
                };
                let (asked, found) = match sign {
                    Sign::First { asked, found, .. } => (Some(asked), Some(found)),
                    _ => (None, None),
                };
                self.new_program(NewProgram {
                    path,
                    asked,
                    found,
                    _owed: owed,
                    stat: Some(stat),
                    ..NewProgram::of(pid, Outcome::Returned(0))
                });
            }
            (false, _) if returned => {
                self.execs.remove(&pid);
                self.exec_failed(pid);
            }
            _ => {}
        }
    }

    /// Looks whether the process runs another program than before.
    fn compare(&mut self, pid: u32, returned: bool) {
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let now = random_bytes(pid, &entry.credentials);
        let outcome = match (self.execs.get(&pid).map(|attempt| &attempt.sign), now) {
            (Some(Sign::Random(before)), Some(now)) if *before != now => Some(Outcome::Succeeded),
            (Some(Sign::Random(_)), Some(_)) => None,
            (Some(Sign::Closed(_)), Some(_)) if runs_another(entry) => Some(Outcome::Succeeded),
            (Some(Sign::Closed(closed)), None) if returned && closed.goes_on(entry) => None,
            // Nothing is known but that it was tried.
            _ if returned => Some(Outcome::Unconfirmed),
            _ => None,
        };
        if outcome.is_none() && !returned {
            if let Some(attempt) = self.execs.get_mut(&pid) {
                attempt.looks += 1;
            }
            return;
        }
        let attempt = self.execs.remove(&pid);
        match (outcome, attempt) {
            (Some(outcome), Some(Attempt { path, owed, .. })) => self.new_program(NewProgram {
                path,
                _owed: owed,
                ..NewProgram::of(pid, outcome)
            }),
            (_, attempt) => {
                let entry = self.processes.get_mut(pid);
                if let Some(Sign::Closed(closed)) = attempt.map(|attempt| attempt.sign)
                    && let Some(entry) = entry
                {
                    entry.take_memory_back(closed.before);
                }
                self.exec_failed(pid);
            }
        }
    }

    /// The process has ended before its exec could be confirmed.
    pub(super) fn exec_ended(&mut self, pid: u32) {
        let Some(Attempt {
            tid,
            path,
            sign,
            owed: _owed, // until it is told
            ..
        }) = self.execs.remove(&pid)
        else {
            return;
        };
        let Some((path, entry)) = path.zip(self.processes.get(pid)) else {
            return;
        };
        let (image, outcome) = match sign {
            Sign::Stop => return,
            Sign::Random(_) | Sign::Closed(_) => {
                let mut file = File::from_path(text::from_bytes(&path));
                file.fault = Some(picket_events::file::FileFault::Unresolved);
                let image = Image {
                    file,
                    ..Image::default()
                };
                (image, Outcome::Unconfirmed)
            }
            Sign::First { asked, .. } => {
                // Nobody may have waited for it yet: then its mark is still to be seen.
                let outcome = match entry.stat_now() {
                    Ok(stat) if !stat.has_executed => return,
                    Ok(_) => Outcome::Succeeded,
                    Err(_) => Outcome::Unconfirmed,
                };
                let at = located(path);
                let (file, _) = self.looks.look(&entry.view(pid), &at, &self.mounts);
                let (argv, argv_truncated) = image::scrubbed_arguments(asked.arguments());
                let image = Image {
                    comm: file.name.chars().take(15).collect(),
                    file,
                    argv,
                    argv_truncated,
                    envs_truncated: true,
                    tty: entry.image.tty.clone(),
                    cwd: entry.image.cwd.clone(),
                    ..Image::default()
                };
                (image, outcome)
            }
        };
        let kind = EventKind::Exec(Box::new(image));
        self.emit(pid, tid, poll::now(), outcome, kind);
    }
}
