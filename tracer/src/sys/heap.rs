//! The tracer's memory.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dlmalloc::Dlmalloc;

/// dlmalloc behind a lock of the standard library.
///
/// The C library's allocator gives whole pages back at each chance, and asks for them again with the
/// next event: two system calls and a page fault each time. And its mutex, which dlmalloc's own global
/// instance uses, takes as long as what it guards: an event needs seven pieces of memory.
pub struct Heap(Mutex<Dlmalloc>);

impl Heap {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Dlmalloc::new()))
    }

    /// Nothing that is done under the lock panics.
    fn lock(&self) -> MutexGuard<'_, Dlmalloc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: each function passes what it was given on to the one allocator behind the lock, whose functions
// have the same contracts.
unsafe impl GlobalAlloc for Heap {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's, as above.
        unsafe { self.lock().malloc(layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's, as above.
        unsafe { self.lock().free(memory, layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's, as above.
        unsafe { self.lock().calloc(layout.size(), layout.align()) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's, as above.
        unsafe {
            self.lock()
                .realloc(memory, layout.size(), layout.align(), size)
        }
    }
}
