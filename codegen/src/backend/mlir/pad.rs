//! Padding: a program of any sizes as one whose tiles have sizes that are multiples of 16.
//!
//! Tiles grow, tensors outside stay as they are: what of a tile has no number outside is its *padding*. Loads
//! leave zero there and stores leave it out (`emit::memory`), and no number may come to depend on it: whatever is
//! summed along an axis is zero in its padding. That is so by itself where a factor is a tensor's, and where it is not
//! a map is masked, entry by entry. Here it is shown for every tile, by what its padding holds ([`Border`]); where
//! it cannot be, a mask is put in.

use crate::target::PIECE;
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use baton_ir::tile::{
    Along, Builder, Effect, Op, Pace, PortId, Reduce, Region, Scalar, TileId, TileProgram,
};
use std::collections::BTreeMap;

/// A program whose tiles are padded, and what of them is there.
pub struct Padded {
    /// The program; its ports and carries have the sizes of tiles.
    pub program: TileProgram,
    /// Sizes of the dims of each port, as they are outside.
    pub ports: Vec<Vec<u32>>,
    /// The same of carries.
    pub carries: Vec<Vec<u32>>,
    /// Maps that are zero beyond these sizes, before they are summed.
    pub masks: BTreeMap<TileId, Vec<u32>>,
}

/// What the padding of a tile holds along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Border {
    Zero,
    /// Something finite.
    Finite,
}

/// What an operand or an intermediate of a map is there.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    /// In the padding.
    Of(Border),
    /// A number as the tensors have it: where it is no number, neither is what is computed of it elsewhere.
    Real,
    /// Anything.
    Nothing,
}

/// A size as tiles have it.
fn padded(size: u32) -> u32 {
    size.next_multiple_of(PIECE)
}

/// Pads a program; one whose sizes are multiples of 16 is as it was. So is one whose chunk is no multiple: steps
/// are not padded, and no kernel is made of it.
pub fn pad(program: &TileProgram) -> Padded {
    let ports = { program.ports.iter() }.map(|port| port.dims.clone());
    let carries = { program.carries.iter() }.map(|carry| carry.dims.clone());
    let (ports, carries) = (ports.collect(), carries.collect());
    if !program.chunk.is_multiple_of(PIECE) {
        return Padded {
            program: program.clone(),
            ports,
            carries,
            masks: BTreeMap::new(),
        };
    }
    let mut out = Builder::new(program.name.clone(), program.chunk, program.direction);
    let grown = |dims: &[u32]| dims.iter().map(|&size| padded(size)).collect();
    for port in &program.ports {
        let mut port = port.clone();
        port.dims = grown(&port.dims);
        out.port(port);
    }
    for carry in &program.carries {
        let mut carry = carry.clone();
        carry.dims = grown(&carry.dims);
        out.carry(carry);
    }
    let mut pad = Pad {
        program,
        out,
        tiles: vec![],
        borders: vec![],
        masks: BTreeMap::new(),
        masked: BTreeMap::new(),
    };
    for (at, node) in program.nodes.iter().enumerate() {
        let (op, borders) = pad.node(TileId(at as u32));
        let tile = pad.add(op, node.region, borders);
        pad.tiles.push(tile);
        let leaves = |effect: &Effect| matches!(*effect, Effect::Carry(_, of) if of.index() == at);
        if program.effects.iter().any(leaves) {
            pad.zero(TileId(at as u32), node.region);
        }
        if let (Op::Map { shape, .. }, true) = (&node.op, pad.is_masked(at)) {
            pad.masks.insert(tile, shape.clone());
        }
    }
    for effect in &program.effects {
        let tile = effect.tile();
        let region = program.node(tile).region;
        let tile = match effect {
            Effect::Carry(..) => pad.zero(tile, region),
            _ => pad.tiles[tile.index()],
        };
        let mut effect = *effect;
        *effect.tile_mut() = tile;
        pad.out.effect(effect);
    }
    Padded {
        program: pad.out.finish(),
        ports,
        carries,
        masks: pad.masks,
    }
}

