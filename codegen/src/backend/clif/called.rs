//! Pointwise functions that are calls: what no short series holds over the whole range of f32.
//!
//! The sine of 1e30 needs a hundred digits of two over pi, and the tail of the normal distribution more roundings than
//! f32 allows. The interpreters' own function has them, so
//! four numbers go to memory and are replaced there, each by the value in f64, rounded once: these
//! functions are within half a unit of the last place of the truth.

use super::math::Lanes;
use baton_ir::pointwise;
use baton_ir::recurrence::UnaryFn;
use cranelift_codegen::ir::types::{F32X4, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, Value};

/// Replaces each of four numbers by the function at this place in the list.
unsafe extern "C" fn replace(numbers: *mut [f32; 4], function: i64) {
    let function = UnaryFn::ALL[function as usize];
    // SAFETY: generated code gives the address of its own four numbers.
    for x in unsafe { &mut *numbers } {
        *x = pointwise::unary(function, f64::from(*x)) as f32;
    }
}

impl Lanes<'_, '_> {
    /// A function of four numbers by a call.
    pub fn called(&mut self, function: UnaryFn, x: Value) -> Value {
        let mut signature = Signature::new(self.call_conv);
        signature.params = vec![AbiParam::new(I64); 2];
        let signature = self.builder.import_signature(signature);
        let ins = |lanes: &mut Self, word: i64| lanes.builder.ins().iconst(I64, word);
        let callee = ins(self, replace as *const () as i64);
        let function = ins(self, function as i64);
        let at = self.builder.ins().stack_addr(I64, self.memory, 0);
        let free = MemFlagsData::new();
        self.builder.ins().store(free, x, at, 0);
        self.builder
            .ins()
            .call_indirect(signature, callee, &[at, function]);
        self.builder.ins().load(F32X4, free, at, 0)
    }
}
