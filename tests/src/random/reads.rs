//! What reads states: readouts of every kind, and the contractions by which an update reads them.

use super::ast::Expr;
use super::grammar::Grammar;
use super::values::{Class, Dim};

impl Grammar<'_> {
    /// A term of an update that reads states by contraction: as in the delta rule, as a sum of low rank, or
    /// of another state. Its weights have length one and its factor is small: a state that grows at each
    /// step leaves the range of f32, and the terms of its errors grow with every read, whatever its sign.
    pub fn reading(&mut self, state: usize) -> Option<Expr> {
        let shape = self.shape(state);
        Some(match shape[..] {
            [rows, cols] => {
                let on_rows = self.random.chance(0.5);
                let (side, along) = if on_rows { (rows, cols) } else { (cols, rows) };
                let unit = self.unit(side);
                let read = match self.random.chance(0.5) {
                    true => self.delta(state, &unit, on_rows, along),
                    false => self.small(state, Some(along))?,
                };
                match on_rows {
                    true => Expr::two("outer", unit, read),
                    false => Expr::two("outer", read, unit),
                }
            }
            [own] => match self.random.chance(0.5) {
                true => Expr::two("*", self.unit(own), self.small(state, None)?),
                false => self.small(state, Some(own))?,
            },
            _ => self.small(state, None)?,
        })
    }

    /// What a delta rule writes along `unit`: a value less what stands there.
    fn delta(&mut self, state: usize, unit: &Expr, on_rows: bool, along: usize) -> Expr {
        let own = Expr::name(self.program.states[state].name.clone());
        let stands = match on_rows {
            true => Expr::two("dot", unit.clone(), own),
            false => Expr::two("dot", own, unit.clone()),
        };
        let value = self.value(Some(along), Class::Any, 1);
        let step = Expr::one("sigmoid", self.port("b", None));
        let step = Expr::two("*", Expr::Number(0.15), step);
        Expr::two("*", step, Expr::two("-", value, stands))
    }

    /// A vector of length one.
    fn unit(&mut self, dim: usize) -> Expr {
        let depth = self.random.below(2) as u32;
        Expr::one("l2norm", self.value(Some(dim), Class::Any, depth))
    }

    /// A small readout of a state whose weights have length one. What is read whole has a lower number than
    /// `reader`, and so has all that a number reads: else a state could come back to itself as a part of its
    /// own decay, whose sign nobody knows. Among strata all that is another state's has a lower one.
    fn small(&mut self, reader: usize, dim: Dim) -> Option<Expr> {
        let mut fitting = vec![];
        for state in 0..self.program.states.len() {
            let other = state < reader;
            if !other && (self.shape(reader).is_empty() || self.strata.is_some() && state > reader)
            {
                continue;
            }
            match (&self.shape(state)[..], dim) {
                (&[rows, cols], Some(own)) => {
                    fitting.extend((cols == own).then_some((state, Some(rows), true)));
                    fitting.extend((rows == own).then_some((state, Some(cols), false)));
                }
                (&[over], None) => fitting.push((state, Some(over), true)),
                (&[over], Some(own)) if other && over == own => fitting.push((state, None, true)),
                (&[], None) if other => fitting.push((state, None, true)),
                _ => {}
            }
        }
        if fitting.is_empty() {
            return None;
        }
        let (state, over, first) = *self.random.pick(&fitting);
        let own = Expr::name(self.program.states[state].name.clone());
        let read = match (over, first) {
            (Some(over), true) => Expr::two("dot", self.unit(over), own),
            (Some(over), false) => Expr::two("dot", own, self.unit(over)),
            (None, _) => own,
        };
        let factor = match self.random.chance(0.5) {
            true => Expr::Number(*self.random.pick(&[0.1, -0.1, 0.05])),
            false => Expr::two(
                "*",
                Expr::Number(0.1),
                Expr::one("tanh", self.port("b", None)),
            ),
        };
        Some(Expr::two("*", factor, read))
    }

    /// A matrix that is affine in a state.
    pub fn state_matrix(&mut self, state: usize) -> Expr {
        let shape = self.shape(state);
        let own = Expr::name(self.program.states[state].name.clone());
        match self.random.below(6) {
            0 => {
                let more = self.matrix(shape[0], shape[1], 1);
                let mark = if self.random.chance(0.5) { "+" } else { "-" };
                Expr::two(mark, own, more)
            }
            1 => {
                let row = self.value(Some(shape[0]), Class::Any, 1);
                Expr::two("*", Expr::one("rows", row), own)
            }
            2 => {
                let col = self.value(Some(shape[1]), Class::Any, 1);
                Expr::two("*", own, Expr::one("cols", col))
            }
            3 => Expr::two("*", self.value(None, Class::Any, 1), own),
            _ => own,
        }
    }

    /// A linear readout of that dim, where a state that may be read has one.
    pub fn readout(&mut self, dim: Dim) -> Option<Expr> {
        let mut fitting = vec![];
        let all = self.program.states.len();
        for state in 0..if self.below > 0 { self.below } else { all } {
            match (&self.shape(state)[..], dim) {
                (&[rows, cols], Some(own)) => {
                    fitting.extend((cols == own).then_some((state, 0)));
                    fitting.extend((rows == own).then_some((state, 1)));
                }
                (&[], None) | (&[_], None) => fitting.push((state, 2)),
                (&[over], Some(own)) if over == own => fitting.push((state, 3)),
                _ => {}
            }
        }
        if fitting.is_empty() {
            return None;
        }
        let (state, way) = *self.random.pick(&fitting);
        let shape = self.shape(state);
        let own = Expr::name(self.program.states[state].name.clone());
        let depth = self.random.below(2) as u32;
        Some(match way {
            0 | 1 => {
                let over = shape[way];
                let weight = self.value(Some(over), Class::Any, depth);
                let bound = match self.below {
                    0 => self.bound_matrix([shape[0], shape[1]], true),
                    _ => None,
                };
                let matrix = match bound {
                    Some(name) if self.random.chance(0.5) => Expr::Name(name),
                    _ => self.state_matrix(state),
                };
                // The order says which side is contracted where both dims are one.
                let swapped = shape[0] != shape[1] && self.random.chance(0.3);
                match (way == 0) != swapped {
                    true => Expr::two("dot", weight, matrix),
                    false => Expr::two("dot", matrix, weight),
                }
            }
            2 => {
                let value = match self.random.below(4) {
                    0 => Expr::two("*", self.gate(None), own),
                    1 => Expr::two("+", own, self.value(None, Class::Any, depth)),
                    _ => own,
                };
                match shape[..] {
                    [] => value,
                    _ if self.random.chance(0.4) => Expr::one("sum", value),
                    _ => {
                        let weight = self.value(Some(shape[0]), Class::Any, depth);
                        match self.random.chance(0.5) {
                            true => Expr::two("dot", weight, value),
                            false => Expr::two("dot", value, weight),
                        }
                    }
                }
            }
            _ => match self.random.below(4) {
                0 => Expr::two("*", self.value(dim, Class::Any, depth), own),
                1 => Expr::two("-", own, self.value(dim, Class::Any, depth)),
                _ => own,
            },
        })
    }
}
