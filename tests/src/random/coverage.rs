//! What the drawn cases met, and what they should have.

use super::ast::{Expr, Stmt, Verb};
use super::{Drawn, Shift};
use baton_ir::recurrence::{BinaryFn, UnaryFn};
use std::collections::BTreeMap;

/// Counts by what was met.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<String, usize>);

impl Coverage {
    fn met(&mut self, what: impl Into<String>) {
        *self.0.entry(what.into()).or_default() += 1;
    }

    /// How often.
    pub fn count(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Counts a case.
    pub fn add(&mut self, drawn: &Drawn) {
        let (program, setting) = (&drawn.program, &drawn.setting);
        for (_, size) in &setting.sizes {
            self.met(format!("dim {} mod 16", size % 16));
        }
        if let Some(chunk) = setting.chunk {
            self.met(format!("T {} mod chunk {chunk}", setting.time % chunk));
        }
        self.met(format!("chunk {:?}", setting.chunk));
        self.met(format!("{} states", program.states.len()));
        self.met(format!("{} threads", setting.threads));
        self.met(format!("keep_bytes {:?}", setting.keep_bytes));
        self.met(format!("keep {}", setting.keep));
        self.met(format!("shift {:?}", setting.shift));
        self.met(format!("wild {}", setting.wild));
        self.met(format!("absent {}", setting.absent));
        for (what, holds) in [
            ("T = 0", setting.time == 0),
            ("B > 1", setting.batch > 1),
            (
                "1 < G < H",
                1 < setting.groups && setting.groups < setting.heads,
            ),
            (
                "1 = G < H",
                1 == setting.groups && setting.groups < setting.heads,
            ),
            ("params", !program.params.is_empty()),
        ] {
            if holds {
                self.met(what);
            }
        }
        match &setting.cu_seqlens {
            Some(ends) if ends.windows(2).any(|pair| pair[0] == pair[1]) => {
                self.met("packed with an empty sequence");
            }
            Some(_) => self.met("packed"),
            None => self.met("not packed"),
        }
        for port in &program.states {
            self.met(match &port.dims[..] {
                [] => "state []",
                [_] => "state [K]",
                [a, b] if a == b => "state [K, K]",
                [a, b] if a < b => "state [K, V]",
                _ => "state [V, K]",
            });
        }
        self.statements(drawn);
    }

    fn statements(&mut self, drawn: &Drawn) {
        let program = &drawn.program;
        let mut lets = BTreeMap::new();
        for stmt in &program.body {
            for node in stmt.value.nodes() {
                match node {
                    Expr::Apply("neg", _) => self.met("-x"),
                    Expr::Apply(function, _) => self.met(*function),
                    Expr::Name(name) => *lets.entry(name.clone()).or_insert(0) += 1,
                    Expr::Number(_) => {}
                }
            }
        }
        let twice = |name: &String| lets.get(name).is_some_and(|&uses| uses > 1);
        if program
            .body
            .iter()
            .any(|s| s.verb == Verb::Let && twice(&s.name))
        {
            self.met("a let used twice");
        }
        self.reads(drawn);
        for port in &program.states {
            let updates: Vec<usize> = (0..program.body.len())
                .filter(|&i| program.body[i].name == port.name)
                .collect();
            let (first, last) = (updates[0], updates[updates.len() - 1]);
            for (i, stmt) in program.body.iter().enumerate() {
                let reads = matches!(stmt.verb, Verb::Output(_))
                    && stmt.value.nodes().contains(&&Expr::name(&port.name));
                if reads {
                    self.met(match i {
                        _ if i < first => "a readout before",
                        _ if i > last => "a readout after",
                        _ => "a readout between",
                    });
                }
            }
            self.met(format!("{} updates of a state", updates.len()));
        }
    }

    /// Contractions of states in updates.
    fn reads(&mut self, drawn: &Drawn) {
        let program = &drawn.program;
        for stmt in program.body.iter().filter(|stmt| stmt.verb == Verb::Update) {
            self.strata(drawn, stmt);
            let dots = (stmt.value.nodes().into_iter())
                .filter(|node| matches!(node, Expr::Apply("dot" | "sum", _)));
            for dot in dots {
                let nodes = dot.nodes();
                for port in &program.states {
                    if nodes.contains(&&Expr::name(&port.name)) {
                        self.met(match (port.name == stmt.name, port.dims.len()) {
                            (true, 2) => "a matrix read in its own update",
                            (true, _) => "a vector read in its own update",
                            _ => "a state read in the update of another",
                        });
                    }
                }
            }
        }
    }

    /// Updates that are not linear.
    fn strata(&mut self, drawn: &Drawn, update: &Stmt) {
        let mentions = |value: &Expr, name: &str| value.nodes().contains(&&Expr::name(name));
        if !mentions(&update.value, &update.name) {
            self.met("a latch");
        }
        if let Expr::Apply(function @ ("max" | "min"), sides) = &update.value
            && sides.iter().any(|side| mentions(side, &update.name))
        {
            self.met(format!("a running {function}"));
        }
        let functions = UnaryFn::ALL.iter().map(|function| function.name());
        let bent: Vec<&str> = functions.collect();
        for node in update.value.nodes() {
            let is_bent = matches!(node, Expr::Apply(name, _) if bent.contains(name));
            let others = (drawn.program.states.iter()).filter(|port| port.name != update.name);
            if is_bent && others.into_iter().any(|port| mentions(node, &port.name)) {
                self.met("a function of a state in the update of another");
            }
        }
    }

    /// What has to be met and was not.
    pub fn missing(&self) -> Vec<String> {
        let mut wanted: Vec<String> = (0..16).map(|rest| format!("dim {rest} mod 16")).collect();
        for chunk in [16, 32, 64, 128] {
            wanted.extend((0..chunk).map(|rest| format!("T {rest} mod chunk {chunk}")));
            wanted.push(format!("chunk {:?}", Some(chunk)));
        }
        wanted.extend((1..=3).map(|n| format!("{n} states")));
        wanted.extend((1..=3).map(|n| format!("{n} threads")));
        wanted.extend((1..=3).map(|n| format!("{n} updates of a state")));
        for bytes in [None, Some(0), Some(1 << 12)] {
            wanted.push(format!("keep_bytes {bytes:?}"));
        }
        for shift in [Shift::None, Shift::Gaps, Shift::Turned] {
            wanted.push(format!("shift {shift:?}"));
        }
        for what in ["keep", "wild", "absent"] {
            wanted.extend([false, true].map(|value| format!("{what} {value}")));
        }
        let functions = UnaryFn::ALL.iter().map(|f| match f {
            UnaryFn::Neg => "-x",
            f => f.name(),
        });
        let functions = functions.chain(BinaryFn::ALL.iter().map(|f| f.name()));
        let rest = [
            "rows",
            "cols",
            "outer",
            "dot",
            "sum",
            "l2norm",
            "chunk None",
            "T = 0",
            "B > 1",
            "1 < G < H",
            "1 = G < H",
            "params",
            "packed",
            "packed with an empty sequence",
            "not packed",
            "state []",
            "state [K]",
            "state [K, K]",
            "state [K, V]",
            "state [V, K]",
            "a let used twice",
            "a readout before",
            "a readout between",
            "a readout after",
            "a matrix read in its own update",
            "a vector read in its own update",
            "a state read in the update of another",
            "a latch",
            "a running max",
            "a running min",
            "a function of a state in the update of another",
        ];
        wanted.extend(functions.chain(rest).map(String::from));
        wanted.retain(|what| self.count(what) == 0);
        wanted
    }
}
