//! Remedies that several rules give: a reset by a flag, a contraction on the other side of its matrix.

use crate::recurrence::{Expr, ExprId, Recurrence, Shape, UnaryFn};
use crate::text;

/// How a state is begun anew where a flag is set.
pub const RESET: &str = "a state is begun anew by packed sequences (`cu_seqlens`), or by a factor that leaves next to \
                         nothing of it, `select(r > 0.5, 1e-30, 1)`";

/// What to say of a `dot` of a vector and a matrix that leaves a dimension where the one that it contracts is wanted;
/// `shape` gives that of an operand.
pub fn other_side(
    recurrence: &Recurrence,
    shape: impl Fn(ExprId) -> Option<Shape>,
    mut id: ExprId,
    wanted: &Shape,
) -> Option<String> {
    let is_number = |id: ExprId| shape(id).is_some_and(|shape| shape.is_empty());
    loop {
        id = match *recurrence.expr(id) {
            Expr::Unary(UnaryFn::Neg, inner) => inner,
            Expr::Binary(_, a, b) if is_number(b) => a,
            Expr::Binary(_, a, b) if is_number(a) => b,
            _ => break,
        };
    }
    let Expr::Dot(a, b) = *recurrence.expr(id) else {
        return None;
    };
    let (s, t) = (shape(a)?, shape(b)?);
    let (vector, over, matrix) = match (s.len(), t.len()) {
        (1, 2) => (a, s, t),
        (2, 1) => (b, t, s),
        _ => return None,
    };
    let left = shape(id)?;
    let fits = *wanted == over && left != over && matrix.contains(&over[0]);
    fits.then(|| {
        let [over, left] = [&over, &left].map(|shape| text::shape(recurrence, shape));
        format!(
            "`{}` contracts {over}, which both have, and leaves {left}: a vector {left} in place of `{}` leaves {over}",
            text::expression(recurrence, id),
            text::expression(recurrence, vector),
        )
    })
}
