//! Well-formed programs: states, updates, and readouts before, between and after them.
//!
//! Whatever comes out is to be accepted by the verifier and derivable; a refusal is a failure of the
//! test, so the forms here are a statement of what the language takes. Updates and outputs are
//! drawn as a shuffled list first and filled in order, with `let`s where they fall.

use super::ast::{Expr, Port, Program, Stmt, Verb};
use super::values::{Binding, Class, Dim};
use crate::Random;

const DIMS: [&str; 3] = ["K", "V", "W"];

/// A program in the making.
pub(super) struct Grammar<'r> {
    pub random: &'r mut Random,
    pub program: Program,
    pub dims: Vec<String>,
    pub lets: Vec<Binding>,
    /// Of each state, whether its columns may decay and any decay be strong, or its decays be sums.
    columns: Vec<bool>,
    /// Bindings of matrices: name and shape, and the state that is read if any.
    matrices: Vec<(String, [usize; 2], bool)>,
    count: usize,
}

/// A well-formed program.
pub(super) fn program(random: &mut Random) -> Program {
    let dims = 1 + random.below(DIMS.len());
    let mut grammar = Grammar {
        random,
        program: Program::default(),
        dims: DIMS[..dims].iter().map(|dim| dim.to_string()).collect(),
        lets: vec![],
        matrices: vec![],
        columns: vec![],
        count: 0,
    };
    grammar.program.dims = grammar.dims.clone();
    let states = 1 + grammar.random.below(3);
    for number in 0..states {
        let shape: Vec<usize> = match grammar.random.below(6) {
            0 => vec![],
            1 | 2 => vec![grammar.dim()],
            3 => {
                let both = grammar.dim();
                vec![both, both]
            }
            _ => vec![grammar.dim(), grammar.dim()],
        };
        let columns = grammar.random.chance(0.5);
        grammar.columns.push(columns);
        grammar.program.states.push(Port {
            name: format!("S{number}"),
            dims: shape.iter().map(|&d| grammar.dims[d].clone()).collect(),
            per_group: false,
        });
    }
    let mut slots: Vec<Option<usize>> = (0..states).map(Some).collect();
    for state in 0..states {
        let more = *grammar.random.pick(&[0, 0, 0, 1, 1, 2]);
        slots.extend(vec![Some(state); more]);
    }
    let outputs = 1 + grammar.random.below(3);
    slots.extend(vec![None; outputs]);
    for i in (1..slots.len()).rev() {
        slots.swap(i, grammar.random.below(i + 1));
    }
    for slot in slots {
        while grammar.random.chance(0.35) {
            grammar.binding();
        }
        match slot {
            Some(state) => grammar.update(state),
            None => grammar.output(),
        }
    }
    let mut program = grammar.program;
    program.tidy();
    // A dim that is read as a number and sizes nothing is no dim.
    for stmt in &mut program.body {
        for dim in DIMS
            .iter()
            .filter(|dim| !program.dims.contains(&dim.to_string()))
        {
            let is = |node: &&Expr| **node == Expr::name(*dim);
            while let Some(at) = stmt.value.nodes().iter().position(is) {
                stmt.value = stmt.value.replaced(at, &Expr::Number(7.0));
            }
        }
    }
    if program.inputs.is_empty() {
        // A recurrence has an input: the first output gets one.
        let output = (program.body.iter_mut()).find(|stmt| matches!(stmt.verb, Verb::Output(_)));
        let output = output.expect("every program has an output");
        let value = std::mem::replace(&mut output.value, Expr::Number(0.0));
        output.value = Expr::two("*", Expr::name("x"), value);
        program.inputs.push(Port {
            name: "x".into(),
            dims: vec![],
            per_group: false,
        });
    }
    program
}

