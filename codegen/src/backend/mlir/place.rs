//! The pass that decides where every tile is when: forms, conversions, shared memory, barriers.
//!
//! An op says in which forms it reads its operands and in which it leaves its result (`forms`), and
//! `order` says when it runs; this pass inserts the conversions between them, once for each form that is wanted,
//! finds room in shared memory by the ranges in which buffers are alive, and puts a barrier
//! wherever a step reads bytes that others wrote since the last one, or writes bytes that others
//! used. What it returns is a straight list of steps; nothing later decides anything about layout.

use super::forms::{Key, bytes, gives, leaves, wants};
use super::layout::{Form, Side};
use super::levels::Trilinear;
use super::order::order;
use super::{Error, Gpu, Storage};
use baton_ir::tile::{Op, TileId, TileProgram};
use std::collections::{BTreeMap, BTreeSet};

/// One thing that all threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for each other.
    Barrier,
    /// Load a vector or a number from its port in a form.
    Load(TileId, Form),
    /// Bring a tile from one form to another.
    Convert(TileId, Form, Form),
    /// Add one level of a trilinear form to its result.
    Level(TileId, u32),
    /// Compute a tile from operands in the forms wanted.
    Compute(TileId),
    /// Carry out an effect on a tile in a form.
    Effect(usize, Form),
}

/// Room in shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where, from the start.
    pub offset: u32,
    /// How much.
    pub bytes: u32,
}

/// The outcome of the pass.
#[derive(Debug)]
pub struct Placement {
    /// The steps of one chunk.
    pub steps: Vec<Step>,
    /// Room of each form in shared memory; for staged tiles within one stage of the ring.
    pub rooms: BTreeMap<(TileId, Form), Room>,
    /// Matrices that come in by asynchronous copies, in order.
    pub staged: Vec<TileId>,
    /// Bytes of one stage of the ring.
    pub stage_bytes: u32,
    /// Stages of the ring, which begins at 0.
    pub stages: u32,
    /// Bytes of shared memory in all.
    pub shared_bytes: u32,
    /// Registers of a thread that tiles hold at the worst moment.
    pub registers: u32,
}

struct Pass<'a> {
    program: &'a TileProgram,
    options: &'a Gpu,
    steps: Vec<Step>,
    have: BTreeSet<(TileId, Form)>,
    rooms: BTreeMap<(TileId, Form), Room>,
}

/// Registers that an order may hold alive before it is worth shared memory to have fewer, from the
/// one that spills least. Each more gives shared memory back: to fit, or for a second stage.
const ENOUGH: [u32; 4] = [128, 160, 192, u32::MAX];

/// Runs the pass, so that another block fits beside this one; where that cannot be, with all the shared memory that a
/// block may have.
pub fn place(program: &TileProgram, options: &Gpu) -> Result<Placement, Error> {
    for node in &program.nodes {
        let fits = match *node.shape.as_slice() {
            [rows, columns] => rows % 16 == 0 && columns % 16 == 0 && rows * columns > 0,
            [rows] => rows % 16 == 0 && rows > 0,
            _ => true,
        };
        if !fits {
            return Err(Error::Unsupported(format!(
                "`{}` has a tile of {:?}, expected sizes that are multiples of 16",
                program.name, node.shape
            )));
        }
    }
    let roomy = within(program, options, options.shared_room())?;
    if roomy.shared_bytes <= options.shared_room() {
        return Ok(roomy);
    }
    let placement = within(program, options, options.shared_limit)?;
    match placement.shared_bytes <= options.shared_limit {
        true => Ok(placement),
        false => Err(Error::Unsupported(format!(
            "`{}` needs {} bytes of shared memory, expected at most {}",
            program.name, placement.shared_bytes, options.shared_limit
        ))),
    }
}

