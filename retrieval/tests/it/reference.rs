//! The definitions, written as they are said, in f64.

use baton_retrieval::weigh::Weights;

/// Row order of any rank.
fn at(sizes: &[usize], index: &[usize]) -> usize {
    let pairs = sizes.iter().zip(index);
    pairs.fold(0, |place, (size, i)| place * size + i)
}

pub struct Chunks {
    pub heads: [usize; 3],
    pub positions: usize,
    pub starts: Vec<usize>,
    pub choosers: usize,
    pub top: usize,
    pub picks: Vec<u32>,
    pub one: bool,
}

impl Chunks {
    /// q [P, Hq, d], k and v [N, S, Hk, d], w [R, H, K] to o [P, Hq, d].
    pub fn forward(&self, q: &[f64], k: &[f64], v: &[f64], w: &[f64]) -> Vec<f64> {
        let [queries, keys, width] = self.heads;
        let mut out = vec![0.0; q.len()];
        let rows = self.starts.len() - 1;
        for (row, head) in (0..rows).flat_map(|row| (0..queries).map(move |head| (row, head))) {
            let of = head * keys / queries;
            let chooser = of.min(self.choosers - 1);
            for position in self.starts[row]..self.starts[row + 1] {
                for slot in 0..self.top {
                    let slot = at(&[rows, self.choosers, self.top], &[row, chooser, slot]);
                    let Some(chunk) = Some(self.picks[slot]).filter(|&c| c != u32::MAX) else {
                        continue;
                    };
                    let place = |s, i| {
                        let sizes = [usize::MAX, self.positions, keys, width];
                        at(&sizes, &[chunk as usize, s, of, i])
                    };
                    let query = |i| at(&[usize::MAX, queries, width], &[position, head, i]);
                    let score = |s| {
                        let dot: f64 = (0..width).map(|i| q[query(i)] * k[place(s, i)]).sum();
                        dot / (width as f64).sqrt()
                    };
                    let e: Vec<f64> = (0..self.positions).map(|s| score(s).exp()).collect();
                    let sum = e.iter().sum::<f64>() + f64::from(u8::from(self.one));
                    for i in 0..width {
                        let mixed = e.iter().enumerate().map(|(s, e)| e * v[place(s, i)]);
                        out[query(i)] += w[slot] * mixed.sum::<f64>() / sum;
                    }
                }
            }
        }
        out
    }
}

pub struct Near<'a> {
    pub sizes: [usize; 3],
    pub heads: [usize; 3],
    pub left: Option<usize>,
    pub there: &'a [bool],
    pub slopes: Option<&'a [f32]>,
}

impl Near<'_> {
    pub fn forward(&self, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
        let [batch, time, before] = self.sizes;
        let [queries, keys, width] = self.heads;
        let mut out = vec![0.0; q.len()];
        for (b, t) in (0..batch).flat_map(|b| (0..time).map(move |t| (b, t))) {
            for head in 0..queries {
                let of = head * keys / queries;
                let query = |i| at(&[batch, time, queries, width], &[b, t, head, i]);
                let key = |u, i| at(&[batch, before + time, keys, width], &[b, u, of, i]);
                let seen = |u: &usize| match self.left {
                    None => true,
                    Some(left) => {
                        *u <= before + t
                            && u + left >= before + t
                            && (*u >= before || self.there[b * before + u])
                    }
                };
                let places: Vec<usize> = (0..before + time).filter(seen).collect();
                let score = |&u: &usize| {
                    let dot: f64 = (0..width).map(|i| q[query(i)] * k[key(u, i)]).sum();
                    let far = (before + t).abs_diff(u) as f64;
                    let slope = self.slopes.map_or(0.0, |slopes| f64::from(slopes[head]));
                    (dot / (width as f64).sqrt() - slope * far).exp()
                };
                let e: Vec<f64> = places.iter().map(score).collect();
                let sum: f64 = e.iter().sum();
                for i in 0..width {
                    let mixed = e.iter().zip(&places).map(|(e, &u)| e * v[key(u, i)]);
                    out[query(i)] = mixed.sum::<f64>() / sum;
                }
            }
        }
        out
    }
}

/// Weights of one row of scores in the order that they are made in.
pub fn weights(kind: Weights, scores: &[f64]) -> Vec<f64> {
    match kind {
        Weights::Softmax => {
            let sum: f64 = scores.iter().map(|s| s.exp()).sum();
            scores.iter().map(|s| s.exp() / sum).collect()
        }
        Weights::StickBreaking => {
            let share = |s: f64| 1.0 / (1.0 + (-s).exp());
            let left = |j: usize| scores[..j].iter().map(|&s| 1.0 - share(s)).product::<f64>();
            (0..scores.len())
                .map(|j| share(scores[j]) * left(j))
                .collect()
        }
    }
}

/// The gradient of sum(out * arrived) in `x`, number by number, by central differences.
pub fn slope(x: &[f64], arrived: &[f32], out: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let value = |x: &[f64]| {
        let pairs = out(x).into_iter().zip(arrived);
        pairs.map(|(o, &a)| o * f64::from(a)).sum::<f64>()
    };
    let mut moved = x.to_vec();
    let mut slope = |i: usize| {
        moved[i] = x[i] + STEP;
        let above = value(&moved);
        moved[i] = x[i] - STEP;
        let below = value(&moved);
        moved[i] = x[i];
        (above - below) / (2.0 * STEP)
    };
    (0..x.len()).map(&mut slope).collect()
}