impl Grammar<'_> {
    fn shape(&self, state: usize) -> Vec<usize> {
        let find = |name: &String| self.dims.iter().position(|dim| dim == name);
        let dims = self.program.states[state].dims.iter();
        dims.map(|name| find(name).expect("a known dim")).collect()
    }

    fn push(&mut self, verb: Verb, name: String, value: Expr) {
        self.program.body.push(Stmt { verb, name, value });
    }

    fn depth(&mut self) -> u32 {
        *self.random.pick(&[0, 1, 1, 2, 2, 3])
    }

    fn binding(&mut self) {
        let name = format!("l{}", self.count);
        self.count += 1;
        let depth = self.depth();
        if self.random.chance(0.2) {
            let shape = [self.dim(), self.dim()];
            let fitting: Vec<usize> = (0..self.program.states.len())
                .filter(|&state| self.shape(state) == shape)
                .collect();
            let (value, reads) = match fitting.is_empty() {
                false => {
                    let state = *self.random.pick(&fitting);
                    (self.state_matrix(state), true)
                }
                true => (self.matrix(shape[0], shape[1], depth), false),
            };
            self.push(Verb::Let, name.clone(), value);
            self.matrices.push((name, shape, reads));
            return;
        }
        let dim = match self.random.chance(0.4) {
            true => None,
            false => Some(self.dim()),
        };
        let classes = [
            Class::Any,
            Class::Any,
            Class::Positive,
            Class::Bounded,
            Class::Decay,
            Class::Read,
            Class::Read,
        ];
        let class = *self.random.pick(&classes);
        let value = self.value(dim, class, depth);
        self.push(Verb::Let, name.clone(), value);
        self.lets.push(Binding { name, dim, class });
    }

    fn output(&mut self) {
        let name = format!("y{}", self.count);
        self.count += 1;
        let dim: Dim = match self.random.chance(0.3) {
            true => None,
            false => Some(self.dim()),
        };
        let depth = self.depth();
        let value = match self.readout(dim) {
            Some(readout) if self.random.chance(0.4) => readout,
            _ => self.value(dim, Class::Read, depth.max(1)),
        };
        let dims = dim.iter().map(|&dim| self.dims[dim].clone()).collect();
        self.push(Verb::Output(dims), name, value);
    }

    fn update(&mut self, state: usize) {
        let name = self.program.states[state].name.clone();
        let shape = self.shape(state);
        let depth = self.depth();
        let decayed = self.decayed(state);
        let mut value = decayed;
        let count = *self.random.pick(&[0, 1, 1, 1, 1, 2]);
        for _ in 0..count {
            let added = match shape[..] {
                [rows, cols] => {
                    let bound = self.bound_matrix([rows, cols], false);
                    match bound {
                        Some(name) if self.random.chance(0.5) => Expr::Name(name),
                        _ => self.matrix(rows, cols, depth),
                    }
                }
                _ => self.value(shape.first().copied(), Class::Any, depth),
            };
            value = match self.random.below(4) {
                0 => Expr::two("-", value, added),
                1 => Expr::two("+", added, value),
                _ => Expr::two("+", value, added),
            };
        }
        if self.random.chance(0.1) {
            let factor = match self.columns[state] {
                true => self.value(None, Class::Decay, 1),
                false => self.mild(None),
            };
            value = Expr::two("*", factor, value);
        }
        self.push(Verb::Update, name, value);
    }

    fn bound_matrix(&mut self, shape: [usize; 2], reads: bool) -> Option<String> {
        let fitting: Vec<String> = (self.matrices.iter())
            .filter(|(_, found, state)| *found == shape && *state == reads)
            .map(|(name, ..)| name.clone())
            .collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting).clone())
    }

    /// A state under its decays.
    fn decayed(&mut self, state: usize) -> Expr {
        let own = Expr::name(&self.program.states[state].name.clone());
        let shape = self.shape(state);
        let (rows, cols) = match shape[..] {
            [rows, cols] => (Some(rows), Some(cols)),
            [rows] => (Some(rows), None),
            _ => (None, None),
        };
        let matrix = cols.is_some();
        let columns = self.columns[state];
        if !columns && self.random.chance(0.25) {
            let (a, b) = (self.mild(None), self.mild(None));
            let left = Expr::two("*", a, own.clone());
            let right = Expr::two("*", b, own);
            return Expr::two("+", left, right);
        }
        if self.random.chance(0.06) {
            let soft = Expr::one("softplus", self.port("b", None));
            return Expr::two("/", own, Expr::two("+", Expr::Number(1.0), soft));
        }
        let mut value = own;
        let kinds = *self.random.pick(&[
            0b000, 0b001, 0b001, 0b010, 0b010, 0b100, 0b100, 0b011, 0b111,
        ]);
        let factors = [(0b001, None), (0b010, rows), (0b100, cols)];
        for (bit, dim) in factors {
            if kinds & bit == 0 || (bit != 0b001 && dim.is_none()) || (bit == 0b100 && !columns) {
                continue;
            }
            // The logarithm of a sum is taken of its value, which must not underflow.
            let factor = match columns {
                true => self.gate(dim),
                false => self.mild(dim),
            };
            let factor = match (bit, matrix) {
                (0b010, true) => Expr::one("rows", factor),
                (0b100, true) => Expr::one("cols", factor),
                _ => factor,
            };
            value = match self.random.chance(0.8) {
                true => Expr::two("*", factor, value),
                false => Expr::two("*", value, factor),
            };
        }
        value
    }

    /// A decay that stays within what f32 holds, however often it is multiplied.
    fn mild(&mut self, dim: Dim) -> Expr {
        let bounded = self.value(dim, Class::Bounded, 0);
        match self.random.below(3) {
            0 => Expr::one("sigmoid", bounded),
            1 => Expr::two("-", Expr::Number(1.0), Expr::one("sigmoid", bounded)),
            _ => Expr::one("exp", Expr::one("-", Expr::one("softplus", bounded))),
        }
    }

    fn gate(&mut self, dim: Dim) -> Expr {
        let depth = self.random.below(3) as u32;
        self.value(dim, Class::Decay, depth)
    }

    /// A matrix that is affine in a state.
    fn state_matrix(&mut self, state: usize) -> Expr {
        let shape = self.shape(state);
        let own = Expr::name(&self.program.states[state].name.clone());
        match self.random.below(6) {
            0 => {
                let more = self.matrix(shape[0], shape[1], 1);
                let mark = if self.random.chance(0.5) { "+" } else { "-" };
                Expr::two(mark, own, more)
            }
            1 => {
                let row = self.value(Some(shape[0]), Class::Any, 1);
                Expr::two("*", Expr::one("rows", row), own)
            }
            2 => {
                let col = self.value(Some(shape[1]), Class::Any, 1);
                Expr::two("*", own, Expr::one("cols", col))
            }
            3 => Expr::two("*", self.value(None, Class::Any, 1), own),
            _ => own,
        }
    }

    /// A linear readout of that dim, where a state has one.
    pub fn readout(&mut self, dim: Dim) -> Option<Expr> {
        let mut fitting = vec![];
        for state in 0..self.program.states.len() {
            match (&self.shape(state)[..], dim) {
                (&[rows, cols], Some(own)) => {
                    fitting.extend((cols == own).then_some((state, 0)));
                    fitting.extend((rows == own).then_some((state, 1)));
                }
                (&[], None) | (&[_], None) => fitting.push((state, 2)),
                (&[over], Some(own)) if over == own => fitting.push((state, 3)),
                _ => {}
            }
        }
        if fitting.is_empty() {
            return None;
        }
        let (state, way) = *self.random.pick(&fitting);
        let shape = self.shape(state);
        let own = Expr::name(&self.program.states[state].name.clone());
        let depth = self.random.below(2) as u32;
        Some(match way {
            0 | 1 => {
                let over = shape[way];
                let weight = self.value(Some(over), Class::Any, depth);
                let bound = self.bound_matrix([shape[0], shape[1]], true);
                let matrix = match bound {
                    Some(name) if self.random.chance(0.5) => Expr::Name(name),
                    _ => self.state_matrix(state),
                };
                // The order says which side is contracted where both dims are one.
                let swapped = shape[0] != shape[1] && self.random.chance(0.3);
                match (way == 0) != swapped {
                    true => Expr::two("dot", weight, matrix),
                    false => Expr::two("dot", matrix, weight),
                }
            }
            2 => {
                let value = match self.random.below(4) {
                    0 => Expr::two("*", self.gate(None), own),
                    1 => Expr::two("+", own, self.value(None, Class::Any, depth)),
                    _ => own,
                };
                match shape[..] {
                    [] => value,
                    _ if self.random.chance(0.4) => Expr::one("sum", value),
                    _ => {
                        let weight = self.value(Some(shape[0]), Class::Any, depth);
                        match self.random.chance(0.5) {
                            true => Expr::two("dot", weight, value),
                            false => Expr::two("dot", value, weight),
                        }
                    }
                }
            }
            _ => match self.random.below(4) {
                0 => Expr::two("*", self.value(dim, Class::Any, depth), own),
                1 => Expr::two("-", own, self.value(dim, Class::Any, depth)),
                _ => own,
            },
        })
    }
}
