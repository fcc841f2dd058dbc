//! The places of the tiles: how long each is alive, what may take over what, and the scratch.

use super::super::micro::trilinear_workspace;
use super::{Buffer, Form, Place, Planner, UNUSED, Work, extents, form};
use baton_ir::chunked::Interval;
use baton_ir::tile::{Along, CarryId, Effect, Op, Reduce, Region, TileId};

impl Planner<'_> {
    /// Buffers that a step reads.
    fn reads(&self, work: Work) -> Vec<Buffer> {
        match work {
            Work::Compute(tile) => {
                let node = self.node(tile);
                let mut reads: Vec<Buffer> = match node.op {
                    Op::HeadSum(_) => vec![],
                    _ => self.operands(tile).iter().map(|t| t.index()).collect(),
                };
                if let Op::Matmul { a, ta, b, tb, .. } = node.op
                    && form(&self.node(a).shape, ta, tb) == Form::TurnedRows
                {
                    reads.extend(self.plan.turned[b.index()]);
                }
                reads.extend(self.plan.summed[tile.index()]);
                reads
            }
            Work::Turn { from, .. } => vec![from],
            Work::AddHead { from, to } => vec![from, to],
            Work::Effect(i) => vec![self.program.effects[i].tile().index()],
        }
    }

    /// Finds the span of every buffer.
    pub fn live(&mut self) {
        self.span = vec![(UNUSED, 0); self.plan.tiles.len()];
        let steps = &self.plan.steps;
        let first = |region| steps.iter().position(|step| step.region >= region);
        let start = first(Region::Heads).unwrap_or(steps.len());
        let end = first(Region::After).unwrap_or(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let written = match step.work {
                Work::Compute(tile) => Some(tile.index()),
                Work::Turn { to, .. } => Some(to),
                Work::AddHead { .. } | Work::Effect(_) => None,
            };
            if let Some(written) = written {
                let sum = matches!(
                    self.program.nodes.get(written).map(|node| &node.op),
                    Some(Op::HeadSum(_))
                );
                let from = if sum { at.min(start) } else { at };
                self.span[written] = (from, at);
            }
        }
        for (at, step) in steps.iter().enumerate() {
            for buffer in self.reads(step.work) {
                // What is alive before a loop and read in it is read in every turn of it.
                let (from, last) = &mut self.span[buffer];
                let looped = step.region == Region::Heads && *from < start;
                *last = (*last)
                    .max(if looped { end.max(1) - 1 } else { at })
                    .max(at);
                if *from == UNUSED {
                    *from = start;
                }
            }
        }
        for &held in &self.plan.held {
            self.span[held] = (0, steps.len());
        }
        // A sum over heads is alive through all of them.
        for (i, node) in self.program.nodes.iter().enumerate() {
            if matches!(node.op, Op::HeadSum(_)) && self.span[i].0 != UNUSED {
                self.span[i].0 = start.min(self.span[i].0);
                self.span[i].1 = self.span[i].1.max(end.max(1) - 1);
            }
        }
    }

    /// Whether the step at `at` that makes `tile` may write over `operand`, which dies there.
    fn takes_over(&self, tile: TileId, operand: TileId) -> bool {
        let (node, from) = (self.node(tile), self.node(operand));
        let dies = self.span[operand.index()].1 == self.span[tile.index()].0;
        let operands = self.operands(tile);
        let once = operands.iter().filter(|t| **t == operand).count() == 1;
        let scaled = self.plan.scaled[tile.index()];
        let fits = match &node.op {
            Op::Map {
                shape,
                operands,
                reduce: Reduce::None,
                ..
            } => operands.iter().any(|&(t, along)| {
                let whole = match shape.len() {
                    1 => Along::First,
                    _ => Along::Both,
                };
                t == operand && along == whole
            }),
            Op::Matmul { add: Some(add), .. } => scaled.map_or(*add, |s| s.tile) == operand,
            Op::Solve { r, .. } => *r == operand,
            _ => false,
        };
        dies && once
            && fits
            && node.shape == from.shape
            && node.region == from.region
            && !matches!(from.op, Op::HeadSum(_))
    }

    /// Makes new carries in the place of the old ones.
    pub fn carries(&mut self) {
        for effect in &self.program.effects {
            let Effect::Carry(carry, value) = *effect else {
                continue;
            };
            let mut next = Some(value);
            while let Some(tile) = next.filter(|&tile| self.fits_carry(carry, tile)) {
                self.plan.tiles[tile.index()].place = Place::Carry(carry);
                next = self
                    .operands(tile)
                    .into_iter()
                    .find(|&operand| self.takes_over(tile, operand));
            }
        }
    }

    fn fits_carry(&self, carry: CarryId, tile: TileId) -> bool {
        let node = self.node(tile);
        let place = &self.plan.tiles[tile.index()];
        let at = self.span[tile.index()].0;
        let old_is_read = self.program.nodes.iter().enumerate().all(|(i, old)| {
            let old_tile = TileId(i as u32);
            let copied = self.plan.tiles[i].place != Place::Carry(carry);
            !matches!(old.op, Op::Carry(c) if c == carry)
                || self.span[i].0 == UNUSED
                || (copied && self.span[i].0 < at)
                || self.span[i].1 < at
                || (self.span[i].1 == at && self.takes_over(tile, old_tile))
        });
        // Another tile may already live in the carry's place from here on.
        let free = self.program.effects.iter().all(|other| match *other {
            Effect::Carry(c, t) => c == carry || t != tile,
            _ => true,
        });
        let once = self
            .program
            .effects
            .iter()
            .filter(|e| matches!(e, Effect::Carry(c, _) if *c == carry))
            .count()
            == 1;
        node.region == Region::Heads
            && !matches!(node.op, Op::Carry(_) | Op::Load(..) | Op::HeadSum(_))
            && self.plan.summed[tile.index()].is_none()
            && place.place == Place::Scratch(0)
            && (place.cols == place.row || self.program.across)
            && !node.shape.is_empty()
            && old_is_read
            && free
            && once
    }

    /// Places what lies in the scratch.
    pub fn allocate(&mut self) {
        // (first step, last step, from, to) of what lies in the scratch.
        let mut taken: Vec<(usize, usize, usize, usize)> = vec![];
        let mut fixed = vec![false; self.plan.tiles.len()];
        let mut order: Vec<Buffer> = (0..self.plan.tiles.len())
            .filter(|&i| {
                self.span[i].0 != UNUSED && matches!(self.plan.tiles[i].place, Place::Scratch(_))
            })
            .collect();
        order.sort_by_key(|&i| (self.span[i].0, i));
        for i in order {
            let (from, last) = self.span[i];
            let over = (i < self.program.nodes.len()).then(|| {
                let tile = TileId(i as u32);
                let operands = self.operands(tile);
                operands.into_iter().find(|operand| {
                    fixed[operand.index()]
                        && self.plan.summed[i].is_none()
                        && self.takes_over(tile, *operand)
                })
            });
            if self.plan.summed.get(i).is_some_and(|sum| sum.is_some()) {
                continue;
            }
            if let Some(Some(operand)) = over
                && let Place::Scratch(start) = self.plan.tiles[operand.index()].place
            {
                self.plan.tiles[i].place = Place::Scratch(start);
                let end = start + self.plan.tiles[i].numbers();
                taken.push((from + 1, last.max(from + 1), start, end));
            } else {
                let start = first_fit(&taken, from, last, self.plan.tiles[i].numbers());
                self.plan.tiles[i].place = Place::Scratch(start);
                taken.push((from, last, start, start + self.plan.tiles[i].numbers()));
            }
            fixed[i] = true;
        }
        for at in 0..self.plan.steps.len() {
            let numbers = self.room(self.plan.steps[at].work);
            if numbers > 0 {
                let start = first_fit(&taken, at, at, numbers);
                taken.push((at, at, start, start + numbers));
                self.plan.steps[at].room = start;
                self.plan.steps[at].numbers = numbers;
            }
        }
        self.plan.scratch = taken.iter().map(|t| t.3).max().unwrap_or(0);
    }

    /// Numbers of room that a step needs.
    fn room(&self, work: Work) -> usize {
        let Work::Compute(tile) = work else { return 0 };
        let chunk = self.program.chunk as usize;
        match &self.node(tile).op {
            Op::Spread(Interval::Between, ..) => chunk.next_multiple_of(16),
            Op::Trilinear(_, _, _, l) => {
                trilinear_workspace(chunk, extents(&self.node(*l).shape).1)
            }
            _ => 0,
        }
    }
}

/// The first place of `numbers` that is free from step `from` to step `last`.
fn first_fit(
    taken: &[(usize, usize, usize, usize)],
    from: usize,
    last: usize,
    numbers: usize,
) -> usize {
    let mut busy: Vec<(usize, usize)> = taken
        .iter()
        .filter(|t| t.0 <= last && from <= t.1)
        .map(|t| (t.2, t.3))
        .collect();
    busy.sort();
    let mut start = 0;
    for (from, to) in busy {
        if start + numbers <= from {
            break;
        }
        start = start.max(to);
    }
    start
}
