//! Chains of segments on the CPU: a border after the other, its entries or rows over threads.
//!
//! Invariant: an entry of a state is one sum in one order, whoever adds it up, so results do not depend on the
//! number of threads.

use super::memory::{numbers, numbers_mut};
use crate::engine::machine::{Chain, Summary};
use baton_ir::recurrence::Side;
use rayon::ThreadPool;
use rayon::prelude::*;

/// Multiplications below which a product is not worth another thread.
const FEW: usize = 1 << 16;

/// Turns what each segment adds into what arrives at it.
pub(super) fn chain(chain: &Chain<'_>, pool: &ThreadPool) {
    let row = chain.heads * chain.dims[0] * chain.dims[1];
    for (sequence, &[first, count]) in chain.sequences.iter().enumerate() {
        let mut arriving = match chain.outer {
            0 => vec![0.0; row],
            // SAFETY: a state for each sequence.
            outer => unsafe { numbers(outer + (4 * sequence * row) as u64, row) }.to_vec(),
        };
        for i in 0..count {
            let slot = match chain.reverse {
                true => first + count - 1 - i,
                false => first + i,
            } as usize;
            // SAFETY: a state for each segment, which nothing else uses now.
            let own = unsafe { numbers_mut(chain.own + (4 * slot * row) as u64, row) };
            // What the last one leaves arrives nowhere.
            let leaving = match i + 1 < count {
                true => through(chain, slot, &arriving, own, pool),
                false => vec![],
            };
            own.copy_from_slice(&std::mem::replace(&mut arriving, leaving));
        }
    }
}

/// What leaves segment `slot` of what arrives at it.
fn through(
    chain: &Chain<'_>,
    slot: usize,
    arriving: &[f32],
    own: &[f32],
    pool: &ThreadPool,
) -> Vec<f32> {
    match chain.summary {
        Summary::Diagonal(logs) => decayed(chain, logs, slot, arriving, own),
        Summary::Dense(side, matrices) => {
            let n = chain.dims[side as usize];
            let first = matrices + (4 * slot * chain.heads * n * n) as u64;
            // SAFETY: the launch before wrote the matrix of every head of the segment.
            let matrices = unsafe { numbers(first, chain.heads * n * n) };
            multiplied(chain, side, matrices, arriving, own, pool)
        }
    }
}

/// `exp(L) o S + own`
fn decayed(
    chain: &Chain<'_>,
    logs: [u64; 3],
    slot: usize,
    arriving: &[f32],
    own: &[f32],
) -> Vec<f32> {
    let [rows, columns] = chain.dims;
    let entries = rows * columns;
    // A log decay of entry `at` in a lane, of those by head, by row and by column.
    let log = |lane: usize, at: usize| -> f32 {
        let places = [(1, 0), (rows, at / columns), (columns, at % columns)];
        let given = logs
            .iter()
            .zip(places)
            .filter(|(address, _)| **address != 0);
        // SAFETY: the launch before wrote the logs of every lane.
        let one = |(&address, (n, i)): (&u64, (usize, usize))| unsafe {
            numbers(address, (lane + 1) * n)[lane * n + i]
        };
        given.map(one).sum()
    };
    let both = arriving.iter().zip(own).enumerate();
    both.map(|(i, (arriving, own))| {
        let log = log(slot * chain.heads + i / entries, i % entries);
        log.exp() * arriving + own
    })
    .collect()
}