/// The placement of the order that spills least of those with which copies overlap with work within `limit` bytes
/// of shared memory, or, where there is none, of those that fit; the smallest where none does.
fn within(program: &TileProgram, options: &Gpu, limit: u32) -> Result<Placement, Error> {
    let rank = |p: &Placement| match p.shared_bytes <= limit {
        true => (p.stages.min(2), 0),
        false => (0, u32::MAX - p.shared_bytes),
    };
    let mut best: Option<Placement> = None;
    for enough in ENOUGH {
        let placement = Pass::new(program, options).place(enough, limit)?;
        let better = |best: &Placement| rank(best) < rank(&placement);
        if best.as_ref().is_none_or(better) {
            best = Some(placement);
        }
        // Nothing ranks higher than what fits with copies that overlap.
        if best.as_ref().map(rank) == Some((2, 0)) {
            break;
        }
    }
    Ok(best.expect("there are orders"))
}

/// Whether the kernel holds few registers, and its copies overlap with work.
pub fn is_roomy(program: &TileProgram, options: &Gpu) -> bool {
    let placed = Pass::new(program, options).place(ENOUGH[0], options.shared_room());
    placed.is_ok_and(|placed| placed.registers <= ENOUGH[0] && placed.stages > 1)
}

impl<'a> Pass<'a> {
    fn new(program: &'a TileProgram, options: &'a Gpu) -> Self {
        Self {
            program,
            options,
            steps: Vec::new(),
            have: BTreeSet::new(),
            rooms: BTreeMap::new(),
        }
    }

    /// The placement by one order, with as many stages as fit within `limit`; one stage may be too much.
    fn place(mut self, enough: u32, limit: u32) -> Result<Placement, Error> {
        let (staged, stage_bytes) = self.ring();
        let registers = self.run(enough)?;
        let mut wanted = self.wanted_rooms();
        let shared = self.taken_over(&mut wanted);
        let mut stages = self.options.stages.max(1);
        let (rooms, shared_bytes) = loop {
            let (rooms, end) = self.assign(&wanted, stages * stage_bytes);
            if end <= limit {
                break (rooms, end);
            }
            if stages == 1 {
                // The largest first leave smaller gaps, more often than not.
                let mut by_size = wanted.clone();
                by_size.sort_by_key(|&(_, bytes, _)| std::cmp::Reverse(bytes));
                let (other, other_end) = self.assign(&by_size, stage_bytes);
                break match other_end < end {
                    true => (other, other_end),
                    false => (rooms, end),
                };
            }
            stages -= 1;
        };
        self.rooms.extend(rooms);
        for (result, operand) in shared {
            self.rooms.insert(result, self.rooms[&operand]);
        }
        Ok(Placement {
            steps: self.with_barriers(),
            rooms: self.rooms,
            staged,
            stage_bytes,
            stages,
            shared_bytes,
            registers,
        })
    }

    /// The tiles that come in by asynchronous copies, and the bytes of all of them.
    fn ring(&mut self) -> (Vec<TileId>, u32) {
        let (mut staged, mut stage_bytes) = (Vec::new(), 0);
        for tile in self.tiles() {
            let node = self.program.node(tile);
            if let (Op::Load(..), [rows, columns]) = (&node.op, node.shape.as_slice()) {
                let bytes = rows * columns * self.options.storage.bytes();
                let offset = stage_bytes;
                let staging = (tile, Form::Staged);
                self.rooms.insert(staging, Room { offset, bytes });
                self.have.insert(staging);
                stage_bytes += bytes.next_multiple_of(128);
                staged.push(tile);
            }
        }
        (staged, stage_bytes)
    }

    fn tiles(&self) -> impl Iterator<Item = TileId> + use<> {
        (0..self.program.nodes.len()).map(|at| TileId(at as u32))
    }

