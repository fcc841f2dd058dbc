//! Random sizes, every residue of a vector among them, against the definitions; gradients against
//! differences of these.

use crate::reference::{self, slope};
use crate::{BACKWARD, FORWARD, Random, close};
use baton_retrieval::choose::{Block, Noise, Queries, choose};
use baton_retrieval::chunks::{Attention, Chunks, Gradients, Picks};
use baton_retrieval::near::{Near, Sight};
use baton_retrieval::weigh::{self, Weights};
use baton_retrieval::{Heads, NONE};

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Whatever runs must not depend on threads.
fn on_threads<T: Send>(count: usize, run: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
    pool.unwrap().install(run)
}

#[test]
fn attention_to_chunks() {
    let mut random = Random(1);
    for trial in 0..60 {
        let (keys, shared) = (1 + random.below(3), 1 + random.below(3));
        let heads = [keys * shared, keys, 1 + random.below(19)];
        let (count, positions, top) = (
            1 + random.below(4),
            1 + random.below(18),
            1 + random.below(3),
        );
        let mut starts = vec![0];
        for _ in 0..1 + random.below(4) {
            starts.push(starts[starts.len() - 1] + random.below(6));
        }
        let choosers = if random.below(2) == 0 { 1 } else { keys };
        let slots = (starts.len() - 1) * choosers * top;
        let pick = |random: &mut Random| match random.below(count + 1) {
            0 => NONE,
            chunk => chunk as u32 - 1,
        };
        let definition = reference::Chunks {
            heads,
            positions,
            choosers,
            top,
            picks: (0..slots).map(|_| pick(&mut random)).collect(),
            one: random.below(2) == 0,
            starts,
        };
        let size = definition.starts[definition.starts.len() - 1] * heads[0] * heads[2];
        let mut all = |count| random.numbers(count);
        let (q, arrived, w) = (all(size), all(size), all(slots));
        let each = count * positions * heads[1] * heads[2];
        let (k, v) = (all(each), all(each));
        let attention = Attention {
            queries: &q,
            heads: Heads {
                queries: heads[0],
                keys: heads[1],
                width: heads[2],
            },
            chunks: Chunks {
                keys: &k,
                values: &v,
                positions,
            },
            picks: Picks {
                starts: &definition.starts,
                heads: choosers,
                top,
                chunks: &definition.picks,
                weights: &w,
            },
            one: definition.one,
        };
        let out = on_threads(1, || attention.forward());
        assert!(out == on_threads(3, || attention.forward()));
        let [dq, dk, dv, dw] = [&q, &k, &v, &w].map(|x| wide(x));
        let what = format!("trial {trial}, heads {heads:?}");
        close(
            &what,
            &out,
            &definition.forward(&dq, &dk, &dv, &dw),
            FORWARD,
        );
        if trial % 6 == 0 {
            let found = on_threads(1, || attention.backward(&arrived));
            let again = on_threads(3, || attention.backward(&arrived));
            assert!((&found.queries, &found.values) == (&again.queries, &again.values));
            assert!((&found.keys, &found.weights) == (&again.keys, &again.weights));
            let f = |q: &[f64], k: &[f64], v: &[f64], w: &[f64]| definition.forward(q, k, v, w);
            let want = slope(&dq, &arrived, |x| f(x, &dk, &dv, &dw));
            close(&format!("q of {what}"), &found.queries, &want, BACKWARD);
            let want = slope(&dk, &arrived, |x| f(&dq, x, &dv, &dw));
            close(&format!("k of {what}"), &found.keys, &want, BACKWARD);
            let want = slope(&dv, &arrived, |x| f(&dq, &dk, x, &dw));
            close(&format!("v of {what}"), &found.values, &want, BACKWARD);
            let want = slope(&dw, &arrived, |x| f(&dq, &dk, &dv, x));
            close(&format!("w of {what}"), &found.weights, &want, BACKWARD);
        }
    }
}

