//! Expressions: every function over every other, kept where numbers mean something.
//!
//! A value is asked for by its dim and by what its user can bear ([`Class`]): the argument of a
//! logarithm is positive, that of an exponential bounded, a decay provably positive. Everything else
//! is free. An expression that may read states gets readouts among its leaves; those of a weight, a
//! decay or an update may not.

use super::ast::{Expr, Port};
use super::grammar::Grammar;
use baton_ir::recurrence::{BinaryFn, UnaryFn};

/// What a value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Any number.
    Any,
    /// Away from zero, above it.
    Positive,
    /// Small enough for an exponential.
    Bounded,
    /// A factor on a state that the verifier accepts.
    Decay,
    /// Any number, and states may be read.
    Read,
}

/// A scalar, or a vector over the dim of that number.
pub(super) type Dim = Option<usize>;

/// A binding, and where it can stand.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub name: String,
    pub dim: Dim,
    pub class: Class,
}

fn number(x: f64) -> Expr {
    Expr::Number(x)
}

impl Grammar<'_> {
    /// A value of that dim and class.
    pub fn value(&mut self, dim: Dim, class: Class, depth: u32) -> Expr {
        let bound: Vec<String> = (self.lets.iter())
            .filter(|let_| let_.dim == dim && let_.class == class)
            .map(|let_| let_.name.clone())
            .collect();
        if !bound.is_empty() && self.random.chance(0.3) {
            return Expr::name(self.random.pick::<String>(&bound));
        }
        match class {
            Class::Any | Class::Read => self.any(dim, class, depth),
            Class::Positive => self.positive(dim, depth),
            Class::Bounded => self.bounded(dim, depth),
            Class::Decay => self.decay(dim, depth),
        }
    }

    fn any(&mut self, dim: Dim, class: Class, depth: u32) -> Expr {
        if depth == 0 || self.random.chance(0.15) {
            return self.leaf(dim, class);
        }
        let depth = depth - 1;
        match self.random.below(11) {
            10 => self.made(dim, class, depth),
            0..4 => self.unary(dim, class, depth),
            4..8 => self.binary(dim, class, depth),
            8 => match dim {
                None => {
                    let over = Some(self.dim());
                    match self.random.below(3) {
                        0 => Expr::one("sum", self.value(over, class, depth)),
                        1 => {
                            let a = self.value(over, class, depth);
                            Expr::two("dot", a.clone(), a)
                        }
                        _ => {
                            let a = self.value(over, class, depth);
                            Expr::two("dot", a, self.value(over, Class::Any, depth))
                        }
                    }
                }
                Some(_) => Expr::one("l2norm", self.value(dim, class, depth)),
            },
            _ => match dim {
                None => self.leaf(dim, class),
                Some(own) => self.contracted(own, depth),
            },
        }
    }

    fn unary(&mut self, dim: Dim, class: Class, depth: u32) -> Expr {
        let function = *self.random.pick(UnaryFn::ALL);
        let argument = match function {
            UnaryFn::Exp => self.value(dim, Class::Bounded, depth),
            // Of a large angle no digit is known.
            UnaryFn::Sin | UnaryFn::Cos | UnaryFn::Wrap if self.random.chance(0.8) => {
                self.value(dim, Class::Bounded, depth)
            }
            UnaryFn::Log | UnaryFn::Sqrt | UnaryFn::Rsqrt if class == Class::Read => {
                let read = self.value(dim, class, depth);
                let away = Expr::one("abs", read);
                match self.random.chance(0.5) {
                    true => Expr::two("max", away, number(0.5)),
                    false => Expr::two("+", number(0.5), away),
                }
            }
            UnaryFn::Log | UnaryFn::Sqrt | UnaryFn::Rsqrt => {
                self.value(dim, Class::Positive, depth)
            }
            _ => self.value(dim, class, depth),
        };
        Expr::one(function.name(), argument)
    }

    /// A selection, or a function that is made of others.
    fn made(&mut self, dim: Dim, class: Class, depth: u32) -> Expr {
        if self.random.chance(0.5) {
            let mut side = |own: Dim| {
                let dim = if self.random.chance(0.8) { own } else { None };
                self.value(dim, class, depth)
            };
            let mut operands = vec![side(dim), side(dim), side(dim)];
            operands.push(self.value(dim, class, depth));
            return Expr::Apply("select", operands);
        }
        let argument = self.value(dim, class, depth);
        match self.random.below(4) {
            0 => Expr::one("elu", argument),
            3 => Expr::one("gelu", argument),
            1 => Expr::one("gelu_tanh", argument),
            _ => {
                let exponent = *self
                    .random
                    .pick(&[0.5, -0.5, 2.0, -2.0, 3.0, 1.5, -1.5, 0.25, 0.3]);
                let base = self.value(dim, Class::Positive, depth);
                Expr::two("pow", base, number(exponent))
            }
        }
    }

    fn binary(&mut self, dim: Dim, class: Class, depth: u32) -> Expr {
        let function = *self.random.pick(BinaryFn::ALL);
        // A scalar may stand on either side of a vector.
        let (left, right) = match self.random.below(5) {
            0 => (None, dim),
            1 => (dim, None),
            _ => (dim, dim),
        };
        let a = self.value(left, class, depth);
        let b = match function {
            BinaryFn::Div => self.value(right, Class::Positive, depth),
            _ if self.random.chance(0.3) => self.value(right, Class::Any, depth),
            _ => self.value(right, class, depth),
        };
        match function {
            BinaryFn::Div => Expr::two("/", a, b),
            _ if self.random.chance(0.5) => Expr::two(function.name(), b, a),
            _ => Expr::two(function.name(), a, b),
        }
    }

    /// A vector made by contracting a matrix that no state enters.
    fn contracted(&mut self, own: usize, depth: u32) -> Expr {
        let over = self.dim();
        let weight = self.value(Some(over), Class::Any, depth);
        match self.random.chance(0.5) {
            true => Expr::two("dot", weight, self.matrix(over, own, depth)),
            false => Expr::two("dot", self.matrix(own, over, depth), weight),
        }
    }

    /// A sum of outer products that no state enters.
    pub fn matrix(&mut self, rows: usize, cols: usize, depth: u32) -> Expr {
        let a = self.value(Some(rows), Class::Any, depth);
        let outer = Expr::two("outer", a, self.value(Some(cols), Class::Any, depth));
        match self.random.below(9) {
            0 => {
                let more = self.matrix(rows, cols, 0);
                let mark = if self.random.chance(0.5) { "+" } else { "-" };
                Expr::two(mark, outer, more)
            }
            1 => {
                let row = self.value(Some(rows), Class::Any, depth);
                Expr::two("*", Expr::one("rows", row), outer)
            }
            2 => {
                let col = self.value(Some(cols), Class::Any, depth);
                Expr::two("*", outer, Expr::one("cols", col))
            }
            3 => Expr::two("*", self.value(None, Class::Any, depth), outer),
            4 => Expr::two("/", outer, self.value(None, Class::Positive, depth)),
            _ => outer,
        }
    }

    fn positive(&mut self, dim: Dim, depth: u32) -> Expr {
        if depth == 0 {
            return match (dim, self.random.below(4)) {
                (None, 0) => number(self.constant().abs() + 0.1),
                (None, 1) => self.size(),
                _ => self.port("p", dim),
            };
        }
        let depth = depth - 1;
        match self.random.below(8) {
            0 => self.port("p", dim),
            1 => {
                let gate = Expr::one("sigmoid", self.value(dim, Class::Any, depth));
                Expr::two("+", gate, number(0.1))
            }
            2 => {
                let soft = Expr::one("softplus", self.value(dim, Class::Any, depth));
                Expr::two("+", number(0.2), soft)
            }
            3 => Expr::one("exp", self.value(dim, Class::Bounded, depth)),
            4 => {
                let away = Expr::one("abs", self.value(dim, Class::Any, depth));
                Expr::two("max", away, number(0.5))
            }
            5 => {
                let function = if self.random.chance(0.5) {
                    "sqrt"
                } else {
                    "rsqrt"
                };
                Expr::one(function, self.value(dim, Class::Positive, depth))
            }
            6 => {
                let mark = *self.random.pick(&["+", "*", "/", "min", "max"]);
                let a = self.value(dim, Class::Positive, depth);
                Expr::two(mark, a, self.value(None, Class::Positive, depth))
            }
            _ => {
                let a = self.value(dim, Class::Any, depth);
                Expr::two("+", Expr::two("*", a.clone(), a), number(0.5))
            }
        }
    }

    fn bounded(&mut self, dim: Dim, depth: u32) -> Expr {
        if depth == 0 {
            return self.port("b", dim);
        }
        let depth = depth - 1;
        match self.random.below(6) {
            0 => self.port("b", dim),
            1 => Expr::one("tanh", self.value(dim, Class::Any, depth)),
            2 => Expr::one(
                "-",
                Expr::one("sigmoid", self.value(dim, Class::Any, depth)),
            ),
            3 => Expr::two("*", number(0.1), self.value(dim, Class::Bounded, depth)),
            4 => {
                let low = Expr::two("max", self.value(dim, Class::Any, depth), number(-2.0));
                Expr::two("min", low, number(1.5))
            }
            _ => {
                let size = self.size();
                let scale = Expr::one("rsqrt", size);
                Expr::two("*", scale, self.value(dim, Class::Bounded, depth))
            }
        }
    }

    /// A factor that the verifier can prove positive; mostly at most one.
    fn decay(&mut self, dim: Dim, depth: u32) -> Expr {
        let depth = depth.saturating_sub(1);
        let gate = |grammar: &mut Self| {
            let inner = match grammar.random.chance(0.5) {
                true => grammar.port("b", dim),
                false => grammar.value(dim, Class::Any, depth),
            };
            Expr::one("sigmoid", inner)
        };
        match self.random.below(15) {
            0..3 => Expr::one("exp", self.port("g", dim)),
            3 => gate(self),
            4 => Expr::two("-", number(1.0), gate(self)),
            5 => {
                let soft = Expr::one("softplus", self.value(dim, Class::Any, depth));
                Expr::one("exp", Expr::one("-", soft))
            }
            6 => {
                let rate = Expr::one("exp", self.port("b", None));
                let step = Expr::one("softplus", self.port("b", dim));
                Expr::one("exp", Expr::two("*", Expr::one("-", rate), step))
            }
            7 => Expr::one("sqrt", Expr::one("sigmoid", self.port("b", dim))),
            8 => {
                let mark = *self.random.pick(&["*", "min", "max"]);
                let a = Expr::one("sigmoid", self.port("b", dim));
                Expr::two(mark, a, Expr::one("sigmoid", self.port("b", dim)))
            }
            9 => {
                let one = Expr::two("+", number(1.0), Expr::one("softplus", self.port("b", dim)));
                match self.random.chance(0.5) {
                    true => Expr::one("rsqrt", one),
                    false => Expr::two("/", number(1.0), one),
                }
            }
            10 => Expr::two("-", number(1.0), Expr::two("*", number(0.5), gate(self))),
            11 => {
                let log = Expr::two("*", number(0.1), self.port("g", dim));
                let slow = Expr::one("softplus", self.port("b", None));
                Expr::one(
                    "exp",
                    Expr::two("-", log, Expr::two("*", number(0.2), slow)),
                )
            }
            12 => {
                let exponent = number(*self.random.pick(&[0.0625, 0.5, 1.5, 2.0]));
                Expr::two("pow", gate(self), exponent)
            }
            13 => {
                let (x, y) = (self.value(dim, Class::Any, depth), number(self.constant()));
                Expr::Apply("select", vec![x, y, gate(self), gate(self)])
            }
            _ => match dim {
                None => number(*self.random.pick(&[0.5, 0.9, 0.99, 1.0])),
                Some(_) => Expr::two("*", number(0.9), gate(self)),
            },
        }
    }

    fn constant(&mut self) -> f64 {
        let x = self.random.normal() * *self.random.pick(&[0.1, 1.0, 1.0, 10.0]);
        (x * 100.0).round() / 100.0
    }

    fn leaf(&mut self, dim: Dim, class: Class) -> Expr {
        let reads = match class {
            Class::Read => 0.7,
            _ if self.below > 0 => 0.4,
            _ => 0.0,
        };
        if reads > 0.0
            && self.random.chance(reads)
            && let Some(readout) = self.readout(dim)
        {
            return readout;
        }
        match (dim, self.random.below(12)) {
            (None, 0) => number(self.constant()),
            (None, 1) => self.size(),
            (_, 2) => self.port("b", dim),
            (_, 3) => self.port("p", dim),
            _ => self.port("x", dim),
        }
    }

    /// An input or param of the kind that the letter says, a known one or a new one.
    pub fn port(&mut self, kind: &str, dim: Dim) -> Expr {
        let shape: Vec<String> = dim.iter().map(|&dim| self.dims[dim].clone()).collect();
        let program = &self.program;
        let ports = program.inputs.iter().chain(&program.params);
        let known: Vec<String> = ports
            .filter(|port| port.dims == shape && port.name.starts_with(kind))
            .map(|port| port.name.clone())
            .collect();
        let again = if known.len() < 3 { 0.5 } else { 1.0 };
        if !known.is_empty() && self.random.chance(again) {
            return Expr::name(self.random.pick::<String>(&known));
        }
        let port = Port {
            name: format!("{kind}{}", self.count),
            dims: shape,
            per_group: false,
        };
        self.count += 1;
        let name = Expr::name(&port.name);
        match self.random.chance(0.8) {
            true => {
                let per_group = self.random.chance(0.25);
                self.program.inputs.push(Port { per_group, ..port });
            }
            false => self.program.params.push(port),
        }
        name
    }

    /// A dim as a number.
    fn size(&mut self) -> Expr {
        let dim = self.dim();
        Expr::name(&self.dims[dim])
    }

    /// The number of a dim.
    pub fn dim(&mut self) -> usize {
        self.random.below(self.dims.len())
    }
}
