//! Lines of the cache that are asked for ahead of a copy.
//!
//! A row of a tensor outside is often in a page of its own, where no prefetcher of the machine foresees the next one, and
//! stores that miss the caches wait for one another. So the lines of rows to come are asked for before their turn.

/// Bytes of a line of the cache.
const LINE: usize = 64;
/// Lines that are under way before they are read or written.
const AHEAD: usize = 32;

/// A side of a copy whose rows are asked for ahead.
#[derive(Clone, Copy)]
pub struct Ahead {
    /// Bytes from row to row; zero where nothing is asked for.
    stride: isize,
    /// Bytes of a row.
    bytes: usize,
    /// Rows between one that is asked for and one whose turn it is.
    pub rows: usize,
    write: bool,
}

impl Ahead {
    /// Rows with gaps between them, as those of a tensor outside have; a tile's stand close.
    #[inline(always)]
    pub fn of(stride: i64, cols: i64, write: bool) -> Ahead {
        let bytes = 4 * cols as usize;
        let apart = stride.unsigned_abs() as usize > 2 * bytes.next_multiple_of(LINE);
        Ahead {
            stride: if apart { stride as isize } else { 0 },
            bytes,
            rows: AHEAD.div_ceil(bytes.div_ceil(LINE).max(1)),
            write,
        }
    }

    /// Asks for rows `from..to`, of which the first stands at `first`.
    #[inline(always)]
    pub fn ask(&self, first: *const f32, from: usize, to: usize) {
        if self.stride == 0 {
            return;
        }
        for row in from..to {
            let row = first.wrapping_byte_offset(row as isize * self.stride);
            for at in (0..self.bytes).step_by(LINE) {
                ask(row.wrapping_byte_add(at), self.write);
            }
        }
    }
}

/// Asks for the line of the cache at `at`, to be written or read; a hint that never faults.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block)] // It reads and writes nothing.
fn ask(at: *const f32, write: bool) {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    macro_rules! hint {
        ($name:literal) => {
            // SAFETY: nothing is read or written.
            unsafe {
                std::arch::asm!(
                    concat!($name, " [{}]"), in(reg) at, options(nomem, nostack, preserves_flags)
                )
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    match write {
        true => hint!("prefetchw"),
        false => hint!("prefetcht0"),
    }
    #[cfg(target_arch = "aarch64")]
    match write {
        true => hint!("prfm pstl1keep,"),
        false => hint!("prfm pldl1keep,"),
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (at, write);
}
