//! Well-formed programs: states, updates, and readouts before, between and after them.
//!
//! Whatever comes out is to be accepted by the verifier and derivable; a refusal is a failure of the
//! test, so the forms here are a statement of what the language takes. Updates and outputs are
//! drawn as a shuffled list first and filled in order, with `let`s where they fall.

use super::ast::{Expr, Port, Program, Stmt, Verb};
use super::values::{Binding, Class, Dim};
use crate::Random;

const DIMS: [&str; 3] = ["K", "V", "W"];

/// How a state goes on: by updates that are linear in it, or in a way that only a number or vector can.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    Linear,
    /// Overwritten at each step.
    Latch,
    /// The largest or the least so far, by that function.
    Extreme(&'static str),
}

/// A program in the making.
pub(super) struct Grammar<'r> {
    pub random: &'r mut Random,
    pub program: Program,
    pub dims: Vec<String>,
    pub lets: Vec<Binding>,
    /// Whether updates read states by contractions.
    reading: bool,
    /// How each state goes on, where updates read the states of lower numbers in any pointwise way.
    pub strata: Option<Vec<Way>>,
    /// In such an update: how many states may be read.
    pub below: usize,
    /// Bindings of matrices: name and shape, and the state that is read if any.
    matrices: Vec<(String, [usize; 2], bool)>,
    /// For names.
    pub count: usize,
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
        reading: false,
        strata: None,
        below: 0,
        count: 0,
    };
    grammar.reading = grammar.random.chance(0.2);
    let stratified = grammar.random.chance(0.15);
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
        grammar.program.states.push(Port {
            name: format!("S{number}"),
            dims: shape.iter().map(|&d| grammar.dims[d].clone()).collect(),
            per_group: false,
        });
    }
    if stratified {
        let ways: Vec<Way> = (0..states).map(|_| grammar.way()).collect();
        grammar.strata = Some(ways);
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
    grammar.program.tidy();
    grammar.lets.clear();
    (0..states).for_each(|state| grammar.reveal(state));
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
    pub fn shape(&self, state: usize) -> Vec<usize> {
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

    /// An output of a state that nothing reads, as of one that is overwritten.
    fn reveal(&mut self, state: usize) {
        let own = Expr::name(self.program.states[state].name.clone());
        let mut body = self.program.body.iter();
        if body.any(|stmt| stmt.value.nodes().contains(&&own)) {
            return;
        }
        let (dim, value) = match self.shape(state)[..] {
            [rows, cols] => {
                let weight = self.value(Some(rows), Class::Any, 0);
                (Some(cols), Expr::two("dot", weight, own))
            }
            ref shape => (shape.first().copied(), own),
        };
        let dims = dim.iter().map(|&dim| self.dims[dim].clone()).collect();
        self.push(Verb::Output(dims), format!("y{}", self.count), value);
        self.count += 1;
    }

    fn way(&mut self) -> Way {
        *(self.random).pick(&[
            Way::Linear,
            Way::Linear,
            Way::Latch,
            Way::Extreme("max"),
            Way::Extreme("min"),
        ])
    }

    fn update(&mut self, state: usize) {
        let name = self.program.states[state].name.clone();
        let way = self.strata.as_ref().map(|ways| ways[state]);
        self.below = if way.is_some() { state } else { 0 };
        let value = match (way, &self.shape(state)[..]) {
            (Some(Way::Latch), &[rows, cols]) => self.matrix(rows, cols, 1),
            (Some(Way::Latch), shape) => {
                let depth = self.depth();
                self.value(shape.first().copied(), Class::Any, depth)
            }
            (Some(Way::Extreme(function)), shape @ ([] | [_])) => {
                self.extreme(function, state, shape.first().copied())
            }
            _ => self.linear(state),
        };
        self.below = 0;
        self.push(Verb::Update, name, value);
    }

    /// A state with something added against something else.
    fn extreme(&mut self, function: &'static str, state: usize, dim: Dim) -> Expr {
        let own = Expr::name(self.program.states[state].name.clone());
        let (dim, depth) = (dim.filter(|_| self.random.chance(0.8)), self.depth());
        let moved = match self.random.chance(0.8) {
            true => {
                let by = self.value(dim, Class::Any, depth);
                self.sum(own, by)
            }
            false => own,
        };
        let other = self.value(dim, Class::Any, depth);
        match self.random.chance(0.5) {
            true => Expr::two(function, moved, other),
            false => Expr::two(function, other, moved),
        }
    }

    /// A state under its decays and with additions.
    fn linear(&mut self, state: usize) -> Expr {
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
            value = self.sum(value, added);
        }
        if self.reading && self.random.chance(0.7) {
            // Less than what the read gives back, so that states stay bounded.
            value = Expr::two("*", Expr::Number(0.6), value);
            if let Some(read) = self.reading(state) {
                value = self.sum(value, read);
            }
        }
        if self.random.chance(0.1) {
            let factor = self.value(None, Class::Decay, 1);
            value = Expr::two("*", factor, value);
        }
        value
    }

    fn sum(&mut self, a: Expr, b: Expr) -> Expr {
        match self.random.below(4) {
            0 => Expr::two("-", a, b),
            1 => Expr::two("+", b, a),
            _ => Expr::two("+", a, b),
        }
    }

    pub fn bound_matrix(&mut self, shape: [usize; 2], reads: bool) -> Option<String> {
        let fitting: Vec<String> = (self.matrices.iter())
            .filter(|(_, found, state)| *found == shape && *state == reads)
            .map(|(name, ..)| name.clone())
            .collect();
        (!fitting.is_empty()).then(|| self.random.pick(&fitting).clone())
    }

    /// A state under its decays.
    fn decayed(&mut self, state: usize) -> Expr {
        let own = Expr::name(self.program.states[state].name.clone());
        let shape = self.shape(state);
        let (rows, cols) = match shape[..] {
            [rows, cols] => (Some(rows), Some(cols)),
            [rows] => (Some(rows), None),
            _ => (None, None),
        };
        let matrix = cols.is_some();
        if self.random.chance(0.12) {
            // Halves, so that the sum is a decay: what grows leaves the range of f32.
            let half = |a| Expr::two("*", Expr::Number(0.5), a);
            let (a, b) = (half(self.gate(None)), half(self.gate(None)));
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
            if kinds & bit == 0 || (bit != 0b001 && dim.is_none()) {
                continue;
            }
            let factor = self.gate(dim);
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

    pub fn gate(&mut self, dim: Dim) -> Expr {
        let depth = self.random.below(3) as u32;
        self.value(dim, Class::Decay, depth)
    }
}
