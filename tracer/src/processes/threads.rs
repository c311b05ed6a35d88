//! The threads of traced processes: which process one belongs to.

use std::collections::HashSet;

use super::Processes;
use crate::proc;
use crate::sys::poll;

/// A thread that was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread {
    pub(super) pid: u32,
    /// When it was last seen to belong to that process (milliseconds, monotonic).
    pub(super) seen: u64,
}

/// How long a thread that has called is taken to be there still, milliseconds. Its id can come
/// to belong to another process only after the kernel has given out all the others, which
/// takes seconds of nothing but forks.
const TRUST: u64 = 100;
/// Where there are fewer ids than this, no thread is trusted.
const IDS_MIN: u64 = 32768;

/// Threads of a process that are remembered before those that have ended are looked for.
pub(super) const THREADS_ROOM: usize = 256;
impl Processes {
    /// The process of a thread, if it was seen before and is still the same.
    pub(crate) fn of_thread(&mut self, tid: u32) -> Option<u32> {
        let thread = self.threads.get_mut(&tid)?;
        let pid = thread.pid;
        // A leader's id is safe as long as its pidfd has not told of its end; a thread may
        // have ended, and its id been given to another process, unnoticed.
        if pid == tid {
            return Some(pid);
        }
        let now = poll::lately_ms();
        if now.saturating_sub(thread.seen) >= self.trust {
            if !std::fs::exists(format!("/proc/{pid}/task/{tid}")).unwrap_or(false) {
                return None;
            }
            thread.seen = now;
        }
        Some(pid)
    }

    /// Notes that a thread belongs to a process.
    pub(crate) fn add_thread(&mut self, tid: u32, pid: u32) {
        let seen = poll::lately_ms();
        self.births.saw(tid);
        let before = self.threads.insert(tid, Thread { pid, seen });
        if before.is_none_or(|before| before.pid != pid)
            && let Some(entry) = self.entries.get_mut(&pid)
        {
            entry.threads.push(tid);
            if entry.threads.len() >= entry.threads_room {
                self.forget_threads(pid);
            }
        }
    }

    /// Forgets the threads of a process that have ended, which nobody tells us of.
    fn forget_threads(&mut self, pid: u32) {
        let Some(entry) = self.entries.get_mut(&pid) else {
            return;
        };
        let living: HashSet<u32> = proc::threads(pid).into_iter().collect();
        let before = entry.threads.len();
        let (kept, ended) = std::mem::take(&mut entry.threads)
            .into_iter()
            .partition::<Vec<u32>, _>(|tid| *tid == pid || living.contains(tid));
        entry.threads = kept;
        entry.threads_room = (2 * entry.threads.len()).max(THREADS_ROOM).max(before / 2);
        for tid in ended {
            // Its id may be another process' by now.
            if self
                .threads
                .get(&tid)
                .is_some_and(|thread| thread.pid == pid)
            {
                self.threads.remove(&tid);
            }
        }
    }
}

/// How long a thread is trusted on this machine.
pub(super) fn trust() -> u64 {
    let text = proc::read("/proc/sys/kernel/pid_max", 32).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.trim().parse::<u64>() {
        Ok(ids) if ids >= IDS_MIN => TRUST,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::Board;

    #[test]
    fn threads_that_have_ended_are_forgotten() {
        let board = Board::map().unwrap();
        let mut processes = Processes::new([1; 3], 0, &board.cautions);
        let pid = std::process::id();
        processes.add(pid, None, &mut Vec::new()).unwrap();
        let own = crate::sys::process::own_tid() as u32;
        processes.add_thread(own, pid);
        // A server that makes a thread for each request.
        for tid in 0x4000_0000..0x4000_2000 {
            processes.add_thread(tid, pid);
        }
        assert!(
            processes.threads.len() <= 2 * THREADS_ROOM,
            "{}",
            processes.threads.len()
        );
        assert_eq!(processes.of_thread(own), Some(pid));
        processes.remove(pid);
        assert_eq!(processes.of_thread(own), None);
    }
}
