//! Makes a failing case smaller: first by whole states and statements, then by sizes and options,
//! then node by node.
//!
//! A candidate that no longer parses or verifies does not fail the way that the case did, so no edit
//! needs to know the rules. Numbers follow from names, so what is left keeps its numbers.

use super::ast::{Expr, Verb};
use super::{Drawn, Shift};

/// The smallest failing case that at most `attempts` calls of `fails` lead to.
pub fn shrink(mut drawn: Drawn, attempts: usize, mut fails: impl FnMut(&Drawn) -> bool) -> Drawn {
    let mut left = attempts;
    let mut skip = 0;
    loop {
        let all = candidates(&drawn);
        let mut smaller = None;
        for (i, candidate) in all
            .iter()
            .enumerate()
            .skip(skip)
            .chain(all.iter().enumerate().take(skip))
        {
            if left == 0 {
                return drawn;
            }
            left -= 1;
            if fails(candidate) {
                smaller = Some((i, candidate.clone()));
                break;
            }
        }
        match smaller {
            // What was tried before at this place failed to fail; go on behind it.
            Some((i, candidate)) => (skip, drawn) = (i, candidate),
            None => return drawn,
        }
        let count = candidates(&drawn).len();
        skip = skip.min(count);
    }
}

/// Everything that is one step smaller.
fn candidates(drawn: &Drawn) -> Vec<Drawn> {
    let mut all = vec![];
    programs(drawn, &mut all);
    settings(drawn, &mut all);
    nodes(drawn, &mut all);
    for candidate in &mut all {
        candidate.program.tidy();
        let program = candidate.program.clone();
        candidate
            .setting
            .sizes
            .retain(|(dim, _)| program.dims.contains(dim));
        candidate.setting.settle(&program);
    }
    all.retain(|candidate| candidate != drawn);
    all.dedup();
    all
}

fn programs(drawn: &Drawn, all: &mut Vec<Drawn>) {
    for port in &drawn.program.states {
        let program = drawn.program.without_state(&port.name);
        all.push(Drawn {
            program,
            ..drawn.clone()
        });
    }
    for (i, stmt) in drawn.program.body.iter().enumerate() {
        let mut program = drawn.program.clone();
        program.body.remove(i);
        if stmt.verb == Verb::Let {
            // Its value goes where its name stood.
            for user in &mut program.body {
                while let Some(at) =
                    (user.value.nodes().iter()).position(|node| **node == Expr::name(&stmt.name))
                {
                    user.value = user.value.replaced(at, &stmt.value);
                }
            }
        }
        all.push(Drawn {
            program,
            ..drawn.clone()
        });
    }
    for i in 0..drawn.program.inputs.len() {
        let mut program = drawn.program.clone();
        if std::mem::take(&mut program.inputs[i].per_group) {
            all.push(Drawn {
                program,
                ..drawn.clone()
            });
        }
    }
}

fn settings(drawn: &Drawn, all: &mut Vec<Drawn>) {
    let setting = &drawn.setting;
    let mut with = |edit: &dyn Fn(&mut super::Setting)| {
        let mut next = drawn.clone();
        edit(&mut next.setting);
        if next.setting != *setting {
            all.push(next);
        }
    };
    with(&|s| s.cu_seqlens = None);
    for time in smaller(setting.time, 0) {
        with(&|s| {
            s.time = time;
            if let Some(ends) = &mut s.cu_seqlens {
                ends.iter_mut().for_each(|end| *end = (*end).min(time));
                *ends.last_mut().expect("two ends at least") = time;
            }
        });
    }
    if let Some(ends) = &setting.cu_seqlens {
        for i in 1..ends.len() - 1 {
            with(&|s| {
                s.cu_seqlens.as_mut().map(|ends| ends.remove(i));
            });
        }
    }
    with(&|s| s.batch = 1);
    with(&|s| (s.heads, s.groups) = (1, 1));
    if setting.heads > 2 {
        with(&|s| (s.heads, s.groups) = (2, 1));
    }
    if setting.heads > 1 && setting.groups > 1 {
        with(&|s| s.groups = 1);
    }
    for i in 0..setting.sizes.len() {
        for size in smaller(setting.sizes[i].1, 1) {
            with(&|s| s.sizes[i].1 = size);
        }
    }
    with(&|s| s.chunk = None);
    with(&|s| s.keep_bytes = None);
    with(&|s| s.keep = true);
    with(&|s| s.threads = 1);
    with(&|s| s.absent = false);
    with(&|s| s.shift = Shift::None);
    with(&|s| s.wild = false);
    with(&|s| s.beside = 1);
}

/// Smaller numbers, the smallest first.
fn smaller(n: usize, least: usize) -> Vec<usize> {
    let mut all = vec![
        least,
        1,
        16,
        n / 2,
        n.saturating_sub(16),
        n.saturating_sub(1),
    ];
    all.retain(|&m| m < n && m >= least);
    all.sort_unstable();
    all.dedup();
    all
}

fn nodes(drawn: &Drawn, all: &mut Vec<Drawn>) {
    let ports = drawn.program.inputs.iter().chain(&drawn.program.params);
    let names: Vec<Expr> = ports.map(|port| Expr::name(&port.name)).collect();
    for (i, stmt) in drawn.program.body.iter().enumerate() {
        let mut replace = |number: usize, by: &Expr| {
            let mut program = drawn.program.clone();
            program.body[i].value = stmt.value.replaced(number, by);
            all.push(Drawn {
                program,
                ..drawn.clone()
            });
        };
        for (number, node) in stmt.value.nodes().iter().enumerate() {
            let Expr::Apply(_, arguments) = node else {
                continue;
            };
            arguments
                .iter()
                .for_each(|argument| replace(number, argument));
            let simple = arguments.iter().all(|a| !matches!(a, Expr::Apply(..)));
            if !simple || arguments.len() == 1 {
                replace(number, &Expr::Number(1.0));
                names.iter().for_each(|name| replace(number, name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fails for one function and one size is cut down to little more than these.
    #[test]
    fn what_does_not_matter_goes() {
        let guilty = |drawn: &Drawn| {
            let text = drawn.program.to_string();
            let wide = drawn.setting.sizes.iter().any(|(_, size)| *size >= 13);
            drawn
                .parse()
                .is_ok_and(|r| baton_ir::verify::verify(&r).is_ok())
                && text.contains("tanh(")
                && wide
                && drawn.setting.time > 2
        };
        let seeds = (0..400).map(Drawn::new).filter(guilty).take(10);
        let mut count = 0;
        for drawn in seeds {
            let small = shrink(drawn, 2000, guilty);
            let text = small.program.to_string();
            assert!(text.len() <= 320, "{text}");
            assert_eq!(small.setting.time, 3, "{text}");
            let sizes = small.setting.sizes.iter().map(|(_, size)| *size);
            assert_eq!(sizes.max(), Some(13), "{text}");
            count += 1;
        }
        assert_eq!(count, 10);
    }
}