/// `M S + own` or `S M + own` for each head, M transposed in reverse.
fn multiplied(
    chain: &Chain<'_>,
    side: Side,
    matrices: &[f32],
    arriving: &[f32],
    own: &[f32],
    pool: &ThreadPool,
) -> Vec<f32> {
    let [rows, columns] = chain.dims;
    let n = chain.dims[side as usize];
    let turned: Vec<f32>;
    let matrices = match chain.reverse {
        false => matrices,
        true => {
            let heads = matrices.chunks_exact(n * n);
            let turn = |m: &[f32]| -> Vec<f32> {
                let at = |i: usize| m[i % n * n + i / n];
                (0..n * n).map(at).collect()
            };
            turned = heads.flat_map(turn).collect();
            &turned
        }
    };
    let mut leaving = own.to_vec();
    let row = |(at, row): (usize, &mut [f32])| {
        let (head, i) = (at / rows, at % rows);
        let matrix = &matrices[head * n * n..][..n * n];
        let state = &arriving[head * rows * columns..][..rows * columns];
        let (left, right) = match side {
            Side::Row => (&matrix[i * n..], state),
            Side::Col => (&state[i * n..], matrix),
        };
        for (factor, from) in left.iter().zip(right.chunks_exact(columns)) {
            let terms = row.iter_mut().zip(from);
            terms.for_each(|(to, from)| *to += factor * from);
        }
    };
    let least = FEW.div_ceil(n * columns);
    match leaving.len() <= least * columns || pool.current_num_threads() == 1 {
        true => leaving.chunks_exact_mut(columns).enumerate().for_each(row),
        false => pool.install(|| {
            let all = leaving.par_chunks_exact_mut(columns).enumerate();
            all.with_min_len(least).for_each(row);
        }),
    }
    leaving
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::ThreadPoolBuilder;

    /// Numbers from -1 to 1.
    fn numbers(seed: &mut u64, count: usize) -> Vec<f32> {
        let mut one = || {
            *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (*seed >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| one()).collect()
    }

    fn below(seed: &mut u64, n: usize) -> usize {
        ((numbers(seed, 1)[0] + 1.0) * 0.5 * n as f32) as usize % n
    }

    /// What arrives at each segment, in f64; `turned` takes the matrices transposed.
    fn truth(
        chain: &Chain<'_>,
        side: Side,
        [outer, own, matrices]: [&[f32]; 3],
        turned: bool,
    ) -> Vec<f64> {
        let [rows, columns] = chain.dims;
        let n = chain.dims[side as usize];
        let mut all: Vec<f64> = vec![0.0; own.len()];
        for (s, &[first, count]) in chain.sequences.iter().enumerate() {
            for head in 0..chain.heads {
                let state = |of: &[f32], at: usize, i: usize| {
                    let at = (at * chain.heads + head) * rows * columns + i;
                    of.get(at).map_or(0.0, |&x| f64::from(x))
                };
                let mut arriving: Vec<f64> =
                    (0..rows * columns).map(|i| state(outer, s, i)).collect();
                let mut slots: Vec<usize> = (first..first + count).map(|i| i as usize).collect();
                if chain.reverse {
                    slots.reverse();
                }
                for slot in slots {
                    let lane = slot * chain.heads + head;
                    all[lane * rows * columns..][..rows * columns].copy_from_slice(&arriving);
                    let m = |i: usize, j: usize| {
                        let [i, j] = if turned { [j, i] } else { [i, j] };
                        f64::from(matrices[lane * n * n + i * n + j])
                    };
                    let entry = |at: usize| {
                        let (row, column) = (at / columns, at % columns);
                        let terms = (0..n).map(|k| match side {
                            Side::Row => m(row, k) * arriving[k * columns + column],
                            Side::Col => arriving[row * columns + k] * m(k, column),
                        });
                        state(own, slot, at) + terms.sum::<f64>()
                    };
                    arriving = (0..rows * columns).map(entry).collect();
                }
            }
        }
        all
    }

    #[test]
    fn matrices_chain_from_either_side_and_a_wrong_chain_shows() {
        let seed = &mut 5;
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for round in 0..60 {
            let heads = 1 + below(seed, 3);
            let dims = [1 + below(seed, 40), 1 + below(seed, 40)];
            let side = [Side::Row, Side::Col][round % 2];
            let (n, row) = (dims[side as usize], heads * dims[0] * dims[1]);
            let counts = [1 + below(seed, 4), 1 + below(seed, 3)].map(|n| n as i64);
            let ranges = (counts[0] + counts[1]) as usize;
            let outer = numbers(seed, if round % 3 == 0 { 0 } else { 2 * row });
            let own = numbers(seed, ranges * row);
            let mut matrices = numbers(seed, ranges * heads * n * n);
            matrices.iter_mut().for_each(|x| *x /= (n as f32).sqrt());
            let mut found = own.clone();
            let given = Chain {
                sequences: &[[0, counts[0]], [counts[0], counts[1]]],
                heads,
                dims,
                outer: if outer.is_empty() {
                    0
                } else {
                    outer.as_ptr() as u64
                },
                own: found.as_mut_ptr() as u64,
                summary: Summary::Dense(side, matrices.as_ptr() as u64),
                reverse: round % 4 < 2,
            };
            chain(&given, &pool);
            let error = |truth: &[f64]| {
                let pairs = || found.iter().zip(truth);
                let norm = truth.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-9);
                pairs()
                    .map(|(x, y)| (f64::from(*x) - y).powi(2))
                    .sum::<f64>()
                    .sqrt()
                    / norm
            };
            let parts = [&outer[..], &own, &matrices];
            let right = error(&truth(&given, side, parts, given.reverse));
            assert!(right <= 1e-6, "{dims:?} {side:?}: relative error {right:e}");
            // One segment takes what arrives, and a number is its own transpose.
            if n > 1 && counts.iter().any(|&count| count > 2) {
                let wrong = error(&truth(&given, side, parts, !given.reverse));
                assert!(
                    wrong > 1e-3,
                    "{dims:?} {side:?}: a wrong chain passes: {wrong:e}"
                );
            }
        }
    }
}