struct Pad<'a> {
    program: &'a TileProgram,
    out: Builder,
    /// The tile of each node.
    tiles: Vec<TileId>,
    /// What the padding of each new tile holds, by axis.
    borders: Vec<Vec<Border>>,
    masks: BTreeMap<TileId, Vec<u32>>,
    /// Nodes with a mask after them, by the region of those that read it.
    masked: BTreeMap<(TileId, Region), TileId>,
}

impl Padded {
    /// Sizes of a port's tile, as far as it is outside.
    pub fn there(&self, port: PortId) -> Vec<u32> {
        let (decl, dims) = (&self.program.ports[port.index()], &self.ports[port.index()]);
        let steps = (decl.pace == Pace::Step).then_some(self.program.chunk);
        steps.into_iter().chain(dims.iter().copied()).collect()
    }
}

impl Pad<'_> {
    fn add(&mut self, op: Op, region: Region, borders: Vec<Border>) -> TileId {
        let tile = self.out.add(op, region);
        self.borders.push(borders);
        tile
    }

    /// Whether an axis of a node of the program has padding.
    fn grows(&self, tile: TileId, axis: usize) -> bool {
        !self.program.node(tile).shape[axis].is_multiple_of(PIECE)
    }

    /// What the padding of a node of the program holds along an axis; zero where there is none.
    fn border(&self, tile: TileId, axis: usize) -> Border {
        match self.grows(tile, axis) {
            true => self.borders[self.tiles[tile.index()].index()][axis],
            false => Border::Zero,
        }
    }

    /// A node's tile with zeros in its padding, for a reader in `region`.
    fn zero(&mut self, tile: TileId, region: Region) -> TileId {
        let shape = self.program.node(tile).shape.clone();
        if (0..shape.len()).all(|axis| self.border(tile, axis) == Border::Zero) {
            return self.tiles[tile.index()];
        }
        if let Some(&masked) = self.masked.get(&(tile, region)) {
            return masked;
        }
        let along = [Along::First, Along::Both][shape.len() - 1];
        let op = Op::Map {
            shape: shape.iter().map(|&size| padded(size)).collect(),
            operands: vec![(self.tiles[tile.index()], along)],
            body: vec![Scalar::Operand(0)],
            reduce: Reduce::None,
        };
        let masked = self.add(op, region, vec![Border::Zero; shape.len()]);
        self.masks.insert(masked, shape);
        self.masked.insert((tile, region), masked);
        masked
    }

    /// A node on padded tiles, and what its own padding holds. The ops of the last arm keep zeros where they are given
    /// zeros: sums, products and moves along the steps. Each is named, as of a new op nothing is known.
    fn node(&mut self, tile: TileId) -> (Op, Vec<Border>) {
        let node = self.program.node(tile).clone();
        let mut op = node.op;
        let mut borders = vec![Border::Zero; node.shape.len()];
        match &mut op {
            Op::Map {
                shape, operands, ..
            } => {
                let number =
                    shape[..] == [1] && operands.iter().all(|(_, along)| *along == Along::None);
                if !number || node.shape.len() == 1 {
                    shape.iter_mut().for_each(|size| *size = padded(*size));
                }
                operands
                    .iter_mut()
                    .for_each(|(id, _)| *id = self.tiles[id.index()]);
                if !self.is_masked(tile.index()) {
                    borders = self.results(tile).unwrap_or(borders);
                }
            }
            Op::Matmul {
                a, ta, b, tb, add, ..
            } => {
                let inner = [usize::from(!*ta), usize::from(*tb)];
                let apart = self.border(*a, inner[0]) == Border::Zero
                    || self.border(*b, inner[1]) == Border::Zero;
                let outer = [self.border(*a, 1 - inner[0]), self.border(*b, 1 - inner[1])];
                let clean = |of: Border| of == Border::Zero;
                let left = match apart && clean(outer[0]) {
                    true => self.tiles[a.index()],
                    false => self.zero(*a, node.region),
                };
                let right = match clean(outer[1]) {
                    true => self.tiles[b.index()],
                    false => self.zero(*b, node.region),
                };
                let add_to = add.map(|add| self.zero(add, node.region));
                (*a, *b, *add) = (left, right, add_to);
            }
            Op::Edge { x, .. } => {
                borders = (1..=node.shape.len())
                    .map(|axis| self.border(*x, axis))
                    .collect();
                *x = self.tiles[x.index()];
            }
            Op::HeadSum(x) => {
                borders = (0..node.shape.len())
                    .map(|axis| self.border(*x, axis))
                    .collect();
                *x = self.tiles[x.index()];
            }
            op @ (Op::Load(..)
            | Op::Carry(_)
            | Op::Decay(..)
            | Op::Spread(..)
            | Op::Trilinear(..)
            | Op::Solve { .. }
            | Op::Running(_)
            | Op::Delay { .. }) => {
                if matches!(op, Op::Decay(..)) {
                    // exp(0)
                    borders = vec![Border::Finite; node.shape.len()];
                }
                for id in op.operands_mut() {
                    *id = self.zero(*id, node.region);
                }
            }
        }
        (op, borders)
    }

    /// Whether a map is masked: where its padding cannot be shown to be finite, or zero where it is summed.
    fn is_masked(&self, at: usize) -> bool {
        let tile = TileId(at as u32);
        let Op::Map { shape, .. } = &self.program.node(tile).op else {
            return false;
        };
        shape.iter().any(|size| !size.is_multiple_of(PIECE)) && self.results(tile).is_none()
    }

    /// What the padding of a map's result holds; `None` where it is to be masked.
    fn results(&self, tile: TileId) -> Option<Vec<Border>> {
        let Op::Map {
            shape,
            reduce,
            operands,
            ..
        } = &self.program.node(tile).op
        else {
            return None;
        };
        let number = operands.iter().all(|(_, along)| *along == Along::None);
        if shape[..] == [1] && number && *reduce == Reduce::All {
            return Some(vec![]);
        }
        let mut borders = vec![];
        for (axis, size) in shape.iter().enumerate() {
            let summed = match reduce {
                Reduce::None => false,
                Reduce::First => axis == 0,
                Reduce::Second => axis == 1,
                Reduce::All => true,
            };
            let border = match size.is_multiple_of(PIECE) {
                true => Border::Zero,
                false => self.along(tile, axis)?,
            };
            // Many finite numbers are added up along the other axis.
            if border == Border::Finite && *reduce != Reduce::None {
                return None;
            }
            if !summed {
                borders.push(border);
            }
        }
        Some(borders)
    }

    /// What the elements of a map are in the padding along one axis of its space.
    fn along(&self, tile: TileId, axis: usize) -> Option<Border> {
        let Op::Map { operands, body, .. } = &self.program.node(tile).op else {
            return None;
        };
        let operand = |number: u32| {
            let (id, along) = operands[number as usize];
            match (along, axis) {
                (Along::First, 0) | (Along::Second, 1) => Known::Of(self.border(id, 0)),
                (Along::Both, axis) => Known::Of(self.border(id, axis)),
                _ => Known::Real,
            }
        };
        let mut known: Vec<Known> = vec![];
        for scalar in body {
            let of = |at: u32| known[at as usize];
            let value = match *scalar {
                Scalar::Operand(number) => operand(number),
                Scalar::Number(0.0) => Known::Of(Border::Zero),
                Scalar::Number(_) => Known::Of(Border::Finite),
                Scalar::Unary(function, a) => unary(function, of(a)),
                Scalar::Binary(function, a, b) => binary(function, of(a), of(b)),
                Scalar::Valid(a) | Scalar::Causal(a, _) => of(a),
                Scalar::Select(x, y, a, b) => select(of(x), of(y), of(a), of(b)),
            };
            known.push(value);
        }
        match known.last() {
            Some(Known::Of(border)) => Some(*border),
            _ => None,
        }
    }
}

