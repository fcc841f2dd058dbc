//! Tables of scores, with the intervals that the JSON has.

use baton_tasks::{Cell, Grid};

/// Columns of a cell.
const WIDTH: usize = 18;

/// One table a score: a row for each task and depth, a column for each length.
pub fn tables(grids: &[Grid]) -> String {
    let mut shown = String::new();
    let mut names: Vec<&str> = Vec::new();
    let mut lengths: Vec<usize> = Vec::new();
    for cell in grids.iter().flat_map(|grid| &grid.cells) {
        let new = cell.scores.iter().map(|score| score.name.as_str());
        let new: Vec<&str> = new.filter(|name| !names.contains(name)).collect();
        names.extend(new);
        if !lengths.contains(&cell.length) {
            lengths.push(cell.length);
        }
    }
    for name in names {
        shown.push_str(&table(name, &lengths, grids));
    }
    let cells = grids
        .iter()
        .flat_map(|grid| grid.cells.iter().map(move |cell| (grid, cell)));
    for (grid, cell) in cells {
        let place = match cell.depth {
            Some(depth) => format!("{} at {depth:.2}, length {}", grid.task, cell.length),
            None => format!("{}, length {}", grid.task, cell.length),
        };
        if let Some(why) = &cell.refused {
            shown.push_str(&format!("{place}: not asked: {why}\n"));
        }
        if cell.not_finite > 0 {
            shown.push_str(&format!(
                "{place}: the logits of {} of {} trials were not finite, which scores nothing\n",
                cell.not_finite, cell.trials
            ));
        }
    }
    shown
}

fn table(name: &str, lengths: &[usize], grids: &[Grid]) -> String {
    let mut shown = format!("{name}, % [95 % interval]\n{:>28}", "length");
    for length in lengths {
        shown.push_str(&format!("{length:>WIDTH$}"));
    }
    shown.push('\n');
    let mut sums = vec![(0.0, 0usize); lengths.len()];
    let score = |cell: &Cell| cell.scores.iter().find(|score| score.name == name).cloned();
    let mut chance = None;
    for grid in grids {
        let mut depths: Vec<Option<f64>> = Vec::new();
        for cell in grid
            .cells
            .iter()
            .filter(|cell| cell.refused.is_some() || score(cell).is_some())
        {
            if !depths.contains(&cell.depth) {
                depths.push(cell.depth);
            }
        }
        for depth in depths {
            let row = match depth {
                Some(depth) => format!("{} at {depth:.2}", grid.task),
                None => grid.task.clone(),
            };
            let mut line = format!("{row:>28}");
            for (length, sum) in lengths.iter().zip(&mut sums) {
                let at = |cell: &&Cell| cell.length == *length && cell.depth == depth;
                let Some(found) = grid.cells.iter().find(at).and_then(score) else {
                    line.push_str(&format!("{:>WIDTH$}", "-"));
                    continue;
                };
                let [mean, low, high] = [found.mean, found.low, found.high].map(|x| 100.0 * x);
                let interval = format!("[{low:.0}, {high:.0}]");
                line.push_str(&format!("{mean:>6.1} {}{interval:>10}", shade(found.mean)));
                *sum = (sum.0 + found.mean, sum.1 + 1);
                chance = chance.or(found.chance);
            }
            shown.push_str(line.trim_end());
            shown.push('\n');
        }
    }
    let row = |name: &str, values: Vec<Option<f64>>| {
        let mut line = format!("{name:>28}");
        for value in values {
            line.push_str(&match value {
                Some(value) => format!("{:>6.1} {}{:10}", 100.0 * value, shade(value), ""),
                None => format!("{:>WIDTH$}", "-"),
            });
        }
        format!("{}\n", line.trim_end())
    };
    if sums.iter().any(|&(_, count)| count > 1) {
        let mean = |&(sum, count): &(f64, usize)| (count > 0).then(|| sum / count as f64);
        shown.push_str(&row("mean", sums.iter().map(mean).collect()));
    }
    if let Some(chance) = chance {
        shown.push_str(&row("guessing", vec![Some(chance)]));
    }
    shown
}

/// How full a cell of the heat map is.
fn shade(share: f64) -> char {
    const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
    SHADES[(share * 4.0).round() as usize]
}
