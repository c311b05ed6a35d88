//! Processes whose calls have held a worker up.
//!
//! To follow a path, or to read a page of memory, takes a file system, and one that hangs holds
//! whoever asks it. A worker that hangs is replaced, and the next would hang at the same process'
//! next call. So it is told who it was, and takes less of a look there for a while: first it tells
//! paths as they were written, without following them; if that is not enough, it reads no memory
//! either.

use std::sync::atomic::{AtomicU64, Ordering};

/// How long a process is treated with caution, milliseconds.
const LASTS: u64 = 60_000;
/// Processes remembered at once.
const PLACES: usize = 16;

/// What is left out for a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Degree {
    /// Nothing.
    #[default]
    None,
    /// Its paths are not followed.
    Paths,
    /// Nor is its memory read.
    Memory,
}

/// How careful to be with a process, and until when.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Caution {
    degree: Degree,
    /// Milliseconds, monotonic.
    until: u64,
}

impl Caution {
    /// Whether its paths may be followed.
    pub(crate) fn allows_paths(self, now: impl FnOnce() -> u64) -> bool {
        self.degree < Degree::Paths || now() >= self.until
    }

    /// Whether its memory may be read.
    pub(crate) fn allows_memory(self, now: impl FnOnce() -> u64) -> bool {
        self.degree < Degree::Memory || now() >= self.until
    }

    /// A new program's memory is the kernel's own work.
    pub(crate) fn after_exec(self) -> Self {
        let degree = self.degree.min(Degree::Paths);
        Self { degree, ..self }
    }
}

/// The processes that are treated with caution, in memory that keeper and workers share.
#[derive(Debug)]
pub(crate) struct Cautions([Place; PLACES]);

/// Written by the keeper alone, while there is no worker, and read by the worker.
#[derive(Debug)]
struct Place {
    /// Process id, and the degree in the two lowest bits.
    who: AtomicU64,
    /// Milliseconds, monotonic.
    until: AtomicU64,
}

impl Cautions {
    /// A process has held a worker up: the next is to be more careful with it.
    pub(crate) fn raise(&self, pid: u32, now: u64) {
        let degree = match self.of(pid).filter(|caution| now < caution.until) {
            None => Degree::Paths,
            Some(_) => Degree::Memory,
        };
        let its = |place: &&Place| place.who.load(Ordering::Acquire) >> 2 == u64::from(pid);
        let oldest = || {
            let until = |place: &&Place| place.until.load(Ordering::Acquire);
            self.0.iter().min_by_key(until)
        };
        if let Some(place) = self.0.iter().find(its).or_else(oldest) {
            place.until.store(now + LASTS, Ordering::Release);
            let who = u64::from(pid) << 2 | degree as u64;
            place.who.store(who, Ordering::Release);
        }
    }

    /// How careful to be with a process; `None` where nothing is known of it.
    pub(crate) fn of(&self, pid: u32) -> Option<Caution> {
        self.0.iter().find_map(|place| {
            let who = place.who.load(Ordering::Acquire);
            let degree = match who & 3 {
                1 => Degree::Paths,
                2 => Degree::Memory,
                _ => return None,
            };
            let until = place.until.load(Ordering::Acquire);
            (who >> 2 == u64::from(pid)).then_some(Caution { degree, until })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cautions() -> Cautions {
        Cautions(std::array::from_fn(|_| Place {
            who: AtomicU64::new(0),
            until: AtomicU64::new(0),
        }))
    }

    #[test]
    fn caution_grows_and_ends() {
        let cautions = cautions();
        assert_eq!(cautions.of(7), None);
        cautions.raise(7, 1000);
        let first = cautions.of(7).unwrap();
        assert!(!first.allows_paths(|| 1001) && first.allows_memory(|| 1001));
        assert!(first.allows_paths(|| 1000 + LASTS));
        cautions.raise(7, 2000);
        let second = cautions.of(7).unwrap();
        assert!(!second.allows_paths(|| 2001) && !second.allows_memory(|| 2001));
        assert_eq!(second.after_exec().degree, Degree::Paths);
        cautions.raise(7, 2000 + LASTS);
        assert!(cautions.of(7).unwrap().allows_memory(|| 2001 + LASTS));
    }

    #[test]
    fn the_oldest_makes_room() {
        let cautions = cautions();
        for pid in 1..=PLACES as u32 + 1 {
            cautions.raise(pid, u64::from(pid));
        }
        assert_eq!(cautions.of(1), None);
        assert!((2..=PLACES as u32 + 1).all(|pid| cautions.of(pid).is_some()));
    }
}
