//! The machine's own peak: fused multiply-adds on registers, nothing else.
//!
//! Each thread runs independent chains of the widest vectors that the machine has, enough of them
//! to hide the latency of one; the best of many short rounds counts, since a peak is what the machine
//! can do and not what it did while something else ran.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Independent chains of a thread.
const CHAINS: usize = 12;
/// Steps of each chain in a round: a few milliseconds, less than a time slice of the system.
const STEPS: usize = 1 << 20;
/// Rounds.
const ROUNDS: usize = 50;

/// A measured peak.
pub struct Peak {
    /// Operations a second of all threads, a multiply and an add counting two.
    pub flops: f64,
    /// The instructions used.
    pub instructions: &'static str,
}

/// One way to multiply and add.
#[derive(Clone, Copy)]
struct Loop {
    instructions: &'static str,
    lanes: usize,
    run: fn(usize),
}

/// Measures the peak of `threads` threads.
pub fn measure(threads: usize) -> Peak {
    let chosen = widest();
    let operations = (2 * chosen.lanes * CHAINS * STEPS * threads) as f64;
    let flops = (0..ROUNDS)
        .map(|_| operations / round(chosen, threads).as_secs_f64())
        .fold(0.0, f64::max);
    Peak {
        flops,
        instructions: chosen.instructions,
    }
}

/// The time of the slowest thread.
fn round(chosen: Loop, threads: usize) -> Duration {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let begun = Instant::now();
                    (chosen.run)(black_box(STEPS));
                    begun.elapsed()
                })
            })
            .collect();
        let times = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or(Duration::MAX));
        times.max().unwrap_or(Duration::MAX)
    })
}

/// Declares a loop over vectors of one kind.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! chains {
    ($name:ident, $features:literal, $set:expr, $fma:expr) => {
        #[target_feature(enable = $features)]
        fn $name(steps: usize) {
            let (scale, shift) = ($set(black_box(0.75)), $set(black_box(0.25)));
            let mut chains = [$set(black_box(0.5)); CHAINS];
            for _ in 0..steps {
                for chain in &mut chains {
                    *chain = $fma(*chain, scale, shift);
                }
            }
            black_box(chains);
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, black_box};
    use std::arch::x86_64::*;

    chains!(avx512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps);
    chains!(avx2, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps);

    pub fn widest() -> Option<super::Loop> {
        if is_x86_feature_detected!("avx512f") {
            Some(super::Loop {
                instructions: "AVX-512",
                lanes: 16,
                // SAFETY: the feature was detected just above.
                run: |steps| unsafe { avx512(steps) },
            })
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            Some(super::Loop {
                instructions: "AVX2 and FMA",
                lanes: 8,
                // SAFETY: the features were detected just above.
                run: |steps| unsafe { avx2(steps) },
            })
        } else {
            None
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{CHAINS, black_box};
    use std::arch::aarch64::*;

    chains!(neon, "neon", vdupq_n_f32, |chain, scale, shift| vfmaq_f32(
        shift, chain, scale
    ));

    pub fn widest() -> Option<super::Loop> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(super::Loop {
            instructions: "NEON",
            lanes: 4,
            // SAFETY: the feature was detected just above.
            run: |steps| unsafe { neon(steps) },
        })
    }
}

fn widest() -> Loop {
    #[cfg(target_arch = "x86_64")]
    let found = x86::widest();
    #[cfg(target_arch = "aarch64")]
    let found = arm::widest();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = None;
    found.unwrap_or(Loop {
        instructions: "portable multiply and add",
        lanes: 8,
        run: portable,
    })
}

fn portable(steps: usize) {
    let (scale, shift) = (black_box(0.75f32), black_box(0.25f32));
    let mut chains = [[black_box(0.5f32); 8]; CHAINS];
    for _ in 0..steps {
        for lane in chains.as_flattened_mut() {
            *lane = *lane * scale + shift;
        }
    }
    black_box(chains);
}