/// Rows are read in bands, as what they give is held for a while: here in several, of which one row is more than one.
#[test]
fn gradients_of_many_rows_are_those_of_a_few_at_a_time() {
    let heads = Heads {
        queries: 16,
        keys: 2,
        width: 64,
    };
    let (count, positions, top) = (12, 5, 8);
    let mut random = Random(3);
    for choosers in [1, 2] {
        let mut starts = vec![0, 700];
        while starts.len() < 60 {
            starts.push(starts[starts.len() - 1] + random.below(30));
        }
        let each = choosers * top;
        let slots = (starts.len() - 1) * each;
        let picks: Vec<u32> = (0..slots)
            .map(|_| match random.below(count + 1) {
                0 => NONE,
                chunk => chunk as u32 - 1,
            })
            .collect();
        let (query, held) = (heads.queries * heads.width, count * positions * 2 * 64);
        let size = starts[starts.len() - 1] * query;
        let mut all = |count| random.numbers(count);
        let (q, arrived, w, k, v) = (all(size), all(size), all(slots), all(held), all(held));
        let of = |rows: std::ops::Range<usize>| {
            let from = starts[rows.start];
            let own: Vec<usize> = (starts[rows.start..=rows.end].iter())
                .map(|at| at - from)
                .collect();
            let (at, slots) = (
                from * query..starts[rows.end] * query,
                rows.start * each..rows.end * each,
            );
            let attention = Attention {
                queries: &q[at.clone()],
                heads,
                chunks: Chunks {
                    keys: &k,
                    values: &v,
                    positions,
                },
                picks: Picks {
                    starts: &own,
                    heads: choosers,
                    top,
                    chunks: &picks[slots.clone()],
                    weights: &w[slots],
                },
                one: true,
            };
            attention.backward(&arrived[at])
        };
        let rows = starts.len() - 1;
        let (whole, parts) = (of(0..rows), [of(0..1), of(1..rows / 2), of(rows / 2..rows)]);
        assert!(whole.queries == [0, 1, 2].map(|i| &parts[i].queries[..]).concat());
        assert!(whole.weights == [0, 1, 2].map(|i| &parts[i].weights[..]).concat());
        let sum = |of: fn(&Gradients) -> &Vec<f32>| {
            let all: Vec<f64> = (0..held)
                .map(|i| parts.iter().map(|part| f64::from(of(part)[i])).sum())
                .collect();
            close("a sum of parts", of(&whole), &all, FORWARD);
        };
        sum(|found| &found.keys);
        sum(|found| &found.values);
    }
}

#[test]
fn attention_to_what_is_near() {
    let mut random = Random(2);
    for trial in 0..40 {
        let (keys, shared) = (1 + random.below(2), 1 + random.below(3));
        let heads = [keys * shared, keys, 1 + random.below(19)];
        let (batch, time) = (
            1 + random.below(2),
            1 + random.below(if trial % 4 == 0 { 9 } else { 150 }),
        );
        let left = (random.below(4) > 0).then(|| random.below(90));
        let before = left.map_or(0, |left| random.below(left + 2));
        let there: Vec<bool> = (0..batch * before).map(|_| random.below(3) > 0).collect();
        let slopes = random.numbers(heads[0]);
        let slopes = (random.below(2) == 0).then_some(&slopes[..]);
        let mut all = |count| random.numbers(count);
        let size = batch * time * heads[0] * heads[2];
        let (q, arrived) = (all(size), all(size));
        let each = batch * (before + time) * heads[1] * heads[2];
        let (k, v) = (all(each), all(each));
        let sizes = [batch, time, before];
        let definition = reference::Near {
            sizes,
            heads,
            left,
            there: &there,
            slopes,
        };
        let near = Near {
            queries: &q,
            keys: &k,
            values: &v,
            sizes,
            heads: Heads {
                queries: heads[0],
                keys: heads[1],
                width: heads[2],
            },
            sight: left.map_or(Sight::All, Sight::Left),
            there: &there,
            slopes,
        };
        let out = on_threads(1, || near.forward());
        assert!(out == on_threads(3, || near.forward()));
        let [dq, dk, dv] = [&q, &k, &v].map(|x| wide(x));
        let what = format!("trial {trial}, sizes {sizes:?}, heads {heads:?}, left {left:?}");
        close(&what, &out, &definition.forward(&dq, &dk, &dv), FORWARD);
        if trial % 4 == 0 {
            let found = near.backward(&arrived);
            let f = |q: &[f64], k: &[f64], v: &[f64]| definition.forward(q, k, v);
            let want = slope(&dq, &arrived, |x| f(x, &dk, &dv));
            close(&format!("q of {what}"), &found.queries, &want, BACKWARD);
            let want = slope(&dk, &arrived, |x| f(&dq, x, &dv));
            close(&format!("k of {what}"), &found.keys, &want, BACKWARD);
            let want = slope(&dv, &arrived, |x| f(&dq, &dk, x));
            close(&format!("v of {what}"), &found.values, &want, BACKWARD);
        }
        // Longer than a block of keys: the adjoint of a linear function of the values is exact.
        let found = on_threads(1, || near.backward(&arrived));
        assert!(found.keys == on_threads(3, || near.backward(&arrived)).keys);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let (one, other) = (dot(&out, &arrived), dot(&found.values, &v));
        assert!(
            (one - other).abs() < 1e-4 * (1.0 + one.abs()),
            "{what}: {one} {other}"
        );
    }
}

