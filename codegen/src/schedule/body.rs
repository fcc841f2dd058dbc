//! Parts of a map's body: what depends on what, and a part as a map of its own.

use baton_ir::tile::{Along, Builder, Op, Reduce, Region, Scalar, TileId};

/// What a map reads, and how.
pub type Operands = Vec<(TileId, Along)>;

/// How a tile of a map's own shape is indexed.
pub fn whole(shape: &[u32]) -> Along {
    match shape.len() {
        1 => Along::First,
        _ => Along::Both,
    }
}

/// Which scalars of a body depend on an operand of a kind, by its number.
pub fn depends(body: &[Scalar], on: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut known: Vec<bool> = Vec::with_capacity(body.len());
    for scalar in body {
        let mut operands = scalar.operands().into_iter();
        known.push(match *scalar {
            Scalar::Operand(i) => on(i as usize),
            _ => operands.any(|of| known[of as usize]),
        });
    }
    known
}

/// Makes scalar number `at` of a map a map of its own, over the same space, which the other reads.
pub fn take_out(build: &mut Builder, op: &mut Op, at: usize, region: Region) {
    let Op::Map {
        shape,
        operands,
        body,
        ..
    } = op
    else {
        unreachable!("only a map has scalars")
    };
    let (own_operands, own_body) = needed(operands, &body[..=at]);
    let own = Op::Map {
        shape: shape.clone(),
        operands: own_operands,
        body: own_body,
        reduce: Reduce::None,
    };
    body[at] = Scalar::Operand(operands.len() as u32);
    operands.push((build.add(own, region), whole(shape)));
    (*operands, *body) = needed(operands, body);
}

/// What the last scalar of a body needs, renumbered.
fn needed(operands: &Operands, body: &[Scalar]) -> (Operands, Vec<Scalar>) {
    let mut used = vec![false; body.len()];
    used[body.len() - 1] = true;
    for (at, scalar) in body.iter().enumerate().rev() {
        if used[at] {
            let operands = scalar.operands().into_iter();
            operands.for_each(|of| used[of as usize] = true);
        }
    }
    let (mut kept, mut next): (Operands, Vec<Scalar>) = (vec![], vec![]);
    let mut renamed = vec![0; body.len()];
    for (at, scalar) in body.iter().enumerate().filter(|&(at, _)| used[at]) {
        renamed[at] = next.len() as u32;
        next.push(match *scalar {
            Scalar::Operand(i) => {
                let operand = operands[i as usize];
                let known = kept.iter().position(|&other| other == operand);
                let number = known.unwrap_or(kept.len());
                if known.is_none() {
                    kept.push(operand);
                }
                Scalar::Operand(number as u32)
            }
            other => other.map_operands(|of| renamed[of as usize]),
        });
    }
    (kept, next)
}
