//! The system's allocator, counting what the thread holds.
//!
//! The count is one of each thread: [`peak`] is what this thread's own allocations held at most
//! since [`begin`]. A block that another thread frees is taken off there, so counts may fall below
//! zero; they are signed.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes held, and the most that were.
    static HELD: Cell<[isize; 2]> = const { Cell::new([0; 2]) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: isize) {
    // A thread that is ending has no count any more.
    let _ = HELD.try_with(|held| {
        let [now, most] = held.get();
        let now = now + bytes;
        held.set([now, most.max(now)]);
    });
}

/// Counts from zero.
pub(super) fn begin() {
    HELD.set([0; 2]);
}

/// The most bytes held since [`begin`].
pub(super) fn peak() -> usize {
    HELD.get()[1].unsigned_abs()
}

// SAFETY: every call is passed on as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: the caller's.
        unsafe { System.realloc(at, layout, size) }
    }
}
