//! One step of a recurrence over [`Term`]s, forward and in reverse.

use super::Term;
use baton_ir::recurrence::{BinaryFn, Expr, ExprId, Port, Recurrence, Shape, Stmt, UnaryFn};
use baton_ir::verify::typing;

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub at: usize,
    pub len: usize,
}

impl Slot {
    pub fn of<'a>(&self, values: &'a [Term]) -> &'a [Term] {
        &values[self.at..self.at + self.len]
    }

    pub fn of_mut<'a>(&self, values: &'a mut [Term]) -> &'a mut [Term] {
        &mut values[self.at..self.at + self.len]
    }

    /// The element that meets element `i` of a result.
    fn meets(&self, i: usize) -> usize {
        self.at + if self.len == 1 { 0 } else { i }
    }
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Unary(UnaryFn, Slot),
    Binary(BinaryFn, Slot, Slot),
    Select([Slot; 4]),
    L2norm(Slot),
    /// `to[i] += a[..] * b[..]` over all triples of a pattern; a spread has no `b`.
    Linear(Slot, Option<Slot>, Pattern),
}

/// Which elements of two operands a linear op multiplies, and where it adds the product.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    Rows(usize),
    Cols(usize),
    Outer,
    Inner,
    /// `v_i m_ij`
    First,
    /// `m_ij v_j`, the vector being `a`.
    Second,
    Sum,
}

/// A step as a list of ops over one buffer; the entering states are its beginning.
pub(super) struct Code {
    ops: Vec<(Work, Slot)>,
    fixed: Vec<(usize, f64)>,
    len: usize,
    pub entering: Vec<Slot>,
    leaving: Vec<Slot>,
    pub inputs: Vec<Slot>,
    pub params: Vec<Slot>,
    pub outputs: Vec<Slot>,
}

impl Code {
    pub fn new(r: &Recurrence, sizes: &[usize]) -> Result<Code, String> {
        let shapes = typing::check(r).map_err(|all| format!("{all:?}"))?;
        let mut len = 0;
        let mut alloc = |shape: &Shape| {
            let entries = shape.iter().map(|dim| sizes[dim.index()]).product();
            len += entries;
            let at = len - entries;
            Slot { at, len: entries }
        };
        let mut ports = |ports: &[Port]| ports.iter().map(|p| alloc(&p.shape)).collect::<Vec<_>>();
        let (entering, inputs, params) = (ports(&r.states), ports(&r.inputs), ports(&r.params));
        let mut code = Code {
            leaving: entering.clone(),
            outputs: vec![],
            ops: vec![],
            fixed: vec![],
            len: 0,
            entering,
            inputs,
            params,
        };
        let mut slots: Vec<Option<Slot>> = vec![None; r.exprs.len()];
        let mut lets = vec![None; r.lets.len()];
        for stmt in &r.body {
            let (Stmt::Let(_, root) | Stmt::Update(_, root) | Stmt::Output(_, root)) = *stmt;
            for id in needed(r, root, &slots) {
                let of = |id: ExprId| slots[id.index()].expect("operands come first");
                let shape = |id: ExprId| &shapes[id.index()];
                let slot = match *r.expr(id) {
                    Expr::Input(id) => code.inputs[id.index()],
                    Expr::Param(id) => code.params[id.index()],
                    Expr::State(id) => code.leaving[id.index()],
                    Expr::Let(id) => lets[id.index()].expect("a let stands above"),
                    ref expr => {
                        let to = alloc(shape(id));
                        let linear = |a, b, pattern| Work::Linear(of(a), b, pattern);
                        let work = match *expr {
                            Expr::Number(x) => {
                                code.fixed.push((to.at, x));
                                None
                            }
                            Expr::Size(dim) => {
                                code.fixed.push((to.at, sizes[dim.index()] as f64));
                                None
                            }
                            Expr::Unary(f, a) => Some(Work::Unary(f, of(a))),
                            Expr::Binary(f, a, b) => Some(Work::Binary(f, of(a), of(b))),
                            Expr::Select(operands) => Some(Work::Select(operands.map(of))),
                            Expr::L2norm(a) => Some(Work::L2norm(of(a))),
                            Expr::Sum(a) => Some(linear(a, None, Pattern::Sum)),
                            Expr::Rows(a) => {
                                Some(linear(a, None, Pattern::Rows(to.len / of(a).len.max(1))))
                            }
                            Expr::Cols(a) => Some(linear(a, None, Pattern::Cols(of(a).len))),
                            Expr::Outer(a, b) => Some(linear(a, Some(of(b)), Pattern::Outer)),
                            Expr::Dot(a, b) => Some(match (&shape(a)[..], &shape(b)[..]) {
                                (&[_], &[_]) => linear(a, Some(of(b)), Pattern::Inner),
                                (&[v], &[row, _]) if v == row => {
                                    linear(a, Some(of(b)), Pattern::First)
                                }
                                (&[_], _) => linear(a, Some(of(b)), Pattern::Second),
                                (&[_, col], &[v]) if v == col => {
                                    linear(b, Some(of(a)), Pattern::Second)
                                }
                                _ => linear(b, Some(of(a)), Pattern::First),
                            }),
                            _ => unreachable!("the rest are ports"),
                        };
                        code.ops.extend(work.map(|work| (work, to)));
                        to
                    }
                };
                slots[id.index()] = Some(slot);
            }
            let slot = slots[root.index()].expect("it was needed");
            match *stmt {
                Stmt::Let(id, _) => lets[id.index()] = Some(slot),
                Stmt::Update(id, _) => code.leaving[id.index()] = slot,
                Stmt::Output(..) => code.outputs.push(slot),
            }
        }
        code.len = len;
        Ok(code)
    }

