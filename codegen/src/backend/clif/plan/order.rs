//! The order of the work: what is late, where transposes are made and where effects stand.

use super::{Buffer, Form, Planner, Step, Tile, UNUSED, Work, extents, form};
use baton_ir::tile::{Effect, Op, Region, TileId};

impl Planner<'_> {
    /// Nodes that an effect needs, and of these the ones that only new carries need.
    fn needed(&self) -> (Vec<bool>, Vec<bool>) {
        let count = self.program.nodes.len();
        let (mut used, mut other) = (vec![false; count], vec![false; count]);
        for effect in &self.program.effects {
            let tile = effect.tile().index();
            used[tile] = true;
            other[tile] |= !matches!(effect, Effect::Carry(..));
        }
        for i in (0..count).rev() {
            for operand in self.operands(TileId(i as u32)) {
                used[operand.index()] |= used[i];
                other[operand.index()] |= other[i];
            }
        }
        let late = used.iter().zip(&other).map(|(&u, &o)| u && !o).collect();
        (used, late)
    }

    fn push(&mut self, region: Region, work: Work) {
        self.plan.steps.push(Step {
            region,
            work,
            room: UNUSED,
            numbers: 0,
        });
    }

    fn buffer(&mut self, shape: &[u32]) -> Buffer {
        self.plan.tiles.push(Tile::padded(shape));
        self.plan.tiles.len() - 1
    }

    /// Puts all work in order.
    pub fn order(&mut self) {
        let (used, late) = self.needed();
        let program = self.program;
        let read: Vec<Vec<TileId>> = (0..program.nodes.len())
            .map(|i| self.operands(TileId(i as u32)))
            .collect();
        let users = |tile: TileId| {
            let reading = read
                .iter()
                .zip(&used)
                .filter(|(read, used)| **used && read.contains(&tile))
                .count();
            reading + program.effects.iter().filter(|e| e.tile() == tile).count()
        };
        for region in [Region::Before, Region::Heads, Region::After] {
            self.early_effects(region);
            for pass in [false, true] {
                for (i, node) in program.nodes.iter().enumerate() {
                    let tile = TileId(i as u32);
                    if !used[i] || node.region != region || late[i] != pass {
                        continue;
                    }
                    let sums: Vec<usize> = (0..program.nodes.len())
                        .filter(|&j| {
                            used[j] && matches!(program.nodes[j].op, Op::HeadSum(of) if of == tile)
                        })
                        .collect();
                    if let (Op::Matmul { add: None, .. }, [sum], 1) =
                        (&node.op, &sums[..], users(tile))
                    {
                        self.plan.summed[i] = Some(*sum);
                    }
                    self.push(region, Work::Compute(tile));
                    if self.needs_turn(tile, &used) {
                        let (rows, cols) = extents(&node.shape);
                        let to = self.buffer(&[cols as u32, rows as u32]);
                        self.plan.turned[i] = Some(to);
                        self.push(region, Work::Turn { from: i, to });
                    }
                    if self.plan.summed[i].is_none() {
                        for to in sums {
                            self.push(region, Work::AddHead { from: i, to });
                        }
                    }
                    self.effects_of(tile, region);
                }
            }
            self.carry_effects(region);
        }
    }

    /// Whether a product needs the transpose of `tile`. It is made once, beside the tile.
    fn needs_turn(&self, tile: TileId, used: &[bool]) -> bool {
        let mut nodes = self.program.nodes.iter().zip(used);
        nodes.any(|(node, used)| match node.op {
            Op::Matmul { a, ta, b, tb, .. } if *used && b == tile => {
                form(&self.node(a).shape, ta, tb) == Form::TurnedRows
            }
            _ => false,
        })
    }

    /// A port with heads is written for each head, also with what the heads share.
    fn place_of_effect(&self, effect: Effect) -> Region {
        let region = self.node(effect.tile()).region;
        let per_head = match effect {
            Effect::Store(port, _) | Effect::Accumulate(port, _) => {
                self.program.ports[port.index()].per_head
            }
            Effect::Carry(..) => true,
        };
        match region {
            Region::Before if per_head => Region::Heads,
            region => region,
        }
    }

    /// Effects of the heads with values from before them.
    fn early_effects(&mut self, region: Region) {
        for (i, &effect) in self.program.effects.iter().enumerate() {
            let from = self.node(effect.tile()).region;
            let moved = from != region && self.place_of_effect(effect) == region;
            if moved && !matches!(effect, Effect::Carry(..)) {
                self.push(region, Work::Effect(i));
            }
        }
    }

    fn effects_of(&mut self, tile: TileId, region: Region) {
        for (i, &effect) in self.program.effects.iter().enumerate() {
            let here = effect.tile() == tile && self.place_of_effect(effect) == region;
            if here && !matches!(effect, Effect::Carry(..)) {
                self.push(region, Work::Effect(i));
            }
        }
    }

    fn carry_effects(&mut self, region: Region) {
        for (i, &effect) in self.program.effects.iter().enumerate() {
            if matches!(effect, Effect::Carry(..)) && self.place_of_effect(effect) == region {
                self.push(region, Work::Effect(i));
            }
        }
    }
}
