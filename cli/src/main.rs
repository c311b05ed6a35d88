//! `picket`: everything a person types.
//!
//! Two hidden commands run before anything else, because they must find a process with one
//! thread: `tracer` (this program re-executes itself as the tracer for `picket run`) and
//! `sandbox` (for `picket demo`).

mod sandbox;
mod terminal;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let first = arguments.get(1).and_then(|argument| argument.to_str());
    match (first, arguments.get(2..).unwrap_or_default()) {
        (Some("sandbox"), [stage, specification]) => {
            sandbox::main(&stage.to_string_lossy(), Path::new(specification))
        }
        _ => ExitCode::from(2),
    }
}
