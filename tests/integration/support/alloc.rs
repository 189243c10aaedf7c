//! Counts what the test binary has allocated: the hostile suite asserts that no input makes the library reserve much.
//!
//! The counters are of the whole process. Who measures runs alone in a process of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The allocator of the test binary.
#[derive(Debug)]
pub(crate) struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST_ALLOWED: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Bytes that are allocated now.
pub(crate) fn live() -> usize {
    LIVE.load(Relaxed)
}

/// The most bytes that were allocated at once since [`restart_peak`].
pub(crate) fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// The peak begins again at what is allocated now.
pub(crate) fn restart_peak() {
    PEAK.store(live(), Relaxed);
}

/// From now on a single allocation over `bytes` fails, as on a machine without memory: whoever cannot take that aborts,
/// with its size in the message, instead of dragging the machine down.
pub(crate) fn refuse_over(bytes: usize) {
    LARGEST_ALLOWED.store(bytes, Relaxed);
}

fn grew(by: usize) {
    let live = LIVE.fetch_add(by, Relaxed).wrapping_add(by);
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
}

fn shrank(by: usize) {
    LIVE.fetch_sub(by, Relaxed);
}

fn refused(size: usize) -> bool {
    size > LARGEST_ALLOWED.load(Relaxed)
}

#[expect(
    unsafe_code,
    reason = "an allocator cannot be written without; this one is in the tests only"
)]
// SAFETY: every call goes to the system's allocator with the arguments as they came; counting touches no memory of theirs.
// A null pointer is a permitted answer.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the system allocator's.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            grew(layout.size());
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the system allocator's.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if !pointer.is_null() {
            grew(layout.size());
        }
        pointer
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if refused(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the system allocator's.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        if !moved.is_null() {
            if size > layout.size() {
                grew(size - layout.size());
            } else {
                shrank(layout.size() - size);
            }
        }
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrank(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}
