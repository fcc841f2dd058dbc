//! The instruction table: the first word of a mnemonic to its decoder.
//!
//! An instruction joins by a row here and a decoder; if it needs state of its own (a new kind of barrier, an
//! asynchronous unit), by an op in `op.rs` and its execution in `run`.

use super::site::Site;
use super::{bits, compare, control, convert, copies, float, integer, matrix, memory, moves, warp};
use crate::error::Result;

type Decoder = fn(&mut Site<'_, '_, '_>) -> Result<()>;

fn decoder(word: &str) -> Option<Decoder> {
    Some(match word {
        "add" | "sub" | "mul" | "min" | "max" => float::two_operands,
        "mad" => integer::multiply_add,
        "fma" => float::fused,
        "div" => float::divide,
        "rem" => integer::remainder,
        "neg" | "abs" => float::one_operand,
        "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => float::function,
        "copysign" => float::copy_sign,
        "and" | "or" | "xor" => bits::logic,
        "not" | "cnot" | "popc" | "clz" | "brev" | "bfind" => bits::bits,
        "shl" | "shr" => bits::shift,
        "shf" => bits::funnel,
        "bfe" | "bfi" => bits::field,
        "prmt" => bits::permute,
        "lop3" => bits::lookup,
        "setp" => compare::to_predicate,
        "set" => compare::to_register,
        "selp" => compare::select,
        "slct" => compare::select_by_sign,
        "testp" => compare::classify,
        "cvt" => convert::convert,
        "mov" => moves::mov,
        "cvta" => moves::convert_address,
        "isspacep" => moves::is_space,
        "ld" | "ldu" => memory::load,
        "st" => memory::store,
        "atom" | "red" => memory::atomic,
        "prefetch" | "prefetchu" | "applypriority" | "discard" => memory::hint,
        "bra" => control::branch,
        "brx" => control::branch_index,
        "call" => control::call,
        "ret" | "exit" | "trap" => control::leave,
        "membar" | "fence" | "nanosleep" | "pmevent" => control::nothing,
        "bar" | "barrier" => control::barrier,
        "shfl" => warp::shuffle,
        "vote" => warp::vote,
        "activemask" => warp::active_mask,
        "elect" => warp::elect,
        "redux" => warp::reduce,
        "match" => warp::matching,
        "cp" => copies::copy,
        "ldmatrix" | "stmatrix" => matrix::move_matrices,
        "movmatrix" => matrix::transpose,
        "mma" => matrix::product,
        _ => return None,
    })
}

/// Decodes the instruction of a site.
pub(crate) fn decode(site: &mut Site<'_, '_, '_>) -> Result<()> {
    let word = site.instruction.mnemonic.split('.').next().unwrap_or("");
    match decoder(word) {
        Some(decoder) => decoder(site),
        None => Err(site.unknown()),
    }
}
