//! A batch of sequences read in segments, every state carried from one to the next.
//!
//! This is the recurrence itself, convolution included: where the segments are cut does not
//! matter beyond rounding, and memory is bounded by one segment however long the sequences are.
//! A stream is cheap to clone (states are shared until they are replaced), which is how a
//! measure comes back to a place: clone, read on, drop.

use crate::Error;
use crate::models::{HostState, HostStates, LanguageModel, LayerState, Recurrent, States};
use crate::op::Value;
use baton_runtime::Tensor as Host;
use burn::Tensor;

/// Sequences side by side, each at the same number of tokens read.
#[derive(Clone)]
pub struct Stream<'m, M: Recurrent = LanguageModel> {
    model: &'m M,
    batch: usize,
    states: Option<States>,
}

impl<'m, M: Recurrent> Stream<'m, M> {
    /// `batch` sequences that begin at `initial` (absent: zero) and have read nothing yet. `model`
    /// is one without a graph.
    pub fn new(model: &'m M, batch: usize, initial: Option<HostStates>) -> Result<Self, Error> {
        if batch == 0 {
            return Err(Error::Config(
                "a stream of 0 sequences given, expected at least 1".into(),
            ));
        }
        for state in initial.iter().flatten().flat_map(|s| &s.recurrence) {
            if state.shape.first() != Some(&batch) {
                return Err(Error::Tensor(format!(
                    "an initial state of shape {:?} given, expected {batch} sequences first",
                    state.shape
                )));
            }
        }
        let states = initial.map(|s| s.into_iter().map(LayerState::from_host).collect());
        Ok(Stream {
            model,
            batch,
            states,
        })
    }

    /// Sequences side by side.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Reads `tokens`, [B, t] in row order; logits after each, [B, t, V].
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Tensor<3>, Error> {
        let x = self.hidden(tokens)?;
        Ok(self.model.logits(x))
    }

    /// Reads `tokens`, [B, t]; logits after the last only, [B, V] in row order.
    pub fn feed_last(&mut self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let x = self.hidden(tokens)?;
        let [batch, time, width] = x.dims();
        let last = x.slice([0..batch, time - 1..time, 0..width]);
        Ok(Value::new(self.model.logits(last))?.to_host().data)
    }

    /// Reads `tokens`, [B, t], for the states alone.
    pub fn skip(&mut self, tokens: &[u32]) -> Result<(), Error> {
        self.hidden(tokens).map(drop)
    }

    /// Reads `tokens`, [B, T] with any T, in segments of at most `segment`; logits after the last,
    /// [B, V]. `each` hears how many tokens were read.
    pub fn read(
        &mut self,
        tokens: &[u32],
        segment: usize,
        each: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, Error> {
        let length = self.length(tokens)?;
        let mut logits = Vec::new();
        for at in (0..length).step_by(segment.max(1)) {
            let end = length.min(at.saturating_add(segment.max(1)));
            let rows = tokens.chunks(length).flat_map(|row| &row[at..end]);
            let piece: Vec<u32> = rows.copied().collect();
            logits = match end == length {
                true => self.feed_last(&piece)?,
                false => {
                    self.skip(&piece)?;
                    Vec::new()
                }
            };
            each(piece.len());
        }
        Ok(logits)
    }

    /// Goes on greedily for `count` tokens from `logits` [B, V], those after the last token read;
    /// `[B][count]`, and whether all logits of a sequence were finite. The last token generated is
    /// not read.
    pub fn greedy(
        &mut self,
        mut logits: Vec<f32>,
        count: usize,
    ) -> Result<Vec<(Vec<u32>, bool)>, Error> {
        let mut all = vec![(Vec::with_capacity(count), true); self.batch];
        for i in 0..count {
            let rows = logits.chunks(logits.len() / self.batch);
            for ((said, finite), row) in all.iter_mut().zip(rows) {
                said.push(argmax(row));
                *finite &= row.iter().all(|x| x.is_finite());
            }
            let next: Vec<u32> = all.iter().map(|(said, _)| said[i]).collect();
            if i + 1 < count {
                logits = self.feed_last(&next)?;
            }
        }
        Ok(all)
    }

    /// The states after what was read, on the host; absent before anything was, from zero.
    pub fn states(&self) -> Option<HostStates> {
        let states = self.states.as_ref()?;
        Some(states.iter().map(LayerState::to_host).collect())
    }

    /// Adds `rows` sequences that begin here, at zero states, after those that are read already.
    pub fn admit(&mut self, rows: usize) {
        let longer = |value: &Value| {
            let Host {
                mut shape,
                mut data,
            } = value.to_host();
            data.resize(data.len() / shape[0] * (shape[0] + rows), 0.0);
            shape[0] += rows;
            Value::from_host(Host { shape, data })
        };
        for layer in self.states.iter_mut().flatten() {
            layer
                .recurrence
                .iter_mut()
                .chain(&mut layer.conv)
                .for_each(|state| *state = longer(state));
            layer
                .memory
                .iter_mut()
                .for_each(|memory| memory.admit(rows));
        }
        self.batch += rows;
    }

    fn length(&self, tokens: &[u32]) -> Result<usize, Error> {
        match tokens.len() / self.batch {
            length if length > 0 && length * self.batch == tokens.len() => Ok(length),
            _ => Err(Error::Tensor(format!(
                "{} tokens given to {} sequences, expected as many for each and at least 1",
                tokens.len(),
                self.batch
            ))),
        }
    }

    fn hidden(&mut self, tokens: &[u32]) -> Result<Tensor<3>, Error> {
        let shape = [self.batch, self.length(tokens)?];
        let (x, after) = self.model.hidden(tokens, shape, self.states.clone())?;
        self.states = Some(after);
        Ok(x)
    }
}

/// One sequence's states as those of `batch`; states of more sequences as they are.
pub fn spread(states: HostStates, batch: usize) -> HostStates {
    let all = |state: Host| match state.shape.first() {
        Some(1) => {
            let mut shape = state.shape;
            shape[0] = batch;
            let data = state.data.repeat(batch);
            Host { shape, data }
        }
        _ => state,
    };
    let layer = |layer: HostState| HostState {
        recurrence: layer.recurrence.into_iter().map(all).collect(),
        conv: layer.conv.map(all),
        memory: layer.memory.map(|memory| memory.spread(batch)),
    };
    states.into_iter().map(layer).collect()
}

/// The place of the greatest, the first of equals.
pub fn argmax(row: &[f32]) -> u32 {
    let better = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
    (0..row.len()).fold(0, better) as u32
}

#[cfg(test)]
mod tests {
    use super::super::tests::micro;
    use super::*;

