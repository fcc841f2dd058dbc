//! Values and gradients of the authors' reference code in f64.

use crate::{BACKWARD, FORWARD, close};
use baton_retrieval::choose::{Block, Chosen, Queries, choose};
use baton_retrieval::chunks::{Attention, Chunks, Picks};
use baton_retrieval::weigh::{self, Weights};
use baton_retrieval::{Heads, NONE};
use safetensors::{Dtype, SafeTensors};

struct Golden(Vec<u8>);

impl Golden {
    fn read() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/golden/chunk_attention.safetensors"
        );
        Golden(std::fs::read(path).unwrap())
    }

    fn exact(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F64);
        let numbers = tensor.data().as_chunks::<8>().0.iter();
        numbers.map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    fn get(&self, name: &str) -> Vec<f32> {
        self.exact(name).into_iter().map(|x| x as f32).collect()
    }

    fn chunks(&self, name: &str) -> Vec<u32> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let numbers = file.tensor(name).unwrap().data().as_chunks::<8>().0;
        let numbers = numbers.iter().map(|bytes| i64::from_le_bytes(*bytes));
        numbers
            .map(|i| if i < 0 { NONE } else { i as u32 })
            .collect()
    }
}

/// [A, B, C, each] to [A, C, B, each].
fn exchanged<T: Copy>(x: &[T], [a, b, c, each]: [usize; 4]) -> Vec<T> {
    assert_eq!(x.len(), a * b * c * each);
    let mut out = Vec::with_capacity(x.len());
    for (i, k, j) in (0..a).flat_map(|i| (0..c).flat_map(move |k| (0..b).map(move |j| (i, k, j)))) {
        let at = ((i * b + j) * c + k) * each;
        out.extend_from_slice(&x[at..at + each]);
    }
    out
}

#[test]
fn the_operation_with_and_without_the_one() {
    let golden = Golden::read();
    let (rows, heads, span, width, own, top, positions) = (3, 4, 8, 8, 2, 3, 8);
    // [Z, H, M, d] to positions, [Z, M, H, d]; [Z, Hk, K, S, d] to chunks, [Z K, S, Hk, d].
    let queries = |x: Vec<f32>| exchanged(&x, [rows, heads, span, width]);
    let wanted = |x: Vec<f64>| exchanged(&x, [rows, heads, span, width]);
    let chunks = |x: &[f32]| exchanged(x, [rows, own, top * positions, width]);
    let wanted_chunks = |x: &[f64]| exchanged(x, [rows, own, top * positions, width]);
    let (q, arrived) = (
        queries(golden.get("gca.in.q")),
        queries(golden.get("gca.do")),
    );
    let (k, v) = (
        chunks(&golden.get("gca.in.k")),
        chunks(&golden.get("gca.in.v")),
    );
    let w = golden.get("gca.in.w");
    let picks: Vec<u32> = (0..rows as u32 * top as u32).collect();
    for (name, one) in [("softmax", false), ("softmax1", true)] {
        let attention = Attention {
            queries: &q,
            heads: Heads {
                queries: heads,
                keys: own,
                width,
            },
            chunks: Chunks {
                keys: &k,
                values: &v,
                positions,
            },
            picks: Picks {
                starts: &[0, 8, 16, 24],
                heads: 1,
                top,
                chunks: &picks,
                weights: &w,
            },
            one,
        };
        let of = |part: &str| golden.exact(&format!("gca.{name}.{part}"));
        close(name, &attention.forward(), &wanted(of("o")), FORWARD);
        let found = attention.backward(&arrived);
        close(name, &found.queries, &wanted(of("grad.q")), BACKWARD);
        close(name, &found.keys, &wanted_chunks(&of("grad.k")), BACKWARD);
        close(name, &found.values, &wanted_chunks(&of("grad.v")), BACKWARD);
        close(name, &found.weights, &of("grad.w"), BACKWARD);
    }
}

