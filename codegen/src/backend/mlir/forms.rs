//! In which forms ops read their operands and leave their results, and what a form takes.
//!
//! The one table of layout: `place` inserts the conversions between what is left and what is read,
//! `order` counts the registers that this costs, emission follows. A new op or form joins here.

use super::layout::{Form, Grid, Side};
use super::levels::Trilinear;
use super::{Error, Gpu};
use baton_ir::chunked::Interval;
use baton_ir::tile::{Along, Effect, Node, Op, PortId, Reduce, TileId, TileProgram};

/// A tile in a form.
pub type Key = (TileId, Form);

/// Parts of a sum that a reduction leaves for its readers to add.
pub fn parts(program: &TileProgram, options: &Gpu, tile: TileId) -> u32 {
    let (shape, reduce) = match &program.node(tile).op {
        Op::Map { shape, reduce, .. } => (shape, *reduce),
        Op::Spread(Interval::Between, _, x) => (&program.node(*x).shape, Reduce::First),
        _ => return 1,
    };
    let grid = grid(shape, options);
    match (reduce, shape.len()) {
        (Reduce::None, _) => 1,
        (_, 1) => grid.row_warps,
        (Reduce::First, _) => grid.row_warps,
        (Reduce::Second, _) => grid.column_warps,
        (Reduce::All, _) => grid.owners(),
    }
}

/// The grid of a matrix, or of a vector along the rows.
pub fn grid(shape: &[u32], options: &Gpu) -> Grid {
    match *shape {
        [rows, columns] => Grid::new([rows, columns], options.warps()),
        [rows] if rows > 1 => Grid::new([rows, 8], options.warps()),
        _ => Grid::new([16, 8], options.warps()),
    }
}

/// The forms in which an op reads its operands.
pub fn wants(program: &TileProgram, options: &Gpu, tile: TileId) -> Result<Vec<Key>, Error> {
    let node = program.node(tile);
    let shape = |id: TileId| program.node(id).shape.as_slice();
    let refuse = |what: &str| Err(Error::Unsupported(format!("`{}`: {what}", program.name)));
    Ok(match &node.op {
        Op::Load(..) | Op::Carry(_) => vec![],
        Op::Map {
            shape, operands, ..
        } => {
            let columns = grid(shape, options).cols();
            let form = |along: Along| match along {
                Along::None => Form::Scalar,
                Along::First => Form::Rows,
                Along::Second => columns,
                Along::Both => Form::Fragment,
            };
            let mut all: Vec<(TileId, Form)> = Vec::new();
            for &(id, along) in operands {
                if !all.contains(&(id, form(along))) {
                    all.push((id, form(along)));
                }
            }
            all
        }
        Op::Matmul { a, ta, b, add, .. } => {
            let mut all = vec![
                (*a, operand_a(program, options, tile, *a, *ta)),
                (*b, Form::Operand),
            ];
            all.extend(add.map(|add| (add, Form::Fragment)));
            all
        }
        Op::Decay(interval, strict, l) if shape(*l).len() == 1 => {
            let sums = match interval {
                Interval::Between | Interval::Start if *strict => Form::StrictSums,
                _ => Form::Sums,
            };
            vec![(*l, sums)]
        }
        Op::Spread(interval, strict, x) if node.shape.len() == 1 => match interval {
            Interval::Between => {
                let shared = grid(&program.node(*x).shape, options).column_warps > 1;
                let totals = shared.then_some((*x, Form::RowTotals));
                [(*x, Form::Fragment)].into_iter().chain(totals).collect()
            }
            Interval::Start if *strict => vec![(*x, Form::Sums)],
            Interval::Start => vec![(*x, Form::Sums), (*x, Form::Rows)],
            Interval::End => vec![(*x, Form::StrictSums)],
            Interval::Total => vec![(*x, Form::Scalar)],
        },
        Op::HeadSum(x) => vec![(*x, gives(program, options, tile)?)],
        Op::Decay(Interval::Total, _, l) => vec![(*l, Form::ColumnSums)],
        Op::Spread(Interval::Total, _, x) => vec![(*x, grid(&node.shape, options).cols())],
        Op::Decay(Interval::Between, ..) | Op::Spread(Interval::Between, ..) => {
            return refuse(
                "a decay between steps for each channel is no tile, expected a trilinear form",
            );
        }
        Op::Decay(_, _, x) | Op::Spread(_, _, x) => {
            let mut all = vec![(*x, Form::Fragment)];
            all.extend((program.chunk > 16).then_some((*x, Form::ColumnSums)));
            all
        }
        Op::Solve { l, r, .. } => vec![(*l, Form::Exact), (*r, Form::Exact)],
        Op::Running(scan) => {
            let (steps, row) = match node.shape.len() {
                1 => (Form::Vector, Form::Scalar),
                _ => (Form::Exact, Form::Vector),
            };
            let floor = scan.bound.floor().map(|floor| (floor, steps));
            let all = [(scan.shift, steps)].into_iter().chain(floor);
            all.chain([(scan.entering, row)]).collect()
        }
        Op::Delay { x, border, .. } => match node.shape.len() {
            1 => vec![(*x, Form::Vector), (*border, Form::Scalar)],
            _ => vec![
                (*x, Form::Exact),
                (*border, grid(&node.shape, options).cols()),
            ],
        },
        Op::Edge { x, .. } => match shape(*x).len() {
            1 => vec![(*x, Form::Vector)],
            _ => vec![(*x, Form::Exact)],
        },
        Op::Trilinear(..) => {
            let levels = |t: Trilinear| {
                let left = |level| t.leaves(tile, level);
                t.levels(program.chunk).filter_map(left).collect()
            };
            match Trilinear::of(program, tile) {
                Some(trilinear) => levels(trilinear),
                None => node
                    .op
                    .operands()
                    .into_iter()
                    .map(|id| (id, Form::Exact))
                    .collect(),
            }
        }
    })
}