/// Zero only where every arithmetic gives exactly that.
fn unary(function: UnaryFn, a: Known) -> Known {
    use Border::{Finite, Zero};
    match (function, a) {
        (UnaryFn::Neg | UnaryFn::Abs | UnaryFn::Relu, a) if a != Known::Real => a,
        (UnaryFn::Exp | UnaryFn::Softplus | UnaryFn::Silu, Known::Of(Zero)) => Known::Of(Finite),
        (UnaryFn::Sigmoid | UnaryFn::Tanh | UnaryFn::Ndtr, Known::Of(_)) => Known::Of(Finite),
        _ => Known::Nothing,
    }
}

fn binary(function: BinaryFn, a: Known, b: Known) -> Known {
    use Border::{Finite, Zero};
    match (function, a, b) {
        (_, Known::Nothing, _) | (_, _, Known::Nothing) => Known::Nothing,
        (BinaryFn::Mul, Known::Of(Zero), _) | (BinaryFn::Mul, _, Known::Of(Zero)) => {
            Known::Of(Zero)
        }
        (BinaryFn::Mul | BinaryFn::Div, ..) | (_, Known::Real, _) | (_, _, Known::Real) => {
            Known::Nothing
        }
        (_, Known::Of(Zero), Known::Of(Zero)) => Known::Of(Zero),
        (BinaryFn::Add | BinaryFn::Sub | BinaryFn::Min | BinaryFn::Max, ..) => Known::Of(Finite),
    }
}

