//! Maps that are a product of up to three factors, and sums of such: calls of a kernel with full vectors.
//!
//! Instructions made here have 128 bits, and of what is not a product or a costly function most is this: a decay on rows, weights on
//! scores, a gradient's inner product. Factors stay in the map's order, so the numbers are those that its instructions would give but for
//! the order of sums.

use super::emit::Emitter;
use super::micro::multiply::{DECAYED, Into, MOST};
use baton_ir::recurrence::BinaryFn;
use baton_ir::tile::zeros::of_body;
use baton_ir::tile::{Along, Op, Reduce, Scalar, TileId, Zeros, space_steps};

/// Entries below which a call is not worth it.
const FEW: u32 = 256;

/// A map that is a product.
pub struct Products {
    /// The factors; the first is no number of a row.
    factors: Vec<(TileId, Along)>,
    /// Whether rows past the last valid one are zero.
    valid: bool,
    into: Into,
}

/// The product where a map over many entries is nothing else.
pub fn alone_in(op: &Op) -> Option<Products> {
    let Op::Map {
        shape,
        operands,
        body,
        reduce,
    } = op
    else {
        return None;
    };
    if shape.len() != 2 || shape.iter().product::<u32>() < FEW {
        return None;
    }
    let into = match reduce {
        Reduce::None => Into::Tile,
        Reduce::Second => Into::Rows,
        Reduce::All => Into::One,
        Reduce::First => return None,
    };
    let (mut at, mut valid) = (body.len() as u32 - 1, false);
    loop {
        at = match body[at as usize] {
            Scalar::Valid(of) => {
                valid = true;
                of
            }
            Scalar::Causal(of, _) => of,
            _ => break,
        };
    }
    let operand = |of: u32| match body[of as usize] {
        Scalar::Operand(i) => Some(operands[i as usize]),
        _ => None,
    };
    let pair = |of: u32| match body[of as usize] {
        Scalar::Binary(BinaryFn::Mul, a, b) => Some((a, b)),
        _ => None,
    };
    let mut factors = match pair(at) {
        None => vec![operand(at)?],
        Some((a, b)) => match (pair(a), pair(b)) {
            (None, None) => vec![operand(a)?, operand(b)?],
            (Some((x, y)), None) => vec![operand(x)?, operand(y)?, operand(b)?],
            (None, Some((x, y))) => vec![operand(x)?, operand(y)?, operand(a)?],
            (Some(_), Some(_)) => return None,
        },
    };
    if is_number(factors[0].1) {
        let other = factors.get(1).filter(|(_, along)| !is_number(*along));
        other.is_some().then(|| factors.swap(0, 1))?;
    }
    Some(Products {
        factors,
        valid,
        into,
    })
}

/// Whether a factor is one number to a row.
fn is_number(along: Along) -> bool {
    matches!(along, Along::None | Along::First)
}

impl Emitter<'_, '_> {
    /// Calls the kernel of products.
    pub fn multiply(&mut self, out: usize, op: &Op, products: &Products) {
        let Op::Map {
            shape,
            operands,
            body,
            ..
        } = op
        else {
            return;
        };
        let zeros = of_body(body, operands, &self.plan.gives);
        let lower = match zeros.last() {
            Some(Zeros::Above) => 1,
            Some(Zeros::Diagonal) => 2,
            _ => 0,
        };
        let steps = space_steps(operands, body, &self.plan.gives);
        let (mut at, mut row, mut numbers) = (vec![], vec![], 0);
        for (i, &(tile, along)) in products.factors.iter().enumerate() {
            at.push(self.place(tile.index()));
            row.push(match along {
                Along::Both => self.plan.tiles[tile.index()].row as i64,
                Along::First => 1,
                Along::Second | Along::None => 0,
            });
            numbers |= i64::from(is_number(along)) << i;
            if matches!(self.program.node(tile).op, Op::Decay(..)) {
                numbers |= DECAYED;
            }
        }
        at.resize(MOST, self.scratch);
        row.resize(MOST, 0);
        let [rows, cols] = [shape[0], shape[1]].map(|n| self.word(i64::from(n)));
        // A sum over steps ends at the last valid one, of rows or of columns.
        let ends = products.valid || (products.into == Into::One && steps[0]);
        let valid = if ends { self.valid } else { rows };
        let cols = match products.into != Into::Tile && lower == 0 && steps[1] {
            true => self.valid,
            false => cols,
        };
        #[cfg(test)]
        let cols = match self.checks.breach {
            true => self.word(i64::from(shape[1].next_multiple_of(16))),
            false => cols,
        };
        let out_row = match products.into {
            Into::Tile => self.plan.tiles[out].row as i64,
            Into::Rows => 1,
            Into::One => 0,
        };
        let to = self.place(out);
        let mut words = at;
        words.extend(row.into_iter().chain([out_row]).map(|x| self.word(x)));
        words.insert(2 * MOST, to);
        let lower = self.word(lower);
        words.extend([rows, valid, cols, lower]);
        let count = products.factors.len() as i64;
        let more = [count, numbers, products.into as i64].map(|x| self.word(x));
        self.call_with(self.kernels.multiply as usize, &words, &more);
    }
}
