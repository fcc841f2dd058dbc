//! One published operator on one shape, forward and backward, timed: what `benches/bench.py retrieval` sets beside PyTorch.
//!
//! `cargo run --release -p baton-retrieval --example operators -- FORM C,H,G,D,S,N,W THREADS SECONDS [FILE]` prints a
//! line of JSON. FORM is `gca` (a row is the S + 1 positions of a chunk, softmax, a one in each denominator, no chunk
//! but those before the row's last) or `hsa` (a row is one of S positions, stick-breaking). C chunks, H heads of keys with
//! G of queries each, D numbers, S positions with a key, N chunks chosen, W numbers of a landmark. FILE gets outputs and
//! gradients of the cotangent, f32 in this machine's order: outputs, then those of asking, landmarks, queries, keys and values.
//!
//! The numbers that it is given are SplitMix64's, uniform in [-1, 1), in the order of [`Given`].

use baton_retrieval::Heads;
use baton_retrieval::choose::{Block, Chosen, Queries, choose};
use baton_retrieval::chunks::{Attention, Chunks, Picks};
use baton_retrieval::weigh::{self, Weights};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

const SEED: u64 = 20_240_531;
const LEAST: usize = 3;
const USAGE: &str = "expected FORM C,H,G,D,S,N,W THREADS SECONDS [FILE], FORM gca or hsa";

/// What both operators read.
struct Given {
    asking: Vec<f32>,
    landmarks: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    arriving: Vec<f32>,
}

struct Problem {
    given: Given,
    heads: Heads,
    positions: usize,
    top: usize,
    width: usize,
    starts: Vec<usize>,
    visible: Vec<usize>,
    weights: Weights,
    one: bool,
}

/// What a backward needs of its forward.
struct Kept {
    chosen: Chosen,
    weights: Vec<f32>,
}

fn numbers(place: &mut u64, count: usize) -> Vec<f32> {
    let one = |_| {
        *place = place.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*place ^ (*place >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(one).collect()
}

impl Problem {
    fn new(form: &str, sizes: [usize; 7]) -> Option<Self> {
        let [chunks, keys, shared, numbers_each, positions, top, width] = sizes;
        let (each, weights) = match form {
            "gca" => (positions + 1, Weights::Softmax),
            "hsa" => (1, Weights::StickBreaking),
            _ => return None,
        };
        let one = form == "gca";
        let rows = if one { chunks } else { chunks * positions };
        let visible = |row: usize| {
            if one {
                row.saturating_sub(1)
            } else {
                row / positions
            }
        };
        let heads = Heads {
            queries: keys * shared,
            keys,
            width: numbers_each,
        };
        let (asked, held) = (
            rows * each * heads.queries * heads.width,
            chunks * positions * keys * heads.width,
        );
        let mut place = SEED;
        let mut all = |count| numbers(&mut place, count);
        Some(Problem {
            given: Given {
                asking: all(rows * width),
                landmarks: all(chunks * width),
                queries: all(asked),
                keys: all(held),
                values: all(held),
                arriving: all(asked),
            },
            heads,
            positions,
            top,
            width,
            starts: (0..=rows).map(|row| row * each).collect(),
            visible: (0..rows).map(visible).collect(),
            weights,
            one,
        })
    }

    fn asking(&self) -> Queries<'_> {
        Queries {
            data: &self.given.asking,
            heads: 1,
            width: self.width,
            visible: &self.visible,
            top: self.top,
            noise: None,
        }
    }

    fn landmarks(&self) -> Block<'_> {
        Block {
            first: 0,
            landmarks: &self.given.landmarks,
        }
    }

    fn attention<'a>(&'a self, kept: &'a Kept) -> Attention<'a> {
        Attention {
            queries: &self.given.queries,
            heads: self.heads,
            chunks: Chunks {
                keys: &self.given.keys,
                values: &self.given.values,
                positions: self.positions,
            },
            picks: Picks {
                starts: &self.starts,
                heads: 1,
                top: self.top,
                chunks: &kept.chosen.chunks,
                weights: &kept.weights,
            },
            one: self.one,
        }
    }

    fn forward(&self) -> (Vec<f32>, Kept) {
        let mut chosen = choose(&self.asking(), &[self.landmarks()]);
        self.weights.order(&mut chosen, self.top);
        let weights = self.weights.of(&chosen, self.top);
        let kept = Kept { chosen, weights };
        (self.attention(&kept).forward(), kept)
    }

    /// Gradients of what the queries ask for, landmarks, queries, keys and values.
    fn backward(&self, kept: &Kept) -> [Vec<f32>; 5] {
        let found = self.attention(kept).backward(&self.given.arriving);
        let d_scores = self
            .weights
            .backward(&kept.chosen, self.top, &found.weights);
        let own = [0, self.given.landmarks.len() / self.width];
        let (asking, landmarks) = weigh::backward(
            &self.asking(),
            &[self.landmarks()],
            &kept.chosen.chunks,
            &d_scores,
            own,
        );
        [asking, landmarks, found.queries, found.keys, found.values]
    }
}

/// Milliseconds of every run, in order of size.
fn timed(seconds: f64, mut run: impl FnMut()) -> Vec<f64> {
    run();
    let mut times = Vec::new();
    let begun = Instant::now();
    while times.len() < LEAST || begun.elapsed().as_secs_f64() < seconds {
        let start = Instant::now();
        run();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}

fn line(times: &[f64]) -> String {
    let at = |share: f64| times[(share * (times.len() - 1) as f64).round() as usize];
    format!(
        r#"{{"median_ms": {:.4}, "p10_ms": {:.4}, "p90_ms": {:.4}, "repetitions": {}}}"#,
        at(0.5),
        at(0.1),
        at(0.9),
        times.len()
    )
}

/// Milliseconds since BENCH_BEGUN, seconds since 1970.
fn cold() -> Option<f64> {
    let begun: f64 = std::env::var("BENCH_BEGUN").ok()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some((now.as_secs_f64() - begun) * 1e3)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [form, sizes, threads, seconds, file @ ..] = &given[..] else {
        return Err(USAGE.into());
    };
    let sizes: Vec<usize> = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let sizes = <[usize; 7]>::try_from(sizes).map_err(|_| USAGE)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?);
    pool.build_global()?;
    let problem = Problem::new(form, sizes)
        .filter(|_| !sizes.contains(&0))
        .ok_or(USAGE)?;
    let (out, kept) = problem.forward();
    let gradients = problem.backward(&kept);
    let cold = cold().map_or("null".into(), |ms| format!("{ms:.1}"));
    if let [file] = file {
        let all = std::iter::once(&out).chain(&gradients).flatten();
        std::fs::write(file, all.flat_map(|x| x.to_ne_bytes()).collect::<Vec<u8>>())?;
    }
    let seconds = seconds.parse()?;
    let forward = line(&timed(seconds, || drop(problem.forward())));
    let backward = line(&timed(seconds, || drop(problem.backward(&kept))));
    println!(
        r#"{{"cold_start_ms": {cold}, "phases": {{"forward": {forward}, "backward": {backward}}}}}"#
    );
    Ok(())
}
