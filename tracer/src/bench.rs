//! What the benchmarks of `tests/bench` need of the tracer's insides.

use std::ffi::OsString;
use std::process::ExitCode;

use picket_events::Interest;

use crate::sys::seccomp::RETURN_ALLOW;
use crate::table::{Abi, TABLE};
use crate::{filter, keeper, launch};

/// Runs a command under the filter of an interest, changed to let every call pass: what the
/// filter itself costs. Returns only on failure.
pub fn filter_only(interest: &Interest, command: &[OsString]) -> ExitCode {
    let program = filter::compile(interest, RETURN_ALLOW);
    match keeper::install(&program) {
        // Its listener hears of nothing, and is closed by the exec.
        Ok(_listener) => ExitCode::from(launch::execute(command) as u8),
        Err(errno) => {
            eprintln!("picket-tracer: seccomp failed: {errno}");
            ExitCode::FAILURE
        }
    }
}

/// Calls of the native ABI that the filter of an interest stops for whatever their arguments:
/// what another tracer, which does not look at arguments in its filter, can be asked to trace
/// alike.
pub fn unconditional_calls(interest: &Interest) -> Vec<&'static str> {
    TABLE
        .iter()
        .filter(|row| row.is_active(interest) && row.number(Abi::NATIVE[0]).is_some())
        .filter(|row| row.is_unconditional(interest))
        .map(|row| row.name)
        .collect()
}
