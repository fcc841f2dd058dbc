//! How the process treats memory that was freed.
//!
//! A run returns fresh tensors, often of tens of megabytes, and frees them soon after. By default
//! the GNU allocator gives blocks of that size back to the system each time and takes them anew,
//! page fault by page fault, and faults of two threads wait for each other: measured on two cores,
//! half of a forward run's time.

/// Keeps freed memory in the process from now on. Meant for a program's `main`; it does nothing
/// where the allocator is not GNU's.
pub fn keep() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: each call only sets a parameter of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        libc::mallopt(libc::M_TOP_PAD, 64 << 20);
    }
}
