//! Level 3 in f64: one task of a [`TileProgram`].
//!
//! The memory mirrors what a compiled kernel is given: buffers, and for each port and carry a base
//! and strides, in elements. What a program may not rely on is poisoned: the part above the
//! diagonal of a product that only promises its lower triangle is [`JUNK`], a claim that an operand
//! is zero there is checked, and an access outside of a buffer is an error.
//!
//! The loop is the skeleton of the level: for each chunk `Before`, `Heads` for each head in order,
//! `After`; the effects of a region run after its nodes, so old carries are read before they are
//! replaced. Where loops are exchanged, the loop inside goes in the program's direction and a carry is the
//! block's: what enters stands in its rows, and zero past the last head.

mod ops;

#[cfg(test)]
mod tests;

use crate::chunked::Direction;
use crate::tile::{CarryId, Effect, Fill, Op, Pace, PortId, Region, TileId, TileProgram};
pub use ops::JUNK;
use std::ops::Range;

/// Where a port lies, in elements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortPlace {
    /// Number of the buffer.
    pub buffer: usize,
    /// Of the first step (chunk) and head of the task.
    pub base: usize,
    /// From one step (chunk) to the next; a task has one.
    pub time: usize,
    /// From one head to the next.
    pub head: usize,
}

/// Where a carry lies, in elements; it is read before the first chunk (where loops are exchanged, before each)
/// and written after the last (after each).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CarryPlace {
    /// Number of the buffer.
    pub buffer: usize,
    /// Of the first head of the task.
    pub base: usize,
    /// From one head to the next.
    pub head: usize,
}

/// What one task is given.
#[derive(Debug)]
pub struct Memory<'a> {
    /// The buffers; two ports may share one.
    pub buffers: Vec<&'a mut [f64]>,
    /// For each port.
    pub ports: Vec<PortPlace>,
    /// For each carry.
    pub carries: Vec<CarryPlace>,
    /// Steps of the task.
    pub len: usize,
    /// Heads of the task.
    pub heads: usize,
}

/// Runs one task of a verified program.
pub fn run_task(program: &TileProgram, memory: &mut Memory) -> Result<(), String> {
    for (what, given, expected) in [
        ("port places", memory.ports.len(), program.ports.len()),
        ("carry places", memory.carries.len(), program.carries.len()),
    ] {
        if given != expected {
            return Err(format!("{given} {what} given, expected {expected}"));
        }
    }
    let mut task = Task {
        program,
        memory,
        carries: Vec::new(),
        tiles: vec![Vec::new(); program.nodes.len()],
        sums: vec![Vec::new(); program.nodes.len()],
    };
    let chunk = program.chunk.max(1) as usize;
    let (len, heads) = (task.memory.len, task.memory.heads);
    let chunks = len.div_ceil(chunk);
    if !program.across {
        task.enter(0..heads)?;
    }
    for i in 0..chunks {
        let number = match program.direction {
            Direction::Reverse if !program.across => chunks - 1 - i,
            _ => i,
        };
        let rows = number * chunk..len.min((number + 1) * chunk);
        let place = Place {
            number,
            len: rows.len(),
            head: 0,
        };
        if program.across {
            task.enter(rows.clone())?;
        }
        task.chunk(place)?;
        if program.across {
            task.leave(rows)?;
        }
    }
    match program.across {
        true => Ok(()),
        false => task.leave(0..heads),
    }
}

/// Where in the loops the task is.
#[derive(Clone, Copy)]
struct Place {
    /// Of the chunk, in order of time.
    number: usize,
    /// Steps in it.
    len: usize,
    head: usize,
}

struct Task<'a, 'b> {
    program: &'a TileProgram,
    memory: &'a mut Memory<'b>,
    /// `[carry][head]`, of the heads that are under way
    carries: Vec<Vec<Vec<f64>>>,
    /// Values of the nodes, those of `Heads` for the current head.
    tiles: Vec<Vec<f64>>,
    /// Values of the nodes of `Heads` summed over the heads so far.
    sums: Vec<Vec<f64>>,
}

impl Task<'_, '_> {
    fn enter(&mut self, heads: Range<usize>) -> Result<(), String> {
        self.carries.clear();
        for (i, carry) in self.program.carries.iter().enumerate() {
            let CarryPlace { buffer, base, head } = self.memory.carries[i];
            let mut tiles = Vec::new();
            for h in heads.clone() {
                let what = || format!("carry `{}` of head {h}", carry.name);
                let at = h.saturating_mul(head).saturating_add(base);
                tiles.push(
                    self.slice(buffer, at, ops::entries(&carry.dims), what)?
                        .to_vec(),
                );
            }
            self.carries.push(tiles);
        }
        Ok(())
    }

    fn leave(&mut self, heads: Range<usize>) -> Result<(), String> {
        for (i, carry) in self.program.carries.iter().enumerate() {
            let CarryPlace { buffer, base, head } = self.memory.carries[i];
            for (row, h) in heads.clone().enumerate() {
                let value = std::mem::take(&mut self.carries[i][row]);
                let what = || format!("carry `{}` of head {h}", carry.name);
                let at = h.saturating_mul(head).saturating_add(base);
                self.slice(buffer, at, value.len(), what)?
                    .copy_from_slice(&value);
            }
        }
        Ok(())
    }

    fn slice(
        &mut self,
        buffer: usize,
        at: usize,
        count: usize,
        what: impl Fn() -> String,
    ) -> Result<&mut [f64], String> {
        let Some(data) = self.memory.buffers.get_mut(buffer) else {
            return Err(format!(
                "{} lies in buffer {buffer}, which is not given",
                what()
            ));
        };
        let size = data.len();
        data.get_mut(at..at.saturating_add(count))
            .ok_or_else(|| format!("{} begins at {at} and holds {count}, of {size}", what()))
    }

