//! Programs that are known to begin as the C library has them begin.
//!
//! A C library's start calls `set_tid_address` once, before anything of the program itself runs, and the
//! filter stops for it. A program of which that was seen is familiar: from then on it is not stopped
//! at its first instruction, which costs more, but looked at there. What a file is, is told by
//! its inode and by when that was last changed, which no program can set.

use std::collections::HashMap;

use picket_events::File;

use crate::sys::files::Metadata;

/// Programs remembered at once.
const PROGRAMS_MAX: usize = 512;

/// A program file as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    /// When the inode was last changed, nanoseconds since the epoch.
    changed: u64,
}

impl From<&Metadata> for Identity {
    fn from(file: &Metadata) -> Self {
        Self {
            device: file.device,
            inode: file.inode,
            changed: file.change_time,
        }
    }
}

impl From<&File> for Identity {
    fn from(file: &File) -> Self {
        Self {
            device: file.device,
            inode: file.inode,
            changed: file.change_time,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It calls `set_tid_address` as its C library starts.
    Usual,
    /// Its arguments were found to be others than those it was to be given.
    Odd,
}

/// The programs that were seen to begin.
#[derive(Debug, Default)]
pub(crate) struct Familiar(HashMap<Identity, Manner>);

impl Familiar {
    /// Whether a program file is known to begin so.
    pub(crate) fn knows(&self, file: impl Into<Identity>) -> bool {
        self.0.get(&file.into()) == Some(&Manner::Usual)
    }

    /// A program has begun so.
    pub(crate) fn has_begun(&mut self, file: impl Into<Identity>) {
        self.room().entry(file.into()).or_insert(Manner::Usual);
    }

    /// Not what was asked for stands among a program's arguments: it is not trusted again.
    pub(crate) fn is_odd(&mut self, file: impl Into<Identity>) {
        self.room().insert(file.into(), Manner::Odd);
    }

    fn room(&mut self) -> &mut HashMap<Identity, Manner> {
        if self.0.len() >= PROGRAMS_MAX {
            // Each is met again soon enough, or was not worth remembering.
            self.0.retain(|_, manner| *manner == Manner::Odd);
        }
        if self.0.len() >= PROGRAMS_MAX {
            self.0.clear();
        }
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64, changed: u64) -> Identity {
        Identity {
            device: 0,
            inode,
            changed,
        }
    }

    #[test]
    fn a_program_is_familiar_until_it_changes_or_is_found_to_be_odd() {
        let mut familiar = Familiar::default();
        assert!(!familiar.knows(file(1, 1)));
        familiar.has_begun(file(1, 1));
        assert!(familiar.knows(file(1, 1)));
        assert!(!familiar.knows(file(1, 2)) && !familiar.knows(file(2, 1)));
        familiar.is_odd(file(1, 1));
        familiar.has_begun(file(1, 1));
        assert!(!familiar.knows(file(1, 1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut familiar = Familiar::default();
        familiar.is_odd(file(0, 0));
        for inode in 1..=3 * PROGRAMS_MAX as u64 {
            familiar.has_begun(file(inode, 0));
            assert!(familiar.0.len() <= PROGRAMS_MAX);
            assert!(familiar.knows(file(inode, 0)) && !familiar.knows(file(0, 0)));
        }
    }
}
