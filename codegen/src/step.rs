//! The step derivation: the algebra of one step, said over level 2 as it stands.
//!
//! [`derive`](crate::derive) turns a step into a chunk, for which it must know how the states
//! enter. Here nothing is known: the program is that of a chunk of exactly one step, every
//! expression of the text one value without the axis of time. So whatever verifies has kernels,
//! forward and by the same reverse mode backward; and where both derivations hold, this one is a
//! second witness that shares no line with the first.
//!
//! A vector stands on its own axis. Only beside a matrix does it matter on which side it stands:
//! there it is renamed to the axis of that side, which is primed for the second of two equal dims.

use crate::derive;
use baton_ir::chunked::{Axis, Builder, Chunked, Direction, Op, Target, ValueId};
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{
    DimId, Expr, ExprId, Facts, L2NORM_EPSILON, OutputId, Port, Recurrence, Shape, StateId, Stmt,
    UnaryFn,
};
use baton_ir::verify::typing;

/// The forward program of a verified recurrence, and whether it is that of a step: of a chunk of any length
/// where there is one. Refuses inputs that are matrices (D002): a tile along time has one dim beside it.
pub fn derive_any(recurrence: &Recurrence, facts: &Facts) -> Result<(Chunked, bool), Diagnostic> {
    if let Ok(chunk) = derive(recurrence, facts) {
        return Ok((chunk, false));
    }
    let matrix = recurrence
        .inputs
        .iter()
        .position(|input| input.shape.len() == 2);
    if let Some(index) = matrix {
        let name = &recurrence.inputs[index].name;
        return Err(Diagnostic::new(
            "D002",
            *recurrence.spans.inputs.get(index).unwrap_or(&recurrence.spans.name),
            format!("input `{name}` is a matrix, which no kernel reads"),
        )
        .found("a matrix for each step")
        .expected("inputs that are numbers and vectors")
        .remedy("make it of vectors by `outer`, `rows` and `cols`, make it a param, or run it on the interpreter"));
    }
    let shapes = typing::check(recurrence).expect("a verified recurrence is well typed");
    Ok((step(recurrence, &shapes), true))
}

/// The forward program of one step, for chunks of one step only. `shapes` are those of the
/// expressions, as typing found them.
pub fn step(recurrence: &Recurrence, shapes: &[Shape]) -> Chunked {
    let name = format!("{}_forward", recurrence.name);
    let mut step = Step {
        recurrence,
        shapes,
        build: Builder::new(recurrence, name, Direction::Forward),
        values: vec![None; recurrence.exprs.len()],
        lets: vec![],
        states: vec![],
    };
    for index in 0..recurrence.states.len() {
        let entering = step.build.add(Op::State(StateId(index as u32)));
        step.states.push(entering);
    }
    let mut outputs = vec![];
    // The arena is in the order of the statements, so each value is made at its own moment.
    for stmt in &recurrence.body {
        match *stmt {
            Stmt::Let(_, value) => {
                let value = step.root(value);
                step.lets.push(value);
            }
            Stmt::Update(state, value) => step.states[state.index()] = step.root(value),
            Stmt::Output(id, value) => {
                let value = step.root(value);
                outputs.push((id, value));
            }
        }
    }
    for (OutputId(id), value) in outputs {
        let over_time = step.build.add(Op::Broadcast(value, Axis::Time));
        step.build.result(Target::Output(OutputId(id)), over_time);
    }
    for (index, &value) in step.states.iter().enumerate() {
        let state = StateId(index as u32);
        step.build.result(Target::State(state), value);
    }
    step.build.finish()
}

struct Step<'a> {
    recurrence: &'a Recurrence,
    shapes: &'a [Shape],
    build: Builder,
    values: Vec<Option<ValueId>>,
    lets: Vec<ValueId>,
    /// What each state is at the statement that is being read.
    states: Vec<ValueId>,
}

