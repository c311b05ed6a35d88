//! Opens of watched files that are told, or about to be, each of which inotify tells of as well.

use std::collections::VecDeque;

/// For how long an open that was told waits for what inotify tells of it, milliseconds.
const AWAITED_FOR: u64 = 100;
/// Opens remembered, and for how long (milliseconds): as long as one may be looked for by what
/// programs were started with.
const KEPT_MAX: usize = 512;
pub(super) const KEPT_FOR: u64 = 1_000;

/// Which file of which thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opener {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) device: u64,
    pub(super) inode: u64,
}

impl Opener {
    fn is_of(&self, file: (u64, u64)) -> bool {
        (self.device, self.inode) == file
    }
}

/// An open that was told, or is about to be.
#[derive(Debug, Clone, Copy)]
struct Open {
    opener: Opener,
    /// Milliseconds, monotonic.
    at: u64,
    is_told: bool,
    /// inotify has told of it.
    is_noticed: bool,
}

/// What of the opens that inotify tells of is told in another way.
#[derive(Debug, Default)]
pub(super) struct Opens(VecDeque<Open>);

impl Opens {
    /// An open is told because the filter has stopped for it.
    pub(super) fn told(&mut self, opener: Opener, now: u64) {
        let awaited = self
            .0
            .iter_mut()
            .find(|open| open.opener == opener && !open.is_told && open.at + AWAITED_FOR >= now);
        match awaited {
            Some(open) => open.is_told = true,
            None => self.push(opener, now, true, false),
        }
    }

    /// inotify tells of opens of a file, some of which may be told already or be told later: by
    /// `waiting`, whose calls are not settled yet. Gives whether that is so.
    pub(super) fn noticed(&mut self, file: (u64, u64), waiting: &[Opener], now: u64) -> bool {
        self.0.retain(|open| open.at + KEPT_FOR >= now);
        let mut is_known = false;
        for open in self.0.iter_mut().filter(|open| open.opener.is_of(file)) {
            is_known |= !open.is_noticed && open.at + AWAITED_FOR >= now;
            open.is_noticed = true;
        }
        for opener in waiting.iter().filter(|opener| opener.is_of(file)) {
            let is_new = |open: &Open| open.opener != *opener || open.is_told;
            if self.0.iter().all(is_new) {
                self.push(*opener, now, false, true);
                is_known = true;
            }
        }
        is_known
    }

    /// A read that inotify has told of is told with its process.
    pub(super) fn found(&mut self, opener: Opener, now: u64) {
        self.push(opener, now, true, true);
    }

    /// Whether a process was told to have opened a file, or is about to be.
    pub(super) fn are_of(&self, pid: u32, file: (u64, u64)) -> bool {
        let mut opens = self.0.iter();
        opens.any(|open| open.opener.pid == pid && open.opener.is_of(file))
    }

    /// The same, of a moment ago.
    pub(super) fn are_just_of(&self, pid: u32, file: (u64, u64), now: u64) -> bool {
        let mut opens = self.0.iter().filter(|open| open.at + AWAITED_FOR >= now);
        opens.any(|open| open.opener.pid == pid && open.opener.is_of(file))
    }

    fn push(&mut self, opener: Opener, at: u64, is_told: bool, is_noticed: bool) {
        self.0.truncate(KEPT_MAX - 1);
        self.0.push_front(Open {
            opener,
            at,
            is_told,
            is_noticed,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (u64, u64) = (1, 2);

    fn by(pid: u32) -> Opener {
        Opener {
            pid,
            tid: pid,
            device: FILE.0,
            inode: FILE.1,
        }
    }

    #[test]
    fn an_open_that_is_told_answers_for_one_notice_and_not_for_the_next() {
        let mut opens = Opens::default();
        opens.told(by(7), 10);
        assert!(!opens.noticed((1, 3), &[], 11), "another file");
        assert!(opens.noticed(FILE, &[], 11));
        assert!(!opens.noticed(FILE, &[], 12));
        opens.told(by(7), 20);
        assert!(!opens.noticed(FILE, &[], 21 + AWAITED_FOR), "too late");
    }

    #[test]
    fn an_open_that_is_told_after_its_notice_answers_for_no_other() {
        let mut opens = Opens::default();
        assert!(opens.noticed(FILE, &[by(7)], 10));
        assert!(!opens.noticed(FILE, &[by(7)], 11), "the same call");
        opens.told(by(7), 12);
        assert!(!opens.noticed(FILE, &[], 13));
        assert!(opens.noticed(FILE, &[by(7)], 14), "its next call");
    }

    #[test]
    fn whose_opens_are_told_is_known_for_a_while() {
        let mut opens = Opens::default();
        assert!(!opens.are_of(7, FILE));
        opens.found(by(7), 10);
        assert!(opens.are_of(7, FILE) && !opens.are_of(8, FILE) && !opens.are_of(7, (1, 3)));
        assert!(opens.are_just_of(7, FILE, 10 + AWAITED_FOR));
        assert!(!opens.are_just_of(7, FILE, 11 + AWAITED_FOR));
        assert!(!opens.noticed(FILE, &[], 11 + KEPT_FOR));
        assert!(!opens.are_of(7, FILE));
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let mut opens = Opens::default();
        (0..1_000).for_each(|pid| opens.told(by(pid), 10));
        assert_eq!(opens.0.len(), KEPT_MAX);
        assert!(opens.are_of(999, FILE));
    }
}
