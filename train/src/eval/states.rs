//! Statistics of the states over time: whether a model's state goes on growing past its training.
//!
//! The published figure is the standard deviation over all elements of the state, here of all
//! layers together, of each layer, and of each head (over sequences and elements). Beside it for
//! each head: mean, greatest magnitude, and the Euclidean norm averaged over sequences. States are
//! those of recurrences: what a window of attention carries is what was read, and does not grow.

use super::{SIDE_BY_SIDE, Stream, Tokens, starts};
use crate::Error;
use crate::models::{HostStates, Recurrent};
use crate::ranks::{Group, spread};
use baton_runtime::Tensor;
use baton_tasks::measures::{LayerStatistics, OverTime, log_spaced};
use serde::{Deserialize, Serialize};

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// The training length; it is one of the times, and so are four times it, sixteen times..
    pub train_length: usize,
    /// Tokens of each sequence.
    pub length: usize,
    /// Sequences, evenly spread over the text; fewer when they would overlap.
    pub sequences: usize,
    /// About as many times, evenly spaced in their logarithm from 1 to the length.
    pub times: usize,
    /// Tokens that are run at once, at most.
    pub segment: usize,
}

/// Sums that a mean and a standard deviation are made from.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Sums {
    count: f64,
    sum: f64,
    squares: f64,
    max: f64,
}

impl Sums {
    fn of(elements: &[f32]) -> Self {
        let zero = Sums {
            count: elements.len() as f64,
            ..Sums::default()
        };
        elements.iter().fold(zero, |all, &x| Sums {
            sum: all.sum + x as f64,
            squares: all.squares + (x as f64).powi(2),
            max: larger(all.max, x.abs() as f64),
            ..all
        })
    }

    fn and(self, other: Self) -> Self {
        Sums {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
            max: larger(self.max, other.max),
        }
    }

    fn mean(&self) -> f64 {
        self.sum / self.count.max(1.0)
    }

    fn std(&self) -> f64 {
        let variance = self.squares / self.count.max(1.0) - self.mean().powi(2);
        if variance < 0.0 { 0.0 } else { variance.sqrt() }
    }
}

/// The larger one; what is no number stays in sight.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// Runs `model` (without a graph) over `text` from zero states on the ranks of `group`; `each` hears the tokens done.
pub fn over_time(
    model: &impl Recurrent,
    text: &(impl Tokens + ?Sized),
    options: &Options,
    group: &dyn Group,
    each: &mut dyn FnMut(usize),
) -> Result<OverTime, Error> {
    let recurrences = model.recurrences();
    if recurrences.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::Config(
            "a model without a recurrence given, expected one with a recurrent layer: what its layers carry are windows \
             and chunks of what was read, and no states"
                .into(),
        ));
    }
    let starts = starts(text, options.length, options.sequences)?;
    let mut times = log_spaced(1, options.length, options.times);
    let quadrupled = |&time: &usize| time.checked_mul(4);
    let multiples = std::iter::successors(Some(options.train_length.max(1)), quadrupled);
    times.extend(multiples.take_while(|&time| time <= options.length));
    times.sort_unstable();
    times.dedup();
    let mut found = OverTime {
        std: Vec::new(),
        layers: Vec::new(),
        sequences: starts.len(),
        times: times.clone(),
        starts: starts.clone(),
    };
    let batches: Vec<&[usize]> = starts.chunks(SIDE_BY_SIDE).collect();
    let batches = spread(group, batches.len(), |number| {
        let starts = batches[number];
        let mut stream = Stream::new(model, starts.len(), None)?;
        let mut at = 0;
        let seen = times.iter().map(|&time| {
            while at < time {
                let size = options.segment.max(1).min(time - at);
                stream.skip(&text.rows(starts, at, size))?;
                at += size;
                each(starts.len() * size);
            }
            let states = stream.states().unwrap_or_default();
            Ok(Seen::of(states, recurrences.as_deref()))
        });
        seen.collect::<Result<Vec<_>, Error>>()
    })?;
    let mut batches = batches.into_iter();
    let mut all = batches.next().unwrap_or_default();
    for batch in batches {
        for (all, more) in all.iter_mut().flatten().zip(batch.into_iter().flatten()) {
            all.sums.extend(more.sums);
        }
    }
    all.into_iter().for_each(|states| add(&mut found, states));
    Ok(found)
}

/// One state of one layer at one time.
#[derive(Serialize, Deserialize)]
struct Seen {
    layer: usize,
    state: usize,
    /// Of each sequence, of each of its heads.
    sums: Vec<Vec<Sums>>,
}

impl Seen {
    /// Of the layers `recurrences`, absent is all.
    fn of(states: HostStates, recurrences: Option<&[usize]>) -> Vec<Self> {
        let layers = states.iter().enumerate();
        let own = layers.filter(|(layer, _)| recurrences.is_none_or(|own| own.contains(layer)));
        let seen = own.flat_map(|(layer, states)| {
            let states = states.recurrence.iter().enumerate();
            states.map(move |(state, tensor)| Seen {
                layer,
                state,
                sums: sums(tensor),
            })
        });
        seen.collect()
    }
}

