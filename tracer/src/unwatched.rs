//! What of the files that are to be watched for reads is not, and why.

use std::collections::BTreeMap;

use picket_events::text;
use picket_events::wire::{Unwatched, UnwatchedReason};

use crate::proc;
use crate::sys::files::Metadata;
use crate::sys::{Errno, process};

/// Paths that are told for each reason; the others are counted.
const PATHS_MAX: usize = 8;

/// Rights by which a process can come to read what it may not read now.
const RIGHTS: u64 = 1 << 0 // CAP_CHOWN
    | 1 << 1 // CAP_DAC_OVERRIDE
    | 1 << 2 // CAP_DAC_READ_SEARCH
    | 1 << 3 // CAP_FOWNER
    | 1 << 6 // CAP_SETGID
    | 1 << 7 // CAP_SETUID
    | 1 << 19 // CAP_SYS_PTRACE
    | 1 << 21; // CAP_SYS_ADMIN

/// Who the tracer is, and with it the program that it starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    uid: u32,
    has_rights: bool,
}

impl Who {
    /// The calling process.
    pub(crate) fn own() -> Self {
        let status = proc::status(process::own_pid(), Some(0));
        let credentials = status.map(|status| status.credentials);
        // Where nothing is known, the worse.
        credentials.map_or(
            Self {
                uid: 0,
                has_rights: true,
            },
            |own| Self {
                uid: own.euid,
                has_rights: own.cap_permitted & RIGHTS != 0,
            },
        )
    }

    /// Whether a process of the container may come to read what we may not: what nobody there can
    /// ever read need not be watched. The owner of a file may change its mode.
    fn may_come_to_read(self, found: Option<&Metadata>) -> bool {
        self.has_rights || found.is_some_and(|found| found.uid == self.uid)
    }
}

/// What is not watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Missing(BTreeMap<UnwatchedReason, (u64, Vec<String>)>);

impl Missing {
    /// One more, by its path or the pattern that it is to fit.
    pub(crate) fn add(&mut self, reason: UnwatchedReason, path: &[u8]) {
        let (count, paths) = self.0.entry(reason).or_default();
        *count += 1;
        let path = text::from_bytes(path);
        if paths.len() < PATHS_MAX && !paths.contains(&path) {
            paths.push(path);
        }
    }

    /// What the kernel has refused to look at or to watch; `found` where it is there.
    pub(crate) fn refused(
        &mut self,
        errno: Errno,
        path: &[u8],
        found: Option<&Metadata>,
        who: Who,
    ) {
        match errno.0 {
            libc::ENOSPC | libc::ENOMEM => self.add(UnwatchedReason::NoWatchLeft, path),
            libc::EACCES | libc::EPERM if who.may_come_to_read(found) => {
                self.add(UnwatchedReason::Unreadable, path);
            }
            // It is not there, or has just gone: its directory tells when it comes.
            _ => {}
        }
    }

    /// Everything is watched.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether more is missing than before, or for another reason.
    pub(crate) fn is_news_after(&self, before: &Self) -> bool {
        let counts = |missing: &Self| -> Vec<_> {
            let all = missing.0.iter();
            all.map(|(reason, (count, _))| (*reason, *count)).collect()
        };
        let (now, then) = (counts(self), counts(before));
        let reasons = |all: &[(UnwatchedReason, u64)]| -> Vec<_> {
            all.iter().map(|(reason, _)| *reason).collect()
        };
        reasons(&now) != reasons(&then)
            || now
                .iter()
                .zip(&then)
                .any(|((_, now), (_, then))| now > then)
    }

    /// For the agent.
    pub(crate) fn told(&self) -> Vec<Unwatched> {
        let all = self.0.iter().map(|(reason, (count, paths))| Unwatched {
            reason: *reason,
            count: *count,
            paths: paths.clone(),
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Who = Who {
        uid: 1_000,
        has_rights: false,
    };
    const ROOT: Who = Who {
        uid: 0,
        has_rights: true,
    };

    fn of(uid: u32) -> Metadata {
        Metadata {
            uid,
            ..Metadata::default()
        }
    }

    #[test]
    fn what_nobody_in_the_container_can_come_to_read_is_not_missed() {
        for (who, owner, is_missed) in [
            (NOBODY, Some(0), false),
            (NOBODY, None, false),
            (NOBODY, Some(1_000), true),
            (ROOT, Some(1_000), true),
            (ROOT, None, true),
        ] {
            let mut missing = Missing::default();
            let found = owner.map(of);
            missing.refused(Errno(libc::EACCES), b"/a", found.as_ref(), who);
            assert_eq!(!missing.is_nothing(), is_missed, "{who:?} {owner:?}");
        }
        let mut missing = Missing::default();
        missing.refused(Errno(libc::ENOENT), b"/a", None, ROOT);
        assert!(missing.is_nothing());
        missing.refused(Errno(libc::ENOSPC), b"/a", None, NOBODY);
        assert!(!missing.is_nothing());
    }

    #[test]
    fn each_reason_is_told_with_its_count_and_the_first_paths() {
        let mut missing = Missing::default();
        for number in 0..40 {
            missing.add(UnwatchedReason::TooMany, format!("/{number}").as_bytes());
        }
        missing.add(UnwatchedReason::NoInstance, b"/etc/shadow");
        let told = missing.told();
        let [instance, many] = &told[..] else {
            panic!("two reasons")
        };
        assert_eq!(
            (instance.count, &instance.paths[..]),
            (1, &["/etc/shadow".to_owned()][..])
        );
        assert_eq!((many.count, many.paths.len()), (40, PATHS_MAX));
        assert_eq!(many.reason.word(), "TooMany");
    }

    #[test]
    fn more_of_it_and_another_reason_are_news_and_less_is_not() {
        let missing = |reasons: &[UnwatchedReason]| {
            let mut missing = Missing::default();
            reasons
                .iter()
                .for_each(|reason| missing.add(*reason, b"/a"));
            missing
        };
        let (many, left) = (UnwatchedReason::TooMany, UnwatchedReason::NoWatchLeft);
        for (before, now, is_news) in [
            (&[][..], &[many][..], true),
            (&[many], &[many], false),
            (&[many], &[many, many], true),
            (&[many, many], &[many], false),
            (&[many], &[left], true),
            (&[many], &[], true),
            (&[], &[], false),
        ] {
            let found = missing(now).is_news_after(&missing(before));
            assert_eq!(found, is_news, "{before:?} {now:?}");
        }
    }
}
