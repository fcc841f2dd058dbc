//! Atomic operations, lane by lane in the order of lanes.

use super::access::Place;
use super::block::Machine;
use super::warp::{Warp, lanes};
use crate::lanes::Word;
use crate::number::{Arithmetic, Brain, Half, Pair};
use crate::op::{Address, AtomicOp, Slot};
use crate::report::Kind;
use crate::types::Type;

impl Machine<'_> {
    #[allow(clippy::too_many_arguments, reason = "the operands of the instruction")]
    pub(super) fn atomic(
        &mut self,
        warp: &mut Warp,
        address: Address,
        (op, ty): (AtomicOp, Type),
        d: Option<Slot>,
        (b, c): (Slot, Option<Slot>),
        at: u32,
        mask: u32,
    ) {
        let addresses = self.addresses(warp, address, mask);
        self.needs(warp, b, mask, "the operand");
        if let Some(c) = c {
            self.needs(warp, c, mask, "the operand");
        }
        let bytes = ty.bytes();
        let (mut global, mut shared) = (0, 0);
        for lane in lanes(mask) {
            let found = self.place(warp, lane, address.space, addresses[lane], bytes);
            let Some(place) = found.filter(|&place| self.writable(warp.index, lane, place)) else {
                continue;
            };
            match place {
                Place::Global(..) => global |= 1 << lane,
                _ => shared |= 1 << lane,
            }
            self.check_write(warp.index, lane, place, bytes, at, true);
            let (old, written) = match place {
                Place::Global(buffer, offset) => {
                    let store = self.memory.store(buffer);
                    let range = offset..offset + bytes as usize;
                    let written =
                        store.written.is_empty() || store.written[range.clone()].iter().all(|w| *w);
                    let mut value = [0; 8];
                    value[..bytes as usize].copy_from_slice(&store.bytes[range]);
                    (u64::from_le_bytes(value), written)
                }
                Place::Shared(at) => self.shared.load(at, bytes),
                Place::Local(at) => warp.local.read(at, bytes),
                Place::Param(_) => (0, true),
            };
            if !written && op != AtomicOp::Exchange {
                self.report(Kind::Unwritten, warp.index, lane, |_| {
                    "an atomic operation reads bytes that nothing wrote".to_string()
                });
            }
            let value = warp.get(b, lane);
            let new = match c {
                Some(c) if old == value => warp.get(c, lane),
                Some(_) => old,
                None => combine(op, ty, old, value),
            };
            self.put(warp, place, 0, bytes, (new, true));
            if let Some(d) = d {
                warp.set(d, lane, old);
            }
        }
        self.count_global(&addresses, global, bytes, false);
        self.count_shared(&addresses, shared, bytes);
    }
}

fn add<T: Word + Arithmetic>(a: u64, b: u64) -> u64 {
    T::take(a).plus(T::take(b)).give()
}

/// The new value of an atomic operation, or of a reduction over a warp.
pub(super) fn combine(op: AtomicOp, ty: Type, a: u64, b: u64) -> u64 {
    let narrow = match ty.bytes() {
        8 => u64::MAX,
        bytes => (1 << (8 * bytes)) - 1,
    };
    let signed = |x: u64| match ty {
        Type::S32 => i64::from(x as i32),
        _ => x as i64,
    };
    let value = match (op, ty) {
        (AtomicOp::Add, Type::F32) => add::<f32>(a, b),
        (AtomicOp::Add, Type::F64) => add::<f64>(a, b),
        (AtomicOp::Add, Type::F16) => add::<Half>(a, b),
        (AtomicOp::Add, Type::F16x2) => add::<Pair<Half>>(a, b),
        (AtomicOp::Add, Type::Bf16) => add::<Brain>(a, b),
        (AtomicOp::Add, Type::Bf16x2) => add::<Pair<Brain>>(a, b),
        (AtomicOp::Add, _) => a.wrapping_add(b),
        (AtomicOp::Min, Type::S32 | Type::S64) => signed(a).min(signed(b)) as u64,
        (AtomicOp::Max, Type::S32 | Type::S64) => signed(a).max(signed(b)) as u64,
        (AtomicOp::Min, _) => a.min(b),
        (AtomicOp::Max, _) => a.max(b),
        (AtomicOp::And, _) => a & b,
        (AtomicOp::Or, _) => a | b,
        (AtomicOp::Xor, _) => a ^ b,
        (AtomicOp::Exchange | AtomicOp::CompareSwap, _) => b,
        (AtomicOp::Increment, _) => {
            if a >= b {
                0
            } else {
                a + 1
            }
        }
        (AtomicOp::Decrement, _) => {
            if a == 0 || a > b {
                b
            } else {
                a - 1
            }
        }
    };
    value & narrow
}
