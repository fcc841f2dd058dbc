//! The end of the program where memory runs out: one message and exit code 2, as of every other failure.
//!
//! What Rust does by itself is an abort (a shell shows 134) with a trace of the place that happened to ask last. The
//! hook for that is not stable, so the allocator looks at what the system's gives. No part of the program goes on without
//! memory that it asked for, and nothing is half written by an end at any moment (`baton_data::files`). Nothing
//! here may ask for memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator, whose refusal ends the program.
struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Whether the standard output has one line of JSON.
static JSON: AtomicBool = AtomicBool::new(false);

/// Whether it is a training that asks for memory.
static TRAINS: AtomicBool = AtomicBool::new(false);

/// Says it in JSON, too.
pub fn in_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// Says how a training takes less, too.
pub fn of_training(trains: bool) {
    TRAINS.store(trains, Ordering::Relaxed);
}

// SAFETY: every call is the system's own, with the arguments given.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        given(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

fn given(memory: *mut u8, size: usize) -> *mut u8 {
    match memory.is_null() {
        true => end(size),
        false => memory,
    }
}

#[cold]
fn end(size: usize) -> ! {
    let less = match TRAINS.load(Ordering::Relaxed) {
        true => {
            ". A training takes less by a smaller --batch with more --parts, and by --recompute (docs/training.md)"
        }
        false => "",
    };
    let said = |to: i32, before: &str, after: &str| {
        let mut room = [0; 512];
        let mut rest = &mut room[..];
        let _ = writeln!(
            rest,
            "{before}memory ran out: {size} bytes more are needed than the system gives{less}{after}"
        );
        let length = 512 - rest.len();
        // SAFETY: so many bytes are there.
        unsafe { libc::write(to, room.as_ptr().cast(), length) };
    };
    if JSON.load(Ordering::Relaxed) {
        said(1, "{\"error\": \"", "\"}");
    }
    said(2, "error: ", "");
    // SAFETY: it ends the process without anything else of it being run.
    unsafe { libc::_exit(2) }
}
