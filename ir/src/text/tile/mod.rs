//! The text form of level 3, both ways.
//!
//! ```text
//! tile name (forward | reverse) 64 {             // across 64: loops exchanged
//!     port q: [128] step per head = input 0       // step, chunk or task; then f32 or parts, if held so
//!     carry S: [128, 64] = state 0
//!
//!   heads                                         // before, heads, after
//!     %0: [64, 128] = load q zero                 // or repeat: rows past the end
//!     %1: [128, 64] = carry S
//!     %2: [64] = map [64, 128] a = %0 both { a * a } sum second
//!     %3: [128, 64] = matmul %0', %0 + %1 lower first
//!
//!   effects
//!     store y = %2
//!     carry S = %3
//! }
//! ```
//!
//! Values are numbered in order, each with its sizes; a prime transposes. Printing is canonical,
//! and `parse(print(x)) == x` for every `x` that `crate::verify::tile` accepts.

mod op;
mod print;
mod scalar;

pub use print::print;

use super::cursor::Cursor;
use super::lex::Kind;
use super::ops::{DIRECTIONS, Words};
use crate::chunked::Direction;
use crate::diag::Diagnostic;
use crate::tile::{
    Along, CarryDecl, CarryId, CarryRole, Draft, Effect, Fill, Held, Node, Op, Pace, PortDecl,
    PortId, Reduce, Region, Role, TileId, Triangle,
};
use crate::verify::tile::Spans;

const PACES: Words<Pace> = &[
    ("step", Pace::Step),
    ("chunk", Pace::Chunk),
    ("task", Pace::Task),
];

/// Storage is not written.
const HELD: Words<Held> = &[("f32", Held::F32), ("parts", Held::Parts)];

const ROLES: Words<fn(u32) -> Role> = &[
    ("input", Role::Input),
    ("param", Role::Param),
    ("output", Role::Output),
    ("d_output", Role::DOutput),
    ("d_input", Role::DInput),
    ("d_param", Role::DParam),
    ("entering", Role::Entering),
];

const CARRIES: Words<fn(u32) -> CarryRole> = &[
    ("state", CarryRole::State),
    ("d_state", CarryRole::DState),
    ("log_scalar", CarryRole::LogScalar),
    ("log_row", CarryRole::LogRow),
    ("log_col", CarryRole::LogCol),
];

/// Not written where loops are not exchanged.
const ACROSS: &str = "across";

const REGIONS: Words<Region> = &[
    ("before", Region::Before),
    ("heads", Region::Heads),
    ("after", Region::After),
];

const FILLS: Words<Fill> = &[("zero", Fill::Zero), ("repeat", Fill::Repeat)];

const ALONG: Words<Along> = &[
    ("number", Along::None),
    ("first", Along::First),
    ("second", Along::Second),
    ("both", Along::Both),
];

/// None is not written.
const REDUCES: Words<Reduce> = &[
    ("first", Reduce::First),
    ("second", Reduce::Second),
    ("all", Reduce::All),
];

/// None is not written.
const TRIANGLES: Words<Triangle> = &[("first", Triangle::A), ("result", Triangle::Out)];

/// Parses one program with its places; on failure returns every syntax and name error. What the
/// program may mean is checked by `crate::verify::tile`.
pub fn parse(source: &str) -> Result<(Draft, Spans), Vec<Diagnostic>> {
    let mut parser = Parser {
        cursor: Cursor::new(source),
        spans: Spans::default(),
        region: Some(Region::Before),
        program: Draft {
            name: String::new(),
            chunk: 0,
            direction: Direction::Forward,
            across: false,
            ports: vec![],
            carries: vec![],
            nodes: vec![],
            effects: vec![],
        },
    };
    parser.text();
    let Parser {
        cursor,
        program,
        spans,
        ..
    } = parser;
    cursor.finish((program, spans))
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    program: Draft,
    spans: Spans,
    /// Of the nodes that come; none among the effects.
    region: Option<Region>,
}

