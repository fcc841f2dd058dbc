//! A recurrence as a tree: easy to grow, to cut and to print.
//!
//! Everything is by name and nothing is typed: an edit that makes nonsense is refused by the
//! verifier, which has to be right about that anyway. Text is printed with every parenthesis, and is
//! the only way from here to the compiler.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A literal.
    Number(f64),
    /// A port, a `let`, a state or a dim.
    Name(String),
    /// A function of the language; an operator by its mark, the unary minus as `neg`.
    Apply(&'static str, Vec<Expr>),
}

impl Expr {
    /// The name `name`.
    pub fn name(name: impl Into<String>) -> Expr {
        Expr::Name(name.into())
    }

    /// A function of one value.
    pub fn one(function: &'static str, a: Expr) -> Expr {
        let function = if function == "-" { "neg" } else { function };
        Expr::Apply(function, vec![a])
    }

    /// A function of two values.
    pub fn two(function: &'static str, a: Expr, b: Expr) -> Expr {
        Expr::Apply(function, vec![a, b])
    }

    /// Every node, the root first.
    pub fn nodes(&self) -> Vec<&Expr> {
        let mut all = vec![self];
        let mut next = 0;
        while let Some(&node) = all.get(next) {
            if let Expr::Apply(_, arguments) = node {
                all.extend(arguments);
            }
            next += 1;
        }
        all
    }

    /// The node of that number in the order of [`nodes`](Self::nodes), replaced.
    pub fn replaced(&self, number: usize, by: &Expr) -> Expr {
        let target: *const Expr = self.nodes()[number];
        fn copy(node: &Expr, target: *const Expr, by: &Expr) -> Expr {
            match node {
                _ if std::ptr::eq(node, target) => by.clone(),
                Expr::Apply(function, arguments) => {
                    let arguments = arguments.iter().map(|a| copy(a, target, by));
                    Expr::Apply(function, arguments.collect())
                }
                leaf => leaf.clone(),
            }
        }
        copy(self, target, by)
    }

    fn mentions(&self, names: &mut BTreeSet<String>) {
        for node in self.nodes() {
            if let Expr::Name(name) = node {
                names.insert(name.clone());
            }
        }
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Number(x) if *x < 0.0 => write!(f, "(-{})", -x),
            Expr::Number(x) => write!(f, "{x}"),
            Expr::Name(name) => write!(f, "{name}"),
            Expr::Apply("neg", a) => write!(f, "(-{})", a[0]),
            Expr::Apply(mark @ ("+" | "-" | "*" | "/"), a) => {
                write!(f, "({} {mark} {})", a[0], a[1])
            }
            Expr::Apply("select", a) if a.len() == 4 => {
                write!(f, "select({} > {}, {}, {})", a[0], a[1], a[2], a[3])
            }
            Expr::Apply(function, arguments) => {
                write!(f, "{function}(")?;
                for (i, argument) in arguments.iter().enumerate() {
                    write!(f, "{}{argument}", if i == 0 { "" } else { ", " })?;
                }
                write!(f, ")")
            }
        }
    }
}

/// A tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Names of its dims.
    pub dims: Vec<String>,
    /// Shared by the heads of a group.
    pub per_group: bool,
}

impl Display for Port {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = if self.per_group { " per group" } else { "" };
        write!(f, "{}: [{}]{group}", self.name, self.dims.join(", "))
    }
}

/// What a statement does with its value.
#[derive(Clone, Debug, PartialEq)]
pub enum Verb {
    /// `let name = value;`
    Let,
    /// `name = value;`
    Update,
    /// `output name: [dims] = value;`
    Output(Vec<String>),
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    /// What it does.
    pub verb: Verb,
    /// What it gives a value to.
    pub name: String,
    /// The value.
    pub value: Expr,
}

/// A recurrence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Names of the dims.
    pub dims: Vec<String>,
    /// What comes with each step.
    pub inputs: Vec<Port>,
    /// What each head has.
    pub params: Vec<Port>,
    /// What is carried.
    pub states: Vec<Port>,
    /// Statements in order.
    pub body: Vec<Stmt>,
}

impl Program {
    /// Drops what is never read: `let`s, then tensors, then dims.
    pub fn tidy(&mut self) {
        loop {
            let mut read = BTreeSet::new();
            self.body
                .iter()
                .for_each(|stmt| stmt.value.mentions(&mut read));
            let before = self.body.len();
            self.body
                .retain(|stmt| stmt.verb != Verb::Let || read.contains(&stmt.name));
            self.inputs.retain(|port| read.contains(&port.name));
            self.params.retain(|port| read.contains(&port.name));
            if self.body.len() == before {
                break;
            }
        }
        let ports = self.inputs.iter().chain(&self.params).chain(&self.states);
        let sized: BTreeSet<String> = ports.flat_map(|port| port.dims.clone()).collect();
        self.dims.retain(|dim| sized.contains(dim));
    }

    /// The program without a state, and without everything that comes of it.
    pub fn without_state(&self, name: &str) -> Program {
        let mut lost = BTreeSet::from([name.to_string()]);
        let mut program = self.clone();
        program.states.retain(|port| port.name != name);
        program.body.retain(|stmt| {
            let mut read = BTreeSet::new();
            stmt.value.mentions(&mut read);
            let gone = stmt.name == name || !read.is_disjoint(&lost);
            if gone && stmt.verb == Verb::Let {
                lost.insert(stmt.name.clone());
            }
            !gone
        });
        program
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let list = |ports: &[Port]| -> Vec<String> { ports.iter().map(Port::to_string).collect() };
        writeln!(f, "recurrence drawn {{")?;
        for (title, entries) in [
            ("dims", self.dims.clone()),
            ("inputs", list(&self.inputs)),
            ("params", list(&self.params)),
            ("state", list(&self.states)),
        ] {
            if !entries.is_empty() {
                writeln!(f, "    {title} {{ {} }}", entries.join(", "))?;
            }
        }
        for Stmt { verb, name, value } in &self.body {
            match verb {
                Verb::Let => writeln!(f, "    let {name} = {value};")?,
                Verb::Update => writeln!(f, "    {name} = {value};")?,
                Verb::Output(dims) => {
                    writeln!(f, "    output {name}: [{}] = {value};", dims.join(", "))?;
                }
            }
        }
        writeln!(f, "}}")
    }
}
