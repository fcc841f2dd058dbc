//! A map while it grows: what it has, and what is left to do of it.

use baton_ir::chunked::{Axis, ValueId};
use baton_ir::tile::{Along, Region, Scalar, TileId};

/// The parts of a map while it is being built.
pub(super) struct Map {
    pub(super) axes: Vec<Axis>,
    pub(super) region: Region,
    pub(super) operands: Vec<(TileId, Along)>,
    pub(super) body: Vec<Scalar>,
}

/// What is left to do of a map, the next at the end.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// The scalar of a value: fused, or an operand.
    Visit(ValueId),
    /// The scalar of a value that is fused.
    Expand(ValueId),
    /// The function of a value whose operands have scalars.
    Make(ValueId),
    /// The product of the last two scalars.
    Multiply,
}

/// A map that is growing.
pub(super) struct Walk {
    pub(super) map: Map,
    pub(super) steps: Vec<Step>,
    /// Scalars that wait for their user.
    scalars: Vec<u32>,
}

impl Walk {
    fn new(map: Map, steps: Vec<Step>) -> Walk {
        Walk {
            map,
            steps,
            scalars: vec![],
        }
    }

    /// The map of a value by its own function.
    pub(super) fn expanding(map: Map, value: ValueId) -> Walk {
        Walk::new(map, vec![Step::Expand(value)])
    }

    /// The map that is a value.
    pub(super) fn visiting(map: Map, value: ValueId) -> Walk {
        Walk::new(map, vec![Step::Visit(value)])
    }

    /// The map that is the product of two values.
    pub(super) fn multiplying(map: Map, a: ValueId, b: ValueId) -> Walk {
        Walk::new(map, vec![Step::Multiply, Step::Visit(b), Step::Visit(a)])
    }

    pub(super) fn push(&mut self, scalar: Scalar) {
        self.scalars.push(self.map.body.len() as u32);
        self.map.body.push(scalar);
    }

    pub(super) fn pop(&mut self) -> u32 {
        self.scalars
            .pop()
            .expect("operands have scalars before their user")
    }
}
