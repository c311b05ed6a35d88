//! Whether a process can have made others that are not known.
//!
//! The children of a process that is about to end have to be known before. To ask the kernel for
//! them takes a look at each thread, and nearly every process has none: most are the last that
//! were made, and end within moments. The kernel gives ids out in order, and tells the last it
//! gave in our PID name space, for one system call.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::{files, poll};

/// Ids remembered as those of processes and threads that are known.
const SEEN_MAX: usize = 64;
/// For how long after its start a process' later ids are no recycled ones, nanoseconds: giving
/// out all of them takes seconds of nothing but forks.
const YOUNG: u64 = 100_000_000;
/// `PROC_SUPER_MAGIC`.
const PROC: u32 = 0x9fa0;

/// The ids that were given out last.
#[derive(Debug)]
pub(crate) struct Births {
    /// `/proc/loadavg`, whose last word is the id that was given out last.
    last: Option<OwnedFd>,
    seen: VecDeque<u32>,
}

impl Births {
    /// Remembers nothing where ids are few, and so come back soon.
    pub(crate) fn new(has_many_ids: bool) -> Self {
        let path = c"/proc/loadavg";
        // Containers may have something else there, which does not know of ids.
        let is_kernels = files::file_system_magic(path) == Ok(PROC);
        let last = files::open(path, libc::O_RDONLY, 0).ok();
        Self {
            last: last.filter(|_| is_kernels && has_many_ids),
            seen: VecDeque::with_capacity(SEEN_MAX),
        }
    }

    /// A process or thread is known from now on.
    pub(crate) fn saw(&mut self, id: u32) {
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(id);
    }

    /// Whether everything that was made after a process is known: false as well where that
    /// cannot be told. `started_at` in nanoseconds since boot.
    pub(crate) fn are_known_since(&self, pid: u32, started_at: u64) -> bool {
        poll::since_boot().saturating_sub(started_at) < YOUNG
            && self.last().is_some_and(|last| {
                let count = last.wrapping_sub(pid) as usize;
                count <= SEEN_MAX && (pid..=last).skip(1).all(|id| self.seen.contains(&id))
            })
    }

    fn last(&self) -> Option<u32> {
        let mut text = [0; 128];
        let length = files::read_at(self.last.as_ref()?.as_fd(), &mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..length]).ok()?;
        text.trim_end().rsplit(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn a_process_that_was_made_later_and_not_seen_is_unknown() {
        let mut births = Births::new(true);
        let mut one = sleeper();
        let mut other = sleeper();
        assert!(!births.are_known_since(one.id(), poll::since_boot()));
        births.saw(other.id());
        // Others that run on this machine make processes, too.
        let last = births.last().unwrap();
        assert!(last >= other.id() || last < one.id());
        (one.id()..=last).for_each(|id| births.saw(id));
        let is_last = |births: &Births| births.last() == Some(last);
        if is_last(&births) && last.wrapping_sub(one.id()) < SEEN_MAX as u32 {
            let known = births.are_known_since(one.id(), poll::since_boot());
            assert!(known || !is_last(&births));
        }
        for child in [&mut one, &mut other] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    #[test]
    fn of_an_old_process_and_where_ids_are_few_nothing_is_said() {
        let births = Births::new(true);
        let last = births.last().unwrap();
        assert!(!births.are_known_since(last, poll::since_boot() - YOUNG));
        assert!(!Births::new(false).are_known_since(last, poll::since_boot()));
    }
}
