//! MLIR's textual form, one operation at a time.
//!
//! A [`Text`] is the body of one kernel. Every method appends one operation and returns the name
//! of its result; a constant is written once, at the top, where it dominates every use. Nothing
//! here knows of tiles.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// The name of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Val(u32, Option<u16>);

impl Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            None => write!(f, "%{}", self.0),
            Some(part) => write!(f, "%{}#{part}", self.0),
        }
    }
}

/// The body of a kernel in the making.
#[derive(Default)]
pub struct Text {
    constants: String,
    known: BTreeMap<String, Val>,
    body: String,
    names: u32,
    depth: usize,
}

impl Text {
    /// A name that nothing has yet.
    pub fn name(&mut self) -> Val {
        self.names += 1;
        Val(self.names, None)
    }

    /// Appends an operation without a result.
    pub fn op(&mut self, operation: impl Display) {
        let indent = 6 + 2 * self.depth;
        let _ = writeln!(self.body, "{:indent$}{operation}", "");
    }

    /// Appends an operation with one result.
    pub fn def(&mut self, operation: impl Display) -> Val {
        let name = self.name();
        self.op(format_args!("{name} = {operation}"));
        name
    }

    /// The whole body.
    pub fn finish(self) -> String {
        self.constants + &self.body
    }

    fn constant(&mut self, literal: String, ty: &str) -> Val {
        let literal = format!("llvm.mlir.constant({literal} : {ty}) : {ty}");
        if let Some(known) = self.known.get(&literal) {
            return *known;
        }
        let name = self.name();
        let _ = writeln!(self.constants, "      {name} = {literal}");
        self.known.insert(literal, name);
        name
    }

    /// An i32.
    pub fn int(&mut self, value: i32) -> Val {
        self.constant(value.to_string(), "i32")
    }

    /// An i64.
    pub fn long(&mut self, value: i64) -> Val {
        self.constant(value.to_string(), "i64")
    }

    /// An f32, by its bits.
    pub fn float(&mut self, value: f32) -> Val {
        self.constant(format!("0x{:08X}", value.to_bits()), "f32")
    }

    /// `llvm.NAME a, b : ty`.
    pub fn binary(&mut self, name: &str, a: Val, b: Val, ty: &str) -> Val {
        self.def(format_args!("llvm.{name} {a}, {b} : {ty}"))
    }

    /// An i32 operation with a constant on the right.
    pub fn int_op(&mut self, name: &str, a: Val, b: i32) -> Val {
        let b = self.int(b);
        self.binary(name, a, b, "i32")
    }

    /// `a + b` of i32.
    pub fn add(&mut self, a: Val, b: Val) -> Val {
        self.binary("add", a, b, "i32")
    }

    /// `a * b + c` of f32, rounded once.
    pub fn fma(&mut self, a: Val, b: Val, c: Val) -> Val {
        self.def(format_args!(
            "llvm.intr.fma({a}, {b}, {c}) : (f32, f32, f32) -> f32"
        ))
    }

    /// `a + b` of f32.
    pub fn fadd(&mut self, a: Val, b: Val) -> Val {
        self.binary("fadd", a, b, "f32")
    }

    /// `a * b` of f32.
    pub fn fmul(&mut self, a: Val, b: Val) -> Val {
        self.binary("fmul", a, b, "f32")
    }

    /// A comparison of i32: `slt`, `sge`, `eq`, ...
    pub fn icmp(&mut self, kind: &str, a: Val, b: Val) -> Val {
        self.def(format_args!("llvm.icmp \"{kind}\" {a}, {b} : i32"))
    }

    /// A comparison of f32: `ogt`, `olt`, ...
    pub fn fcmp(&mut self, kind: &str, a: Val, b: Val) -> Val {
        self.def(format_args!("llvm.fcmp \"{kind}\" {a}, {b} : f32"))
    }

    /// `if condition { a } else { b }` without a branch.
    pub fn select(&mut self, condition: Val, a: Val, b: Val, ty: &str) -> Val {
        self.def(format_args!("llvm.select {condition}, {a}, {b} : i1, {ty}"))
    }