impl Step<'_> {
    /// The value of a statement's expression: what it needs of the arena, operands first.
    fn root(&mut self, root: ExprId) -> ValueId {
        let known = |id: ExprId| self.values[id.index()].is_some();
        for id in self.recurrence.parts(root, known) {
            self.values[id.index()] = Some(self.expr(id));
        }
        self.value(root)
    }

    fn value(&self, id: ExprId) -> ValueId {
        self.values[id.index()].expect("operands stand before users")
    }

    fn shape(&self, id: ExprId) -> &Shape {
        &self.shapes[id.index()]
    }

    fn expr(&mut self, id: ExprId) -> ValueId {
        match *self.recurrence.expr(id) {
            Expr::Number(value) => self.build.number(value),
            Expr::Size(dim) => self.build.add(Op::Size(dim)),
            Expr::Input(input) => {
                let over_time = self.build.add(Op::Input(input));
                self.build.add(Op::Sum(over_time, Axis::Time))
            }
            Expr::Param(param) => self.build.add(Op::Param(param)),
            Expr::Let(id) => self.lets[id.index()],
            Expr::State(id) => self.states[id.index()],
            Expr::Unary(function, a) => {
                let a = self.value(a);
                self.build.unary(function, a)
            }
            Expr::Binary(function, a, b) => {
                let (a, b) = (self.value(a), self.value(b));
                self.build.binary(function, a, b)
            }
            Expr::Select(operands) => {
                let [x, y, a, b] = operands.map(|operand| self.value(operand));
                self.build.select(x, y, a, b)
            }
            Expr::Rows(a) => self.side(a, self.sides(id)[0]),
            Expr::Cols(a) => self.side(a, self.sides(id)[1]),
            Expr::Outer(a, b) => {
                let [row, col] = self.sides(id);
                let (a, b) = (self.side(a, row), self.side(b, col));
                self.build.mul(a, b)
            }
            Expr::Dot(a, b) => self.dot(a, b),
            Expr::Sum(a) => {
                let (axis, a) = self.vector(a);
                self.build.add(Op::Sum(a, axis))
            }
            Expr::L2norm(a) => {
                let (axis, a) = self.vector(a);
                let square = self.build.mul(a, a);
                let square = self.build.add(Op::Sum(square, axis));
                let small = self.build.number(L2NORM_EPSILON);
                let square = self.build.plus(square, small);
                let scale = self.build.unary(UnaryFn::Rsqrt, square);
                self.build.mul(a, scale)
            }
        }
    }

    /// The axes of a matrix, those that a state of its shape has.
    fn sides(&self, matrix: ExprId) -> [Axis; 2] {
        let port = Port {
            name: String::new(),
            shape: self.shape(matrix).clone(),
            per_group: true,
        };
        let axes = port.axes(false);
        [axes[0], axes[1]]
    }

    /// A vector with its axis, which it certainly has.
    fn vector(&mut self, id: ExprId) -> (Axis, ValueId) {
        let axis = Axis::Dim(self.shape(id)[0]);
        let value = self.value(id);
        match self.build.has(value, axis) {
            true => (axis, value),
            false => (axis, self.build.add(Op::Broadcast(value, axis))),
        }
    }

    /// A vector on one side of a matrix.
    fn side(&mut self, id: ExprId, side: Axis) -> ValueId {
        let (axis, value) = self.vector(id);
        self.build.relabel(value, axis, side)
    }

    /// A vector on the side of a matrix where it meets it, as the interpreter contracts: of two equal
    /// dims the one on which the vector stands.
    fn dot(&mut self, a: ExprId, b: ExprId) -> ValueId {
        let (vector, matrix, left) = match (self.shape(a).len(), self.shape(b).len()) {
            (1, 1) => {
                let ((axis, a), (_, b)) = (self.vector(a), self.vector(b));
                return self.build.contract(a, b, axis);
            }
            (1, _) => (a, b, true),
            _ => (b, a, false),
        };
        let dim: DimId = self.shape(vector)[0];
        let first = match left {
            true => self.shape(matrix)[0] == dim,
            false => self.shape(matrix)[1] != dim,
        };
        let [row, col] = self.sides(matrix);
        let (over, kept) = if first { (row, col) } else { (col, row) };
        let vector = self.side(vector, over);
        let matrix = self.value(matrix);
        let product = self.build.contract(vector, matrix, over);
        match kept {
            Axis::Prime(dim) => self.build.relabel(product, kept, Axis::Dim(dim)),
            _ => product,
        }
    }
}