    const TEXT: &[u32] = &[72, 101, 32, 108, 111, 97, 115, 116, 32, 97, 121, 46];

    fn close(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        let worst = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        let worst = worst.fold(0.0, f32::max);
        assert!(worst < 1e-5, "they differ by {worst}");
    }

    #[test]
    fn segments_clones_and_late_sequences_make_no_difference() {
        let model = micro();
        let mut whole = Stream::new(&model, 1, None).unwrap();
        let expected = whole.feed_last(TEXT).unwrap();
        let mut cut = Stream::new(&model, 1, None).unwrap();
        let mut heard = 0;
        let got = cut.read(TEXT, 5, &mut |n| heard += n).unwrap();
        close(&got, &expected);
        assert_eq!(heard, TEXT.len());

        let mut one = Stream::new(&model, 1, None).unwrap();
        one.feed(&TEXT[..5]).unwrap();
        let place = one.clone();
        one.feed(&[1, 2, 3]).unwrap();
        let mut one = place;
        one.admit(1);
        let both = [&TEXT[5..], &TEXT[5..]].concat();
        let both = one.feed_last(&both).unwrap();
        close(&both[..256], &expected);
        let mut late = Stream::new(&model, 1, None).unwrap();
        close(&both[256..], &late.feed_last(&TEXT[5..]).unwrap());
        assert_ne!(&both[..256], &both[256..]);
    }

    #[test]
    fn states_taken_out_and_put_back_continue() {
        let model = micro();
        let mut first = Stream::new(&model, 1, None).unwrap();
        assert!(first.states().is_none());
        first.feed(TEXT).unwrap();
        let states = spread(first.states().unwrap(), 2);
        let mut pair = Stream::new(&model, 2, Some(states)).unwrap();
        let expected = first.feed_last(TEXT).unwrap();
        let got = pair.feed_last(&[TEXT, TEXT].concat()).unwrap();
        close(&got[..256], &expected);
        close(&got[256..], &expected);
        let states = first.states();
        let error = Stream::new(&model, 3, states).err().unwrap().to_string();
        assert!(error.ends_with("expected 3 sequences first"), "{error}");
    }

    #[test]
    fn greedy_generation_reads_what_it_wrote() {
        let model = micro();
        let mut stream = Stream::new(&model, 2, None).unwrap();
        let prompt = [TEXT, &[5; 12]].concat();
        let logits = stream.feed_last(&prompt).unwrap();
        let generated = stream.greedy(logits, 4).unwrap();
        for ((row, finite), prompt) in generated.iter().zip(prompt.chunks(12)) {
            assert_eq!((row.len(), *finite), (4, true));
            let mut whole = Stream::new(&model, 1, None).unwrap();
            let text = [prompt, &row[..3]].concat();
            let last = whole.feed_last(&text).unwrap();
            assert_eq!(argmax(&last), row[3]);
        }
    }

    #[test]
    fn tokens_that_do_not_divide_are_refused() {
        let model = micro();
        let mut stream = Stream::new(&model, 2, None).unwrap();
        let error = stream.feed(&TEXT[..3]).unwrap_err().to_string();
        assert_eq!(
            error,
            "3 tokens given to 2 sequences, expected as many for each and at least 1"
        );
        assert!(Stream::new(&model, 0, None).is_err());
    }
}
