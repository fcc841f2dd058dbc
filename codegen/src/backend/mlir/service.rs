//! Service kernels: what a run needs between the kernels of a recurrence.
//!
//! [`Service::Sum`] adds parts in order (of heads that share, of sequences, of ranges); with one part
//! it copies rows, with none it writes zeros. [`Service::Chain`] walks the borders of segments. They
//! know no recurrence and no sizes: one text serves every run, so that a machine without MLIR can be
//! given all of them. A thread owns what it writes and goes through parts in order.
//!
//! Parameters, pointers and strides in bytes as 64-bit words unless said:
//!
//! | kernel | parameters |
//! |---|---|
//! | sum | index of rows (i64 each, null for the identity); input, its strides by row, step, column and part; output, its strides by row, step and column; rows, steps, columns, units of an entry, parts, each i64 |
//! | chain | first range and ranges of each sequence (two i64); what arrives, null for zero; own, overwritten by what arrives at each range; log decays by head, row, column, null where there are none; i32: heads, rows, columns, whether time runs backwards |
//!
//! A sum runs one thread for each unit of the output, four numbers or one; a chain one for each entry
//! of a state, with sequences along y.

use super::text::{Text, Val};
use crate::target::{Gpu, Launch, Source, Storage};
use std::fmt::Write;

/// Threads of a block.
const THREADS: u32 = 256;

/// A service kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// `out[r, t, c, ..] = sum over parts p of in[index[r], t, c, p, ..]`, from f32.
    Sum {
        /// The dtype of the output.
        storage: Storage,
        /// Four numbers a thread, 16 bytes of the input; else one.
        wide: bool,
    },
    /// `own[i]` becomes the state that enters range i:
    /// `S[i + 1] = exp(L[i]) o S[i] + own[i]`, or the same from the last range to the first.
    Chain,
}

impl Service {
    /// Every one that sizes in multiples of 16 need; into 16 bits number by number MLIR makes them.
    pub const ALL: [Service; 5] = [
        Service::sum(Storage::F32, false),
        Service::sum(Storage::F32, true),
        Service::sum(Storage::F16, true),
        Service::sum(Storage::Bf16, true),
        Service::Chain,
    ];

    const fn sum(storage: Storage, wide: bool) -> Service {
        Service::Sum { storage, wide }
    }

    /// The name of the kernel.
    pub fn name(self, gpu: &Gpu) -> String {
        let chip = gpu.chip;
        match self {
            Service::Sum { storage, wide } => {
                let width = if wide { 4 } else { 1 };
                format!("service_sum{width}_{}_{chip}", storage.name())
            }
            Service::Chain => format!("service_chain_f32_{chip}"),
        }
    }

    /// The types of the parameters.
    fn parameters(self) -> Vec<&'static str> {
        const POINTER: &str = "!llvm.ptr<1>";
        let sizes = match self {
            Service::Sum { .. } => {
                let mut types = vec![POINTER, POINTER];
                types.extend(["i64"; 4]);
                types.push(POINTER);
                types.extend(["i64"; 3 + 5]);
                return types;
            }
            Service::Chain => ["i32"; 4],
        };
        [POINTER; 6].into_iter().chain(sizes).collect()
    }

    /// The kernel.
    pub fn source(self, gpu: &Gpu) -> Source {
        Source {
            text: self.module(gpu),
            launch: Launch {
                heads: 1,
                threads: THREADS,
                shared_bytes: 0,
                stages: 0,
            },
        }
    }

    /// The MLIR text of its module.
    fn module(self, gpu: &Gpu) -> String {
        let mut text = Text::default();
        let types = self.parameters();
        let names: Vec<Val> = types.iter().map(|_| text.name()).collect();
        match self {
            Service::Sum { storage, wide } => sum(&mut text, &names, storage, wide),
            Service::Chain => chain(&mut text, &names),
        }
        let pairs = names.iter().zip(types);
        let declared: Vec<String> = pairs.map(|(name, ty)| format!("{name}: {ty}")).collect();
        let mut module = String::new();
        let _ = write!(
            module,
            "module attributes {{gpu.container_module}} {{\n  \
             gpu.module @kernels [#nvvm.target<chip = \"{}\", features = \"{}\", O = 3>] {{\n    \
             llvm.func @{}({}) attributes {{nvvm.kernel, nvvm.maxntid = array<i32: {THREADS}>}} {{\n\
             {}      llvm.return\n    }}\n  }}\n}}\n",
            gpu.chip,
            gpu.features,
            self.name(gpu),
            declared.join(", "),
            text.finish(),
        );
        module
    }
}

