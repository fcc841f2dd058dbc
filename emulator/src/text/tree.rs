//! The tree of a module: declarations, and statements with operands by shape.

use crate::types::{Space, Type};

#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
}

/// A variable of a state space, at module or function scope.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub space: Space,
    pub name: String,
    pub align: u32,
    pub bytes: u64,
    /// `.extern .shared x[]`: its size is the launch's dynamic shared memory.
    pub unsized_array: bool,
    /// Bytes given in the text; the rest of an initialised variable is zero.
    pub initial: Option<Vec<u8>>,
}

/// A parameter or return value of a function.
#[derive(Clone, Debug)]
pub(crate) struct Formal {
    pub name: String,
    /// A `.reg` formal of a device function; otherwise `.param`.
    pub register: Option<Type>,
    pub bytes: u64,
    pub align: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub line: u32,
    pub name: String,
    pub kernel: bool,
    pub returns: Vec<Formal>,
    pub parameters: Vec<Formal>,
    pub body: Option<Vec<Statement>>,
    pub max_block: Option<[u32; 3]>,
    pub required_block: Option<[u32; 3]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Block(Vec<Statement>),
    /// `.reg .b32 %r<4>` has a count; `.reg .pred p, q` is two statements without.
    Registers {
        line: u32,
        ty: Type,
        name: String,
        count: Option<u32>,
    },
    Variable(Variable),
    Label {
        line: u32,
        name: String,
    },
    /// `L: .branchtargets A, B;`
    Targets {
        name: String,
        targets: Vec<String>,
    },
    Instruction(Instruction),
}

#[derive(Clone, Debug)]
pub(crate) struct Instruction {
    pub line: u32,
    /// The guard's register, and whether it is negated.
    pub guard: Option<(String, bool)>,
    pub mnemonic: String,
    pub operands: Vec<Operand>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Name(String),
    /// `!p`
    Not(String),
    Integer(u64),
    Single(u32),
    Double(u64),
    Address {
        base: Box<Operand>,
        offset: i64,
    },
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `d|p`
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)` of a call.
    List(Vec<Operand>),
    /// `_`
    Sink,
}
