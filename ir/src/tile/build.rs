//! How a schedule makes a [`TileProgram`]: every node is typed and placed as it is added, the whole
//! verified at the end.
//!
//! Nodes may be added in any order of regions; [`Builder::finish`] brings them into the order that
//! they run in, by region and within one as they were added. Names stay apart by themselves: a
//! kernel's ports and carries have names that no recurrence chose, which may meet those it did.

use super::{
    CarryDecl, CarryId, Draft, Effect, Node, Op, PortDecl, PortId, Region, TileId, TileProgram,
    typing,
};
use crate::chunked::Direction;
use crate::verify::tile::verified;

/// Builds a program node by node.
#[derive(Clone)]
pub struct Builder {
    program: Draft,
}

impl Builder {
    /// A program without ports, carries, nodes and effects.
    pub fn new(name: String, chunk: u32, direction: Direction) -> Self {
        let program = Draft {
            name,
            chunk,
            direction,
            across: false,
            ports: vec![],
            carries: vec![],
            nodes: vec![],
            effects: vec![],
        };
        Self { program }
    }

    /// The skeleton, ports and carries of another program, with none of its nodes and effects.
    pub fn like(program: &Draft) -> Self {
        let program = Draft {
            nodes: vec![],
            effects: vec![],
            ..program.clone()
        };
        Self { program }
    }

    /// The same with its loops exchanged.
    pub fn across(mut self) -> Self {
        self.program.across = true;
        self
    }

    /// The program so far.
    pub fn program(&self) -> &Draft {
        &self.program
    }

    /// Declares a port; a name that another port has gets an underscore.
    pub fn port(&mut self, mut decl: PortDecl) -> PortId {
        while self.program.ports.iter().any(|p| p.name == decl.name) {
            decl.name.push('_');
        }
        self.program.ports.push(decl);
        PortId(self.program.ports.len() as u32 - 1)
    }

    /// Declares a carry; a name that another carry has gets an underscore.
    pub fn carry(&mut self, mut decl: CarryDecl) -> CarryId {
        while self.program.carries.iter().any(|c| c.name == decl.name) {
            decl.name.push('_');
        }
        self.program.carries.push(decl);
        CarryId(self.program.carries.len() as u32 - 1)
    }

    /// Adds a node.
    ///
    /// # Panics
    /// When it is ill-typed or out of place: the schedule is at fault then, not the user.
    pub fn add(&mut self, op: Op, region: Region) -> TileId {
        let text = format!("{op:?}");
        self.push(op, region)
            .unwrap_or_else(|why| panic!("ill-formed level-3 node {text}: {why}"))
    }

    /// Adds a node, or says why it is ill-typed or out of place.
    pub fn push(&mut self, op: Op, region: Region) -> Result<TileId, String> {
        let number = self.program.nodes.len();
        let shape = typing::shape(&self.program, number, &op)?;
        typing::place(&self.program, number, &op, region)?;
        self.program.nodes.push(Node { op, region, shape });
        Ok(TileId(number as u32))
    }

    /// Adds an effect.
    pub fn effect(&mut self, effect: Effect) {
        self.program.effects.push(effect);
    }

    /// The program, its nodes ordered by region.
    ///
    /// # Panics
    /// When it is ill-formed as a whole: the schedule is at fault then, not the user.
    pub fn finish(mut self) -> TileProgram {
        let old = std::mem::take(&mut self.program.nodes);
        let mut order: Vec<usize> = (0..old.len()).collect();
        order.sort_by_key(|&i| old[i].region);
        let mut renamed = vec![TileId(0); old.len()];
        for (new, &i) in order.iter().enumerate() {
            renamed[i] = TileId(new as u32);
        }
        let rename = |tile: &mut TileId| *tile = renamed[tile.index()];
        for i in order {
            let mut node = old[i].clone();
            node.op.operands_mut().into_iter().for_each(rename);
            self.program.nodes.push(node);
        }
        let effects = self.program.effects.iter_mut();
        effects.for_each(|effect| rename(effect.tile_mut()));
        verified(self.program)
    }
}
