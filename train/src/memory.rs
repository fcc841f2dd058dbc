//! How the process treats memory that was freed.
//!
//! A training step allocates and frees the same hundred megabytes again and again. By default the
//! GNU allocator gives blocks of that size back to the system each time and takes them anew, page
//! fault by page fault: measured here, a quarter of a step's processor time.

/// Keeps freed memory in the process from now on. Meant for a program's `main`; it does nothing
/// where the allocator is not GNU's.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGEST_IN_HEAP: libc::c_int = 32 << 20; // the most that mallopt accepts
        // Safe: both only set a parameter of the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST_IN_HEAP);
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
            libc::mallopt(libc::M_TOP_PAD, 2 * LARGEST_IN_HEAP);
        }
    }
}