    pub fn constants(&self) -> Vec<Term> {
        let mut values = vec![Term::default(); self.len];
        for &(at, x) in &self.fixed {
            values[at] = Term::exact(x);
        }
        values
    }

    pub fn leaving(&self, values: &[Term]) -> Vec<Term> {
        let all = self.leaving.iter().flat_map(|slot| slot.of(values));
        all.map(|term| term.rounded()).collect()
    }

    /// Adds what comes back from the step after.
    pub fn arrive(&self, adjoints: &mut [Term], carried: &[Term]) {
        let mut from = carried.iter();
        for slot in &self.leaving {
            for to in slot.of_mut(adjoints) {
                *to = *to + *from.next().expect("states have one size");
            }
        }
    }

    pub fn forward(&self, values: &mut [Term], bound: f64) {
        for &(work, to) in &self.ops {
            match work {
                Work::Unary(f, a) => {
                    for i in 0..to.len {
                        values[to.at + i] = values[a.at + i].unary(f, bound);
                    }
                }
                Work::Binary(f, a, b) => {
                    for i in 0..to.len {
                        values[to.at + i] = values[a.meets(i)].binary(f, values[b.meets(i)], bound);
                    }
                }
                Work::Select([x, y, a, b]) => {
                    for i in 0..to.len {
                        let [x, y, a, b] = [x, y, a, b].map(|of| values[of.meets(i)]);
                        values[to.at + i] = a.selected(b, [x, y], bound);
                    }
                }
                Work::L2norm(a) => {
                    let scale = scale(a.of(values), bound);
                    for i in 0..to.len {
                        values[to.at + i] = values[a.at + i] * scale;
                    }
                }
                Work::Linear(a, b, pattern) => {
                    to.of_mut(values).fill(Term::default());
                    pattern.each(a, b, to, |a, b, to| {
                        let product = b.map_or(values[a], |b| values[a] * values[b]);
                        values[to] = values[to] + product;
                    });
                }
            }
        }
    }

