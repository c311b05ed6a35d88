//! Copying memory.
//!
//! The C library that the tracer is linked with (musl, on x86-64) copies by the processor's string
//! instructions. To begin with one takes longer than to copy what an event consists of, some fifty
//! pieces of up to 400 bytes: a tenth of the worker's time for an open. So what Rust's own copies
//! call is defined here; the linker then takes nothing of the library's. Both of its functions are,
//! for there they stand in one file.

use std::arch::asm;
use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// What is copied at a time where there is much.
const BLOCK: usize = 64;

/// Copies, where the two may overlap.
///
/// # Safety
/// So many bytes can be read at `from` and written at `to`.
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: no arm touches anything but the first `length` bytes of each. All that an arm reads
    // it has read before it writes, or `copy_blocks` takes care.
    unsafe {
        match length {
            0 => {}
            1..=3 => {
                let (first, middle, last) = (*from, *from.add(length / 2), *from.add(length - 1));
                *to = first;
                *to.add(length / 2) = middle;
                *to.add(length - 1) = last;
            }
            4..=7 => copy_ends::<u32>(to, from, length),
            8..=16 => copy_ends::<u64>(to, from, length),
            17..=32 => copy_ends::<__m128i>(to, from, length),
            33..=BLOCK => {
                let (first, second) = (load(from), load(from.add(16)));
                let (third, last) = (load(from.add(length - 32)), load(from.add(length - 16)));
                store(to, first);
                store(to.add(16), second);
                store(to.add(length - 32), third);
                store(to.add(length - 16), last);
            }
            _ => copy_blocks(to, from, length),
        }
    }
}

/// Copies from one to two times as much as `T` has.
///
/// # Safety
/// As for [`copy`], and `length` is in that range.
#[inline(always)]
unsafe fn copy_ends<T: Copy>(to: *mut u8, from: *const u8, length: usize) {
    let last = length - size_of::<T>();
    // SAFETY: both ends lie within.
    unsafe {
        let (head, tail) = (
            from.cast::<T>().read_unaligned(),
            from.add(last).cast::<T>().read_unaligned(),
        );
        to.cast::<T>().write_unaligned(head);
        to.add(last).cast::<T>().write_unaligned(tail);
    }
}

/// Copies more than a block.
///
/// # Safety
/// As for [`copy`], and `length` is more than [`BLOCK`].
unsafe fn copy_blocks(to: *mut u8, from: *const u8, length: usize) {
    let rest = length - BLOCK;
    // SAFETY: all blocks lie within. The one that overlaps another is read first. Of the others,
    // each is read before anything is written that lies in it: upwards where `to` is below `from`
    // or behind its end, else downwards.
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= length {
            let last = load_block(from.add(rest));
            let mut at = 0;
            while at < rest {
                store_block(to.add(at), load_block(from.add(at)));
                stay_a_loop();
                at += BLOCK;
            }
            store_block(to.add(rest), last);
        } else {
            let first = load_block(from);
            let mut at = length;
            while at > BLOCK {
                at -= BLOCK;
                store_block(to.add(at), load_block(from.add(at)));
                stay_a_loop();
            }
            store_block(to, first);
        }
    }
}

/// Keeps the compiler from seeing a copy in a loop, and calling us for it.
#[inline(always)]
fn stay_a_loop() {
    // SAFETY: no instruction at all.
    unsafe { asm!("", options(nostack, preserves_flags)) };
}

/// # Safety
/// There are 16 bytes to be read.
#[inline(always)]
unsafe fn load(from: *const u8) -> __m128i {
    // SAFETY: the caller's; it need not be aligned.
    unsafe { _mm_loadu_si128(from.cast()) }
}

/// # Safety
/// There are 16 bytes to be written.
#[inline(always)]
unsafe fn store(to: *mut u8, value: __m128i) {
    // SAFETY: the caller's; it need not be aligned.
    unsafe { _mm_storeu_si128(to.cast(), value) }
}

/// # Safety
/// There is a block to be read.
#[inline(always)]
unsafe fn load_block(from: *const u8) -> [__m128i; 4] {
    // SAFETY: the caller's.
    unsafe {
        [
            load(from),
            load(from.add(16)),
            load(from.add(32)),
            load(from.add(48)),
        ]
    }
}

/// # Safety
/// There is a block to be written.
#[inline(always)]
unsafe fn store_block(to: *mut u8, block: [__m128i; 4]) {
    let [first, second, third, fourth] = block;
    // SAFETY: the caller's.
    unsafe {
        store(to, first);
        store(to.add(16), second);
        store(to.add(32), third);
        store(to.add(48), fourth);
    }
}

/// What compiled code calls by name.
#[cfg(all(target_env = "musl", not(test)))]
mod by_name {
    /// As C has it.
    ///
    /// # Safety
    /// As C has it.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { super::copy(to, from, length) };
        to
    }

    /// As C has it.
    ///
    /// # Safety
    /// As C has it.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { super::copy(to, from, length) };
        to
    }
}

#[cfg(test)]
mod tests {
    use super::copy;

    /// Every length around all that are told apart, from and to every place around, whether they
    /// overlap or not: nothing but what is meant changes.
    #[test]
    fn every_length_is_copied_between_any_places() {
        let lengths = (0..=200).chain([255, 256, 257, 272, 320, 376, 400, 511, 4095, 4096, 4097]);
        for length in lengths {
            let near = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100];
            let places = near.into_iter().chain([length, length + 1]);
            let places: Vec<usize> = places.collect();
            for from in &places {
                for to in &places {
                    let room = 2 * length + 200;
                    let before: Vec<u8> = (0..room).map(|at| (at * 7 % 251) as u8).collect();
                    let (mut bytes, mut expected) = (before.clone(), before);
                    expected.copy_within(*from..*from + length, *to);
                    let start = bytes.as_mut_ptr();
                    // SAFETY: both ends lie within.
                    unsafe { copy(start.add(*to), start.add(*from), length) };
                    assert!(bytes == expected, "{length} bytes from {from} to {to}");
                }
            }
        }
    }
}
