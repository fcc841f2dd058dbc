//! Numbers at the addresses of a run.

/// `count` numbers at an address.
///
/// # Safety
/// They are of this run's memory, and nobody writes them meanwhile.
pub(super) unsafe fn numbers<'a>(address: u64, count: usize) -> &'a [f32] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(address as *const f32, count) }
}

/// The same to write.
///
/// # Safety
/// They are of this run's memory, and nobody else uses them meanwhile.
pub(super) unsafe fn numbers_mut<'a>(address: u64, count: usize) -> &'a mut [f32] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(address as *mut f32, count) }
}
