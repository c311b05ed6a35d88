//! What outlives a worker and is too long for the board: bytes in memory that keeper and worker
//! share.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

/// Most bytes that can be kept.
pub(crate) const MOST: usize = 80 * 1024;

/// Part of a [`Board`](super::shared::Board); pages of it that nobody writes to take no memory.
///
/// Two places for the bytes: one is written while the other counts, so that a worker which dies
/// while it writes leaves what was there before.
#[repr(C)]
pub(crate) struct Stored {
    /// The place that counts: 0 for none yet, 1 or 2.
    current: AtomicU32,
    lengths: [AtomicU32; 2],
    places: UnsafeCell<[[u8; MOST]; 2]>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").finish_non_exhaustive()
    }
}

// SAFETY: `places` is written only by the one worker, into the place that does not count, and
// read by a worker that has taken over from a dead one.
unsafe impl Sync for Stored {}

impl Stored {
    /// Keeps these bytes in place of those before. False where they are too many.
    pub(crate) fn put(&self, bytes: &[u8]) -> bool {
        if bytes.len() > MOST {
            return false;
        }
        let place = match self.current.load(Ordering::Acquire) {
            1 => 1,
            _ => 0,
        };
        // SAFETY: only the worker, which has one thread that writes here, comes here; nobody
        // reads this place before it counts.
        unsafe {
            let to = self.places.get().cast::<u8>().add(place * MOST);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.lengths[place].store(bytes.len() as u32, Ordering::Release);
        self.current.store(place as u32 + 1, Ordering::Release);
        true
    }

    /// The bytes that were kept last.
    pub(crate) fn get(&self) -> Option<Vec<u8>> {
        let place = self.current.load(Ordering::Acquire).checked_sub(1)? as usize;
        let length = self.lengths.get(place)?.load(Ordering::Acquire) as usize;
        let mut bytes = vec![0; length.min(MOST)];
        // SAFETY: the place counts, so nobody writes to it while we, the only worker, read.
        unsafe {
            let from = self.places.get().cast::<u8>().add(place * MOST);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len());
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::shared::Board;

    #[test]
    fn the_last_bytes_count() {
        let stored = &Board::map().unwrap().denials;
        assert_eq!(stored.get(), None);
        for bytes in [&b"first"[..], b"", b"third one"] {
            assert!(stored.put(bytes));
            assert_eq!(stored.get().as_deref(), Some(bytes));
        }
        assert!(!stored.put(&[0; MOST + 1]));
        assert_eq!(stored.get().as_deref(), Some(&b"third one"[..]));
    }
}