    fn run(&mut self, enough: u32) -> Result<u32, Error> {
        let eager = self.eager();
        let (order, registers) = order(self.program, self.options, enough)?;
        for tile in order {
            let op = &self.program.node(tile).op;
            match op {
                Op::Load(..) => continue,
                Op::Carry(_) => {
                    self.have
                        .insert((tile, gives(self.program, self.options, tile)?));
                }
                _ => {
                    if let Some(trilinear) = Trilinear::apart(self.program, tile) {
                        trilinear.check(self.program)?;
                    }
                    if let Some(trilinear) = Trilinear::of(self.program, tile) {
                        self.levels(tile, &trilinear)?;
                    }
                    for (operand, form) in wants(self.program, self.options, tile)? {
                        self.ensure(operand, form)?;
                    }
                    self.steps.push(Step::Compute(tile));
                    self.have
                        .insert((tile, gives(self.program, self.options, tile)?));
                }
            }
            for &form in eager.get(&tile).into_iter().flatten() {
                self.ensure(tile, form)?;
            }
        }
        for (i, effect) in self.program.effects.iter().enumerate() {
            let form = self.ensure(effect.tile(), leaves(self.program, self.options, effect))?;
            self.steps.push(Step::Effect(i, form));
        }
        Ok(registers)
    }

    /// The levels of a trilinear form: together behind one barrier where their planes are small,
    /// else one after the other, so that they share room.
    fn levels(&mut self, tile: TileId, trilinear: &Trilinear) -> Result<(), Error> {
        let levels = trilinear.levels(self.program.chunk);
        let planes = |level| trilinear.wants(tile, level);
        let bytes: u32 = levels
            .clone()
            .flat_map(planes)
            .map(|key| bytes(self.program, self.options, key))
            .sum();
        let together = bytes <= self.options.shared_limit / 8;
        if together {
            for level in levels.clone() {
                self.ensure_level(tile, trilinear, level)?;
            }
        }
        for level in levels {
            self.ensure_level(tile, trilinear, level)?;
            self.steps.push(Step::Level(tile, level));
            self.have.extend(trilinear.leaves(tile, level));
        }
        Ok(())
    }

    fn ensure_level(
        &mut self,
        tile: TileId,
        trilinear: &Trilinear,
        level: u32,
    ) -> Result<(), Error> {
        for (operand, form) in trilinear.wants(tile, level) {
            if matches!(form, Form::Level(..)) {
                for (l, form) in trilinear.decays(level) {
                    self.ensure(l, form)?;
                }
            }
            self.ensure(operand, form)?;
        }
        Ok(())
    }

    /// Shared forms that a tile will be wanted in: written as soon as it is computed, so that one
    /// barrier serves several and its registers are free.
    fn eager(&self) -> BTreeMap<TileId, Vec<Form>> {
        let mut eager: BTreeMap<TileId, Vec<Form>> = BTreeMap::new();
        let mut note = |tile: TileId, form: Form| {
            let forms = eager.entry(tile).or_default();
            if matches!(form, Form::Operand | Form::Outgoing) && !forms.contains(&form) {
                forms.push(form);
            }
        };
        for tile in self.tiles() {
            for (operand, form) in wants(self.program, self.options, tile).unwrap_or_default() {
                note(operand, form);
            }
            if let Some(trilinear) = Trilinear::of(self.program, tile) {
                for level in trilinear.levels(self.program.chunk) {
                    for (operand, form) in trilinear.wants(tile, level) {
                        note(operand, form);
                    }
                }
            }
        }
        for effect in &self.program.effects {
            note(effect.tile(), leaves(self.program, self.options, effect));
        }
        eager
    }