/// Adds one time.
fn add(found: &mut OverTime, states: Vec<Seen>) {
    let mut whole = Sums::default();
    for (number, Seen { layer, state, sums }) in states.into_iter().enumerate() {
        if found.layers.len() == number {
            found.layers.push(LayerStatistics {
                layer,
                state,
                std: Vec::new(),
                head_mean: Vec::new(),
                head_std: Vec::new(),
                head_max: Vec::new(),
                head_norm: Vec::new(),
            });
        }
        let (heads, norms) = by_head(&sums);
        let all = heads.iter().fold(Sums::default(), |a, &b| a.and(b));
        let into = &mut found.layers[number];
        into.std.push(all.std());
        into.head_mean.push(heads.iter().map(Sums::mean).collect());
        into.head_std.push(heads.iter().map(Sums::std).collect());
        into.head_max.push(heads.iter().map(|h| h.max).collect());
        into.head_norm.push(norms);
        whole = whole.and(all);
    }
    found.std.push(whole.std());
}

/// Of each sequence, of each of its heads, of [B, H, ...].
fn sums(state: &Tensor) -> Vec<Vec<Sums>> {
    let (batch, heads) = (state.shape[0], state.shape[1].max(1));
    let each = (state.data.len() / (batch * heads).max(1)).max(1);
    let heads = state.data.chunks(heads * each);
    let sums = heads.map(|heads| heads.chunks(each).map(Sums::of).collect());
    sums.collect()
}

/// Sums of each head over sequences, and each head's norm averaged over them.
fn by_head(sequences: &[Vec<Sums>]) -> (Vec<Sums>, Vec<f64>) {
    let heads = sequences.first().map_or(0, Vec::len);
    let (mut sums, mut norms) = (vec![Sums::default(); heads], vec![0.0; heads]);
    for sequence in sequences {
        for (head, &one) in sequence.iter().enumerate() {
            sums[head] = sums[head].and(one);
            norms[head] += one.squares.sqrt() / sequences.len() as f64;
        }
    }
    (sums, norms)
}

#[cfg(test)]
mod tests {
    use super::super::tests::micro;
    use super::*;
    use crate::models::HostState;
    use crate::ranks::Alone;

    #[test]
    fn heads_are_told_apart_and_sequences_are_not() {
        // Two sequences, two heads of two elements.
        let state = Tensor {
            shape: vec![2, 2, 1, 2],
            data: vec![3.0, -4.0, 1.0, 1.0, 0.0, 5.0, 1.0, 1.0],
        };
        let (heads, norms) = by_head(&sums(&state));
        assert_eq!(norms, [5.0, 2f64.sqrt()]);
        assert_eq!((heads[0].mean(), heads[1].mean()), (1.0, 1.0));
        assert_eq!((heads[0].max, heads[1].std()), (5.0, 0.0));
        assert!((heads[0].std() - (50.0f64 / 4.0 - 1.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn states_that_are_not_finite_have_no_statistics_and_keep_their_place() {
        for strange in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut found = OverTime {
                times: vec![1],
                std: Vec::new(),
                layers: Vec::new(),
                sequences: 1,
                starts: vec![0],
            };
            let state = HostState {
                recurrence: vec![Tensor {
                    shape: vec![1, 2, 1, 2],
                    data: vec![1.0, 2.0, 3.0, strange],
                }],
                conv: None,
                memory: None,
            };
            add(&mut found, Seen::of(vec![state], None));
            let layer = &found.layers[0];
            assert!(found.std[0].is_nan() && layer.std[0].is_nan());
            assert!(layer.head_std[0][0] == 0.5 && layer.head_std[0][1].is_nan());
            assert!(layer.head_max[0][0] == 2.0 && !layer.head_max[0][1].is_finite());
            let text = serde_json::to_string(&found).unwrap();
            let read: OverTime = serde_json::from_str(&text).unwrap();
            assert!(read.std[0].is_nan() && read.layers[0].head_mean[0][1].is_nan());
            assert_eq!(read.layers[0].head_mean[0][0], 1.5);
        }
    }

    #[test]
    fn the_last_time_is_that_of_one_read() {
        let model = micro();
        let text: Vec<u8> = (0..120u32).map(|i| (i * i % 251) as u8).collect();
        let options = Options {
            train_length: 10,
            length: 50,
            sequences: 2,
            times: 5,
            segment: 7,
        };
        let mut heard = 0;
        let found = over_time(&model, &text[..], &options, &Alone, &mut |n| heard += n).unwrap();
        assert_eq!(found.times, [1, 3, 7, 10, 19, 40, 50]);
        assert_eq!((heard, found.layers.len()), (100, 2));
        let mut stream = Stream::new(&model, 2, None).unwrap();
        stream.feed(&text[..].rows(&found.starts, 0, 50)).unwrap();
        let states = stream.states().unwrap();
        let all: Vec<f64> = states
            .iter()
            .flat_map(|layer| &layer.recurrence[0].data)
            .map(|&x| x as f64)
            .collect();
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        let std = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!((found.std[6] / std - 1.0).abs() < 1e-4);
        assert!(found.layers.iter().all(|l| l.head_norm[6].len() == 4));
    }
}
