//! One instruction of one warp.

use super::approximate::perturb;
use super::barriers::Call;
use super::block::Machine;
use super::warp::{Warp, lanes};
use crate::lanes::Lanes;
use crate::op::{Op, Slot, Step};
use crate::report::Kind;

impl Machine<'_> {
    /// Executes the instruction at the current path's position.
    pub(super) fn step(&mut self, warp: &mut Warp) {
        let program = self.program;
        let Some(frame) = warp.frames.last_mut() else {
            return;
        };
        let (at, path) = (frame.at, frame.lanes);
        frame.at += 1;
        let Some(step) = program.steps.get(at as usize) else {
            return;
        };
        self.line = step.line;
        let mask = match step.guard {
            None => path,
            Some((slot, negated)) => {
                self.predicate(warp, slot, path, "the guard") ^ (path * u32::from(negated))
            }
        };
        if let Op::Branch { target, reconverge } = step.op {
            self.count(step);
            warp.branch(&[(path & !mask, at + 1), (mask, target)], reconverge);
            return;
        }
        if mask == 0 {
            return;
        }
        self.count(step);
        self.execute(warp, step, at, mask);
    }

    fn count(&mut self, step: &Step) {
        if let Some(kind) = step.kind {
            self.tally[usize::from(kind)] += 1;
        }
    }

    /// The lanes of a mask in which a predicate holds.
    pub(super) fn predicate(&mut self, warp: &mut Warp, slot: Slot, mask: u32, what: &str) -> u32 {
        self.needs(warp, slot, mask, what);
        let register = &warp.registers[slot as usize];
        let bits = (0..32).fold(0, |bits, lane| bits | ((register[lane] as u32 & 1) << lane));
        bits & mask
    }

    /// The lanes of a mask read a register for its value.
    pub(super) fn needs(&mut self, warp: &mut Warp, slot: Slot, mask: u32, what: &str) {
        let missing = mask & !warp.valid[slot as usize];
        if missing != 0 {
            self.unwritten(warp, slot, missing, what);
        }
    }

    /// The value of a register that all lanes of a mask should agree on.
    pub(super) fn uniform(&mut self, warp: &mut Warp, slot: Slot, mask: u32) -> u64 {
        self.needs(warp, slot, mask, "an operand");
        warp.get(slot, mask.trailing_zeros() as usize & 31)
    }

    fn execute(&mut self, warp: &mut Warp, step: &Step, at: u32, mask: u32) {
        let mut out: Lanes = [0; 32];
        match &step.op {
            Op::Map1 { f, d, a } => {
                self.needs(warp, *a, mask, "the operand");
                f(&warp.registers[*a as usize], &mut out);
                warp.write(*d, &out, mask);
            }
            Op::Map2 { f, d, a, b } => {
                if mask & !(warp.valid[*a as usize] & warp.valid[*b as usize]) != 0 {
                    self.needs(warp, *a, mask, "the first operand");
                    self.needs(warp, *b, mask, "the second operand");
                }
                let registers = &warp.registers;
                f(&registers[*a as usize], &registers[*b as usize], &mut out);
                warp.write(*d, &out, mask);
            }
            Op::Map3 { f, d, a, b, c } => {
                for (slot, what) in [
                    (*a, "the first operand"),
                    (*b, "the second operand"),
                    (*c, "the third operand"),
                ] {
                    self.needs(warp, slot, mask, what);
                }
                let r = &warp.registers;
                f(&r[*a as usize], &r[*b as usize], &r[*c as usize], &mut out);
                warp.write(*d, &out, mask);
            }
            Op::Convert { conversion, d, a } => {
                self.needs(warp, *a, mask, "the operand");
                for lane in lanes(mask) {
                    out[lane] = conversion.apply(warp.get(*a, lane));
                }
                warp.write(*d, &out, mask);
            }
            Op::Perturb {
                d,
                a,
                bound,
                result,
            } => {
                if self.launch.approximation_errors {
                    for lane in lanes(mask) {
                        out[lane] = perturb(warp.get(*a, lane), *bound, *result);
                    }
                    warp.write(*d, &out, mask);
                }
            }
            Op::Move { d, a } => {
                out = warp.registers[*a as usize];
                let (valid, origin) = (warp.valid[*a as usize], warp.origin[*a as usize]);
                warp.write(*d, &out, mask);
                warp.mark(*d, mask, valid, origin);
            }
            Op::Select { d, a, b, p } => {
                let first = self.predicate(warp, *p, mask, "the selecting predicate");
                let (x, y) = (warp.registers[*a as usize], warp.registers[*b as usize]);
                for lane in 0..32 {
                    out[lane] = if first >> lane & 1 == 1 {
                        x[lane]
                    } else {
                        y[lane]
                    };
                }
                let valid = warp.valid[*a as usize] & first | warp.valid[*b as usize] & !first;
                let poisoned = if warp.valid[*a as usize] & first == first & mask {
                    *b
                } else {
                    *a
                };
                let origin = warp.origin[poisoned as usize];
                warp.write(*d, &out, mask);
                warp.mark(*d, mask, valid, origin);
            }
            Op::Pack { d, parts, bits } => {
                let (mut valid, mut origin) = (u32::MAX, 0);
                let low = if *bits == 64 {
                    u64::MAX
                } else {
                    (1 << bits) - 1
                };
                for (i, part) in parts.iter().enumerate() {
                    let register = &warp.registers[*part as usize];
                    for lane in 0..32 {
                        out[lane] |= (register[lane] & low) << (*bits as usize * i);
                    }
                    if mask & !warp.valid[*part as usize] != 0 {
                        origin = warp.origin[*part as usize];
                    }
                    valid &= warp.valid[*part as usize];
                }
                warp.write(*d, &out, mask);
                warp.mark(*d, mask, valid, origin);
            }
            Op::Unpack { parts, a, bits } => {
                let source = warp.registers[*a as usize];
                let (valid, origin) = (warp.valid[*a as usize], warp.origin[*a as usize]);
                let low = if *bits == 64 {
                    u64::MAX
                } else {
                    (1 << bits) - 1
                };
                for (i, part) in parts.iter().enumerate() {
                    for lane in 0..32 {
                        out[lane] = source[lane] >> (*bits as usize * i) & low;
                    }
                    warp.write(*part, &out, mask);
                    warp.mark(*part, mask, valid, origin);
                }
            }
            Op::Load(access) => self.load(warp, access, at, mask),
            Op::Store(access) => self.store(warp, access, at, mask),
            Op::Atomic {
                address,
                op,
                ty,
                d,
                b,
                c,
            } => self.atomic(warp, *address, (*op, *ty), *d, (*b, *c), at, mask),
            Op::Branch { .. } | Op::Nothing => {}
            Op::BranchIndex {
                targets,
                index,
                reconverge,
            } => self.branch_index(warp, targets, *index, *reconverge, at, mask),
            Op::Exit => self.exit(warp, mask),
            Op::Trap => {
                let lane = mask.trailing_zeros() as usize;
                self.report(Kind::Trap, warp.index, lane, |_| {
                    "the kernel traps".to_string()
                });
                self.abandoned = true;
            }
            Op::Clock { d, bits } => {
                let time = match bits {
                    32 => self.executed & 0xffff_ffff,
                    _ => self.executed,
                };
                warp.write(*d, &[time; 32], mask);
            }
            Op::Barrier {
                kind,
                id,
                count,
                d,
                p,
                negated,
            } => {
                let id = self.uniform(warp, *id, mask) as u32;
                let count = count.map(|count| self.uniform(warp, count, mask) as u32);
                let holding = match p {
                    Some(p) => {
                        let holds = self.predicate(warp, *p, mask, "the predicate");
                        if *negated { mask & !holds } else { holds }
                    }
                    None => 0,
                };
                let call = Call {
                    kind: *kind,
                    id,
                    count,
                    d: *d,
                    holding,
                };
                self.barrier(warp, mask, call);
            }
            Op::WarpSync { mask: members } => self.warp_sync(warp, *members, mask),
            Op::Shuffle {
                mode,
                d,
                p,
                a,
                b,
                c,
                mask: members,
            } => self.shuffle(warp, *mode, (*d, *p), [*a, *b, *c], *members, mask),
            Op::Vote {
                mode,
                d,
                p,
                negated,
                mask: members,
            } => self.vote(warp, *mode, *d, (*p, *negated), *members, mask),
            Op::ActiveMask { d } => warp.write(*d, &[u64::from(mask); 32], mask),
            Op::Elect {
                d,
                p,
                mask: members,
            } => self.elect(warp, *d, *p, *members, mask),
            Op::Reduce {
                op,
                signed,
                d,
                a,
                mask: members,
            } => self.reduce(warp, (*op, *signed), *d, *a, *members, mask),
            Op::Match {
                all,
                d,
                p,
                a,
                mask: members,
            } => self.matching(warp, *all, (*d, *p), *a, *members, mask),
            Op::CopyAsync {
                to,
                from,
                bytes,
                size,
                ignore,
            } => self.copy_async(warp, (*to, *from), *bytes, (*size, *ignore), at, mask),
            Op::Commit => {
                for lane in lanes(mask) {
                    warp.groups[lane] += 1;
                }
            }
            Op::Wait { groups } => self.wait(warp, *groups, mask),
            Op::LoadMatrix {
                slots,
                transposed,
                address,
            } => self.load_matrix(warp, slots, *transposed, *address, at, mask),
            Op::StoreMatrix {
                slots,
                transposed,
                address,
            } => self.store_matrix(warp, slots, *transposed, *address, at, mask),
            Op::TransposeMatrix { d, a } => self.transpose_matrix(warp, *d, *a, mask),
            Op::Product {
                element,
                depth,
                d,
                a,
                b,
                c,
            } => self.product(warp, (*element, *depth), *d, (a, b), *c, mask),
        }
    }

    fn branch_index(
        &mut self,
        warp: &mut Warp,
        targets: &[u32],
        index: Slot,
        reconverge: u32,
        at: u32,
        mask: u32,
    ) {
        self.needs(warp, index, mask, "the branch's index");
        let Some(path) = warp.frames.last().map(|frame| frame.lanes) else {
            return;
        };
        let mut places: Vec<(u32, u32)> = vec![(path & !mask, at + 1)];
        for lane in lanes(mask) {
            let chosen = warp.get(index, lane) as usize;
            let Some(&target) = targets.get(chosen) else {
                let known = targets.len();
                self.report(Kind::Trap, warp.index, lane, |_| {
                    format!("branch index {chosen} of a list of {known}")
                });
                self.abandoned = true;
                return;
            };
            match places[1..].iter_mut().find(|(_, place)| *place == target) {
                Some((lanes, _)) => *lanes |= 1 << lane,
                None => places.push((1 << lane, target)),
            }
        }
        warp.branch(&places, reconverge);
    }

    fn exit(&mut self, warp: &mut Warp, mask: u32) {
        let left = warp.copies.iter().find(|copy| mask >> copy.lane & 1 == 1);
        if let Some(copy) = left {
            let (lane, at) = (copy.lane, copy.at);
            self.report(Kind::AsyncUnfinished, warp.index, lane, |machine| {
                let line = machine.line_of(at);
                format!("the thread exits while its copy of line {line} was never waited for")
            });
        }
        self.land(warp, |copy| mask >> copy.lane & 1 == 1, false);
        warp.exit(mask);
    }
}