/// Chunk c's choice serves chunk c + 1, and the landmark's row of keys and values, which is zero, is the one
/// of the denominator.
#[test]
fn a_layer_of_grouped_cross_attention() {
    let golden = Golden::read();
    let (batch, count, span, heads, width, dim, top) = (2, 6, 8, 4, 8, 16, 3);
    let positions = span - 1;
    let without = |x: Vec<f32>| -> Vec<f32> {
        let each = heads * width;
        x.chunks(span * each)
            .flat_map(|c| c[..positions * each].to_vec())
            .collect()
    };
    let [q, arrived, query, landmark] =
        ["in.q", "do", "in.query", "in.landmark"].map(|part| golden.get(&format!("drt.{part}")));
    let (k, v) = (
        without(golden.get("drt.in.k")),
        without(golden.get("drt.in.v")),
    );
    let one = |b: usize| {
        let rows = b * count * dim..(b + 1) * count * dim;
        (&query[rows.clone()], &landmark[rows])
    };
    let visible: Vec<usize> = (0..count).collect();
    let mut picks = Vec::new();
    let mut weights = Vec::new();
    let mut all: Vec<Chosen> = Vec::new();
    for b in 0..batch {
        let (query, landmarks) = one(b);
        let asked = Queries {
            data: query,
            heads: 1,
            width: dim,
            visible: &visible,
            top,
            noise: None,
        };
        let chosen = choose(
            &asked,
            &[Block {
                first: 0,
                landmarks,
            }],
        );
        let own = Weights::Softmax.of(&chosen, top);
        // The first chunk has no choice, the last one's serves nobody.
        picks.extend([NONE; 3]);
        weights.extend([0.0; 3]);
        let slots = (count - 1) * top;
        let shift = |&c: &u32| {
            if c == NONE {
                NONE
            } else {
                c + (b * count) as u32
            }
        };
        picks.extend(chosen.chunks[..slots].iter().map(shift));
        weights.extend(&own[..slots]);
        all.push(chosen);
    }
    let chosen: Vec<u32> = all.iter().flat_map(|c| c.chunks.clone()).collect();
    assert_eq!(chosen, golden.chunks("drt.indices"));
    let own: Vec<f32> = all
        .iter()
        .flat_map(|c| Weights::Softmax.of(c, top))
        .collect();
    close("weights", &own, &golden.exact("drt.weights"), FORWARD);
    let starts: Vec<usize> = (0..=batch * count).map(|c| c * span).collect();
    let attention = Attention {
        queries: &q,
        heads: Heads {
            queries: heads,
            keys: heads,
            width,
        },
        chunks: Chunks {
            keys: &k,
            values: &v,
            positions,
        },
        picks: Picks {
            starts: &starts,
            heads: 1,
            top,
            chunks: &picks,
            weights: &weights,
        },
        one: true,
    };
    close("o", &attention.forward(), &golden.exact("drt.o"), FORWARD);
    let found = attention.backward(&arrived);
    close("q", &found.queries, &golden.exact("drt.grad.q"), BACKWARD);
    let wanted = |name: &str| -> Vec<f64> {
        let (x, each) = (golden.exact(name), heads * width);
        x.chunks(span * each)
            .flat_map(|c| c[..positions * each].to_vec())
            .collect()
    };
    close("k", &found.keys, &wanted("drt.grad.k"), BACKWARD);
    close("v", &found.values, &wanted("drt.grad.v"), BACKWARD);
    let (mut d_query, mut d_landmark) = (Vec::new(), Vec::new());
    for (b, chosen) in all.iter().enumerate() {
        let (query, landmarks) = one(b);
        let begin = b * count * top;
        let mut d_weights = found.weights[begin + top..begin + count * top].to_vec();
        d_weights.extend([0.0; 3]);
        let d_scores = Weights::Softmax.backward(chosen, top, &d_weights);
        let asked = Queries {
            data: query,
            heads: 1,
            width: dim,
            visible: &visible,
            top,
            noise: None,
        };
        let blocks = [Block {
            first: 0,
            landmarks,
        }];
        let (q, l) = weigh::backward(&asked, &blocks, &chosen.chunks, &d_scores, [0, count]);
        d_query.extend(q);
        d_landmark.extend(l);
    }
    close("query", &d_query, &golden.exact("drt.grad.query"), BACKWARD);
    close(
        "landmark",
        &d_landmark,
        &golden.exact("drt.grad.landmark"),
        BACKWARD,
    );
}

