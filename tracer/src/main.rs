//! `picket-tracer`: see [`picket_tracer::main`].

use std::process::ExitCode;

use picket_tracer::Heap;

#[global_allocator]
static HEAP: Heap = Heap::new();

fn main() -> ExitCode {
    picket_tracer::main(std::env::args_os().skip(1))
}