fn select(x: Known, y: Known, a: Known, b: Known) -> Known {
    use Border::{Finite, Zero};
    match (x, y, a, b) {
        (Known::Nothing, ..) | (_, Known::Nothing, ..) => Known::Nothing,
        (_, _, Known::Of(Zero), Known::Of(Zero)) => Known::Of(Zero),
        (_, _, Known::Of(_), Known::Of(_)) => Known::Of(Finite),
        _ => Known::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compiler, Phase};
    use baton_ir::{builtin, text};

    fn program(source: &str, sizes: &[usize], phase: Phase) -> TileProgram {
        let recurrence = text::parse(source).expect("it parses");
        let compiler = Compiler::new(&recurrence, sizes).expect("it has a chunked form");
        compiler.program(phase, 16)
    }

    #[test]
    fn what_needs_no_padding_stays_as_it_was() {
        let mut seen = 0;
        for name in builtin::NAMES {
            let source = builtin::text(name).expect("a built-in name");
            let recurrence = text::parse(source).expect("it parses");
            let sizes = &[16, 32][..recurrence.dims.len().min(2)];
            let Ok(compiler) = Compiler::new(&recurrence, sizes) else {
                continue;
            };
            let before = compiler.program(Phase::Backward, 16);
            let after = pad(&before);
            assert_eq!(after.program, before, "{name}");
            assert!(after.masks.is_empty(), "{name}");
            seen += 1;
        }
        assert!(seen > 0, "no program was padded");
    }

    /// Of a sum of exponentials each zero of the padding would count as one.
    #[test]
    fn a_sum_of_what_is_not_zero_is_masked() {
        let source = "recurrence r {
            dims { K, V }
            inputs { q: [K], k: [K], v: [V], g: [] }
            state { S: [K, V] }
            S = exp(g) * S + outer(k, v);
            output o: [V] = dot(q, S) / sum(exp(k));
        }";
        let masks = |sizes: &[usize]| pad(&program(source, sizes, Phase::Forward)).masks;
        assert!(masks(&[16, 20]).is_empty() || masks(&[16, 20]).values().all(|of| of[1..] == [20]));
        let summed = masks(&[20, 16]);
        assert!(summed.values().any(|of| of[..] == [16, 20]), "{summed:?}");
    }
}
