//! `picket-tracer`: see [`picket_tracer::main`].

use std::process::ExitCode;

fn main() -> ExitCode {
    picket_tracer::main(std::env::args_os().skip(1))
}