/// Terms of a tile as an operand of products; 0 means tf32. In 16 bits what a solve leaves has two: a state that
/// forgets nothing keeps every rounding of what is added to it, and at the next read it is a difference. So have
/// the weights between steps by which it is seen: what they sum cancels.
pub fn terms(program: &TileProgram, options: &Gpu, tile: TileId) -> u32 {
    match options.terms() {
        1 if is_solved(program, tile, 4) || weighs_solved(program, tile) => 2,
        terms => terms,
    }
}

/// Whether a tile is weights between steps of what a solve leaves.
fn weighs_solved(program: &TileProgram, tile: TileId) -> bool {
    let of = |node: &Node| match node.op {
        Op::Matmul { a, b, .. } if a == tile => is_solved(program, b, 4),
        Op::Matmul { a, b, .. } if b == tile => is_solved(program, a, 4),
        _ => false,
    };
    program.node(tile).shape == [program.chunk; 2] && program.nodes.iter().any(of)
}

/// Whether a tile is what a solve leaves, or that with something added or a factor, in a few steps.
fn is_solved(program: &TileProgram, tile: TileId, steps: u32) -> bool {
    let before = |id: &TileId| steps > 0 && is_solved(program, *id, steps - 1);
    match &program.node(tile).op {
        Op::Solve { .. } => true,
        Op::Matmul { add, .. } => add.iter().any(before),
        Op::Map {
            operands,
            reduce: Reduce::None,
            ..
        } => { operands.iter() }.any(|(id, along)| *along == Along::Both && before(id)),
        _ => false,
    }
}

/// Bytes of an operand's element in shared memory.
fn operand_bytes(terms: u32) -> u32 {
    if terms == 0 { 4 } else { 2 * terms }
}

