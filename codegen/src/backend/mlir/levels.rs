//! A trilinear form as products, by the level at which two steps part.
//!
//! Two steps t > s part at the highest bit in which their numbers differ: t is in the second half
//! of an aligned block of steps, s in the first half. The interval between them is what is left of
//! the first half after s, and what is begun of the second up to t. So at one level the decay is a
//! factor of the reader times a factor of the writer, each `exp` of a directly summed interval,
//! and the pairs of that level are a product of matrices under a mask:
//!
//! ```text
//! T = sum over levels of  mask(m) . (q o begun) (k o left)'
//! ```
//!
//! A chunk of C steps has log2 C levels, and one more for t = s. Here is which level reads what in
//! which form; `emit::trilinear` carries it out. What sums over no channel needs no products in a chunk of 16
//! steps, and goes pair by pair (`emit::pairs`).

use super::Error;
use super::layout::{Form, Side};
use baton_ir::chunked::Partial;
use baton_ir::tile::{Op, TileId, TileProgram};

/// A trilinear op taken apart.
pub struct Trilinear {
    /// Which partial.
    pub partial: Partial,
    /// Strictness.
    pub strict: bool,
    /// Weights of pairs, unless it is the partial by them.
    pub m: Option<TileId>,
    /// What readers bring.
    pub q: Option<TileId>,
    /// What writers bring.
    pub k: Option<TileId>,
    /// Log decays.
    pub l: TileId,
}

impl Trilinear {
    /// Of the op at `tile`, if it is one that goes by levels: in a chunk of 16 steps the partials by operands and decays go
    /// pair by pair (`emit::pairs`).
    pub fn of(program: &TileProgram, tile: TileId) -> Option<Self> {
        let form = Self::apart(program, tile)?;
        (form.partial == Partial::Weights || program.chunk > 16).then_some(form)
    }

    /// Of the op at `tile`, if it is one.
    pub fn apart(program: &TileProgram, tile: TileId) -> Option<Self> {
        let Op::Trilinear(partial, strict, operands, l) = &program.node(tile).op else {
            return None;
        };
        let (partial, strict, l) = (*partial, *strict, *l);
        let at = |i: usize| operands.get(i).copied();
        let (m, q, k) = match partial {
            Partial::Weights => (None, at(0), at(1)),
            Partial::Query => (at(0), None, at(1)),
            Partial::Key => (at(0), at(1), None),
            Partial::LogDecay => (at(0), at(1), at(2)),
        };
        Some(Self {
            partial,
            strict,
            m,
            q,
            k,
            l,
        })
    }

    /// The levels: 0 for t = s, else `j` where bit `j - 1` is the highest that differs.
    pub fn levels(&self, chunk: u32) -> std::ops::Range<u32> {
        let first = u32::from(self.strict) + u32::from(self.partial == Partial::LogDecay);
        first..chunk.next_power_of_two().trailing_zeros() + 1
    }

    /// Whether a side's factor is one throughout, so that its operand is read as it is.
    pub fn plain(&self, side: Side, level: u32) -> bool {
        match side {
            Side::Readers => level == 0 || level == 1 && self.strict,
            Side::Writers => level <= 1,
            Side::Pairs | Side::Totals => false,
        }
    }

    /// The form in which the products of a level read an operand.
    pub fn form(&self, op: TileId, side: Side, level: u32) -> Form {
        match self.plain(side, level) {
            true => Form::Operand,
            false => Form::Level(op.index() as u32, level, side),
        }
    }

    /// What a level reads.
    pub fn wants(&self, op: TileId, level: u32) -> Vec<(TileId, Form)> {
        let sides = [
            (self.m, Side::Pairs),
            (self.q, Side::Readers),
            (self.k, Side::Writers),
        ];
        let mut all: Vec<(TileId, Form)> = sides
            .into_iter()
            .filter_map(|(tile, side)| Some((tile?, self.form(op, side, level))))
            .collect();
        if self.partial == Partial::LogDecay {
            all.extend(self.q.map(|q| (q, Form::Fragment)));
            all.extend(self.k.map(|k| (k, Form::Fragment)));
        }
        let scales = match self.partial {
            Partial::Weights => false,
            Partial::Query => !self.plain(Side::Readers, level),
            Partial::Key => !self.plain(Side::Writers, level),
            Partial::LogDecay => true,
        };
        if scales {
            all.extend(self.decays(level));
        }
        all
    }

    /// What the factors of a level are made of.
    pub fn decays(&self, level: u32) -> Vec<(TileId, Form)> {
        let mut all = vec![(self.l, Form::Fragment)];
        all.extend((half(level) > 16).then_some((self.l, Form::ColumnSums)));
        all
    }

    /// Sums over blocks that a level leaves for the end: a half of more than one block of 16.
    pub fn leaves(&self, op: TileId, level: u32) -> Option<(TileId, Form)> {
        let needed = self.partial == Partial::LogDecay && half(level) > 16;
        needed.then_some((op, Form::Level(op.index() as u32, level, Side::Totals)))
    }

    /// Checks what the emission relies on.
    pub fn check(&self, program: &TileProgram) -> Result<(), Error> {
        let rank = |tile: &Option<TileId>| tile.is_none_or(|id| program.node(id).shape.len() == 2);
        match [self.m, self.q, self.k, Some(self.l)].iter().all(rank) {
            true => Ok(()),
            false => Err(Error::Unsupported(format!(
                "`{}`: a trilinear form of vectors has no GPU form, expected matrices",
                program.name
            ))),
        }
    }
}

/// Steps of the halves of a level's blocks; 0 at level 0.
pub fn half(level: u32) -> u32 {
    (1 << level) >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(partial: Partial, strict: bool) -> Trilinear {
        Trilinear {
            partial,
            strict,
            m: None,
            q: None,
            k: None,
            l: TileId(0),
        }
    }

    #[test]
    fn every_pair_parts_once_and_its_two_factors_span_its_interval() {
        for (chunk, strict) in [16, 32, 48, 64]
            .into_iter()
            .flat_map(|c| [(c, false), (c, true)])
        {
            let weights = form(Partial::Weights, strict);
            for (t, s) in (0..chunk).flat_map(|t| (0..=t).map(move |s| (t, s))) {
                let parted = |&level: &u32| match level {
                    0 => t == s,
                    _ => (t ^ s) >> (level - 1) == 1,
                };
                let levels: Vec<u32> = weights.levels(chunk).filter(parted).collect();
                if strict && t == s {
                    assert!(levels.is_empty());
                    continue;
                }
                let &[level] = levels.as_slice() else {
                    panic!("{t} and {s} part at {levels:?}");
                };
                let begins = t & !(half(level).max(1) - 1);
                let reader = begins..t + u32::from(!strict && level > 0);
                let writer = s + 1..if level == 0 { s + 1 } else { begins };
                let spanned: Vec<u32> = writer.clone().chain(reader.clone()).collect();
                let whole: Vec<u32> = (s + 1..t + u32::from(!strict)).collect();
                assert_eq!(spanned.iter().filter(|r| **r > s).count(), whole.len());
                assert!(level == 0 || spanned == whole);
                assert!(!weights.plain(Side::Readers, level) || reader.is_empty());
                assert!(!weights.plain(Side::Writers, level) || writer.is_empty());
            }
        }
    }

    #[test]
    fn log_decays_have_no_level_without_a_step_between() {
        assert_eq!(form(Partial::LogDecay, false).levels(16), 1..5);
        assert_eq!(form(Partial::LogDecay, true).levels(64), 2..7);
    }
}
