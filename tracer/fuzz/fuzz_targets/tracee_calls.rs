//! Whatever a traced program asks the kernel for, with whatever stands in its memory.
//!
//! Two bytes for the call, one for the ABI, three for each argument (a kind, and a number), and memory,
//! which is at an address that all ABIs can name and that is always the same.
//!
//! `cargo +nightly fuzz run tracee_calls fuzz/found/tracee_calls fuzz/corpus/tracee_calls`

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use picket_tracer::fuzz;

/// Where the program's memory is; what is behind it is not mapped.
const MEMORY: usize = 0x1000_0000;
const ROOM: usize = 64 * 1024;

/// The memory, from which every run begins with zeros.
fn fill(bytes: &[u8]) {
    static IS_MAPPED: OnceLock<()> = OnceLock::new();
    IS_MAPPED.get_or_init(|| {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        // SAFETY: nothing is there yet, and nothing else is put there.
        let got = unsafe { libc::mmap(MEMORY as *mut _, ROOM, protection, flags, -1, 0) };
        assert_eq!(got as usize, MEMORY);
    });
    let length = bytes.len().min(ROOM);
    // SAFETY: mapped for good, of this size, and only reached from here.
    let memory = unsafe { std::slice::from_raw_parts_mut(MEMORY as *mut u8, ROOM) };
    memory[..length].copy_from_slice(&bytes[..length]);
    memory[length..].fill(0);
}

/// An argument: a small number, one with the upper bits set, a flag, or an address.
fn argument(kind: u8, number: u16) -> u64 {
    match kind % 5 {
        0 => number.into(),
        1 => u64::MAX - u64::from(number),
        2 => 1 << (number % 64),
        3 => libc::AT_FDCWD as u64,
        _ => MEMORY as u64 + u64::from(number),
    }
}

fuzz_target!(|data: &[u8]| {
    const HEAD: usize = 3 + 6 * 3;
    let Some((head, memory)) = data.split_at_checked(HEAD) else { return };
    fill(memory);
    let mut args = [0; 6];
    for (arg, bytes) in args.iter_mut().zip(head[3..].chunks_exact(3)) {
        *arg = argument(bytes[0], u16::from_le_bytes([bytes[1], bytes[2]]));
    }
    let row = u16::from_le_bytes([head[0], head[1]]);
    fuzz::call(row.into(), head[2].into(), args);
});
