//! The pass that decides where every tile is when: forms, conversions, shared memory, barriers.
//!
//! An op says in which forms it reads its operands ([`wants`]) and in which it leaves its result
//! ([`gives`]); this pass inserts the conversions between them, once for each form that is wanted,
//! finds room in shared memory by the ranges in which buffers are alive, and puts a barrier
//! wherever a step reads bytes that others wrote since the last one, or writes bytes that others
//! used. What it returns is a straight list of steps; nothing later decides anything about layout.

use super::layout::{Form, Grid, Side};
use super::levels::Trilinear;
use super::{Error, Options, Storage};
use baton_ir::chunked::Interval;
use baton_ir::tile::{Along, Effect, Op, PortId, Reduce, TileId, TileProgram};
use std::collections::{HashMap, HashSet};

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
    pub rooms: HashMap<(TileId, Form), Room>,
    /// Matrices that come in by asynchronous copies, in order.
    pub staged: Vec<TileId>,
    /// Bytes of one stage of the ring.
    pub stage_bytes: u32,
    /// Stages of the ring, which begins at 0.
    pub stages: u32,
    /// Bytes of shared memory in all.
    pub shared_bytes: u32,
}

/// A tile in a form.
type Key = (TileId, Form);

struct Pass<'a> {
    program: &'a TileProgram,
    options: &'a Options,
    steps: Vec<Step>,
    have: HashSet<(TileId, Form)>,
    rooms: HashMap<(TileId, Form), Room>,
}

/// Runs the pass.
pub fn place(program: &TileProgram, options: &Options) -> Result<Placement, Error> {
    let mut pass = Pass {
        program,
        options,
        steps: Vec::new(),
        have: HashSet::new(),
        rooms: HashMap::new(),
    };
    let (mut staged, mut stage_bytes) = (Vec::new(), 0);
    for tile in pass.tiles() {
        let node = program.node(tile);
        if let (Op::Load(..), [rows, columns]) = (&node.op, node.shape.as_slice()) {
            let bytes = rows * columns * options.storage.bytes();
            let room = Room {
                offset: stage_bytes,
                bytes,
            };
            pass.rooms.insert((tile, Form::Staged), room);
            pass.have.insert((tile, Form::Staged));
            stage_bytes += bytes.next_multiple_of(128);
            staged.push(tile);
        }
    }
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
    pass.run()?;
    let wanted = pass.wanted_rooms();
    for stages in (1..=options.stages.max(1)).rev() {
        let placed = pass.assign(&wanted, stages * stage_bytes);
        if placed.1 <= options.shared_limit || stages == 1 {
            if placed.1 > options.shared_limit {
                return Err(Error::Unsupported(format!(
                    "`{}` needs {} bytes of shared memory, expected at most {}: choose a shorter chunk",
                    program.name, placed.1, options.shared_limit
                )));
            }
            pass.rooms.extend(placed.0);
            let steps = pass.with_barriers();
            return Ok(Placement {
                steps,
                rooms: pass.rooms,
                staged,
                stage_bytes,
                stages,
                shared_bytes: placed.1,
            });
        }
    }
    unreachable!("one stage either fits or is refused")
}

