//! The order in which a program's nodes run: the one that keeps the fewest registers alive.
//!
//! A thread has 255 registers and a fragment takes 16 to 64 of them from its definition to its last
//! reader, so the order decides whether a kernel spills. Every order that respects operands gives
//! the same bits. A beam search keeps the best partial orders: first by the registers alive at the
//! worst moment, as far as they exceed what is `enough`, then by shared memory at its worst, then
//! by registers over time. Ties fall to the program's own order, so the outcome is a function of
//! the program and the options alone.

use super::forms::{self, Key, leaves, wants};
use super::layout::{Form, Side};
use super::levels::Trilinear;
use super::{Error, Gpu, Storage};
use baton_ir::tile::{Op, TileId, TileProgram};
use std::collections::BTreeMap;

/// Partial orders that are kept.
const BEAM: usize = 64;

/// A set of nodes.
type Set = Vec<u64>;

fn has(set: &Set, node: usize) -> bool {
    set[node / 64] >> (node % 64) & 1 == 1
}

fn add(set: &mut Set, node: usize) {
    set[node / 64] |= 1 << (node % 64);
}

/// A tile in a form, alive from its node (or its first reader) to its last reader.
struct Value {
    node: usize,
    readers: Set,
    /// Whether only a reader brings it to life: what is loaded.
    lazy: bool,
    /// Whether it is alive before its node: a carry in registers.
    enters: bool,
    /// Whether it is alive past every reader: what is stored or carried.
    leaves: bool,
    registers: u32,
    bytes: u32,
}

impl Value {
    fn alive(&self, done: &Set) -> bool {
        let pairs = || self.readers.iter().zip(done);
        let read = pairs().any(|(readers, done)| readers & done != 0);
        let unread = pairs().any(|(readers, done)| readers & !done != 0);
        let born = self.enters || has(done, self.node) && (read || !self.lazy);
        born && (unread || self.leaves)
    }
}

/// A partial order.
#[derive(Clone)]
struct Partial {
    done: Set,
    order: Vec<usize>,
    /// Registers and bytes of shared memory alive after the last node.
    now: [u32; 2],
    peak: [u32; 2],
    total: u64,
}

impl Partial {
    fn rank(&self, enough: u32) -> (u32, u32, u64, &[usize]) {
        let [registers, bytes] = self.peak;
        (registers.max(enough), bytes, self.total, &self.order)
    }
}

struct Graph {
    values: Vec<Value>,
    operands: Vec<Vec<usize>>,
    loads: Vec<bool>,
    /// Registers of each node's result, and of what it needs beside it while it runs.
    costs: Vec<[u32; 2]>,
}

/// The nodes of `program` in the order to run them. Fewer registers than `enough` are worth
/// no shared memory.
/// The order, and the registers that it holds at the worst moment, addresses not counted.
pub fn order(
    program: &TileProgram,
    options: &Gpu,
    enough: u32,
) -> Result<(Vec<TileId>, u32), Error> {
    let count = program.nodes.len();
    let graph = Graph::new(program, options)?;
    let first = graph.first();
    let steps = first.order.len()..count;
    let mut beam = vec![first];
    for _ in steps {
        let mut longer: BTreeMap<Set, Partial> = BTreeMap::new();
        for partial in &beam {
            for node in (0..count).filter(|&node| graph.is_ready(&partial.done, node)) {
                let new = graph.extend(partial, node);
                match longer.get(&new.done) {
                    Some(known) if known.rank(enough) <= new.rank(enough) => {}
                    _ => {
                        longer.insert(new.done.clone(), new);
                    }
                }
            }
        }
        beam = longer.into_values().collect();
        beam.sort_by(|a, b| a.rank(enough).cmp(&b.rank(enough)));
        beam.truncate(BEAM);
    }
    let best = beam.swap_remove(0);
    let order = best.order.into_iter().map(|at| TileId(at as u32));
    Ok((order.collect(), best.peak[0]))
}

impl Graph {
    fn new(program: &TileProgram, options: &Gpu) -> Result<Self, Error> {
        let nodes = || (0..program.nodes.len()).map(|at| TileId(at as u32));
        let staged = |tile: TileId| {
            let node = program.node(tile);
            matches!(node.op, Op::Load(..)) && node.shape.len() == 2
        };
        let mut values: BTreeMap<(usize, String), Value> = BTreeMap::new();
        let mut costs = vec![];
        let mut read = |(tile, form): Key, reader: Option<TileId>| {
            let node = &program.node(tile);
            let value = values
                .entry((tile.index(), format!("{form:?}")))
                .or_insert_with(|| Value {
                    node: tile.index(),
                    readers: vec![0; program.nodes.len().div_ceil(64)],
                    lazy: matches!(node.op, Op::Load(..)),
                    enters: matches!(node.op, Op::Carry(_)) && !form.shared(),
                    leaves: false,
                    registers: forms::registers(program, options, (tile, form)),
                    bytes: forms::bytes(program, options, (tile, form)),
                });
            match reader {
                Some(reader) => add(&mut value.readers, reader.index()),
                None => value.leaves = true,
            }
        };
        for tile in nodes() {
            let mut passing = 0;
            for (operand, form) in reads(program, options, tile)? {
                match form {
                    Form::Fragment if staged(operand) => {
                        passing += forms::registers(program, options, (operand, form));
                    }
                    Form::Operand if staged(operand) && options.storage != Storage::F32 => {}
                    _ => read((operand, form), Some(tile)),
                }
            }
            let form = forms::plain(program, tile);
            costs.push([forms::registers(program, options, (tile, form)), passing]);
        }
        for effect in &program.effects {
            read((effect.tile(), leaves(program, options, effect)), None);
        }
        let operands = |tile: TileId| {
            let operands = program.node(tile).op.operands();
            operands.into_iter().map(TileId::index).collect()
        };
        Ok(Self {
            values: values.into_values().collect(),
            operands: nodes().map(operands).collect(),
            loads: (program.nodes.iter())
                .map(|node| matches!(node.op, Op::Load(..)))
                .collect(),
            costs,
        })
    }