    fn chunk(&mut self, mut place: Place) -> Result<(), String> {
        // A value that is read before it is computed in this chunk shows.
        for (tile, node) in self.tiles.iter_mut().zip(&self.program.nodes) {
            *tile = vec![f64::NAN; ops::entries(&node.shape)];
        }
        self.sums.iter_mut().for_each(Vec::clear);
        self.region(Region::Before, place)?;
        let heads = self.memory.heads;
        for i in 0..heads {
            place.head = match self.program.direction {
                Direction::Reverse if self.program.across => heads - 1 - i,
                _ => i,
            };
            self.region(Region::Heads, place)?;
            for (sum, tile) in self.sums.iter_mut().zip(&self.tiles) {
                sum.resize(tile.len(), 0.0);
                sum.iter_mut().zip(tile).for_each(|(sum, x)| *sum += x);
            }
        }
        place.head = 0;
        self.region(Region::After, place)
    }

    fn region(&mut self, region: Region, place: Place) -> Result<(), String> {
        let program = self.program;
        for (i, node) in program.nodes.iter().enumerate() {
            if node.region != region {
                continue;
            }
            self.tiles[i] = match &node.op {
                Op::Load(port, fill) => self.load(*port, *fill, place)?,
                Op::Carry(carry) => self.carry(*carry, place, ops::entries(&node.shape)),
                Op::HeadSum(tile) => match self.memory.heads {
                    0 => vec![0.0; ops::entries(&node.shape)],
                    _ => self.sums[tile.index()].clone(),
                },
                op => {
                    let shapes = |tile: TileId| program.node(tile).shape.as_slice();
                    ops::run(op, &node.shape, place.len, &self.tiles, shapes)
                        .map_err(|why| format!("%{i}: {why}"))?
                }
            };
        }
        let effects = program.effects.iter().copied();
        for effect in effects.filter(|effect| program.node(effect.tile()).region == region) {
            let tile = self.tiles[effect.tile().index()].clone();
            match effect {
                Effect::Carry(carry, _) if program.across => {
                    let heads = &mut self.carries[carry.index()];
                    let rows = tile.chunks(tile.len() / program.chunk as usize);
                    heads
                        .iter_mut()
                        .zip(rows)
                        .for_each(|(head, row)| *head = row.to_vec());
                }
                Effect::Carry(carry, _) => self.carries[carry.index()][place.head] = tile,
                Effect::Store(port, _) => self.store(port, tile, place, false)?,
                Effect::Accumulate(port, _) => self.store(port, tile, place, true)?,
            }
        }
        Ok(())
    }

    /// A carry's tile of `count` entries.
    fn carry(&self, carry: CarryId, place: Place, count: usize) -> Vec<f64> {
        let heads = &self.carries[carry.index()];
        if !self.program.across {
            return heads[place.head].clone();
        }
        let mut tile = heads.concat();
        tile.resize(count, 0.0);
        tile
    }

    /// Where the row or tile of a port at this place begins, and the steps between its rows.
    fn at(&self, port: PortId, place: Place) -> (PortPlace, usize) {
        let to = self.memory.ports[port.index()];
        let decl = &self.program.ports[port.index()];
        let along = match decl.pace {
            Pace::Step => place.number * self.program.chunk as usize,
            Pace::Chunk => place.number,
            Pace::Task => 0,
        };
        let head = if decl.per_head { place.head } else { 0 };
        let at = along.saturating_mul(to.time).saturating_add(to.base);
        (to, head.saturating_mul(to.head).saturating_add(at))
    }

    fn load(&mut self, port: PortId, fill: Fill, place: Place) -> Result<Vec<f64>, String> {
        let decl = &self.program.ports[port.index()];
        let count = ops::entries(&decl.dims);
        let (to, at) = self.at(port, place);
        let what = || format!("port `{}` of chunk {}", decl.name, place.number);
        if decl.pace != Pace::Step {
            return Ok(self.slice(to.buffer, at, count, what)?.to_vec());
        }
        let mut tile = Vec::with_capacity(self.program.chunk as usize * count);
        for t in 0..self.program.chunk as usize {
            match (t < place.len, fill) {
                (false, Fill::Zero) => tile.extend(std::iter::repeat_n(0.0, count)),
                _ => {
                    let row = t
                        .min(place.len - 1)
                        .saturating_mul(to.time)
                        .saturating_add(at);
                    tile.extend_from_slice(self.slice(to.buffer, row, count, what)?);
                }
            }
        }
        Ok(tile)
    }

    fn store(
        &mut self,
        port: PortId,
        tile: Vec<f64>,
        place: Place,
        add: bool,
    ) -> Result<(), String> {
        let decl = &self.program.ports[port.index()];
        let count = ops::entries(&decl.dims);
        let (to, at) = self.at(port, place);
        let what = || format!("port `{}` of chunk {}", decl.name, place.number);
        let rows = if decl.pace == Pace::Step {
            place.len
        } else {
            1
        };
        for t in 0..rows {
            let from = &tile[t * count..(t + 1) * count];
            let row = t.saturating_mul(to.time).saturating_add(at);
            let slice = self.slice(to.buffer, row, count, what)?;
            match add {
                true => slice.iter_mut().zip(from).for_each(|(to, x)| *to += x),
                false => slice.copy_from_slice(from),
            }
        }
        Ok(())
    }
}
