//! Texts that mostly are no recurrence: well-formed ones after some mutations, and statements made
//! from the grammar without regard to shapes.

use super::Drawn;
use super::ast::{Expr, Stmt, Verb};
use crate::Random;
use baton_ir::text;
use std::sync::LazyLock;

/// The names of functions.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| text::functions().collect());

const MARKS: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    "=",
    "+",
    "-",
    "*",
    "/",
    "let",
    "output",
    "state",
    "dims",
    "inputs",
    "params",
    "per group",
    "recurrence",
    "1e308",
    "1e-400",
    "0",
    "0.0",
    "-1",
    "99999999999999999999",
    "//",
    "\n",
    "\u{e9}",
    "\u{1f600}",
    "\0",
    "_",
    "B",
    "T",
    "H",
    "G",
    "d_x",
    "1e",
    "..",
    "K",
    "S0",
];

/// The text of a seed, with the setting that it would be run in.
pub fn text(seed: u64) -> (String, Drawn) {
    let mut drawn = Drawn::new(seed);
    let mut random = Random::named(seed, "ill-formed");
    if random.chance(0.5) {
        scramble(&mut drawn, &mut random);
        drawn.program.tidy();
        return (drawn.program.to_string(), drawn);
    }
    let mut tokens = tokens(&drawn.program.to_string());
    for _ in 0..1 + random.below(4) {
        mutate(&mut tokens, &mut random);
    }
    let mut text = tokens.concat();
    if random.chance(0.05) {
        let mut cut = random.below(text.len() + 1);
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
    }
    (text, drawn)
}

/// Words, marks and blanks of a text.
fn tokens(text: &str) -> Vec<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut all: Vec<String> = vec![];
    let mut last = false;
    for c in text.chars() {
        match all.last_mut() {
            Some(token) if last && word(c) => token.push(c),
            _ => all.push(c.to_string()),
        }
        last = word(c);
    }
    all
}

fn mutate(tokens: &mut Vec<String>, random: &mut Random) {
    if tokens.is_empty() {
        return;
    }
    let at = random.below(tokens.len());
    let other = random.below(tokens.len());
    match random.below(9) {
        0 => drop(tokens.remove(at)),
        1 => tokens.insert(at, tokens[other].clone()),
        2 => tokens.swap(at, other),
        3 => tokens[at] = random.pick(MARKS).to_string(),
        4 => tokens.insert(at, random.pick(MARKS).to_string()),
        5 => tokens[at] = random.pick::<&str>(&WORDS).to_string(),
        6 => {
            let depth = *random.pick(&[3, 40, 200]);
            tokens.insert(at, "(".repeat(depth));
            let end = (at + 2).min(tokens.len());
            tokens.insert(end, ")".repeat(depth));
        }
        7 => {
            // A name for a name.
            let names: Vec<usize> = (0..tokens.len())
                .filter(|&i| tokens[i].starts_with(|c: char| c.is_ascii_alphabetic()))
                .collect();
            if !names.is_empty() {
                let (to, from) = (*random.pick(&names), *random.pick(&names));
                tokens[to] = tokens[from].clone();
            }
        }
        _ => {
            // A statement again, somewhere.
            let ends: Vec<usize> = (0..tokens.len()).filter(|&i| tokens[i] == ";").collect();
            if ends.len() > 1 {
                let i = random.below(ends.len() - 1);
                let part = tokens[ends[i] + 1..=ends[i + 1]].to_vec();
                let to = ends[random.below(ends.len())] + 1;
                tokens.splice(to..to, part);
            }
        }
    }
}

/// Statements of the grammar over the names of a program, whatever their shapes.
fn scramble(drawn: &mut Drawn, random: &mut Random) {
    let program = &drawn.program;
    let ports = program
        .inputs
        .iter()
        .chain(&program.params)
        .chain(&program.states);
    let mut names: Vec<String> = ports.map(|port| port.name.clone()).collect();
    names.extend(program.dims.clone());
    let lets = program.body.iter().filter(|stmt| stmt.verb == Verb::Let);
    names.extend(lets.map(|stmt| stmt.name.clone()));
    let body = &mut drawn.program.body;
    match random.below(3) {
        // One node of one statement becomes something else.
        0 | 1 => {
            for _ in 0..1 + random.below(2) {
                let i = random.below(body.len());
                let count = body[i].value.nodes().len();
                let by = match random.chance(0.3) {
                    true => {
                        let j = random.below(body.len());
                        let nodes = body[j].value.nodes();
                        (*random.pick(&nodes)).clone()
                    }
                    false => expression(&names, random, 2),
                };
                body[i].value = body[i].value.replaced(random.below(count), &by);
            }
        }
        _ => {
            let states: Vec<String> = program_states(&names);
            for _ in 0..1 + random.below(2) {
                let at = random.below(body.len() + 1);
                let value = expression(&names, random, 3);
                let stmt = match states.is_empty() || random.chance(0.5) {
                    true => Stmt {
                        verb: Verb::Output(match random.below(3) {
                            0 => vec![],
                            _ => vec!["K".into()],
                        }),
                        name: format!("z{at}"),
                        value,
                    },
                    false => {
                        let name = random.pick(&states).clone();
                        let decay = Expr::two("*", Expr::Number(0.5), Expr::name(&name));
                        let value = match random.chance(0.7) {
                            true => Expr::two("+", decay, value),
                            false => value,
                        };
                        Stmt {
                            verb: Verb::Update,
                            name,
                            value,
                        }
                    }
                };
                body.insert(at, stmt);
            }
        }
    }
}

fn program_states(names: &[String]) -> Vec<String> {
    let states = names.iter().filter(|name| name.starts_with('S'));
    states.cloned().collect()
}

fn expression(names: &[String], random: &mut Random, depth: u32) -> Expr {
    if depth == 0 || random.chance(0.2) {
        return match random.chance(0.15) {
            true => Expr::Number(*random.pick(&[0.0, 1.0, -1.0, 0.5, 1e30, -3.25])),
            false => Expr::name(random.pick::<String>(names)),
        };
    }
    let mut next = || expression(names, random, depth - 1);
    let (a, b) = (next(), next());
    match random.below(3) {
        0 => Expr::one(random.pick::<&str>(&WORDS), a),
        1 => Expr::two(random.pick::<&str>(&["+", "-", "*", "/"]), a, b),
        _ => match random.below(6) {
            0 => Expr::two("outer", a, b),
            1 => Expr::two("dot", a, b),
            2 => Expr::two(random.pick::<&str>(&WORDS), a, b),
            3 => Expr::one("neg", a),
            4 => Expr::two("*", Expr::one("rows", a), b),
            _ => Expr::one("sum", Expr::two("+", a, b)),
        },
    }
}