/// Number of this thread along x, as an i64.
fn along_x(text: &mut Text) -> Val {
    let thread = text.def("nvvm.read.ptx.sreg.tid.x : i32");
    let block = text.def("nvvm.read.ptx.sreg.ctaid.x : i32");
    let [thread, block] = [thread, block].map(|v| text.widen(v));
    let size = text.long(THREADS.into());
    let before = text.binary("mul", block, size, "i64");
    text.binary("add", before, thread, "i64")
}

/// `a / b` and `a % b` of i64.
fn divide(text: &mut Text, a: Val, b: Val) -> [Val; 2] {
    ["udiv", "urem"].map(|name| text.binary(name, a, b, "i64"))
}

/// `base` plus each index times its stride.
fn offset(text: &mut Text, base: Val, terms: &[(Val, Val)]) -> Val {
    terms.iter().fold(base, |at, &(index, stride)| {
        let bytes = text.binary("mul", index, stride, "i64");
        text.at(at, bytes, 1, "i64")
    })
}

/// Whether a pointer is given.
fn given(text: &mut Text, pointer: Val) -> Val {
    let address = text.def(format_args!(
        "llvm.ptrtoint {pointer} : !llvm.ptr<1> to i64"
    ));
    let zero = text.long(0);
    text.def(format_args!("llvm.icmp \"ne\" {address}, {zero} : i64"))
}

fn below(text: &mut Text, index: Val, end: Val) -> Val {
    text.def(format_args!("llvm.icmp \"slt\" {index}, {end} : i64"))
}

fn sum(text: &mut Text, names: &[Val], storage: Storage, wide: bool) {
    let &[
        index,
        from,
        row_in,
        step_in,
        column_in,
        part_in,
        to,
        row_out,
        step_out,
        column_out,
        ..,
    ] = names
    else {
        unreachable!("a sum has fifteen parameters");
    };
    let &[rows, steps, columns, units, parts] = &names[10..] else {
        unreachable!("a sum has fifteen parameters");
    };
    let width = if wide { 4 } else { 1 };
    let thread = along_x(text);
    let all = [steps, columns, units].into_iter();
    let all = all.fold(rows, |all, size| text.binary("mul", all, size, "i64"));
    let mine = below(text, thread, all);
    text.when(mine, |text| {
        let [rest, unit] = divide(text, thread, units);
        let [rest, column] = divide(text, rest, columns);
        let [row, step] = divide(text, rest, steps);
        let bytes = text.long(4 * width);
        let near = [(step, step_in), (column, column_in), (unit, bytes)];
        let from = offset(text, from, &near);
        let source = source(text, index, row);
        let from = offset(text, from, &[(source, row_in)]);
        let zero = text.float(0.0);
        let parts = text.def(format_args!("llvm.trunc {parts} : i64 to i32"));
        let begin = vec![zero; width as usize];
        let sums = text.count(parts, &begin, |text, part, sums| {
            let part = text.widen(part);
            let at = offset(text, from, &[(part, part_in)]);
            let values = match wide {
                true => {
                    let four = text.load_input(at, "vector<4xf32>");
                    text.unpack(four, 4, "f32")
                }
                false => vec![text.load_input(at, "f32")],
            };
            let pairs = sums.into_iter().zip(values);
            pairs.map(|(a, b)| text.fadd(a, b)).collect()
        });
        let bytes = text.long(i64::from(storage.bytes()) * width);
        let far = [
            (row, row_out),
            (step, step_out),
            (column, column_out),
            (unit, bytes),
        ];
        let to = offset(text, to, &far);
        match (storage, wide) {
            (Storage::F32, false) => text.store(sums[0], to, 1, "f32"),
            (storage, false) => {
                let zero = text.float(0.0);
                let word = text.pack16(sums[0], zero, storage);
                let half = text.def(format_args!("llvm.trunc {word} : i32 to i16"));
                text.store(half, to, 1, "i16");
            }
            (Storage::F32, true) => {
                let four = text.pack(&sums, "f32");
                text.store(four, to, 1, "vector<4xf32>");
            }
            (storage, true) => {
                for (half, pair) in sums.chunks(2).enumerate() {
                    let word = text.pack16(pair[0], pair[1], storage);
                    let bytes = text.long(4 * half as i64);
                    let to = text.at(to, bytes, 1, "i64");
                    text.store(word, to, 1, "i32");
                }
            }
        }
    });
}