#[test]
fn the_best_of_every_row_whatever_the_blocks() {
    let mut random = Random(3);
    for trial in 0..30 {
        let (heads, width) = (1 + random.below(2), 1 + random.below(20));
        let (rows, count, top) = (
            1 + random.below(150),
            random.below(1500),
            1 + random.below(9),
        );
        let queries = random.numbers(rows * heads * width);
        let mut landmarks = random.numbers(count * heads * width);
        // Some are the same, so that scores are.
        if count > 4 {
            landmarks.copy_within(0..heads * width, 3 * heads * width);
        }
        let visible: Vec<usize> = (0..rows).map(|_| random.below(count + 1)).collect();
        let noise = (trial % 3 == 0).then_some(Noise { seed: trial });
        let asked = Queries {
            data: &queries,
            heads,
            width,
            visible: &visible,
            top,
            noise,
        };
        let cut = |random: &mut Random| {
            let mut blocks = Vec::new();
            let mut first = 0;
            while first < count {
                let size = (1 + random.below(700)).min(count - first);
                let one = heads * width;
                let landmarks = &landmarks[first * one..(first + size) * one];
                blocks.push(Block { first, landmarks });
                first += size;
            }
            blocks
        };
        let blocks = cut(&mut random);
        let found = on_threads(3, || choose(&asked, &blocks));
        assert!(found == on_threads(1, || choose(&asked, &blocks)));
        for (at, (chunks, scores)) in (found.chunks.chunks(top))
            .zip(found.scores.chunks(top))
            .enumerate()
        {
            let (row, head) = (at / heads, at % heads);
            let score = |chunk: usize| -> f64 {
                let query = &queries[at * width..(at + 1) * width];
                let landmark = &landmarks[(chunk * heads + head) * width..][..width];
                let dot = query
                    .iter()
                    .zip(landmark)
                    .map(|(&a, &b)| f64::from(a) * f64::from(b));
                dot.sum::<f64>() / (width as f64).sqrt()
            };
            let by = |chunk: usize| {
                score(chunk) + noise.map_or(0.0, |noise| f64::from(noise.at(row, head, chunk)))
            };
            let count = visible[row].min(top);
            assert!(chunks[count..].iter().all(|&c| c == NONE));
            let mut want: Vec<usize> = (0..visible[row]).collect();
            want.sort_by(|&a, &b| by(b).total_cmp(&by(a)).then(a.cmp(&b)));
            for (i, (&chunk, &got)) in chunks[..count].iter().zip(scores).enumerate() {
                let chunk = chunk as usize;
                assert!((f64::from(got) - score(chunk)).abs() < 4e-6);
                // In f32 neighbours that are as good may be exchanged.
                assert!(chunk == want[i] || (by(chunk) - by(want[i])).abs() < 4e-6);
            }
        }
    }
}

