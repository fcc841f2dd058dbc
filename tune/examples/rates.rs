//! The cost model's rates, fitted to what tuning measured: `cargo run --release -p baton-tune --example rates`.
//!
//! Reads `benches/results/tuning.json` (or the file that is given), counts the work of every candidate that was timed
//! and looks for the rates whose logarithms of times are nearest to the measured ones within each shape, over all of them.
//! It prints them beside those in use, and for both the median over shapes of the rank correlation within a shape,
//! which is what the tuner needs. To see whether a fit carries over, it is also made without each recurrence in turn and
//! judged on that one.

use baton_codegen::schedule::cost::RunShape;
use baton_codegen::schedule::time::{Rates, Work};
use baton_ir::builtin;
use baton_ir::text;
use baton_ir::verify::verify;
use baton_tune::field::rank_correlation;
use baton_tune::{Entry, Subject};
use std::collections::BTreeMap;

/// What was timed at one shape: work, threads, milliseconds.
struct Shape {
    recurrence: String,
    timed: Vec<(Work, usize, f64)>,
}

/// The rates as a row of numbers.
fn row(rates: &Rates) -> [f64; 6] {
    let Rates {
        products,
        pointwise,
        functions,
        bytes,
        nodes,
        tasks,
    } = *rates;
    [products, pointwise, functions, bytes, nodes, tasks]
}

fn rates([products, pointwise, functions, bytes, nodes, tasks]: [f64; 6]) -> Rates {
    Rates {
        products,
        pointwise,
        functions,
        bytes,
        nodes,
        tasks,
    }
}

fn main() {
    let path = std::env::args().nth(1);
    let path = path.unwrap_or("benches/results/tuning.json".into());
    let file = std::fs::read_to_string(&path).expect("a file of results");
    let shelf: BTreeMap<String, Vec<Entry>> =
        serde_json::from_str(&file).expect("a list of entries");
    let shapes: Vec<Shape> = shelf["entries"].iter().map(shape).collect();
    let all: Vec<&Shape> = shapes.iter().collect();
    let fitted = fit(&all);
    println!("{:>12}{:>14}{:>14}", "", "in use", "fitted");
    let names = [
        "products",
        "pointwise",
        "functions",
        "bytes",
        "nodes",
        "tasks",
    ];
    for ((name, used), fitted) in names.iter().zip(row(&Rates::CORE)).zip(row(&fitted)) {
        println!("{name:>12}{used:>14.2e}{fitted:>14.2e}");
    }
    let report = |what: &str, of: &dyn Fn(&Shape) -> Rates| {
        let mut found: Vec<f64> = (shapes.iter())
            .filter_map(|shape| correlation(shape, &of(shape)))
            .collect();
        found.sort_by(f64::total_cmp);
        let at = |share: f64| found[(share * (found.len() - 1) as f64) as usize];
        println!(
            "rank correlation, {what}: median {:.2}, a tenth below {:.2}, {} shapes",
            at(0.5),
            at(0.1),
            found.len()
        );
    };
    report("in use", &|_| Rates::CORE);
    report("fitted", &|_| fitted);
    let mut without: BTreeMap<&str, Rates> = BTreeMap::new();
    for shape in &shapes {
        without.entry(&shape.recurrence).or_insert_with(|| {
            let others = shapes
                .iter()
                .filter(|other| other.recurrence != shape.recurrence);
            fit(&others.collect::<Vec<_>>())
        });
    }
    report("fitted without the recurrence", &|shape| {
        without[shape.recurrence.as_str()]
    });
}

fn shape(entry: &Entry) -> Shape {
    let name = &entry.key.recurrence;
    let source = builtin::text(name).expect("a built-in recurrence");
    let recurrence = text::parse(source).expect("it reads");
    let facts = verify(&recurrence).expect("it verifies");
    let [batch, time, heads, groups] = entry.run;
    let run = RunShape {
        batch,
        time,
        heads,
        groups,
        entering: true,
    };
    let sizes = recurrence.dims.iter();
    let sizes = sizes.map(|dim| entry.key.sizes[dim]).collect();
    let subject = Subject::new(recurrence, facts, sizes, run, entry.threads).expect("it compiles");
    let (compiler, load) = (&subject.compiler, subject.load());
    let timed = entry.tried.iter().filter_map(|tried| {
        let plan = compiler.chosen(&tried.choice.into(), load, None)?;
        let work = compiler.work(&plan, load, entry.threads);
        Some((work, entry.threads, tried.measured?.median))
    });
    Shape {
        recurrence: name.clone(),
        timed: timed.collect(),
    }
}

fn correlation(shape: &Shape, rates: &Rates) -> Option<f64> {
    let pairs = shape.timed.iter();
    let pairs: Vec<_> = pairs
        .map(|(work, threads, ms)| (work.seconds(rates, *threads), *ms))
        .collect();
    rank_correlation(&pairs)
}

/// What the logarithms of a shape's times are off by.
fn off(shape: &Shape, rates: &Rates) -> Vec<f64> {
    let each = shape.timed.iter();
    each.map(|(work, threads, ms)| (1e3 * work.seconds(rates, *threads) / ms).ln())
        .collect()
}

/// The sum of squares of what they are off by *within* a shape: how fast the machine was at one shape says nothing
/// of which plan is faster there.
fn spread(shapes: &[&Shape], rates: &Rates) -> f64 {
    let each = shapes.iter().map(|shape| {
        let off = off(shape, rates);
        let mean = off.iter().sum::<f64>() / off.len().max(1) as f64;
        off.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
    });
    each.sum()
}

/// Each rate in turn by smaller and smaller factors, until none helps.
fn fit(shapes: &[&Shape]) -> Rates {
    let mut found = row(&Rates::CORE);
    let mut best = spread(shapes, &rates(found));
    let mut factor = 2.0;
    while factor > 1.01 {
        let before = best;
        for i in 0..found.len() {
            for step in [factor, 1.0 / factor] {
                let mut tried = found;
                tried[i] *= step;
                let now = spread(shapes, &rates(tried));
                if now < best {
                    (found, best) = (tried, now);
                }
            }
        }
        if best >= before {
            factor = f64::sqrt(factor);
        }
    }
    // What is left open, one factor of all rates, makes times right in the mean.
    let all: Vec<f64> = (shapes.iter())
        .flat_map(|shape| off(shape, &rates(found)))
        .collect();
    let scale = (-all.iter().sum::<f64>() / all.len().max(1) as f64).exp();
    rates(found.map(|rate| rate * scale))
}
