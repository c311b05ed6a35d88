//! Calls about the process itself.

use picket_events::EventKind;

use super::{Call, Located, Verdict, filters};
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

/// `setitimer` of the timer that sends SIGALRM, by who does not ask how it was set before, as programs
/// mostly do that set one which rings once, and take it away before it does: of interest for what its signals interrupt
/// ([`rings_again`]), and told to nobody.
pub(crate) fn timer(_call: &Call<'_>) -> Verdict {
    Verdict::Pass
}

/// Whether a `setitimer` sets a timer that rings again and again: whether its interval is not zero.
pub(crate) fn rings_again(call: &Call<'_>) -> bool {
    /// Of `struct itimerval`: seconds and microseconds. x32's are as long as x86-64's.
    const INTERVAL: usize = 2;
    let mut interval = [0u8; INTERVAL * size_of::<u64>()];
    let length = INTERVAL * call.abi.register_size();
    let interval = &mut interval[..length];
    call.read(call.address(1), interval).is_ok() && interval.iter().any(|byte| *byte != 0)
}

pub(crate) fn prctl(call: &Call<'_>) -> Verdict {
    const SET_NAME: u32 = 15;
    /// More than the kernel keeps: what it cuts off can be seen.
    const LONGEST_NAME: usize = 64;
    if let Some(verdict) = filters::by_prctl(call) {
        return verdict;
    }
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
