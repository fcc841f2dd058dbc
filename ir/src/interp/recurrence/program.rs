//! One step of a recurrence as a flat list of ops over one buffer.
//!
//! Every value has a slot of its own, and an op's slot stands behind those of its operands:
//! so a buffer splits into what an op reads and what it writes, without copies. A `let` and a
//! state are only names of slots; an update gives the state's name to another slot, and the
//! slots that the names have at the end are what leaves the step. Entering states come first.

use crate::pointwise;
use crate::recurrence::{
    BinaryFn, Expr, ExprId, L2NORM_EPSILON, Port, Recurrence, Shape, Stmt, UnaryFn,
};
use crate::verify::typing;

/// Entries of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub at: usize,
    pub len: usize,
}

impl Slot {
    pub fn of(self, buffer: &[f64]) -> &[f64] {
        &buffer[self.at..self.at + self.len]
    }

    /// Where the entry stands that meets entry `i` of a result.
    pub fn meets(self, i: usize) -> usize {
        self.at + if self.len == 1 { 0 } else { i }
    }

    pub fn of_mut(self, buffer: &mut [f64]) -> &mut [f64] {
        &mut buffer[self.at..self.at + self.len]
    }
}

/// What an op computes; matrices are row-major.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Unary(UnaryFn, Slot),
    /// Operands have the result's length, or one entry.
    Binary(BinaryFn, Slot, Slot),
    /// Of `[x, y, a, b]`; operands have the result's length, or one entry.
    Select([Slot; 4]),
    Rows(Slot),
    Cols(Slot),
    Outer(Slot, Slot),
    /// Of two vectors.
    Inner(Slot, Slot),
    /// `sum_i v_i M_ij`
    First(Slot, Slot),
    /// `sum_j M_ij v_j`
    Second(Slot, Slot),
    Sum(Slot),
    L2norm(Slot),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub work: Work,
    pub to: Slot,
}

/// A compiled step.
#[derive(Debug)]
pub(super) struct Program {
    pub ops: Vec<Op>,
    constants: Vec<(Slot, f64)>,
    /// Length of the buffer.
    pub len: usize,
    /// Length of all entering states, the first slots.
    pub states_len: usize,
    pub entering: Vec<Slot>,
    pub leaving: Vec<Slot>,
    pub inputs: Vec<Slot>,
    pub params: Vec<Slot>,
    pub outputs: Vec<Slot>,
}

impl Program {
    /// Compiles the body; fails when the recurrence is ill-typed.
    pub fn new(recurrence: &Recurrence, sizes: &[usize]) -> Result<Program, String> {
        let shapes = typing::check(recurrence).map_err(|diagnostics| {
            let messages: Vec<String> = diagnostics.iter().map(|d| d.to_string()).collect();
            messages.join("\n")
        })?;
        let mut len = 0;
        let mut ports = |ports: &[Port]| -> Vec<Slot> {
            let slots = ports.iter().map(|port| alloc(&mut len, &port.shape, sizes));
            slots.collect()
        };
        let entering = ports(&recurrence.states);
        let inputs = ports(&recurrence.inputs);
        let params = ports(&recurrence.params);
        let mut program = Program {
            ops: Vec::new(),
            constants: Vec::new(),
            len,
            states_len: entering.iter().map(|slot| slot.len).sum(),
            leaving: entering.clone(),
            entering,
            inputs,
            params,
            outputs: Vec::new(),
        };
        let mut compiler = Compiler {
            recurrence,
            sizes,
            shapes: &shapes,
            slots: vec![None; recurrence.exprs.len()],
            lets: Vec::new(),
        };
        for stmt in &recurrence.body {
            match *stmt {
                Stmt::Let(_, value) => {
                    let slot = compiler.value(&mut program, value);
                    compiler.lets.push(slot);
                }
                Stmt::Update(id, value) => {
                    let slot = compiler.value(&mut program, value);
                    program.leaving[id.index()] = slot;
                }
                Stmt::Output(_, value) => {
                    let slot = compiler.value(&mut program, value);
                    program.outputs.push(slot);
                }
            }
        }
        Ok(program)
    }