    /// A bit pattern as another type.
    pub fn bitcast(&mut self, value: Val, from: &str, to: &str) -> Val {
        self.def(format_args!("llvm.bitcast {value} : {from} to {to}"))
    }

    /// An i32 whose origin no optimisation sees.
    pub fn hide(&mut self, value: Val) -> Val {
        self.def(format_args!(
            "llvm.inline_asm has_side_effects asm_dialect = att \"mov.b32 $0, $1;\", \"=r,r\" {value} : (i32) -> i32"
        ))
    }

    /// i32 to i64 with its sign.
    pub fn widen(&mut self, value: Val) -> Val {
        self.def(format_args!("llvm.sext {value} : i32 to i64"))
    }

    /// An intrinsic of LLVM.
    pub fn call(&mut self, name: &str, operands: &[Val], types: &str) -> Val {
        let operands = list(operands);
        self.def(format_args!(
            "llvm.call_intrinsic \"{name}\"({operands}) : {types}"
        ))
    }

    /// `pointer + bytes`, in address space `space`; `ty` is the type of `bytes`.
    pub fn at(&mut self, pointer: Val, bytes: Val, space: u32, ty: &str) -> Val {
        self.def(format_args!(
            "llvm.getelementptr {pointer}[{bytes}] : (!llvm.ptr<{space}>, {ty}) -> !llvm.ptr<{space}>, i8"
        ))
    }

    /// A load of `ty`, aligned to its own size.
    pub fn load(&mut self, pointer: Val, space: u32, ty: &str) -> Val {
        let alignment = size_of(ty);
        self.def(format_args!(
            "llvm.load {pointer} {{alignment = {alignment} : i64}} : !llvm.ptr<{space}> -> {ty}"
        ))
    }

    /// A load of `ty` from global memory that no thread writes while the kernel runs.
    pub fn load_input(&mut self, pointer: Val, ty: &str) -> Val {
        let alignment = size_of(ty);
        self.def(format_args!(
            "llvm.load {pointer} invariant {{alignment = {alignment} : i64}} : !llvm.ptr<1> -> {ty}"
        ))
    }

    /// A store of `ty`, aligned to its own size.
    pub fn store(&mut self, value: Val, pointer: Val, space: u32, ty: &str) {
        let alignment = size_of(ty);
        self.op(format_args!(
            "llvm.store {value}, {pointer} {{alignment = {alignment} : i64}} : {ty}, !llvm.ptr<{space}>"
        ));
    }

    /// A vector of `values`.
    pub fn pack(&mut self, values: &[Val], ty: &str) -> Val {
        let ty = format!("vector<{}x{ty}>", values.len());
        let mut vector = self.def(format_args!("llvm.mlir.poison : {ty}"));
        for (i, value) in values.iter().enumerate() {
            let at = self.int(i as i32);
            vector = self.def(format_args!(
                "llvm.insertelement {value}, {vector}[{at} : i32] : {ty}"
            ));
        }
        vector
    }

    /// The elements of a vector.
    pub fn unpack(&mut self, vector: Val, count: usize, ty: &str) -> Vec<Val> {
        let element = |text: &mut Self, i: usize| {
            let at = text.int(i as i32);
            text.def(format_args!(
                "llvm.extractelement {vector}[{at} : i32] : vector<{count}x{ty}>"
            ))
        };
        (0..count).map(|i| element(self, i)).collect()
    }

    /// The fields of a struct of `count` values of one type.
    pub fn fields(&mut self, value: Val, count: usize, ty: &str) -> Vec<Val> {
        let all = vec![ty; count].join(", ");
        let field = |text: &mut Self, i| {
            text.def(format_args!(
                "llvm.extractvalue {value}[{i}] : !llvm.struct<({all})>"
            ))
        };
        (0..count).map(|i| field(self, i)).collect()
    }

