//! Products and decays take numbers below f32's normal ones for zero, on x86-64.
//!
//! What a step far back has left in a chunk is such a number wherever decays are strong, and where one is an operand or a result
//! Intel's units take some hundred clocks: a forward run of Mamba-2 took sixteen times as long with the strongest decays that it begins
//! with. Two bits of the control register say so while a kernel of products, of decays or of what a decay multiplies runs. Maps
//! do not, whose slopes near zero have their digits; elsewhere units take these numbers like any other.
//!
//! Rust takes the register for what it was where it computes in advance. While it is another, nothing runs but a kernel on
//! numbers in memory.

/// Results below the normal numbers are zero, and operands are.
#[cfg(target_arch = "x86_64")]
const ZERO: u32 = 1 << 15 | 1 << 6;

/// Runs `kernel`; afterwards arithmetic is as it was before.
#[inline(always)]
pub fn zeroed(kernel: impl FnOnce()) {
    #[cfg(target_arch = "x86_64")]
    let before = control();
    #[cfg(target_arch = "x86_64")]
    set_control(before | ZERO);
    kernel();
    #[cfg(target_arch = "x86_64")]
    set_control(before);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn control() -> u32 {
    let mut control = 0u32;
    // SAFETY: the address is that of four bytes.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut control, options(nostack)) }
    control
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn set_control(control: u32) {
    // SAFETY: the value is one that was read, or that with two bits more, and exceptions stay masked as they were.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &control, options(nostack)) }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn numbers_are_zero_inside_only() {
        let product = || black_box(1e-30f32) * black_box(1e-10);
        let scaled = || black_box(1e-40f32) * black_box(1e30);
        // All but what exceptions have left there.
        let mode = || control() & !0x3f;
        let before = mode();
        let mut inside = [f32::NAN; 2];
        zeroed(|| inside = [product(), scaled()]);
        assert_eq!(inside, [0.0; 2]);
        assert!(product() > 0.0 && scaled() > 0.0);
        assert_eq!(mode(), before);
    }
}