    pub fn reverse(&self, values: &[Term], d: &mut [Term], bound: f64) {
        for &(work, to) in self.ops.iter().rev() {
            match work {
                Work::Unary(f, a) => {
                    for i in 0..to.len {
                        let slope = values[a.at + i].slope(f, bound);
                        d[a.at + i] = d[a.at + i] + d[to.at + i] * slope;
                    }
                }
                Work::Binary(f, a, b) => {
                    for i in 0..to.len {
                        let (at_a, at_b) = (a.meets(i), b.meets(i));
                        let [da, db] = partials(f, values[at_a], values[at_b], bound);
                        d[at_a] = d[at_a] + d[to.at + i] * da;
                        d[at_b] = d[at_b] + d[to.at + i] * db;
                    }
                }
                Work::Select([x, y, a, b]) => {
                    for i in 0..to.len {
                        let other =
                            values[y.meets(i)].chosen(BinaryFn::Max, values[x.meets(i)], bound);
                        let first = Term::exact(1.0) + other.negated();
                        for (of, weight) in [(a, first), (b, other)] {
                            let at = of.meets(i);
                            d[at] = d[at] + d[to.at + i] * weight;
                        }
                    }
                }
                Work::L2norm(a) => {
                    let scale = scale(a.of(values), bound);
                    let mut inner = Term::default();
                    for i in 0..to.len {
                        inner = inner + values[a.at + i] * d[to.at + i];
                    }
                    let back = (inner * scale * scale * scale).negated();
                    for i in 0..to.len {
                        d[a.at + i] = d[a.at + i] + d[to.at + i] * scale + values[a.at + i] * back;
                    }
                }
                Work::Linear(a, b, pattern) => pattern.each(a, b, to, |a, b, to| match b {
                    Some(b) => {
                        d[a] = d[a] + d[to] * values[b];
                        d[b] = d[b] + d[to] * values[a];
                    }
                    None => d[a] = d[a] + d[to],
                }),
            }
        }
    }
}

/// What of `root` has no slot yet, operands first.
fn needed(r: &Recurrence, root: ExprId, slots: &[Option<Slot>]) -> Vec<ExprId> {
    let mut open = vec![root];
    let mut needed = vec![];
    while let Some(id) = open.pop() {
        if slots[id.index()].is_none() {
            needed.push(id);
            open.extend(r.expr(id).operands().into_iter().flatten());
        }
    }
    needed.sort_unstable();
    needed.dedup();
    needed
}

/// `1 / |a|` as `l2norm` has it.
fn scale(a: &[Term], bound: f64) -> Term {
    let squares = a.iter().fold(Term::exact(1e-6), |sum, &x| sum + x * x);
    squares.unary(UnaryFn::Rsqrt, bound)
}

fn partials(f: BinaryFn, a: Term, b: Term, bound: f64) -> [Term; 2] {
    let one = Term::exact(1.0);
    match f {
        BinaryFn::Add => [one, one],
        BinaryFn::Sub => [one, one.negated()],
        BinaryFn::Mul => [b, a],
        BinaryFn::Div => {
            let inverse = b.inverse(bound);
            [inverse, (a * inverse * inverse).negated()]
        }
        BinaryFn::Min | BinaryFn::Max => {
            let first = a.chosen(f, b, bound);
            let second = match first.size > 1.0 || first.value.is_nan() {
                true => Term {
                    value: 1.0 - first.value,
                    ..first
                },
                false => Term::exact(1.0 - first.value),
            };
            [first, second]
        }
    }
}

impl Pattern {
    /// Every triple of indices; where there is no `b`, the same of `a` and the result.
    fn each(
        self,
        a: Slot,
        b: Option<Slot>,
        to: Slot,
        mut f: impl FnMut(usize, Option<usize>, usize),
    ) {
        let at = |b: Option<Slot>| b.expect("a product has two operands");
        match self {
            Pattern::Rows(cols) => {
                (0..to.len).for_each(|i| f(a.at + i / cols.max(1), None, to.at + i));
            }
            Pattern::Cols(cols) => {
                (0..to.len).for_each(|i| f(a.at + i % cols.max(1), None, to.at + i));
            }
            Pattern::Sum => (0..a.len).for_each(|i| f(a.at + i, None, to.at)),
            Pattern::Inner => (0..a.len).for_each(|i| f(a.at + i, Some(at(b).at + i), to.at)),
            Pattern::Outer => {
                let b = at(b);
                for i in 0..a.len {
                    for j in 0..b.len {
                        f(a.at + i, Some(b.at + j), to.at + i * b.len + j);
                    }
                }
            }
            Pattern::First => {
                let b = at(b);
                for i in 0..a.len {
                    for j in 0..to.len {
                        f(a.at + i, Some(b.at + i * to.len + j), to.at + j);
                    }
                }
            }
            Pattern::Second => {
                let b = at(b);
                for i in 0..to.len {
                    for j in 0..a.len {
                        f(a.at + j, Some(b.at + i * a.len + j), to.at + i);
                    }
                }
            }
        }
    }
}
