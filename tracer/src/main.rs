//! `picket-tracer`: see [`picket_tracer::main`].

use std::process::ExitCode;

use dlmalloc::GlobalDlmalloc;

// The C library's gives whole pages back at each chance, and asks for them again with the next
// event: two system calls and a page fault each time.
#[global_allocator]
static ALLOCATOR: GlobalDlmalloc = GlobalDlmalloc;

fn main() -> ExitCode {
    picket_tracer::main(std::env::args_os().skip(1))
}