    /// Makes sure that `tile` is in `form`; gives the form that serves.
    fn ensure(&mut self, tile: TileId, form: Form) -> Result<Form, Error> {
        if self.have.contains(&(tile, form)) {
            return Ok(form);
        }
        let node = self.program.node(tile);
        if matches!(node.op, Op::Load(..)) && node.shape.len() < 2 && !form.shared() {
            self.steps.push(Step::Load(tile, form));
            self.have.insert((tile, form));
            return Ok(form);
        }
        let has = |form| self.have.contains(&(tile, form));
        let sixteen = self.options.storage != Storage::F32;
        let from = match form {
            Form::Operand if sixteen && has(Form::Staged) => return Ok(Form::Staged),
            Form::Outgoing if sixteen && has(Form::Operand) => return Ok(Form::Operand),
            Form::Operand
            | Form::Outgoing
            | Form::Exact
            | Form::RowTotals
            | Form::ColumnSums
            | Form::Level(_, _, Side::Pairs | Side::Readers | Side::Writers) => {
                self.ensure(tile, Form::Fragment)?
            }
            Form::Fragment if has(Form::Staged) => Form::Staged,
            Form::Fragment if has(Form::Exact) => Form::Exact,
            Form::Scalar | Form::Rows | Form::Cols(_) if has(Form::Partial) => Form::Partial,
            Form::Rows | Form::Cols(_) => self.ensure(tile, Form::Vector)?,
            Form::Vector => {
                let cols = self.have.iter().find_map(|&(id, form)| match form {
                    Form::Cols(_) if id == tile => Some(form),
                    _ => None,
                });
                match cols {
                    Some(cols) => cols,
                    None => self.ensure(tile, Form::Rows)?,
                }
            }
            Form::Sums | Form::StrictSums => self.ensure(tile, Form::Rows)?,
            Form::Fragment
            | Form::Scalar
            | Form::Staged
            | Form::Partial
            | Form::Level(_, _, Side::Totals) => {
                return Err(Error::Unsupported(format!(
                    "`{}`: tile {} cannot be brought to {form:?}",
                    self.program.name,
                    tile.index()
                )));
            }
        };
        self.steps.push(Step::Convert(tile, from, form));
        if from != Form::Staged {
            self.have.insert((tile, form));
        }
        Ok(form)
    }