    /// Exchanges an f32 with the lane whose number differs by `xor`.
    pub fn shuffle(&mut self, value: Val, xor: i32) -> Val {
        let [all, xor, clamp] = [-1, xor, 31].map(|v| self.int(v));
        self.def(format_args!(
            "nvvm.shfl.sync bfly {all}, {value}, {xor}, {clamp} : f32 -> f32"
        ))
    }

    /// Runs `then` where `condition` holds.
    pub fn when(&mut self, condition: Val, then: impl FnOnce(&mut Self)) {
        self.op(format_args!("scf.if {condition} {{"));
        self.nested(then);
        self.op("}");
    }

    /// One of two lists of f32.
    pub fn either(
        &mut self,
        condition: Val,
        count: usize,
        then: impl FnOnce(&mut Self) -> Vec<Val>,
        otherwise: impl FnOnce(&mut Self) -> Vec<Val>,
    ) -> Vec<Val> {
        let name = self.name();
        let types = vec!["f32"; count].join(", ");
        self.op(format_args!(
            "{name}:{count} = scf.if {condition} -> ({types}) {{"
        ));
        self.nested(|text| {
            let results = then(text);
            text.op(format_args!("scf.yield {} : {types}", list(&results)));
        });
        self.op("} else {");
        self.nested(|text| {
            let results = otherwise(text);
            text.op(format_args!("scf.yield {} : {types}", list(&results)));
        });
        self.op("}");
        parts(name, count)
    }

    /// One of two values of a type.
    pub fn one_of(
        &mut self,
        condition: Val,
        ty: &str,
        then: impl FnOnce(&mut Self) -> Val,
        otherwise: impl FnOnce(&mut Self) -> Val,
    ) -> Val {
        let name = self.name();
        self.op(format_args!("{name} = scf.if {condition} -> ({ty}) {{"));
        self.nested(|text| {
            let result = then(text);
            text.op(format_args!("scf.yield {result} : {ty}"));
        });
        self.op("} else {");
        self.nested(|text| {
            let result = otherwise(text);
            text.op(format_args!("scf.yield {result} : {ty}"));
        });
        self.op("}");
        name
    }

    /// Counts an i32 from zero to `end`, carrying f32 values; gives them at the end.
    pub fn count(
        &mut self,
        end: Val,
        begin: &[Val],
        body: impl FnOnce(&mut Self, Val, Vec<Val>) -> Vec<Val>,
    ) -> Vec<Val> {
        let [zero, one] = [0, 1].map(|v| self.int(v));
        let (index, name) = (self.name(), self.name());
        let carried: Vec<Val> = begin.iter().map(|_| self.name()).collect();
        let types = vec!["f32"; begin.len()].join(", ");
        if begin.is_empty() {
            self.op(format_args!(
                "scf.for {index} = {zero} to {end} step {one} : i32 {{"
            ));
            self.nested(|text| {
                body(text, index, vec![]);
            });
        } else {
            let pairs: Vec<String> = carried
                .iter()
                .zip(begin)
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            self.op(format_args!(
                "{name}:{} = scf.for {index} = {zero} to {end} step {one} iter_args({}) -> ({types}) : i32 {{",
                begin.len(),
                pairs.join(", "),
            ));
            self.nested(|text| {
                let results = body(text, index, carried);
                text.op(format_args!("scf.yield {} : {types}", list(&results)));
            });
        }
        self.op("}");
        parts(name, begin.len())
    }

    fn nested(&mut self, body: impl FnOnce(&mut Self)) {
        self.depth += 1;
        body(self);
        self.depth -= 1;
    }
}

/// Names separated by commas.
pub fn list(values: &[Val]) -> String {
    let names: Vec<String> = values.iter().map(Val::to_string).collect();
    names.join(", ")
}

fn parts(name: Val, count: usize) -> Vec<Val> {
    match count {
        1 => vec![name],
        _ => (0..count as u16)
            .map(|part| Val(name.0, Some(part)))
            .collect(),
    }
}

fn size_of(ty: &str) -> u32 {
    match ty {
        "i64" | "vector<2xf32>" => 8,
        "vector<4xf32>" | "vector<4xi32>" => 16,
        "i16" => 2,
        _ => 4,
    }
}
