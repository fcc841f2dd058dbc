//! R021-R029: the shape of every expression; typing is checking.
//!
//! One pass over the arena, which is in post-order. What could not be typed has no kind, and what
//! is made of it is silent, so that one slip gives one message. `rows(a)` has no shape until it
//! meets a matrix; then it, and every product that leads from it to the matrix, takes the
//! matrix's shape.

use super::remedy::{self, RESET};
use super::structure::{self, span};
use super::usage;
use crate::diag::Diagnostic;
use crate::recurrence::{BinaryFn, DimId, Expr, ExprId, Recurrence, Shape, Stmt, UnaryFn};
use crate::span::Span;
use crate::text;

/// The shape of each expression of the arena, or every breach of the rules R020-R036 in order
/// of place.
pub fn check(recurrence: &Recurrence) -> Result<Vec<Shape>, Vec<Diagnostic>> {
    let shapes = shapes(recurrence);
    let mut diagnostics = shapes.as_ref().err().cloned().unwrap_or_default();
    if structure::check(recurrence).is_none() {
        usage::check(recurrence, &mut diagnostics);
    }
    if !diagnostics.is_empty() {
        diagnostics.sort_by_key(|d| d.span);
        return Err(diagnostics);
    }
    shapes
}

/// The shape of each expression, or every breach of the rules R020-R029.
pub(super) fn shapes(recurrence: &Recurrence) -> Result<Vec<Shape>, Vec<Diagnostic>> {
    if let Some(breach) = structure::check(recurrence) {
        return Err(vec![breach]);
    }
    let mut typing = Typing {
        recurrence,
        kinds: Vec::with_capacity(recurrence.exprs.len()),
        lets: vec![None; recurrence.lets.len()],
        diagnostics: Vec::new(),
    };
    let bound = recurrence.body.iter().filter_map(|stmt| match *stmt {
        Stmt::Let(id, value) => Some((value, id)),
        _ => None,
    });
    let mut bound: Vec<_> = bound.collect();
    bound.sort_unstable();
    let mut bound = bound.into_iter().peekable();
    // The value of a `let` stands in the arena before what reads it.
    for (i, expr) in recurrence.exprs.iter().enumerate() {
        let kind = typing.expr(ExprId(i as u32), expr);
        typing.kinds.push(kind);
        while let Some((value, id)) = bound.next_if(|(value, _)| value.index() == i) {
            typing.lets[id.index()] = typing.value(value);
        }
    }
    for stmt in &recurrence.body {
        typing.statement(stmt);
    }
    let Typing {
        kinds, diagnostics, ..
    } = typing;
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let shapes = kinds.into_iter().map(|kind| match kind {
        Some(Kind::Value(shape)) => shape,
        Some(Kind::Spread(..)) | None => Shape::new(),
    });
    Ok(shapes.collect())
}

/// What an expression is, as far as typing knows.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// A scalar, vector or matrix.
    Value(Shape),
    /// A product of `rows`, `cols` and scalars: what it spreads over the first and second
    /// dimension of a matrix that it has yet to meet.
    Spread(Option<DimId>, Option<DimId>),
}

struct Typing<'a> {
    recurrence: &'a Recurrence,
    kinds: Vec<Option<Kind>>,
    lets: Vec<Option<Shape>>,
    diagnostics: Vec<Diagnostic>,
}