impl Pass<'_> {
    fn tiles(&self) -> impl Iterator<Item = TileId> + use<> {
        (0..self.program.nodes.len()).map(|at| TileId(at as u32))
    }

    fn run(&mut self) -> Result<(), Error> {
        let eager = self.eager();
        for tile in self.tiles() {
            let op = &self.program.node(tile).op;
            match op {
                Op::Load(..) => continue,
                Op::Carry(_) => {
                    self.have
                        .insert((tile, gives(self.program, self.options, tile)?));
                }
                _ => {
                    if let Some(trilinear) = Trilinear::of(self.program, tile) {
                        trilinear.check(self.program)?;
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
            let form = self.ensure(effect.tile(), self.leaves(effect))?;
            self.steps.push(Step::Effect(i, form));
        }
        Ok(())
    }

    /// The levels of a trilinear form: together behind one barrier where their planes are small,
    /// else one after the other, so that they share room.
    fn levels(&mut self, tile: TileId, trilinear: &Trilinear) -> Result<(), Error> {
        let levels = trilinear.levels(self.program.chunk);
        let planes = |level| trilinear.wants(tile, level);
        let bytes: u32 = levels
            .clone()
            .flat_map(planes)
            .map(|key| self.bytes(key))
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
    fn eager(&self) -> HashMap<TileId, Vec<Form>> {
        let mut eager: HashMap<TileId, Vec<Form>> = HashMap::new();
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
            note(effect.tile(), self.leaves(effect));
        }
        eager
    }

    /// The form that an effect reads.
    fn leaves(&self, effect: &Effect) -> Form {
        let shape = &self.program.node(effect.tile()).shape;
        match (effect, shape.len()) {
            (_, 0) => Form::Scalar,
            (_, 1) => Form::Rows,
            (Effect::Store(port, _), _) if !self.accumulates(*port) => Form::Outgoing,
            _ => Form::Fragment,
        }
    }

    /// Whether a port keeps f32 sums whatever the storage: they are added up outside.
    fn accumulates(&self, port: PortId) -> bool {
        super::abi::in_f32(&self.program.ports[port.index()], self.options)
            && self.options.storage != Storage::F32
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
            | Form::Square
            | Form::ColumnSums
            | Form::Level(_, _, Side::Pairs | Side::Readers | Side::Writers) => {
                self.ensure(tile, Form::Fragment)?
            }
            Form::Prefix => self.ensure(tile, Form::Square)?,
            Form::Fragment if has(Form::Staged) => Form::Staged,
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
                let key = if key.1 == Form::Prefix {
                    (key.0, Form::Square)
                } else {
                    key
                };
                match rooms.iter_mut().find(|room| room.0 == key) {
                    Some(room) => room.2[1] = at,
                    None => rooms.push((key, self.bytes(key), [at, at])),
                }
            }
        }
        rooms
    }

    /// Finds offsets from `begin` on, first fit in order of first use.
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
        let mut rooms = Vec::new();
        for (key, room, _) in placed {
            rooms.push((key, room));
            if key.1 == Form::Square {
                rooms.push(((key.0, Form::Prefix), room));
            }
        }
        (rooms, end)
    }

    fn bytes(&self, (tile, form): (TileId, Form)) -> u32 {
        let node = self.program.node(tile);
        let entries: u32 = node.shape.iter().product();
        match form {
            Form::ColumnSums | Form::Level(_, _, Side::Totals) => entries / 16 * 4,
            Form::Operand | Form::Level(..) => entries * self.options.operand_bytes(),
            Form::Outgoing => entries * self.options.storage.bytes(),
            Form::Vector => entries * 4,
            Form::Partial => entries * 4 * parts(self.program, self.options, tile),
            Form::Sums | Form::StrictSums => entries * 16 + entries / 4,
            Form::Square | Form::Prefix => node.shape[0] * (node.shape[1] + 1) * 4,
            Form::Scalar | Form::Rows | Form::Cols(_) | Form::Fragment | Form::Staged => 0,
        }
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

/// Parts of a sum that a reduction leaves for its readers to add.
pub fn parts(program: &TileProgram, options: &Options, tile: TileId) -> u32 {
    let Op::Map { shape, reduce, .. } = &program.node(tile).op else {
        return 1;
    };
    let grid = grid(shape, options);
    match (reduce, shape.len()) {
        (Reduce::None, _) => 1,
        (_, 1) => grid.row_warps,
        (Reduce::First, _) => grid.row_warps,
        (Reduce::Second, _) => grid.column_warps,
        (Reduce::All, _) => grid.owners(),
    }
}

/// The grid of a matrix, or of a vector along the rows.
pub fn grid(shape: &[u32], options: &Options) -> Grid {
    match *shape {
        [rows, columns] => Grid::new([rows, columns], options.warps()),
        [rows] if rows > 1 => Grid::new([rows, 8], options.warps()),
        _ => Grid::new([16, 8], options.warps()),
    }
}

/// The forms in which an op reads its operands.
pub fn wants(
    program: &TileProgram,
    options: &Options,
    tile: TileId,
) -> Result<Vec<(TileId, Form)>, Error> {
    let node = program.node(tile);
    let shape = |id: TileId| program.node(id).shape.as_slice();
    let refuse = |what: &str| Err(Error::Unsupported(format!("`{}`: {what}", program.name)));
    Ok(match &node.op {
        Op::Load(..) | Op::Carry(_) => vec![],
        Op::Map {
            shape, operands, ..
        } => {
            let columns = grid(shape, options).cols();
            let form = |along: Along| match along {
                Along::None => Form::Scalar,
                Along::First => Form::Rows,
                Along::Second => columns,
                Along::Both => Form::Fragment,
            };
            let mut all: Vec<(TileId, Form)> = Vec::new();
            for &(id, along) in operands {
                if !all.contains(&(id, form(along))) {
                    all.push((id, form(along)));
                }
            }
            all
        }
        Op::Matmul { a, ta, b, add, .. } => {
            if shape(*a).len() != 2 || shape(*b).len() != 2 {
                return refuse("a vector as the operand of a product has no GPU form yet");
            }
            let mut all = vec![
                (*a, operand_a(program, options, tile, *a, *ta)),
                (*b, Form::Operand),
            ];
            all.extend(add.map(|add| (add, Form::Fragment)));
            all
        }
        Op::Decay(interval, strict, l) if shape(*l).len() == 1 => {
            let sums = match interval {
                Interval::Between | Interval::Start if *strict => Form::StrictSums,
                _ => Form::Sums,
            };
            vec![(*l, sums)]
        }
        Op::Spread(interval, strict, x) if node.shape.len() == 1 => match interval {
            Interval::Between => vec![(*x, Form::Prefix)],
            Interval::Start if *strict => vec![(*x, Form::Sums)],
            Interval::Start => vec![(*x, Form::Sums), (*x, Form::Rows)],
            Interval::End => vec![(*x, Form::StrictSums)],
            Interval::Total => vec![(*x, Form::Scalar)],
        },
        Op::HeadSum(x) => vec![(*x, gives(program, options, tile)?)],
        Op::Decay(Interval::Total, _, l) => vec![(*l, Form::ColumnSums)],
        Op::Spread(Interval::Total, _, x) => vec![(*x, grid(&node.shape, options).cols())],
        Op::Decay(Interval::Between, ..) | Op::Spread(Interval::Between, ..) => {
            return refuse(
                "a decay between steps for each channel is no tile, expected a trilinear form",
            );
        }
        Op::Decay(_, _, x) | Op::Spread(_, _, x) => {
            let mut all = vec![(*x, Form::Fragment)];
            all.extend((program.chunk > 16).then_some((*x, Form::ColumnSums)));
            all
        }
        Op::Trilinear(..) => {
            let levels = |t: Trilinear| {
                let left = |level| t.leaves(tile, level);
                t.levels(program.chunk).filter_map(left).collect()
            };
            Trilinear::of(program, tile).map_or(vec![], levels)
        }
    })
}

/// How the left operand of a product is read: from registers where each warp holds whole rows.
pub fn operand_a(
    program: &TileProgram,
    options: &Options,
    product: TileId,
    a: TileId,
    transposed: bool,
) -> Form {
    let node = program.node(a);
    let (from, to) = (
        grid(&node.shape, options),
        grid(&program.node(product).shape, options),
    );
    let held = from.column_warps == 1 && from.row_warps == to.row_warps;
    if !transposed && held && options.terms() > 0 && !matches!(node.op, Op::Load(..)) {
        Form::Fragment
    } else {
        Form::Operand
    }
}

/// The form in which an op leaves its result.
pub fn gives(program: &TileProgram, options: &Options, tile: TileId) -> Result<Form, Error> {
    let node = program.node(tile);
    let plain = match node.shape.len() {
        0 => Form::Scalar,
        1 => Form::Rows,
        _ => Form::Fragment,
    };
    Ok(match &node.op {
        Op::Map { shape, reduce, .. } => {
            let grid = grid(shape, options);
            match reduce {
                Reduce::None => plain,
                Reduce::All if shape.iter().product::<u32>() == 1 => Form::Scalar,
                _ if parts(program, options, tile) > 1 => Form::Partial,
                Reduce::All => Form::Scalar,
                Reduce::Second => Form::Rows,
                Reduce::First => grid.cols(),
            }
        }
        Op::Spread(Interval::Between, ..) => Form::Vector,
        Op::Decay(Interval::Total, _, l) if program.node(*l).shape.len() == 2 => Form::Vector,
        _ => plain,
    })
}