/// How the left operand of a product is read: from registers where each warp holds whole rows.
pub fn operand_a(
    program: &TileProgram,
    options: &Gpu,
    product: TileId,
    a: TileId,
    transposed: bool,
) -> Form {
    let node = program.node(a);
    let (from, to) = (
        grid(&node.shape, options),
        grid(&program.node(product).shape, options),
    );
    let held = from.column_warps == 1 && from.row_warps == to.row_warps;
    if !transposed && held && options.terms() > 0 && !matches!(node.op, Op::Load(..)) {
        Form::Fragment
    } else {
        Form::Operand
    }
}

/// The form in registers that a tile of its rank has where nothing else is said.
pub fn plain(program: &TileProgram, tile: TileId) -> Form {
    match program.node(tile).shape.len() {
        0 => Form::Scalar,
        1 => Form::Rows,
        _ => Form::Fragment,
    }
}

/// The form in which an op leaves its result.
pub fn gives(program: &TileProgram, options: &Gpu, tile: TileId) -> Result<Form, Error> {
    let node = program.node(tile);
    let plain = plain(program, tile);
    Ok(match &node.op {
        Op::Map { shape, reduce, .. } => {
            let grid = grid(shape, options);
            match reduce {
                Reduce::None => plain,
                Reduce::All if shape.iter().product::<u32>() == 1 => Form::Scalar,
                _ if parts(program, options, tile) > 1 => Form::Partial,
                Reduce::All => Form::Scalar,
                Reduce::Second => Form::Rows,
                Reduce::First => grid.cols(),
            }
        }
        Op::Spread(Interval::Between, _, x) => match parts(program, options, tile) {
            1 => grid(&program.node(*x).shape, options).cols(),
            _ => Form::Partial,
        },
        Op::Decay(Interval::Total, _, l) if program.node(*l).shape.len() == 2 => Form::Vector,
        Op::Solve { .. } => Form::Exact,
        Op::Trilinear(..) if Trilinear::of(program, tile).is_none() => Form::Exact,
        Op::Running(_) => match plain {
            Form::Rows => Form::Vector,
            _ => Form::Exact,
        },
        _ => plain,
    })
}

/// The form that an effect reads.
pub fn leaves(program: &TileProgram, options: &Gpu, effect: &Effect) -> Form {
    let sums = |port: PortId| {
        // Parts that are added up outside.
        options.dtype(program.ports[port.index()].held) != options.storage
    };
    match (effect, program.node(effect.tile()).shape.len()) {
        (_, 0) => Form::Scalar,
        (_, 1) => Form::Rows,
        (Effect::Store(port, _), _) if !sums(*port) => Form::Outgoing,
        _ => Form::Fragment,
    }
}

/// Bytes of shared memory that a form takes, the ring aside.
pub fn bytes(program: &TileProgram, options: &Gpu, (tile, form): Key) -> u32 {
    let shape = &program.node(tile).shape;
    let entries: u32 = shape.iter().product();
    match form {
        Form::ColumnSums | Form::Level(_, _, Side::Totals) => entries / 16 * 4,
        Form::Operand => entries * operand_bytes(terms(program, options, tile)),
        Form::Level(..) => entries * operand_bytes(options.terms()),
        Form::Outgoing => entries * options.storage.bytes(),
        Form::Vector | Form::Exact => entries * 4,
        Form::Partial => entries * 4 * parts(program, options, tile),
        Form::Sums | Form::StrictSums => entries * 16 + entries / 4,
        Form::RowTotals => shape[0] * 4 * grid(shape, options).column_warps,
        Form::Scalar | Form::Rows | Form::Cols(_) | Form::Fragment | Form::Staged => 0,
    }
}

/// Registers of a thread that a form takes.
pub fn registers(program: &TileProgram, options: &Gpu, (tile, form): Key) -> u32 {
    let shape = &program.node(tile).shape;
    let grid = grid(shape, options);
    match form {
        Form::Scalar => 1,
        Form::Rows => 2 * grid.row_pieces,
        Form::Cols([_, warps]) => shape[0] / 4 / warps,
        Form::Fragment => 4 * grid.row_pieces * grid.column_pieces,
        Form::Sums | Form::StrictSums => 12 * grid.row_pieces,
        _ => 0,
    }
}