    /// A buffer that holds the constants; no op writes their slots.
    pub fn constants(&self) -> Vec<f64> {
        let mut values = vec![0.0; self.len];
        for (slot, value) in &self.constants {
            values[slot.at] = *value;
        }
        values
    }

    /// Computes every value from the entering states, inputs and params.
    pub fn forward(&self, values: &mut [f64]) {
        for op in &self.ops {
            let (from, to) = values.split_at_mut(op.to.at);
            run(op.work, from, &mut to[..op.to.len]);
        }
    }
}

fn alloc(len: &mut usize, shape: &Shape, sizes: &[usize]) -> Slot {
    let slot = Slot {
        at: *len,
        len: shape.iter().map(|dim| sizes[dim.index()]).product(),
    };
    *len += slot.len;
    slot
}

struct Compiler<'a> {
    recurrence: &'a Recurrence,
    sizes: &'a [usize],
    shapes: &'a [Shape],
    slots: Vec<Option<Slot>>,
    lets: Vec<Slot>,
}

impl Compiler<'_> {
    /// Compiles what `root` needs, in order of the arena: operands stand before users.
    fn value(&mut self, program: &mut Program, root: ExprId) -> Slot {
        let mut open = vec![root];
        let mut needed = Vec::new();
        while let Some(id) = open.pop() {
            if self.slots[id.index()].is_none() {
                needed.push(id);
                open.extend(self.recurrence.expr(id).operands().into_iter().flatten());
            }
        }
        needed.sort_unstable();
        needed.dedup();
        for id in needed {
            self.slots[id.index()] = Some(self.expr(program, id));
        }
        self.slot(root)
    }

    fn slot(&self, id: ExprId) -> Slot {
        self.slots[id.index()].expect("operands stand before users")
    }

    fn expr(&mut self, program: &mut Program, id: ExprId) -> Slot {
        let vector = |id: ExprId| self.shapes[id.index()].len() == 1;
        let work = match *self.recurrence.expr(id) {
            Expr::Number(value) => return self.constant(program, value),
            Expr::Size(dim) => return self.constant(program, self.sizes[dim.index()] as f64),
            Expr::Input(id) => return program.inputs[id.index()],
            Expr::Param(id) => return program.params[id.index()],
            Expr::Let(id) => return self.lets[id.index()],
            Expr::State(id) => return program.leaving[id.index()],
            Expr::Unary(f, a) => Work::Unary(f, self.slot(a)),
            Expr::Binary(f, a, b) => Work::Binary(f, self.slot(a), self.slot(b)),
            Expr::Select(operands) => Work::Select(operands.map(|operand| self.slot(operand))),
            Expr::Rows(a) => Work::Rows(self.slot(a)),
            Expr::Cols(a) => Work::Cols(self.slot(a)),
            Expr::Outer(a, b) => Work::Outer(self.slot(a), self.slot(b)),
            Expr::Dot(a, b) if vector(a) && vector(b) => Work::Inner(self.slot(a), self.slot(b)),
            Expr::Dot(a, b) => {
                let [rows, cols] = [0, 1].map(|i| {
                    let matrix = if vector(a) { b } else { a };
                    self.shapes[matrix.index()][i]
                });
                // `[K, K]` is contracted on the side where the vector stands.
                let (v, m, first) = match vector(a) {
                    true => (a, b, self.shapes[a.index()][0] == rows),
                    false => (b, a, self.shapes[b.index()][0] != cols),
                };
                match first {
                    true => Work::First(self.slot(v), self.slot(m)),
                    false => Work::Second(self.slot(v), self.slot(m)),
                }
            }
            Expr::Sum(a) => Work::Sum(self.slot(a)),
            Expr::L2norm(a) => Work::L2norm(self.slot(a)),
        };
        let to = alloc(&mut program.len, &self.shapes[id.index()], self.sizes);
        program.ops.push(Op { work, to });
        to
    }

    fn constant(&self, program: &mut Program, value: f64) -> Slot {
        let slot = alloc(&mut program.len, &Shape::new(), self.sizes);
        program.constants.push((slot, value));
        slot
    }
}

