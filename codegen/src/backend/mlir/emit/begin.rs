//! The beginning of a kernel: which range and heads a block has, and where its ports and carries are.

use super::super::Gpu;
use super::super::pad::Padded;
use super::super::place::Placement;
use super::super::text::{Text, Val};
use super::Machine;
use crate::schedule::SideBySide;
use std::collections::BTreeMap;

impl<'a> Machine<'a> {
    pub(super) fn new(
        wide: &SideBySide,
        padded: &'a Padded,
        port_count: usize,
        options: &'a Gpu,
        placement: &'a Placement,
        mut text: Text,
        values: &[Val],
    ) -> Self {
        let program = &padded.program;
        let shared = text.def("llvm.mlir.addressof @shared : !llvm.ptr<3>");
        let thread = text.def("nvvm.read.ptx.sreg.tid.x : i32");
        let block = text.def("nvvm.read.ptx.sreg.ctaid.x : i32");
        let range = text.def("nvvm.read.ptx.sreg.ctaid.y : i32");
        let lane = text.int_op("and", thread, 31);
        let warp = text.int_op("lshr", thread, 5);
        let row = text.int_op("lshr", lane, 2);
        let pair = text.int_op("and", lane, 3);
        let head = match options.heads() {
            1 => block,
            heads => text.int_op("mul", block, heads as i32),
        };
        let group = text.binary("udiv", head, values[2], "i32");
        let [head_l, group_l, range_l] = [head, group, range].map(|v| text.widen(v));
        let mut heads_l = vec![head_l];
        for beside in 1..options.heads() {
            let head = text.int_op("add", head, beside as i32);
            heads_l.push(text.widen(head));
        }
        let block_l = match options.heads() {
            1 => head_l,
            _ => text.widen(block),
        };
        let entry = text.int_op("mul", range, 32);
        let entry = text.at(values[0], entry, 1, "i32");
        let entry: Vec<Val> = (0..4)
            .map(|i| {
                let offset = text.int(8 * i);
                let at = text.at(entry, offset, 1, "i32");
                text.load_input(at, "i64")
            })
            .collect();
        let len = text.def(format_args!("llvm.trunc {} : i64 to i32", entry[2]));
        let round = text.int_op("add", len, program.chunk as i32 - 1);
        let chunks = text.int_op("udiv", round, program.chunk as i32);
        let port = |text: &mut Text, i: usize| {
            use baton_ir::tile::Pace;
            let (decl, (of, beside)) = (&program.ports[i], wide.ports[i]);
            let &[base, batch, time, head] = &values[3 + 4 * of.index()..][..4] else {
                unreachable!("a port has four parameters");
            };
            let index = match (decl.per_head, Gpu::by_head(decl)) {
                (true, _) => heads_l[beside as usize],
                (false, true) => block_l,
                (false, false) => group_l,
            };
            let mut offset = text.binary("mul", index, head, "i64");
            let outer = match decl.pace {
                Pace::Step => Some((entry[0], Some(entry[1]))),
                Pace::Chunk => Some((entry[0], Some(entry[3]))),
                Pace::Task => Some((range_l, None)),
            };
            if let Some((outer, inner)) = outer {
                let far = text.binary("mul", outer, batch, "i64");
                offset = text.binary("add", offset, far, "i64");
                if let Some(inner) = inner {
                    let near = text.binary("mul", inner, time, "i64");
                    offset = text.binary("add", offset, near, "i64");
                }
            }
            (text.at(base, offset, 1, "i64"), time)
        };
        let ports = (0..program.ports.len())
            .map(|i| port(&mut text, i))
            .collect();
        let heads = text.widen(values[1]);
        let place = text.binary("mul", range_l, heads, "i64");
        let places: Vec<Val> = (heads_l.iter())
            .map(|&head| text.binary("add", place, head, "i64"))
            .collect();
        let first = 3 + 4 * port_count;
        let carries = (0..program.carries.len())
            .map(|i| {
                let (of, beside) = wide.carries[i];
                let entries: u32 = padded.carries[i].iter().product();
                let bytes = text.long(4 * entries as i64);
                let offset = text.binary("mul", places[beside as usize], bytes, "i64");
                let at = first + 2 * of.index();
                (values[at], values[at + 1], offset)
            })
            .collect();
        Machine {
            program,
            padded,
            options,
            placement,
            held: BTreeMap::new(),
            ports,
            carries,
            shared,
            thread_id: thread,
            thread,
            lane,
            warp,
            row,
            pair,
            len,
            chunks,
            chunk: thread,
            valid: thread,
            stage: thread,
            text,
        }
    }
}
