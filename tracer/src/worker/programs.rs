//! New programs: read, told, and remembered as they begin.

use picket_events::{Credentials, EventKind, OpenInterest, Outcome};

use super::Worker;
use super::denying::ENDED;
use crate::asked::Asked;
use crate::debts::Owed;
use crate::image;
use crate::proc;
use crate::resolve::Resolved;
use crate::sys::{poll, process};

/// A process runs another program.
#[derive(Debug)]
pub(super) struct NewProgram {
    pub(super) pid: u32,
    pub(super) outcome: Outcome,
    /// The program as it was named.
    pub(super) path: Option<Vec<u8>>,
    /// What was asked for, where it is looked at after its first instructions.
    pub(super) asked: Option<Asked>,
    /// Where its name led to then.
    pub(super) found: Option<Resolved>,
    /// Its stat, where that was read already.
    pub(super) stat: Option<proc::Stat>,
    /// Counted as untold until this is gone.
    pub(super) _owed: Option<Owed>,
}

impl NewProgram {
    /// One of which nothing else is known.
    pub(super) fn of(pid: u32, outcome: Outcome) -> Self {
        Self {
            pid,
            outcome,
            path: None,
            asked: None,
            found: None,
            stat: None,
            _owed: None,
        }
    }
}

impl Worker<'_> {
    /// Reads the new program, and reports it.
    pub(super) fn new_program(&mut self, new: NewProgram) {
        let NewProgram { pid, outcome, .. } = new;
        self.settle_process(pid);
        let time = poll::now();
        // A setuid program, or capabilities lost.
        let is_worked_out = new.asked.is_some() && self.work_out_credentials(pid);
        if !is_worked_out {
            self.read_credentials(pid);
        }
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        self.start.board.is_about(pid);
        entry.caution = entry.caution.after_exec();
        entry.drop_memory();
        entry.pass_memory(pid);
        entry.look_for_root();
        let open = entry.stat.take();
        let stat = new
            .stat
            .or_else(|| open.and_then(|stat| stat.read_as_tracee(&entry.credentials).ok()));
        entry.executed_at = time;
        entry.has_executed = true;
        entry.has_timer = false;
        entry.is_new_program = self.start.listener.is_some() && new.asked.is_none();
        (entry.asks_in_sight, entry.hears_in_sight) = (false, false);
        let program = image::Program {
            view: &entry.view(pid),
            memory: entry.memory(),
            named: new.path.as_deref(),
            is_fresh: outcome == Outcome::Returned(0),
            asked: new.asked.as_ref(),
            found: new.found.as_ref(),
            stat,
            may_be_read: true,
        };
        let environments = &mut self.environments;
        let image::Read {
            image,
            is_as_asked,
            is_by_name,
        } = image::read(&program, &self.mounts, &mut self.looks, environments);
        entry.drop_memory();
        entry.image = self.transport.share(&image);
        let running = image.interpreter.as_ref().unwrap_or(&image.file);
        let is_familiar = new.asked.is_none() || is_as_asked && self.familiar.knows(running);
        let is_certain = is_familiar && !is_by_name;
        if !is_as_asked {
            self.familiar.is_odd(running);
        }
        if is_worked_out && running.mode & (libc::S_ISUID | libc::S_ISGID) != 0 {
            self.read_credentials(pid);
        }
        self.note_privilege_lost(pid, &image);
        let outcome = match (self.end_if_denied(pid, &image), is_certain) {
            (true, _) => ENDED,
            (false, true) => outcome,
            (false, false) => Outcome::Unconfirmed,
        };
        if !self.emit(pid, pid, time, outcome, EventKind::Exec(Box::new(image)))
            && let Some(entry) = self.processes.get_mut(pid)
        {
            entry.is_announced = false;
        }
    }

    /// The start of a C library: mostly that of a new program.
    pub(super) fn begins(&mut self, tid: u32) {
        if self.processes.is_another(tid) {
            self.process_ended(tid);
        }
        // One that is not known is told by its first call that says something.
        let Some(pid) = self.processes.of_thread(tid) else {
            return;
        };
        self.start.board.is_about(pid);
        self.settle_thread(tid);
        self.settle_exec(pid, tid);
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        if std::mem::take(&mut entry.is_new_program) {
            let image = &entry.image;
            for file in image.interpreter.iter().chain([&image.file]) {
                self.familiar.has_begun(file);
            }
        } else if !entry.has_executed && !self.execs.contains_key(&pid) {
            // The worker before us was let down while this one's exec was under way.
            let stat = proc::stat_as_tracee(pid, &entry.credentials).ok();
            if stat.as_ref().is_some_and(|stat| stat.has_executed) {
                self.new_program(NewProgram {
                    stat,
                    ..NewProgram::of(pid, Outcome::Succeeded)
                });
            }
        }
    }

    /// Works out the credentials after an exec of a program that gives none: what gives other ids is
    /// always stopped for, so they are those before, of which an exec makes the saved ones and those
    /// for files the effective ones (`cap_bprm_creds_from_file` of Linux). Capabilities are asked for.
    /// False where too little is known for it.
    fn work_out_credentials(&mut self, pid: u32) -> bool {
        let Some(entry) = self.processes.get_mut(pid) else {
            return false;
        };
        let is_login_known = self.interest.open != OpenInterest::None && !entry.may_change_login;
        let Some((effective, permitted)) = is_login_known
            .then(|| process::capabilities(pid).ok())
            .flatten()
        else {
            return false;
        };
        let before = &entry.credentials;
        let credentials = Credentials {
            suid: before.euid,
            fsuid: before.euid,
            sgid: before.egid,
            fsgid: before.egid,
            cap_effective: effective,
            cap_permitted: permitted,
            ..before.clone()
        };
        self.take_credentials(pid, credentials);
        true
    }

    /// Reads the credentials of a process anew, and tells of them if they are others than
    /// before.
    pub(super) fn read_credentials(&mut self, pid: u32) {
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        let can_be_seen = self.interest.open != OpenInterest::None;
        let login = (can_be_seen && !entry.may_change_login).then_some(entry.credentials.auid);
        let Ok(status) = proc::status(pid, login) else {
            return;
        };
        self.take_credentials(pid, status.credentials);
    }

    fn take_credentials(&mut self, pid: u32, credentials: Credentials) {
        let Some(entry) = self.processes.get_mut(pid) else {
            return;
        };
        entry.is_taken_after_parent = false;
        if credentials != entry.credentials {
            // An exec does not tell ids, so the process is told again.
            entry.credentials = credentials;
            let process = entry.describe();
            self.tell_process(process);
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
