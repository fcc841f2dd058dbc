//! That poison catches what reads padding: planted breaches, each of which must show as NaN.

use super::super::Checks;
use super::super::micro::{Form, Kernels};
use super::{Draft, check_on};
use baton_ir::chunked::{Direction, Partial};
use baton_ir::tile::{Along, Op, Reduce, Scalar, TileId};
use std::panic::catch_unwind;

/// What the check says of `draft`; `None` when it is content.
fn found(draft: &Draft, kernels: &Kernels, checks: Checks) -> Option<String> {
    let result = catch_unwind(|| check_on(draft, (3, 1), 1e-5, 0.5, kernels, checks));
    result
        .err()
        .map(|payload| *payload.downcast().expect("a message"))
}

fn sum(draft: &mut Draft, x: TileId) {
    let shape = draft.shape(x);
    let op = Op::Map {
        shape: shape.iter().map(|&d| d as u32).collect(),
        operands: vec![(x, Along::Both)],
        body: vec![Scalar::Operand(0)],
        reduce: Reduce::Second,
    };
    let out = draft.node(op, &shape[..1]);
    draft.keep(out);
}

/// A sum over padding where a wider tile has left plausible numbers: wrong without poison, and NaN
/// with it.
#[test]
fn a_sum_over_padding() {
    for cols in [1usize, 13, 14, 15, 29] {
        let mut draft = Draft::new(3, Direction::Forward);
        for cols in [cols.next_multiple_of(16), cols] {
            let x = draft.tile(&[3, cols], 0.5, 1.0);
            let doubled = Op::Map {
                shape: vec![3, cols as u32],
                operands: vec![(x, Along::Both)],
                body: vec![Scalar::Operand(0)],
                reduce: Reduce::None,
            };
            let doubled = draft.node(doubled, &[3, cols]);
            sum(&mut draft, doubled);
        }
        for kernels in Kernels::available() {
            let with = |poison, breach| found(&draft, kernels, Checks { poison, breach });
            assert_eq!(with(true, false), None);
            let wrong = with(false, true).expect("it is wrong");
            assert!(!wrong.contains("error NaN"), "{wrong}");
            let caught = with(true, true).expect("it is wrong");
            assert!(caught.contains("error NaN"), "{caught}");
        }
    }
}

/// A micro-kernel that takes padding for channels.
#[test]
fn a_form_over_padding() {
    /// Weights over all that a row has room for.
    unsafe extern "C" fn weights(form: *const Form) {
        // SAFETY: rows are padded to 16 numbers, and so is the workspace.
        unsafe {
            let mut wide = *form;
            wide.channels = wide.channels.next_multiple_of(16);
            (Kernels::best().weights)(&wide);
        }
    }
    let mut draft = Draft::new(3, Direction::Forward);
    let [q, k, l] = [0.5, 0.5, -0.1].map(|low| draft.tile(&[3, 13], low, low + 0.1));
    let op = Op::Trilinear(Partial::Weights, false, vec![q, k], l);
    let out = draft.node(op, &[3, 3]);
    draft.keep(out);
    let planted = Kernels {
        weights,
        ..*Kernels::best()
    };
    assert_eq!(found(&draft, Kernels::best(), Checks::new()), None);
    let caught = found(&draft, &planted, Checks::new()).expect("it is wrong");
    assert!(caught.contains("error NaN"), "{caught}");
}
