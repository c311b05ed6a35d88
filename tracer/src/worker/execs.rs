//! Confirming execs.
//!
//! Before an exec is answered, its thread is seized, so that the kernel stops it when the new
//! program stands before its first instruction; then it is let go for good. Where that is not
//! allowed, or a debugger is attached already, the 16 random bytes that the kernel gives each
//! new program tell whether there is one.

use picket_events::{EventKind, OpenInterest, Outcome};

use super::Worker;
use super::denying::ENDED;
use crate::confirm::LOOKS;
use crate::debts::Owed;
use crate::image;
use crate::memory::Memory;
use crate::proc;
use crate::sys::{poll, ptrace};

/// An exec that was let through.
#[derive(Debug)]
pub(super) struct Attempt {
    tid: u32,
    /// The program as it was named.
    path: Option<Vec<u8>>,
    /// Without a seizure: the random bytes of the program before.
    random: Option<[u8; 16]>,
    /// Whether the kernel will stop it for us.
    is_seized: bool,
    looks: usize,
    since: u64,
    /// Counted as untold until this is gone.
    _owed: Option<Owed>,
}

impl Attempt {
    /// When to look (milliseconds, monotonic): never for one that stops by itself. One that
    /// takes longer than the last look is decided by the thread's next call, or its end.
    pub(super) fn due(&self) -> Option<u64> {
        let after = LOOKS.get(self.looks).filter(|_| !self.is_seized)?;
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

impl Worker<'_> {
    /// Prepares to see whether an exec succeeds.
    pub(super) fn await_exec(
        &mut self,
        pid: u32,
        tid: u32,
        path: Option<Vec<u8>>,
        owed: Option<Owed>,
    ) {
        // One left over from an exec that failed serves again.
        let is_ours = self.start.listener.is_none();
        let is_seized = is_ours
            || self.seized.contains_key(&tid)
            || ptrace::seize(tid, ptrace::OPTION_EXEC).is_ok();
        if is_seized && !is_ours {
            self.seized.insert(tid, pid);
        }
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        let random = if is_seized {
            None
        } else {
            random_bytes(pid, &entry.credentials)
        };
        // What is open now would go on showing the old program; a vfork child's, its parent.
        entry.drop_memory();
        let since = poll::monotonic_ms();
        self.execs.insert(
            pid,
            Attempt {
                tid,
                path,
                random,
                is_seized,
                looks: 0,
                since,
                _owed: owed,
            },
        );
    }

    /// The kernel has stopped a process at a new program.
    pub(super) fn executed(&mut self, pid: u32) {
        if self.processes.get(pid).is_none() {
            self.register(pid);
        }
        let mut attempt = self.execs.remove(&pid); // owed until it is told
        let path = attempt.as_mut().and_then(|attempt| attempt.path.take());
        self.new_program(pid, path, Outcome::Returned(0));
    }

    /// The process makes another call: an exec of its own has failed, or has succeeded
    /// without a stop.
    pub(super) fn settle_exec(&mut self, pid: u32, tid: u32) {
        let Some(attempt) = self.execs.get(&pid) else {
            return;
        };
        if attempt.is_seized {
            // Another thread may go on while the exec is still under way.
            if attempt.tid == tid {
                self.execs.remove(&pid);
                self.exec_failed(pid);
            }
            return;
        }
        self.compare(pid, attempt.tid == tid);
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

    /// Reads the credentials of a process anew, and tells of them if they are others than
    /// before.
    fn read_credentials(&mut self, pid: u32) {
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        let can_be_seen = self.interest.open != OpenInterest::None;
        let login = (can_be_seen && !entry.may_change_login).then_some(entry.credentials.auid);
        let Ok(status) = proc::status(pid, login) else {
            return;
        };
        entry.is_taken_after_parent = false;
        if status.credentials != entry.credentials {
            // An exec does not tell ids, so the process is told again.
            entry.credentials = status.credentials;
            let process = entry.describe();
            self.tell_process(process);
        }
    }

    pub(super) fn settle_due_execs(&mut self, now: u64) {
        let due = self
            .execs
            .iter()
            .filter(|(_, attempt)| attempt.due().is_some_and(|due| due <= now));
        for pid in due.map(|(pid, _)| *pid).collect::<Vec<_>>() {
            self.compare(pid, false);
        }
    }

    /// Looks whether the process runs another program than before.
    fn compare(&mut self, pid: u32, returned: bool) {
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let now = random_bytes(pid, &entry.credentials);
        let Some(attempt) = self.execs.get_mut(&pid) else {
            return;
        };
        attempt.looks += 1;
        let outcome = match (attempt.random, now) {
            (Some(before), Some(now)) if before != now => Some(Outcome::Succeeded),
            (Some(_), Some(_)) => None,
            // Neither could be read: nothing is known but that it was tried.
            _ if returned => Some(Outcome::Unconfirmed),
            _ => None,
        };
        if outcome.is_none() && !returned {
            return;
        }
        let mut attempt = self.execs.remove(&pid); // owed until it is told
        let path = attempt.as_mut().and_then(|attempt| attempt.path.take());
        match outcome {
            Some(outcome) => self.new_program(pid, path, outcome),
            None => self.exec_failed(pid),
        }
    }

    /// The process has ended before its exec could be confirmed.
    pub(super) fn exec_ended(&mut self, pid: u32) {
        let Some(mut attempt) = self.execs.remove(&pid) else {
            return;
        };
        let Some(path) = attempt.path.take().filter(|_| !attempt.is_seized) else {
            return;
        };
        let mut file = picket_events::File::from_path(picket_events::text::from_bytes(&path));
        file.fault = Some(picket_events::file::FileFault::Unresolved);
        let image = picket_events::Image {
            file,
            ..picket_events::Image::default()
        };
        let kind = EventKind::Exec(Box::new(image));
        self.emit(pid, attempt.tid, poll::now(), Outcome::Unconfirmed, kind);
    }

    /// Reads the new program, and reports it.
    fn new_program(&mut self, pid: u32, path: Option<Vec<u8>>, outcome: Outcome) {
        self.settle_process(pid);
        let time = poll::now();
        // A setuid program, or capabilities lost.
        self.read_credentials(pid);
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        self.start.board.is_about(pid);
        entry.caution = entry.caution.after_exec();
        entry.drop_memory();
        entry.pass_memory(pid);
        let stat = entry.stat.take();
        entry.executed_at = time;
        (entry.asks_in_sight, entry.hears_in_sight) = (false, false);
        let program = image::Program {
            view: &entry.view(pid),
            memory: entry.memory(),
            named: path.as_deref(),
            is_fresh: outcome == Outcome::Returned(0),
            stat,
            may_be_read: true,
        };
        let environments = &mut self.environments;
        let image = image::read(&program, &self.mounts, &mut self.looks, environments);
        entry.drop_memory();
        entry.image = self.transport.share(&image);
        self.note_privilege_lost(pid, &image);
        let outcome = match self.end_if_denied(pid, &image) {
            true => ENDED,
            false => outcome,
        };
        if !self.emit(pid, pid, time, outcome, EventKind::Exec(Box::new(image)))
            && let Some(entry) = self.processes.get_mut(pid)
        {
            entry.is_announced = false;
        }
    }

    /// Tells when a program that would have given privileges could not, because of
    /// no_new_privs.
    fn note_privilege_lost(&mut self, pid: u32, image: &picket_events::Image) {
        let Some(entry) = self.processes.get(pid) else {
            return;
        };
        let is_setuid = image.file.mode & libc::S_ISUID != 0;
        let would_change = is_setuid && image.file.uid != entry.credentials.euid;
        if would_change {
            let path = image.file.path.clone();
            let notice = picket_events::wire::Notice::PrivilegeLost { pid, path };
            self.transport
                .push(&picket_events::wire::ToAgent::Notice(notice));
        }
    }
}
