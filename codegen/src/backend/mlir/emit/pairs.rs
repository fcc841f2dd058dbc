//! Partials of a trilinear form within a chunk of 16 steps, pair by pair.
//!
//! By its operands and its log decays the form has matrices of steps and channels, and nothing is summed over the channels:
//! so a thread takes a channel, and goes from each step of one side over those of the other, with the decay between them as
//! a running product. That is two instructions a pair, where its levels are four products of matrices with a barrier
//! each; and all of it is in f32. Which channel a thread has and who waits for whom is as in `steps`.

use super::super::levels::Trilinear;
use super::*;
use baton_ir::chunked::Partial;

/// Steps of the chunk.
const STEPS: usize = 16;

/// One channel of the operands.
struct Channel {
    /// What readers bring; none where the partial is by it.
    q: Vec<Val>,
    /// What writers bring.
    k: Vec<Val>,
    /// The decay of each step.
    a: Vec<Val>,
    /// 1 where a reader's own step does not decay, and is not read by itself.
    strict: usize,
}

impl Machine<'_> {
    pub(super) fn pairs(&mut self, tile: TileId) -> Vec<Val> {
        let form = Trilinear::apart(self.program, tile).expect("it is a trilinear form");
        let m = form.m.expect("a partial has weights of pairs");
        let columns = self.program.node(tile).shape[1];
        let rows: Vec<Val> = (0..STEPS as i32).map(|t| self.text.int(t)).collect();
        self.by_column(columns, |machine, column| {
            let mut read = |tile: TileId| -> Vec<Val> {
                let entry = |&row| machine.read(tile, row, Some(column));
                rows.iter().map(entry).collect()
            };
            let [q, k] = [form.q, form.k].map(|side| side.map_or(vec![], &mut read));
            let l = read(form.l);
            let channel = Channel {
                q,
                k,
                a: l.into_iter().map(|l| machine.exp(l)).collect(),
                strict: usize::from(form.strict),
            };
            let sums = match form.partial {
                Partial::Query => machine.by_query(m, &rows, &channel),
                Partial::Key => machine.by_key(m, &rows, &channel),
                Partial::LogDecay => machine.by_log_decay(m, &rows, &channel),
                Partial::Weights => unreachable!("the weights are products of matrices"),
            };
            for (&row, sum) in rows.iter().zip(sums) {
                machine.write(tile, row, Some(column), sum);
            }
        });
        vec![]
    }

    /// `sum over s of m[t, s] k[s] decay`: from each writer onwards.
    fn by_query(&mut self, m: TileId, rows: &[Val], channel: &Channel) -> Vec<Val> {
        let Channel { k, a, strict, .. } = channel;
        let mut sums = vec![self.text.float(0.0); STEPS];
        for first in (0..STEPS).step_by(4) {
            let mut writers = k[first..first + 4].to_vec();
            for t in first + strict..STEPS {
                let weights = self.weights(m, rows[t], first);
                for (i, writer) in writers.iter_mut().enumerate() {
                    let begin = first + i + strict;
                    if t > begin {
                        *writer = self.text.fmul(*writer, a[t - strict]);
                    }
                    if t >= begin {
                        sums[t] = self.text.fma(weights[i], *writer, sums[t]);
                    }
                }
            }
        }
        sums
    }

    /// `sum over t of m[t, s] q[t] decay`: from each reader backwards.
    fn by_key(&mut self, m: TileId, rows: &[Val], channel: &Channel) -> Vec<Val> {
        let mut sums = vec![self.text.float(0.0); STEPS];
        for t in channel.strict..STEPS {
            for (s, reader, weight) in self.seen_by(m, rows, channel, t) {
                sums[s] = self.text.fma(weight, reader, sums[s]);
            }
        }
        sums
    }

    /// `sum over s < u <= t of m[t, s] q[t] k[s] decay`: of each reader, the terms of the writers before u.
    fn by_log_decay(&mut self, m: TileId, rows: &[Val], channel: &Channel) -> Vec<Val> {
        let mut sums = vec![self.text.float(0.0); STEPS];
        for t in channel.strict..STEPS {
            let mut terms = self.seen_by(m, rows, channel, t);
            terms.reverse();
            let mut before: Option<Val> = None;
            for (s, reader, weight) in terms.into_iter().take(t - channel.strict) {
                let term = self.text.fmul(weight, reader);
                let sum = match before {
                    None => self.text.fmul(term, channel.k[s]),
                    Some(before) => self.text.fma(term, channel.k[s], before),
                };
                sums[s + 1] = self.text.fadd(sums[s + 1], sum);
                before = Some(sum);
            }
        }
        sums
    }

    /// The writers that a reader sees, the last first: the step, `q` decayed to it, the weight of the pair.
    fn seen_by(
        &mut self,
        m: TileId,
        rows: &[Val],
        channel: &Channel,
        t: usize,
    ) -> Vec<(usize, Val, Val)> {
        let last = t - channel.strict;
        let mut reader = channel.q[t];
        let mut all = vec![];
        for first in (0..last + 1).step_by(4).rev() {
            let weights = self.weights(m, rows[t], first);
            for s in (first..=last.min(first + 3)).rev() {
                if s < last {
                    reader = self.text.fmul(reader, channel.a[s + 1]);
                }
                all.push((s, reader, weights[s - first]));
            }
        }
        all
    }

    /// The weights of a reader and four writers.
    fn weights(&mut self, m: TileId, row: Val, first: usize) -> Vec<Val> {
        let unit = self.text.int(first as i32 / 4);
        self.four(m, row, unit)
    }
}