    /// Nothing but what is loaded, which is there when it is read.
    fn first(&self) -> Partial {
        let loads = (0..self.loads.len()).filter(|&node| self.loads[node]);
        let order: Vec<usize> = loads.collect();
        let mut done = vec![0; self.loads.len().div_ceil(64)];
        order.iter().for_each(|&node| add(&mut done, node));
        Partial {
            now: self.alive(&done),
            done,
            order,
            peak: [0; 2],
            total: 0,
        }
    }

    fn is_ready(&self, done: &Set, node: usize) -> bool {
        !has(done, node) && self.operands[node].iter().all(|&of| has(done, of))
    }

    /// Registers and bytes of shared memory alive once these nodes are done.
    fn alive(&self, done: &Set) -> [u32; 2] {
        let alive = self.values.iter().filter(|value| value.alive(done));
        alive.fold([0; 2], |[registers, bytes], value| {
            [registers + value.registers, bytes + value.bytes]
        })
    }

    fn extend(&self, partial: &Partial, node: usize) -> Partial {
        let mut new = partial.clone();
        add(&mut new.done, node);
        new.order.push(node);
        new.now = self.alive(&new.done);
        let [result, passing] = self.costs[node];
        // A result takes the place of an operand that dies here.
        let [before, after] = [partial.now, new.now];
        let during = before[0].max(after[0]).max(result) + passing;
        new.peak[0] = partial.peak[0].max(during);
        new.peak[1] = partial.peak[1].max(before[1]).max(after[1]);
        new.total += u64::from(after[0]);
        new
    }
}

/// What a node reads in the end, conversions at its step seen through.
fn reads(program: &TileProgram, options: &Gpu, tile: TileId) -> Result<Vec<Key>, Error> {
    let mut all = wants(program, options, tile)?;
    if let Some(trilinear) = Trilinear::of(program, tile) {
        let levels = trilinear.levels(program.chunk);
        all = levels
            .flat_map(|level| trilinear.wants(tile, level))
            .collect();
        all.push((trilinear.l, Form::Fragment));
    }
    let seen_through = |(tile, form): Key| match form {
        Form::RowTotals | Form::ColumnSums => (tile, Form::Fragment),
        Form::Level(_, _, Side::Pairs | Side::Readers | Side::Writers) => (tile, Form::Fragment),
        _ => (tile, form),
    };
    let mut all: Vec<Key> = all.into_iter().map(seen_through).collect();
    let mut seen = Vec::new();
    all.retain(|key| {
        !seen.contains(key) && {
            seen.push(*key);
            true
        }
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compiler, Phase};
    use baton_ir::text;

    /// One number of decay for a head whose keys a group shares, and one for each row, read before and after.
    const PROGRAMS: [&str; 2] = [
        "recurrence numbers {
            dims { K, V }
            inputs { q: [K] per group, k: [K] per group, v: [V], g: [] }
            params { d: [] }
            state { S: [K, V] }
            S = exp(g) * S + outer(k, v);
            output o: [V] = dot(q, S) + d * v;
        }",
        "recurrence rows_of_decay {
            dims { K, V }
            inputs { q: [K], k: [K], v: [V], g: [K] }
            params { u: [K] }
            state { S: [K, V] }
            let own = sum(q * u * k) * v;
            output o: [V] = dot(q, S) + own;
            S = rows(exp(g)) * S + outer(k, v);
        }",
    ];

    fn backward(source: &str, options: &Gpu) -> TileProgram {
        let recurrence = text::parse(source).unwrap();
        let compiler = Compiler::new(&recurrence, &[64, 64]).expect("it verifies");
        compiler.program_for(options, Phase::Backward, 32)
    }

    #[test]
    fn operands_come_first_and_fewer_registers_are_alive() {
        let options = Gpu::sm_80(Storage::Bf16);
        for source in PROGRAMS {
            let program = backward(source, &options);
            let name = &program.name;
            let graph = Graph::new(&program, &options).unwrap();
            let peak = |order: &[usize]| {
                let mut partial = graph.first();
                for &node in order.iter().filter(|&&node| !graph.loads[node]) {
                    assert!(graph.is_ready(&partial.done, node), "{name}: %{node}");
                    partial = graph.extend(&partial, node);
                }
                partial.peak[0]
            };
            let found: Vec<usize> = (order(&program, &options, 0).unwrap().0.into_iter())
                .map(TileId::index)
                .collect();
            let mut all = found.clone();
            all.sort_unstable();
            let own: Vec<usize> = (0..program.nodes.len()).collect();
            assert_eq!(all, own);
            assert!(peak(&found) < peak(&own), "{name}");
        }
    }
}