    /// Bytes that each shared form needs, and the steps at which it is first and last used.
    fn wanted_rooms(&self) -> Vec<((TileId, Form), u32, [usize; 2])> {
        let mut rooms: Vec<((TileId, Form), u32, [usize; 2])> = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let (reads, writes) = self.touches(step);
            for key in reads.into_iter().chain(writes) {
                match rooms.iter_mut().find(|room| room.0 == key) {
                    Some(room) => room.2[1] = at,
                    None => rooms.push((key, bytes(self.program, self.options, key), [at, at])),
                }
            }
        }
        rooms
    }

    /// Lets what a thread leaves of a column lie where an operand of it lay, if nobody reads that later: both are one
    /// room then, alive from the first use of the one to the last of the other. So it is of the unknowns of a solve, and of
    /// a partial pair by pair, which read the whole column first. Gives those that have no room of their own.
    fn taken_over(&self, rooms: &mut Vec<(Key, u32, [usize; 2])>) -> Vec<(Key, Key)> {
        let mut shared: Vec<(Key, Key)> = vec![];
        for tile in self.tiles() {
            let columns = match &self.program.node(tile).op {
                Op::Solve { r, .. } => vec![*r],
                Op::Trilinear(..) if Trilinear::of(self.program, tile).is_none() => {
                    let form = Trilinear::apart(self.program, tile).expect("the op is one");
                    [form.q, form.k, Some(form.l)]
                        .into_iter()
                        .flatten()
                        .collect()
                }
                _ => continue,
            };
            let result = (tile, Form::Exact);
            for operand in columns.into_iter().map(|id| (id, Form::Exact)) {
                let at = |key| rooms.iter().position(|room| room.0 == key);
                // The operand may be a result that has taken over a room itself.
                let owner = shared.iter().find(|(result, _)| *result == operand);
                let owner = owner.map_or(operand, |(_, owner)| *owner);
                let (Some(own), Some(others)) = (at(result), at(owner)) else {
                    continue;
                };
                if rooms[others].2[1] == rooms[own].2[0] {
                    rooms[others].2[1] = rooms[own].2[1];
                    rooms.remove(own);
                    shared.push((result, owner));
                    break;
                }
            }
        }
        shared
    }

    /// Finds offsets from `begin` on, first fit in the order given.
    #[allow(clippy::type_complexity)]
    fn assign(
        &self,
        wanted: &[((TileId, Form), u32, [usize; 2])],
        begin: u32,
    ) -> (Vec<((TileId, Form), Room)>, u32) {
        let mut placed: Vec<((TileId, Form), Room, [usize; 2])> = Vec::new();
        let mut end = begin;
        for &(key, bytes, span) in wanted {
            let mut offset = begin;
            loop {
                let clash = placed.iter().find(|(_, room, other)| {
                    span[0] <= other[1]
                        && other[0] <= span[1]
                        && offset < room.offset + room.bytes
                        && room.offset < offset + bytes
                });
                match clash {
                    Some((_, room, _)) => offset = (room.offset + room.bytes).next_multiple_of(128),
                    None => break,
                }
            }
            placed.push((key, Room { offset, bytes }, span));
            end = end.max(offset + bytes);
        }
        let rooms = placed
            .into_iter()
            .map(|(key, room, _)| (key, room))
            .collect();
        (rooms, end)
    }

    /// What a step reads and writes in shared memory, the ring aside.
    fn touches(&self, step: &Step) -> (Vec<Key>, Vec<Key>) {
        let mine = |&(_, form): &(TileId, Form)| form.shared() && form != Form::Staged;
        let (reads, writes) = match *step {
            Step::Barrier | Step::Load(..) => (vec![], vec![]),
            Step::Convert(tile, from, to) => {
                let mut reads = vec![(tile, from)];
                if let Form::Level(op, level, _) = to {
                    let trilinear = Trilinear::of(self.program, TileId(op));
                    reads.extend(trilinear.into_iter().flat_map(|t| t.decays(level)));
                }
                (reads, vec![(tile, to)])
            }
            Step::Level(tile, level) => {
                let trilinear = Trilinear::of(self.program, tile);
                let served = |(operand, form)| (operand, self.serves(operand, form));
                let wants = trilinear.iter().flat_map(|t| t.wants(tile, level));
                let leaves = trilinear.iter().filter_map(|t| t.leaves(tile, level));
                (wants.map(served).collect(), leaves.collect())
            }
            Step::Compute(tile) => {
                let wants = wants(self.program, self.options, tile).unwrap_or_default();
                let served = |(operand, form)| (operand, self.serves(operand, form));
                let gives = gives(self.program, self.options, tile).unwrap_or(Form::Scalar);
                (wants.into_iter().map(served).collect(), vec![(tile, gives)])
            }
            Step::Effect(i, form) => (vec![(self.program.effects[i].tile(), form)], vec![]),
        };
        let keep = |list: Vec<(TileId, Form)>| list.into_iter().filter(mine).collect();
        (keep(reads), keep(writes))
    }

    /// The form that serves a want, as [`ensure`](Self::ensure) said.
    fn serves(&self, tile: TileId, form: Form) -> Form {
        match form {
            Form::Operand if !self.have.contains(&(tile, Form::Operand)) => Form::Staged,
            _ => form,
        }
    }

    /// The steps with the barriers that they need; the loop itself begins with one.
    fn with_barriers(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let (mut read, mut written): (Vec<Room>, Vec<Room>) = (vec![], vec![]);
        let clash = |rooms: &[Room], room: &Room| {
            rooms.iter().any(|other| {
                room.offset < other.offset + other.bytes && other.offset < room.offset + room.bytes
            })
        };
        for step in &self.steps {
            let (reads, writes) = self.touches(step);
            let rooms = |keys: Vec<(TileId, Form)>| -> Vec<Room> {
                keys.iter()
                    .filter_map(|key| self.rooms.get(key).copied())
                    .collect()
            };
            let (reads, writes) = (rooms(reads), rooms(writes));
            let wait = reads.iter().any(|room| clash(&written, room))
                || writes
                    .iter()
                    .any(|room| clash(&written, room) || clash(&read, room));
            if wait {
                steps.push(Step::Barrier);
                read.clear();
                written.clear();
            }
            read.extend(reads);
            written.extend(writes);
            steps.push(*step);
        }
        steps
    }
}