/// The row of the input for a row of the output.
fn source(text: &mut Text, index: Val, row: Val) -> Val {
    let listed = given(text, index);
    text.one_of(
        listed,
        "i64",
        |text| {
            let bytes = text.long(8);
            let at = offset(text, index, &[(row, bytes)]);
            text.load_input(at, "i64")
        },
        |_| row,
    )
}

/// An f32, or zero where it is not given.
fn or_zero(text: &mut Text, given: Val, at: Val) -> Val {
    let load = |text: &mut Text| text.load_input(at, "f32");
    text.one_of(given, "f32", load, |text| text.float(0.0))
}

fn chain(text: &mut Text, names: &[Val]) {
    let &[
        table,
        outer,
        own,
        by_head,
        by_row,
        by_column,
        heads,
        rows,
        columns,
        reverse,
    ] = names
    else {
        unreachable!("a chain has ten parameters");
    };
    let thread = along_x(text);
    let sequence = text.def("nvvm.read.ptx.sreg.ctaid.y : i32");
    let [sequence, heads, rows, columns] = [sequence, heads, rows, columns].map(|v| text.widen(v));
    let entries = text.binary("mul", rows, columns, "i64");
    let all = text.binary("mul", heads, entries, "i64");
    let mine = below(text, thread, all);
    text.when(mine, |text| {
        let [head, entry] = divide(text, thread, entries);
        let [row, column] = divide(text, entry, columns);
        let [eight, sixteen] = [8, 16].map(|v| text.long(v));
        let at = offset(text, table, &[(sequence, sixteen)]);
        let first = text.load_input(at, "i64");
        let one = text.long(1);
        let at = offset(text, at, &[(one, eight)]);
        let count = text.load_input(at, "i64");
        let number = text.long(4);
        let range = text.binary("mul", all, number, "i64");
        let is_given = given(text, outer);
        let near = [(sequence, range), (thread, number)];
        let at = offset(text, outer, &near);
        let arriving = or_zero(text, is_given, at);
        let zero = text.int(0);
        let backwards = text.icmp("ne", reverse, zero);
        let last = text.binary("sub", count, one, "i64");
        let ranges = text.def(format_args!("llvm.trunc {count} : i64 to i32"));
        text.count(ranges, &[arriving], |text, i, arriving| {
            let i = text.widen(i);
            let mirrored = text.binary("sub", last, i, "i64");
            let i = text.select(backwards, mirrored, i, "i64");
            let slot = text.binary("add", first, i, "i64");
            let lane = text.binary("mul", slot, heads, "i64");
            let lane = text.binary("add", lane, head, "i64");
            let logs = [
                (by_head, one, None),
                (by_row, rows, Some(row)),
                (by_column, columns, Some(column)),
            ];
            let mut log = text.float(0.0);
            for (logs, size, near) in logs {
                let bytes = text.binary("mul", size, number, "i64");
                let near = near.map(|near| (near, number));
                let terms: Vec<_> = [(lane, bytes)].into_iter().chain(near).collect();
                let at = offset(text, logs, &terms);
                let is_given = given(text, logs);
                let more = or_zero(text, is_given, at);
                log = text.fadd(log, more);
            }
            let at = offset(text, own, &[(slot, range), (thread, number)]);
            let value = text.load(at, 1, "f32");
            text.store(arriving[0], at, 1, "f32");
            let decay = text.exp(log);
            vec![text.fma(decay, arriving[0], value)]
        });
    });
}