#[test]
fn a_planted_landmark_is_found_at_any_length() {
    let mut random = Random(4);
    let width = 24;
    for count in [1, 2, 63, 513, 30_000] {
        let mut landmarks = random.numbers(count * width);
        let query = random.numbers(width);
        let place = random.below(count);
        let planted = &mut landmarks[place * width..(place + 1) * width];
        planted
            .iter_mut()
            .zip(&query)
            .for_each(|(l, q)| *l = 3.0 * q);
        let asked = Queries {
            data: &query,
            heads: 1,
            width,
            visible: &[count],
            top: 3,
            noise: None,
        };
        let block = Block {
            first: 0,
            landmarks: &landmarks,
        };
        let chosen = choose(&asked, &[block]);
        assert_eq!(chosen.chunks[0] as usize, place);
        let weights = Weights::Softmax.of(&chosen, 3);
        assert!(weights[0] > 0.9, "{weights:?}");
    }
}

#[test]
fn weights_and_what_they_are_made_from() {
    let mut random = Random(5);
    for trial in 0..40 {
        let kind = [Weights::Softmax, Weights::StickBreaking][trial % 2];
        let (heads, width, top) = (
            1 + random.below(3),
            1 + random.below(18),
            1 + random.below(5),
        );
        let (rows, past, own) = (1 + random.below(5), random.below(4), 1 + random.below(6));
        let count = past + own;
        let (q, l) = (
            random.numbers(rows * heads * width),
            random.numbers(count * heads * width),
        );
        let visible: Vec<usize> = (0..rows).map(|_| random.below(count + 1)).collect();
        let asked = Queries {
            data: &q,
            heads,
            width,
            visible: &visible,
            top,
            noise: None,
        };
        let blocks = [(0, past), (past, own)].map(|(first, size)| Block {
            first,
            landmarks: &l[first * heads * width..(first + size) * heads * width],
        });
        let blocks: Vec<Block> = blocks
            .into_iter()
            .filter(|b| !b.landmarks.is_empty())
            .collect();
        let mut chosen = choose(&asked, &blocks);
        kind.order(&mut chosen, top);
        if kind == Weights::StickBreaking {
            let falls = |row: &[u32]| row.is_sorted_by(|a, b| *b == NONE || (*a != NONE && a > b));
            assert!(chosen.chunks.chunks(top).all(falls), "{:?}", chosen.chunks);
        }
        let made = |q: &[f64], l: &[f64]| {
            let row = |(at, row): (usize, &[u32])| {
                let row = row.iter().filter(|c| **c != NONE);
                let scores: Vec<f64> = row
                    .map(|&chunk| {
                        let landmark = &l[(chunk as usize * heads + at % heads) * width..][..width];
                        let pairs = q[at * width..].iter().zip(landmark);
                        pairs.map(|(a, b)| a * b).sum::<f64>() / (width as f64).sqrt()
                    })
                    .collect();
                let mut weights = reference::weights(kind, &scores);
                weights.resize(top, 0.0);
                weights
            };
            let rows = chosen.chunks.chunks(top).enumerate();
            rows.flat_map(row).collect::<Vec<f64>>()
        };
        let (dq, dl) = (wide(&q), wide(&l));
        let what = format!("trial {trial}");
        close(&what, &kind.of(&chosen, top), &made(&dq, &dl), FORWARD);
        let again = weigh::scores(&asked, &blocks, &chosen.chunks);
        close(&what, &again, &wide(&chosen.scores), FORWARD);
        let arrived = random.numbers(chosen.chunks.len());
        let d_scores = kind.backward(&chosen, top, &arrived);
        let (d_q, d_l) = weigh::backward(&asked, &blocks, &chosen.chunks, &d_scores, [past, own]);
        close(
            &what,
            &d_q,
            &slope(&dq, &arrived, |x| made(x, &dl)),
            BACKWARD,
        );
        let want = slope(&dl, &arrived, |x| made(&dq, x));
        close(&what, &d_l, &want[past * heads * width..], BACKWARD);
    }
}
