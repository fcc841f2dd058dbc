//! Calls: functions of the IR, a selection, and functions that are made of others.
//!
//! What is made of others is spelled out in the arena at once, so nothing below the parser knows of it. Its
//! argument may stand in it several times; it counts as [`MADE_HEIGHT`] operations high, so that nesting
//! cannot make a text of exponential length.

use super::MAX_HEIGHT;
use super::function::{Function, Made, functions};
use super::nearest;
use super::parse::Parser;
use crate::diag::Diagnostic;
use crate::recurrence::{BinaryFn, Expr, ExprId, UnaryFn};
use crate::span::Span;

/// How high a function that is made of others counts.
const MADE_HEIGHT: usize = 40;

/// Up to this power a product is spelled out.
const PRODUCT: f64 = 8.0;

impl Parser<'_> {
    /// A call, its name read and `(` next.
    pub(super) fn call(&mut self, name: &str, start: Span) -> Option<ExprId> {
        self.at += 1;
        let function = Function::find(name);
        if function == Some(Function::Select) {
            return self.selection(start);
        }
        let mut arguments = Vec::new();
        let mut sound = true;
        self.list(')', |parser| {
            let argument = parser.expr(1);
            sound &= argument.is_some();
            arguments.push(argument?);
            Some(())
        });
        if !sound {
            return None;
        }
        let span = start.to(self.last());
        let Some(function) = function else {
            let names: Vec<&str> = functions().collect();
            let remedy = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "products are written with `*`, `outer` or `dot`".into(),
            };
            self.report(
                Diagnostic::new("R014", start, format!("there is no function `{name}`"))
                    .found(format!("`{name}(...)`"))
                    .expected(format!("one of {}", names.join(", ")))
                    .remedy(remedy),
            );
            return self.push(Expr::Number(0.0), span, &[]);
        };
        if arguments.len() != function.count() {
            let number = |n| match n {
                1 => "1 argument".to_string(),
                n => format!("{n} arguments"),
            };
            let message = format!("`{name}` takes {}", number(function.count()));
            self.report(
                Diagnostic::new("R015", span, message)
                    .found(number(arguments.len()))
                    .expected(number(function.count())),
            );
            return self.push(Expr::Number(0.0), span, &[]);
        }
        match function {
            Function::Made(made) => self.made(made, &arguments, span),
            function => self.push(function.apply(&arguments), span, &arguments),
        }
    }

    /// `x > y, a, b)` of a `select`; the other comparisons are this one with operands exchanged.
    fn selection(&mut self, start: Span) -> Option<ExprId> {
        let x = self.expr(1)?;
        let greater = self.mark('>');
        if !greater && !self.mark('<') {
            self.unexpected("a comparison (`select(x > y, a, b)`) or an operator");
            return None;
        }
        let or_equal = self.mark('=');
        let y = self.expr(1)?;
        let mut cases = [x, y];
        for case in &mut cases {
            if !self.mark(',') {
                self.unexpected("`,` or an operator");
                return None;
            }
            *case = self.expr(1)?;
        }
        self.mark(',');
        if !self.mark(')') {
            self.unexpected("`)` or an operator");
            return None;
        }
        let [a, b] = cases;
        let operands = match (greater, or_equal) {
            (true, false) => [x, y, a, b],
            (false, false) => [y, x, a, b],
            (true, true) => [y, x, b, a],
            (false, true) => [x, y, b, a],
        };
        self.push(Expr::Select(operands), start.to(self.last()), &operands)
    }

    fn made(&mut self, made: Made, arguments: &[ExprId], span: Span) -> Option<ExprId> {
        let highest = arguments.iter().map(|id| self.heights[id.index()]).max();
        let height = highest.unwrap_or(0) + MADE_HEIGHT;
        if height > MAX_HEIGHT {
            self.too_deep(span);
            return None;
        }
        let x = arguments[0];
        let made = match made {
            Made::Elu => self.elu(x, span),
            Made::Gelu => self.gelu(x, span),
            Made::GeluTanh => self.gelu_tanh(x, span),
            Made::Pow => self.pow(x, arguments[1], span),
        }?;
        self.heights[made.index()] = height;
        Some(made)
    }

    /// `exp(x) - 1` below zero, as `2 t / (1 - t)` with `t = tanh(x / 2)`: nothing cancels near zero.
    fn elu(&mut self, x: ExprId, span: Span) -> Option<ExprId> {
        let zero = self.number(0.0, span)?;
        let low = self.two(BinaryFn::Min, x, zero, span)?;
        let half = self.number(0.5, span)?;
        let half = self.two(BinaryFn::Mul, half, low, span)?;
        let t = self.one(UnaryFn::Tanh, half, span)?;
        let two = self.number(2.0, span)?;
        let twice = self.two(BinaryFn::Mul, two, t, span)?;
        let one = self.number(1.0, span)?;
        let rest = self.two(BinaryFn::Sub, one, t, span)?;
        let below = self.two(BinaryFn::Div, twice, rest, span)?;
        let operands = [x, zero, x, below];
        self.push(Expr::Select(operands), span, &operands)
    }

    /// `x ndtr(x)`; beyond 40 both have their limits, and an infinity would meet a zero.
    fn gelu(&mut self, x: ExprId, span: Span) -> Option<ExprId> {
        let [above, bounded] = self.within(40.0, x, span)?;
        let share = self.one(UnaryFn::Ndtr, bounded, span)?;
        self.two(BinaryFn::Mul, above, share, span)
    }

    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` as a sigmoid; beyond 30 it has saturated, and the
    /// cube would leave the range of numbers.
    fn gelu_tanh(&mut self, x: ExprId, span: Span) -> Option<ExprId> {
        let [above, bounded] = self.within(30.0, x, span)?;
        let square = self.two(BinaryFn::Mul, bounded, bounded, span)?;
        let cubic = self.number(0.044715, span)?;
        let cubic = self.two(BinaryFn::Mul, cubic, square, span)?;
        let one = self.number(1.0, span)?;
        let factor = self.two(BinaryFn::Add, one, cubic, span)?;
        let inner = self.two(BinaryFn::Mul, bounded, factor, span)?;
        let scale = self.number((8.0 / std::f64::consts::PI).sqrt(), span)?;
        let inner = self.two(BinaryFn::Mul, scale, inner, span)?;
        let gate = self.one(UnaryFn::Sigmoid, inner, span)?;
        self.two(BinaryFn::Mul, above, gate, span)
    }

    /// Whether an expression is a name, which is a number until it is bound; reads stand in the order of the arena.
    fn is_read(&self, id: ExprId) -> bool {
        let reads = &self.syntax.reads;
        reads.binary_search_by_key(&id.0, |read| read.id.0).is_ok()
    }

    /// Whole and half powers by products and a root, others as `exp(c log(x))`.
    fn pow(&mut self, x: ExprId, exponent: ExprId, span: Span) -> Option<ExprId> {
        let literal = |id: ExprId| match self.syntax.exprs[id.index()] {
            Expr::Number(c) if !self.is_read(id) => Some(c),
            _ => None,
        };
        let exponent_is = match self.syntax.exprs[exponent.index()] {
            Expr::Unary(UnaryFn::Neg, c) => literal(c).map(|c| -c),
            _ => literal(exponent),
        };
        let Some(c) = exponent_is.filter(|c| *c != 0.0) else {
            let place = self.syntax.expr_spans[exponent.index()];
            let text = &self.source[place.start as usize..place.end as usize];
            self.report(
                Diagnostic::new("R015", place, "the exponent of `pow` is a number")
                    .found(format!("`{text}`"))
                    .expected("a number other than 0, as in `pow(x, 0.25)`")
                    .remedy("of a positive base any power is `exp(c * log(x))`"),
            );
            return self.push(Expr::Number(0.0), span, &[]);
        };
        let size = c.abs();
        if size > PRODUCT || (2.0 * size).fract() != 0.0 {
            let log = self.one(UnaryFn::Log, x, span)?;
            let scaled = self.two(BinaryFn::Mul, exponent, log, span)?;
            return self.one(UnaryFn::Exp, scaled, span);
        }
        let mut product = None;
        for _ in 0..size as usize {
            product = Some(match product {
                Some(product) => self.two(BinaryFn::Mul, product, x, span)?,
                None => x,
            });
        }
        let root = match (size.fract() != 0.0, product) {
            (true, None) if c < 0.0 => return self.one(UnaryFn::Rsqrt, x, span),
            (true, _) => Some(self.one(UnaryFn::Sqrt, x, span)?),
            (false, _) => None,
        };
        let power = match (product, root) {
            (Some(product), Some(root)) => self.two(BinaryFn::Mul, product, root, span)?,
            (product, root) => product.or(root)?,
        };
        // The node is this call's own, also where it is its argument.
        let one = self.number(1.0, span)?;
        match c < 0.0 {
            true => self.two(BinaryFn::Div, one, power, span),
            false => self.two(BinaryFn::Mul, power, one, span),
        }
    }

    /// `x` no lower than `-bound`, and no higher either.
    fn within(&mut self, bound: f64, x: ExprId, span: Span) -> Option<[ExprId; 2]> {
        let (low, high) = (self.number(bound, span)?, self.number(bound, span)?);
        let low = self.one(UnaryFn::Neg, low, span)?;
        let above = self.two(BinaryFn::Max, x, low, span)?;
        let bounded = self.two(BinaryFn::Min, above, high, span)?;
        Some([above, bounded])
    }

    fn number(&mut self, value: f64, span: Span) -> Option<ExprId> {
        self.push(Expr::Number(value), span, &[])
    }

    fn one(&mut self, function: UnaryFn, a: ExprId, span: Span) -> Option<ExprId> {
        self.push(Expr::Unary(function, a), span, &[a])
    }

    fn two(&mut self, function: BinaryFn, a: ExprId, b: ExprId, span: Span) -> Option<ExprId> {
        self.push(Expr::Binary(function, a, b), span, &[a, b])
    }
}