/// `1 / |a|` as `l2norm` has it.
pub(super) fn inverse_norm(a: &[f64]) -> f64 {
    1.0 / (a.iter().map(|a| a * a).sum::<f64>() + L2NORM_EPSILON).sqrt()
}

pub(super) fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn run(work: Work, from: &[f64], to: &mut [f64]) {
    match work {
        Work::Unary(f, a) => {
            for (to, &a) in to.iter_mut().zip(a.of(from)) {
                *to = pointwise::unary(f, a);
            }
        }
        Work::Binary(f, a, b) => {
            let (a, b) = (a.of(from), b.of(from));
            match f {
                BinaryFn::Add => pointwise2(a, b, to, |a, b| a + b),
                BinaryFn::Sub => pointwise2(a, b, to, |a, b| a - b),
                BinaryFn::Mul => pointwise2(a, b, to, |a, b| a * b),
                BinaryFn::Div => pointwise2(a, b, to, |a, b| a / b),
                BinaryFn::Min | BinaryFn::Max => {
                    pointwise2(a, b, to, |a, b| pointwise::binary(f, a, b))
                }
            }
        }
        Work::Select(operands) => {
            for (i, to) in to.iter_mut().enumerate() {
                let [x, y, a, b] = operands.map(|of| from[of.meets(i)]);
                *to = pointwise::select(x, y, a, b);
            }
        }
        Work::Rows(a) => {
            let a = a.of(from);
            for (row, &a) in to
                .chunks_exact_mut((to.len() / a.len().max(1)).max(1))
                .zip(a)
            {
                row.fill(a);
            }
        }
        Work::Cols(a) => {
            let a = a.of(from);
            for row in to.chunks_exact_mut(a.len().max(1)) {
                row.copy_from_slice(a);
            }
        }
        Work::Outer(a, b) => {
            let (a, b) = (a.of(from), b.of(from));
            for (row, &a) in to.chunks_exact_mut(b.len().max(1)).zip(a) {
                row.iter_mut().zip(b).for_each(|(to, b)| *to = a * b);
            }
        }
        Work::Inner(a, b) => to[0] = inner(a.of(from), b.of(from)),
        Work::First(v, m) => {
            let (v, m) = (v.of(from), m.of(from));
            to.fill(0.0);
            for (&v, row) in v.iter().zip(m.chunks_exact(to.len().max(1))) {
                to.iter_mut().zip(row).for_each(|(to, m)| *to += v * m);
            }
        }
        Work::Second(v, m) => {
            let (v, m) = (v.of(from), m.of(from));
            to.fill(0.0);
            for (to, row) in to.iter_mut().zip(m.chunks_exact(v.len().max(1))) {
                *to = inner(row, v);
            }
        }
        Work::Sum(a) => to[0] = a.of(from).iter().sum(),
        Work::L2norm(a) => {
            let a = a.of(from);
            let scale = inverse_norm(a);
            to.iter_mut().zip(a).for_each(|(to, a)| *to = a * scale);
        }
    }
}

/// A result of `to.len()` entries; an operand of one entry broadcasts.
fn pointwise2(a: &[f64], b: &[f64], to: &mut [f64], f: impl Fn(f64, f64) -> f64) {
    match (a, b) {
        _ if a.len() == b.len() => {
            let operands = a.iter().zip(b);
            to.iter_mut()
                .zip(operands)
                .for_each(|(to, (&a, &b))| *to = f(a, b));
        }
        (&[a], b) => to.iter_mut().zip(b).for_each(|(to, &b)| *to = f(a, b)),
        (a, &[b]) => to.iter_mut().zip(a).for_each(|(to, &a)| *to = f(a, b)),
        _ => unreachable!("typing lets only equal shapes and scalars meet"),
    }
}