impl Typing<'_> {
    fn expr(&mut self, id: ExprId, expr: &Expr) -> Option<Kind> {
        let r = self.recurrence;
        let shape = match *expr {
            Expr::Number(_) | Expr::Size(_) => Shape::new(),
            Expr::Input(id) => r.inputs[id.index()].shape.clone(),
            Expr::Param(id) => r.params[id.index()].shape.clone(),
            Expr::State(id) => r.states[id.index()].shape.clone(),
            Expr::Let(id) => self.lets[id.index()].clone()?,
            Expr::Unary(UnaryFn::Neg, a) => return self.kinds[a.index()].clone(),
            Expr::Unary(_, a) => self.value(a)?,
            Expr::Binary(f, a, b) => return self.binary(f, a, b),
            Expr::Select(operands) => self.select(operands)?,
            Expr::Rows(a) => return Some(Kind::Spread(Some(self.vector("rows", a)?), None)),
            Expr::Cols(a) => return Some(Kind::Spread(None, Some(self.vector("cols", a)?))),
            Expr::Outer(a, b) => {
                let (a, b) = (self.vector("outer", a), self.vector("outer", b));
                vec![a?, b?]
            }
            Expr::Dot(a, b) => self.dot(id, a, b)?,
            Expr::Sum(a) => {
                self.vector("sum", a)?;
                Shape::new()
            }
            Expr::L2norm(a) => vec![self.vector("l2norm", a)?],
        };
        Some(Kind::Value(shape))
    }

    /// The shape of something used as a value of its own.
    fn value(&mut self, id: ExprId) -> Option<Shape> {
        match self.kinds[id.index()].clone()? {
            Kind::Value(shape) => Some(shape),
            Kind::Spread(..) => {
                let message = "`rows` and `cols` stand only in a product with a matrix";
                self.report(
                    Diagnostic::new("R024", self.at(id), message)
                        .found(format!("`{}` without a matrix", self.text(id)))
                        .expected("`rows(a) * M`, `cols(a) * M` or `M / rows(a)`")
                        .remedy(
                            "apply functions inside, as in `rows(exp(a))`; \
                             a matrix of two vectors is `outer(a, b)`",
                        ),
                );
                self.kinds[id.index()] = None;
                None
            }
        }
    }

    fn vector(&mut self, function: &str, id: ExprId) -> Option<DimId> {
        let shape = self.value(id)?;
        if let &[dim] = shape.as_slice() {
            return Some(dim);
        }
        let remedy = match (function, shape.len()) {
            ("rows" | "cols", 0) => "a scalar needs no spreading: multiply by it directly",
            ("sum" | "l2norm", 2) => "contract the matrix with a vector first: `dot(a, M)`",
            _ => "pass a vector",
        };
        self.report(
            Diagnostic::new("R023", self.at(id), format!("`{function}` takes a vector"))
                .found(format!("`{}`, {}", self.text(id), self.noun(&shape)))
                .expected("a vector")
                .remedy(remedy),
        );
        None
    }

    fn binary(&mut self, f: BinaryFn, a: ExprId, b: ExprId) -> Option<Kind> {
        let (x, y) = (self.kinds[a.index()].clone(), self.kinds[b.index()].clone());
        let product = matches!(f, BinaryFn::Mul | BinaryFn::Div);
        match (x?, y?) {
            (Kind::Spread(r1, c1), Kind::Spread(r2, c2)) if product => {
                if (r1.is_some() && r2.is_some() && r1 != r2)
                    || (c1.is_some() && c2.is_some() && c1 != c2)
                {
                    let found = format!("`{}` beside `{}`", self.text(b), self.text(a));
                    self.report(
                        Diagnostic::new(
                            "R025",
                            self.at(b),
                            "these two spread different dimensions",
                        )
                        .found(found)
                        .expected("one dimension in `rows`, one in `cols`"),
                    );
                    return None;
                }
                Some(Kind::Spread(r1.or(r2), c1.or(c2)))
            }
            (Kind::Spread(r, c), Kind::Value(s)) if product && s.is_empty() => {
                Some(Kind::Spread(r, c))
            }
            (Kind::Value(s), Kind::Spread(r, c)) if product && s.is_empty() => {
                Some(Kind::Spread(r, c))
            }
            (Kind::Spread(..), Kind::Value(matrix)) if f == BinaryFn::Mul => {
                self.spread(a, b, matrix)
            }
            (Kind::Value(matrix), Kind::Spread(..)) if product => self.spread(b, a, matrix),
            (Kind::Value(s), Kind::Value(t)) => self.pointwise(f, a, b, s, t).map(Kind::Value),
            _ => {
                let (s, t) = (self.value(a), self.value(b));
                debug_assert!(s.is_none() || t.is_none(), "one of them is spread");
                None
            }
        }
    }

    /// The product of a spread factor and what should be a matrix with its dimensions.
    fn spread(&mut self, factor: ExprId, other: ExprId, shape: Shape) -> Option<Kind> {
        let Some(Kind::Spread(r, c)) = self.kinds[factor.index()] else {
            return None;
        };
        let &[rows, cols] = shape.as_slice() else {
            self.report(
                Diagnostic::new("R024", self.at(factor), "this spreads over no matrix")
                    .found(format!(
                        "a product with `{}`, {}",
                        self.text(other),
                        self.noun(&shape)
                    ))
                    .expected("a product with a matrix")
                    .remedy("vectors multiply without `rows` or `cols`"),
            );
            return None;
        };
        for (given, wanted, function, place) in
            [(r, rows, "rows", "first"), (c, cols, "cols", "second")]
        {
            let Some(given) = given.filter(|&given| given != wanted) else {
                continue;
            };
            let dims = &self.recurrence.dims;
            let (given, wanted) = (&dims[given.index()], &dims[wanted.index()]);
            let other_function = if function == "rows" { "cols" } else { "rows" };
            let matrix = self.noun(&shape);
            let message =
                format!("`{function}` spreads over the {place} dimension, here `{wanted}`");
            self.report(
                Diagnostic::new("R025", self.at(factor), message)
                    .found(format!("a vector [{given}] before a {matrix}"))
                    .expected(format!("a vector [{wanted}]"))
                    .remedy(format!(
                        "use `{other_function}`, or a vector over `{wanted}`"
                    )),
            );
            return None;
        }
        self.settle(factor, &shape);
        Some(Kind::Value(shape))
    }

    /// Gives every spread factor below `id` the shape of the matrix that it met.
    fn settle(&mut self, id: ExprId, shape: &Shape) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if !matches!(self.kinds[id.index()], Some(Kind::Spread(..))) {
                continue;
            }
            self.kinds[id.index()] = Some(Kind::Value(shape.clone()));
            match *self.recurrence.expr(id) {
                Expr::Unary(_, a) => open.push(a),
                Expr::Binary(_, a, b) => open.extend([a, b]),
                _ => {}
            }
        }
    }

    fn pointwise(
        &mut self,
        f: BinaryFn,
        a: ExprId,
        b: ExprId,
        s: Shape,
        t: Shape,
    ) -> Option<Shape> {
        use BinaryFn::{Add, Div, Max, Min, Mul, Sub};
        let fits = match (s.len(), t.len()) {
            (0, 0 | 1) | (1, 0) => true,
            (1, 1) => s == t,
            (2, 2) => s == t && matches!(f, Add | Sub | Mul),
            (2, 0) => matches!(f, Mul | Div),
            (0, 2) => f == Mul,
            _ => false,
        };
        if fits {
            return Some(if s.is_empty() { t } else { s });
        }
        // The smaller side is the one to change.
        let (small, large, shape) = if s.len() < t.len() {
            (a, b, &t)
        } else {
            (b, a, &s)
        };
        let name = f.name();
        let found = format!("{} {name} {}", self.noun(&s), self.noun(&t));
        let diagnostic = if s.len() != 2 && t.len() != 2 || (s.len() == t.len() && s != t) {
            Diagnostic::new(
                "R021",
                self.at(small),
                format!("shapes do not meet in `{name}`"),
            )
            .found(found)
            .expected(format!(
                "{} like `{}`, or a scalar",
                self.noun(shape),
                self.text(large)
            ))
            .remedy(
                self.other_side(small, shape)
                    .or(self.other_side(a, &t))
                    .unwrap_or(
                        "`outer(a, b)` makes a matrix of two vectors; `dot(a, b)` a scalar".into(),
                    ),
            )
        } else {
            let (expected, remedy) = match f {
                Add | Sub => (
                    format!("{} on both sides", self.noun(shape)),
                    "`outer(a, b)` makes a matrix of vectors",
                ),
                Mul | Div => (
                    "a scalar, `rows(a)` or `cols(a)` beside the matrix".to_string(),
                    "spread a vector by `rows` or `cols`, or contract it by `dot`; \
                     a quotient has its matrix on the left",
                ),
                Min | Max => (
                    "scalars or vectors".to_string(),
                    "apply it to the vectors that the matrix is made of",
                ),
            };
            Diagnostic::new(
                "R022",
                self.at(small),
                format!("`{name}` does not take this matrix"),
            )
            .found(found)
            .expected(expected)
            .remedy(remedy)
        };
        self.report(diagnostic);
        None
    }

    fn select(&mut self, operands: [ExprId; 4]) -> Option<Shape> {
        let mut widest: Option<(ExprId, Shape)> = None;
        for id in operands {
            let shape = self.value(id)?;
            if shape.len() == 2 {
                self.report(
                    Diagnostic::new("R022", self.at(id), "`select` does not take this matrix")
                        .found(self.noun(&shape))
                        .expected("scalars or vectors")
                        .remedy(format!(
                            "apply it to the vectors that the matrix is made of; {RESET}"
                        )),
                );
                return None;
            }
            match &widest {
                Some((first, known)) if !shape.is_empty() && *known != shape => {
                    self.report(
                        Diagnostic::new("R021", self.at(id), "shapes do not meet in `select`")
                            .found(format!("{} beside {}", self.noun(&shape), self.noun(known)))
                            .expected(format!(
                                "{} like `{}`, or a scalar",
                                self.noun(known),
                                self.text(*first)
                            )),
                    );
                    return None;
                }
                None if !shape.is_empty() => widest = Some((id, shape)),
                _ => {}
            }
        }
        Some(widest.map_or_else(Shape::new, |(_, shape)| shape))
    }

    fn dot(&mut self, id: ExprId, a: ExprId, b: ExprId) -> Option<Shape> {
        let (s, t) = (self.value(a), self.value(b));
        let (s, t) = (s?, t?);
        match (s.as_slice(), t.as_slice()) {
            (&[k], &[l]) if k == l => return Some(Shape::new()),
            (&[k], &[first, second]) if k == first => return Some(vec![second]),
            (&[first, second], &[k]) if k == second => return Some(vec![first]),
            (&[k], &[first, second]) if k == second => return Some(vec![first]),
            (&[first, second], &[k]) if k == first => return Some(vec![second]),
            _ => {}
        }
        let found = format!("{} and {}", self.noun(&s), self.noun(&t));
        let diagnostic = match (s.len(), t.len()) {
            (1, 1) => Diagnostic::new("R026", self.at(id), "`dot` finds no dimension in common")
                .expected("a dimension of the same name on both sides")
                .remedy("`outer(a, b)` is the product that contracts nothing"),
            (1, 2) | (2, 1) => {
                let (matrix, vector) = if s.len() == 2 { (&s, b) } else { (&t, a) };
                let name = |i: usize| &self.recurrence.dims[matrix[i].index()];
                let (rows, cols) = (name(0), name(1));
                Diagnostic::new("R026", self.at(id), "`dot` finds no dimension in common")
                    .expected(format!(
                        "a vector [{rows}] or [{cols}] in place of `{}`",
                        self.text(vector)
                    ))
                    .remedy(format!(
                        "a vector [{rows}] leaves [{cols}], a vector [{cols}] leaves [{rows}]"
                    ))
            }
            (2, 2) => Diagnostic::new("R023", self.at(id), "`dot` takes a vector on one side")
                .expected("at most one matrix")
                .remedy("contract with one vector after the other"),
            _ => {
                let scalar = if s.is_empty() { a } else { b };
                Diagnostic::new("R023", self.at(scalar), "`dot` does not take a scalar")
                    .expected("two vectors, or a vector and a matrix")
                    .remedy("multiply by a scalar with `*`")
            }
        };
        self.report(diagnostic.found(found));
        None
    }

    fn statement(&mut self, stmt: &Stmt) {
        let r = self.recurrence;
        match *stmt {
            Stmt::Let(..) => {}
            Stmt::Update(id, value) => {
                let port = &r.states[id.index()];
                let Some(shape) = self.value(value).filter(|shape| *shape != port.shape) else {
                    return;
                };
                let name = &port.name;
                let message = format!("the new `{name}` has another shape than the state");
                self.report(
                    Diagnostic::new("R027", self.at(value), message)
                        .found(self.noun(&shape))
                        .expected(self.noun(&port.shape))
                        .remedy(format!(
                            "declare `{name}` as {}{}",
                            text::shape(r, &shape),
                            self.or_other_side(value, &port.shape)
                        )),
                );
            }
            Stmt::Output(id, value) => {
                let port = &r.outputs[id.index()];
                let name = &port.name;
                if port.shape.len() > 1 {
                    let place = span(r, &r.spans.outputs, id.index());
                    let message = format!("output `{name}` is a matrix");
                    self.report(
                        Diagnostic::new("R029", place, message)
                            .found(self.noun(&port.shape))
                            .expected("a scalar or a vector")
                            .remedy("read the state by `dot` with a vector"),
                    );
                }
                let Some(shape) = self.value(value).filter(|shape| *shape != port.shape) else {
                    return;
                };
                let message = format!("output `{name}` declares another shape");
                self.report(
                    Diagnostic::new("R028", self.at(value), message)
                        .found(self.noun(&shape))
                        .expected(self.noun(&port.shape))
                        .remedy(format!(
                            "declare `{name}: {}`{}",
                            text::shape(r, &shape),
                            self.or_other_side(value, &port.shape)
                        )),
                );
            }
        }
    }

    /// What a `dot` over the other side of its matrix would take, where that is what is wanted.
    fn other_side(&self, id: ExprId, wanted: &Shape) -> Option<String> {
        let shape = |id: ExprId| match self.kinds.get(id.index()) {
            Some(Some(Kind::Value(shape))) => Some(shape.clone()),
            _ => None,
        };
        remedy::other_side(self.recurrence, shape, id, wanted)
    }

    /// The same behind another remedy.
    fn or_other_side(&self, id: ExprId, wanted: &Shape) -> String {
        let hint = self.other_side(id, wanted);
        hint.map_or(String::new(), |hint| format!("; {hint}"))
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn at(&self, id: ExprId) -> Span {
        span(self.recurrence, &self.recurrence.spans.exprs, id.index())
    }

    fn text(&self, id: ExprId) -> String {
        text::expression(self.recurrence, id)
    }

    fn noun(&self, shape: &Shape) -> String {
        match shape.len() {
            0 => "a scalar".into(),
            1 => format!("vector {}", text::shape(self.recurrence, shape)),
            _ => format!("matrix {}", text::shape(self.recurrence, shape)),
        }
    }
}
