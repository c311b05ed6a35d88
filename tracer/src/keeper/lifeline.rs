//! A keeper that was to be killed with its parent (`PR_SET_PDEATHSIG`, as `setpriv --pdeathsig`
//! and `bwrap --die-with-parent` have it). The application is forked, so it is not told; any signal
//! but SIGKILL the keeper would pass on to it.

use crate::sys::{handed, process};

/// What tells us of the parent's end instead: ignored by whoever does not ask for it.
const INSTEAD: i32 = libc::SIGURG;

/// The parent that the application shall not outlive.
#[derive(Debug)]
pub(super) struct Lifeline {
    parent: u32,
}

impl Lifeline {
    /// Has the parent's end wake us, where it was to kill us. Process 1 of a name space takes all
    /// others there with it, and of a parent outside of that nothing can be seen.
    pub(super) fn take() -> Option<Self> {
        let parent = process::parent_pid();
        let is_wanted = handed::parent_death_signal() == libc::SIGKILL
            && process::own_pid() != 1
            && parent != 0;
        (is_wanted && handed::set_parent_death_signal(INSTEAD).is_ok()).then_some(Self { parent })
    }

    /// Whether the parent has ended.
    pub(super) fn is_cut(&self) -> bool {
        process::parent_pid() != self.parent
    }
}
