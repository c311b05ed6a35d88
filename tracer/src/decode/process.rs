//! Calls about the process itself.

use picket_events::EventKind;

use super::{Call, Located, Verdict};
use crate::confirm::Check;

fn named(at: Located) -> Verdict {
    Verdict::Exec {
        path: (at.fault.is_none() && !at.path.is_empty()).then_some(at.path),
    }
}

pub(crate) fn execve(call: &Call<'_>) -> Verdict {
    named(call.path(0, true))
}

pub(crate) fn execveat(call: &Call<'_>) -> Verdict {
    named(call.path_at(call.int(0), 1, true))
}

/// Of this the worker makes more than of other calls: see `Row::is_start`.
pub(crate) fn begins(_: &Call<'_>) -> Verdict {
    Verdict::Pass
}

pub(crate) fn exit_group(call: &Call<'_>) -> Verdict {
    Verdict::ExitGroup(call.word(0) & 0xff)
}

pub(crate) fn prctl(call: &Call<'_>) -> Verdict {
    const SET_NAME: u32 = 15;
    /// More than the kernel keeps: what it cuts off can be seen.
    const LONGEST_NAME: usize = 64;
    let option = call.word(0);
    let name = if option == SET_NAME {
        call.text(1, LONGEST_NAME)
    } else {
        String::new()
    };
    let kind = EventKind::Prctl {
        option,
        argument: call.args[1],
        name,
    };
    Verdict::Watch(kind, Check::Nothing)
}
