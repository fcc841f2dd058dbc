//! The words that levels 2 and 3 share: functions, intervals and partials.

use super::cursor::Cursor;
use crate::chunked::{Direction, Interval, Partial};
use crate::recurrence::{BinaryFn, UnaryFn};
use crate::running::{Bound, Scan};

/// Words and what they stand for.
pub(super) type Words<T> = &'static [(&'static str, T)];

pub(super) const DIRECTIONS: Words<Direction> = &[
    ("forward", Direction::Forward),
    ("reverse", Direction::Reverse),
];

pub(super) const INTERVALS: Words<Interval> = &[
    ("between", Interval::Between),
    ("start", Interval::Start),
    ("end", Interval::End),
    ("total", Interval::Total),
];

pub(super) const PARTIALS: Words<Partial> = &[
    ("weights", Partial::Weights),
    ("query", Partial::Query),
    ("key", Partial::Key),
    ("log_decay", Partial::LogDecay),
];

/// What bounds an angle.
const TURNS: &str = "turns";

const EXTREMES: Words<BinaryFn> = &[("max", BinaryFn::Max), ("min", BinaryFn::Min)];

/// The word of `value` in a table.
pub(super) fn word<T: PartialEq>(table: &[(&'static str, T)], value: T) -> &'static str {
    let found = table.iter().find(|(_, other)| *other == value);
    found.map_or("", |(word, _)| word)
}

pub(super) fn unary_word(function: UnaryFn) -> &'static str {
    match function {
        UnaryFn::Neg => "neg",
        other => other.name(),
    }
}

pub(super) fn unary(word: &str) -> Option<UnaryFn> {
    let mut all = UnaryFn::ALL.iter().copied();
    all.find(|function| unary_word(*function) == word)
}

pub(super) fn binary_word(function: BinaryFn) -> &'static str {
    match function {
        BinaryFn::Add => "add",
        BinaryFn::Sub => "sub",
        BinaryFn::Mul => "mul",
        BinaryFn::Div => "div",
        BinaryFn::Min | BinaryFn::Max => function.name(),
    }
}

pub(super) fn binary(word: &str) -> Option<BinaryFn> {
    let mut all = BinaryFn::ALL.iter().copied();
    all.find(|function| binary_word(*function) == word)
}

/// `strict ` or nothing.
pub(super) fn strictly(strict: bool) -> &'static str {
    if strict { "strict " } else { "" }
}

/// The operands of `Trilinear`: `%1, %2, decay %3`.
pub(super) fn operands(cursor: &mut Cursor) -> Option<(Vec<u32>, u32)> {
    let mut operands = vec![cursor.value()?];
    loop {
        cursor.expect(',')?;
        if cursor.keyword("decay") {
            return Some((operands, cursor.value()?));
        }
        operands.push(cursor.value()?);
    }
}

/// The shortest text that parses back to the same bits.
pub(super) fn number(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => format!("{value}"),
        false => format!("{value:?}"),
    }
}

/// `decay end %3`: an op over an interval, of value `operand`.
pub(super) fn over(op: &str, interval: Interval, strict: bool, operand: u32) -> String {
    let interval = word(INTERVALS, interval);
    format!("{op} {interval} {}%{operand}", strictly(strict))
}

/// `trilinear weights %1, %2, decay %3`
pub(super) fn trilinear(
    partial: Partial,
    strict: bool,
    operands: impl Iterator<Item = u32>,
    l: u32,
) -> String {
    let operands: String = operands.map(|v| format!("%{v}, ")).collect();
    let partial = word(PARTIALS, partial);
    format!(
        "trilinear {partial} {}{operands}decay %{l}",
        strictly(strict)
    )
}

/// `solve transposed %1, %2`
pub(super) fn solve(transposed: bool, l: u32, r: u32) -> String {
    let transposed = if transposed { "transposed " } else { "" };
    format!("solve {transposed}%{l}, %{r}")
}

/// `running max first %1, %2, %3`, `running turns %1, %2`
pub(super) fn running(scan: Scan<u32>) -> String {
    let bound = match scan.bound {
        Bound::Extreme {
            function, first, ..
        } => {
            let first = if first { " first" } else { "" };
            format!("{}{first}", word(EXTREMES, function))
        }
        Bound::Turns => TURNS.into(),
    };
    let operands = scan.operands();
    let operands: Vec<String> = operands.iter().map(|v| format!("%{v}")).collect();
    format!("running {bound} {}", operands.join(", "))
}

/// What follows `running`.
pub(super) fn scan(cursor: &mut Cursor) -> Option<Scan<u32>> {
    let second = |cursor: &mut Cursor| {
        cursor.expect(',')?;
        cursor.value()
    };
    if cursor.keyword(TURNS) {
        return Some(Scan {
            bound: Bound::Turns,
            shift: cursor.value()?,
            entering: second(cursor)?,
        });
    }
    let (function, first) = (cursor.choice(EXTREMES)?, cursor.keyword("first"));
    let shift = cursor.value()?;
    let floor = second(cursor)?;
    Some(Scan {
        bound: Bound::Extreme {
            function,
            first,
            floor,
        },
        shift,
        entering: second(cursor)?,
    })
}

/// `delay reverse %1, %2`, `edge %1`
pub(super) fn along(op: &str, reverse: bool, operands: &[u32]) -> String {
    let reverse = if reverse { "reverse " } else { "" };
    let operands: Vec<String> = operands.iter().map(|v| format!("%{v}")).collect();
    format!("{op} {reverse}{}", operands.join(", "))
}