impl Parser<'_> {
    fn text(&mut self) -> Option<()> {
        if !self.cursor.keyword("tile") {
            return self.cursor.unexpected("`tile`");
        }
        self.program.name = self.cursor.word("the program's name")?.into();
        self.program.direction = self.cursor.choice(DIRECTIONS)?;
        self.program.across = self.cursor.keyword(ACROSS);
        self.program.chunk = self.cursor.integer("the steps of a chunk")?;
        self.cursor.expect('{')?;
        while !self.cursor.closes() {
            let start = self.cursor.position();
            if self.statement().is_none() {
                self.cursor.skip_line(start);
            }
        }
        self.cursor.expect('}')?;
        self.cursor.end()
    }

    fn statement(&mut self) -> Option<()> {
        if self.cursor.peek() == Kind::Mark('%') {
            return self.node();
        }
        let span = self.cursor.span();
        let word = self.cursor.word("a node, an effect or a declaration")?;
        if let Some(&(_, region)) = REGIONS.iter().find(|(name, _)| *name == word) {
            self.region = Some(region);
            return Some(());
        }
        match word {
            "effects" => self.region = None,
            "port" => {
                let (name, dims) = self.declared()?;
                let pace = self.cursor.choice(PACES)?;
                let per_head = self.cursor.keyword("per");
                if per_head && !self.cursor.keyword("head") {
                    return self.cursor.unexpected("`head`");
                }
                let held = HELD.iter().find(|(word, _)| self.cursor.keyword(word));
                self.cursor.expect('=')?;
                let role = self.cursor.choice(ROLES)?(self.cursor.integer("a number")?);
                self.program.ports.push(PortDecl {
                    name,
                    role,
                    pace,
                    per_head,
                    held: held.map_or(Held::Storage, |&(_, held)| held),
                    dims,
                });
                self.spans.ports.push(self.cursor.since(span));
            }
            "carry" if self.region.is_some() => {
                let (name, dims) = self.declared()?;
                self.cursor.expect('=')?;
                let role = self.cursor.choice(CARRIES)?(self.cursor.integer("a number")?);
                self.program.carries.push(CarryDecl { name, role, dims });
                self.spans.carries.push(self.cursor.since(span));
            }
            "carry" => {
                let carry = self.carry()?;
                self.cursor.expect('=')?;
                let effect = Effect::Carry(carry, TileId(self.cursor.value()?));
                self.program.effects.push(effect);
                self.spans.effects.push(self.cursor.since(span));
            }
            "store" | "accumulate" => {
                let port = self.port()?;
                self.cursor.expect('=')?;
                let tile = TileId(self.cursor.value()?);
                self.program.effects.push(match word {
                    "store" => Effect::Store(port, tile),
                    _ => Effect::Accumulate(port, tile),
                });
                self.spans.effects.push(self.cursor.since(span));
            }
            _ => return self.cursor.unknown(span, "statement", word),
        }
        Some(())
    }

    /// `name: [sizes]`
    fn declared(&mut self) -> Option<(String, Vec<u32>)> {
        let name = self.cursor.word("a name")?.to_string();
        self.cursor.expect(':')?;
        Some((name, self.cursor.sizes()?))
    }

    fn port(&mut self) -> Option<PortId> {
        let span = self.cursor.span();
        let name = self.cursor.word("the name of a port")?;
        match self.program.ports.iter().position(|port| port.name == name) {
            Some(at) => Some(PortId(at as u32)),
            None => self.cursor.unknown(span, "port", name),
        }
    }

    fn carry(&mut self) -> Option<CarryId> {
        let span = self.cursor.span();
        let name = self.cursor.word("the name of a carry")?;
        let mut carries = self.program.carries.iter();
        match carries.position(|carry| carry.name == name) {
            Some(at) => Some(CarryId(at as u32)),
            None => self.cursor.unknown(span, "carry", name),
        }
    }

    fn node(&mut self) -> Option<()> {
        let start = self.cursor.span();
        let number = self.cursor.definition()?;
        // A faulty node holds its number, so that the ones after it are right.
        let expected = self.program.nodes.len();
        let place = self.cursor.since(start);
        self.program.nodes.push(Node {
            op: Op::HeadSum(TileId(0)),
            region: self.region.unwrap_or(Region::After),
            shape: vec![],
        });
        self.spans.nodes.push(place);
        if number as usize != expected {
            let message = format!("values are numbered in order: this is %{expected}");
            let diagnostic = Diagnostic::new("R003", place, message)
                .found(format!("%{number}"))
                .expected(format!("%{expected}"));
            self.cursor.diagnostics.push(diagnostic);
        }
        if self.region.is_none() {
            let message = "a node stands among the effects";
            let diagnostic = Diagnostic::new("R003", place, message)
                .remedy("move it up under `before`, `heads` or `after`");
            self.cursor.diagnostics.push(diagnostic);
        }
        self.cursor.expect(':')?;
        self.program.nodes[expected].shape = self.cursor.sizes()?;
        self.cursor.expect('=')?;
        self.program.nodes[expected].op = self.op()?;
        self.spans.nodes[expected] = self.cursor.since(start);
        Some(())
    }
}