#[test]
fn a_layer_of_hierarchical_sparse_attention() {
    let golden = Golden::read();
    let (batch, time, count, span, keys, width, top) = (2, 40, 5, 8, 2, 8, 3);
    let [q, k, v, query, landmark] =
        ["q", "k", "v", "query", "landmark"].map(|part| golden.get(&format!("hsa.in.{part}")));
    let arrived = golden.get("hsa.do");
    let visible: Vec<usize> = (0..time).map(|t| t / span).collect();
    let starts: Vec<usize> = (0..=batch * time).collect();
    for (name, kind, one) in [
        ("stick", Weights::StickBreaking, false),
        ("stick1", Weights::StickBreaking, true),
        ("softmax", Weights::Softmax, false),
    ] {
        let asked = |b: usize| Queries {
            data: &query[b * time * keys * width..(b + 1) * time * keys * width],
            heads: keys,
            width,
            visible: &visible,
            top,
            noise: None,
        };
        let landmarks = |b: usize| Block {
            first: 0,
            landmarks: &landmark[b * count * keys * width..(b + 1) * count * keys * width],
        };
        let chosen: Vec<Chosen> = (0..batch)
            .map(|b| {
                let mut chosen = choose(&asked(b), &[landmarks(b)]);
                // The golden choice is most recent first for softmax too.
                Weights::StickBreaking.order(&mut chosen, top);
                chosen
            })
            .collect();
        let all: Vec<u32> = chosen.iter().flat_map(|c| c.chunks.clone()).collect();
        assert_eq!(all, golden.chunks("hsa.indices"));
        let weights: Vec<f32> = chosen.iter().flat_map(|c| kind.of(c, top)).collect();
        let of = |part: &str| golden.exact(&format!("hsa.{name}.{part}"));
        if name != "stick1" {
            close(name, &weights, &of("weights"), FORWARD);
        }
        let shift = |b: usize| (b * count) as u32;
        let picks: Vec<u32> = (chosen.iter().enumerate())
            .flat_map(|(b, c)| c.chunks.iter().map(move |&c| (b, c)))
            .map(|(b, c)| if c == NONE { NONE } else { c + shift(b) })
            .collect();
        let attention = Attention {
            queries: &q,
            heads: Heads {
                queries: 4,
                keys,
                width,
            },
            chunks: Chunks {
                keys: &k,
                values: &v,
                positions: span,
            },
            picks: Picks {
                starts: &starts,
                heads: keys,
                top,
                chunks: &picks,
                weights: &weights,
            },
            one,
        };
        close(name, &attention.forward(), &of("o"), FORWARD);
        let found = attention.backward(&arrived);
        close(name, &found.queries, &of("grad.q"), BACKWARD);
        close(name, &found.keys, &of("grad.k"), BACKWARD);
        close(name, &found.values, &of("grad.v"), BACKWARD);
        let (mut d_query, mut d_landmark) = (Vec::new(), Vec::new());
        let each = time * keys * top;
        for (b, chosen) in chosen.iter().enumerate() {
            let d_weights = &found.weights[b * each..(b + 1) * each];
            let d_scores = kind.backward(chosen, top, d_weights);
            let blocks = [landmarks(b)];
            let (q, l) = weigh::backward(&asked(b), &blocks, &chosen.chunks, &d_scores, [0, count]);
            d_query.extend(q);
            d_landmark.extend(l);
        }
        close(name, &d_query, &of("grad.query"), BACKWARD);
        close(name, &d_landmark, &of("grad.landmark"), BACKWARD);
    }
}
