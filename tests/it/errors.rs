//! How near every member comes to the truth on the CPU: the table of docs/numerics.md, "Errors".
//!
//! Sizes, lengths and numbers are drawn from one seed for each member, so the table is the same on every run of
//! one machine. `ERRORS=write` writes it anew; otherwise what is measured and what is written must be within
//! a factor of two, as vector units round differently.

use baton_ir::builtin;
use baton_ir::recurrence::Port;
use baton_runtime::Options;
use baton_runtime::device::cpu::Cpu;
use baton_tests::harness::{Prepared, param_errors};
use baton_tests::tolerance::Arithmetic;
use baton_tests::{Case, Decay, Extents, Random, relative_error};
use std::path::Path;

/// What the tests of whoever published a member, or serves it, accept at best, as a relative error.
const ACCEPTED: &[(&str, f64, &[&str])] = &[
    (
        "fla",
        2e-3,
        &[
            "linear_attention",
            "linear_attention_norm",
            "retnet",
            "simple_gla",
            "gla",
            "hgrn2",
            "rwkv6",
            "delta_net",
            "gated_delta_net",
            "gated_delta_product",
            "kda",
            "comba",
            "rwkv7",
        ],
    ),
    ("mamba_ssm", 6e-4, &["mamba1"]),
    ("mamba_ssm", 1e-2, &["mamba2"]),
    ("mamba_ssm", 5e-2, &["mamba3"]),
    ("mlstm_kernels", 0.25, &["mlstm", "mlstm_sigmoid"]),
];

/// Cases of each member.
const CASES: usize = 6;

fn case(name: &str, random: &mut Random, decay: Decay) -> Case {
    let mut draw = |from, to| random.between(from, to);
    let groups = draw(1, 2);
    let extents = Extents {
        sizes: vec![draw(2, 40), draw(2, 40)],
        batch: 1,
        time: draw(1, 300),
        heads: groups * draw(1, 2),
        groups,
        cu_seqlens: None,
    };
    Case::builtin(name, extents, decay, random.bits())
}

/// The largest error of outputs, of states and of each gradient by name.
struct Worst {
    outputs: f64,
    states: f64,
    gradients: Vec<(String, f64)>,
}

impl Worst {
    fn of(name: &str, seed: u64, cpu: &Cpu) -> Worst {
        let mut random = Random(seed);
        let mut worst = Worst {
            outputs: 0.0,
            states: 0.0,
            gradients: vec![],
        };
        for number in 0..CASES {
            let decay = [Decay::Weak, Decay::None, Decay::Strong][number % 3];
            let case = case(name, &mut random, decay);
            let found = Prepared::new(&case).run(cpu, &Options::default(), true);
            let (outcome, truth) = case.truth();
            let errors = |found: &[baton_runtime::Tensor], truth: &[Vec<f64>]| -> Vec<f64> {
                let pairs = found.iter().zip(truth);
                pairs
                    .map(|(found, truth)| relative_error(&found.data, truth))
                    .collect()
            };
            let largest = |all: Vec<f64>| all.into_iter().fold(0.0, f64::max);
            let outputs = largest(errors(&found.outputs, &outcome.outputs));
            let states = largest(errors(&found.states, &outcome.states));
            worst.outputs = worst.outputs.max(outputs);
            worst.states = worst.states.max(states);
            let bound = Arithmetic::F32.tolerance().gradients;
            let g = &found.gradients;
            let all = [
                errors(&g.inputs, &truth.inputs),
                param_errors(&case, &g.params, &truth.params, bound),
                errors(&g.states, &truth.states),
            ];
            let r = &case.recurrence;
            let ports: Vec<&Port> = [&r.inputs, &r.params, &r.states]
                .into_iter()
                .flatten()
                .collect();
            worst
                .gradients
                .resize_with(ports.len(), || (String::new(), 0.0));
            let measured = worst.gradients.iter_mut().zip(ports).zip(all.concat());
            for (((name, known), port), error) in measured {
                name.clone_from(&port.name);
                *known = known.max(error);
            }
        }
        worst
    }

    fn largest(&self) -> f64 {
        let gradients = self.gradients.iter().map(|(_, error)| *error);
        gradients.fold(self.outputs.max(self.states), f64::max)
    }

    /// The numbers in the order in which they are written.
    fn numbers(&self) -> Vec<f64> {
        let gradients = self.gradients.iter().map(|(_, error)| *error);
        [self.outputs, self.states]
            .into_iter()
            .chain(gradients)
            .collect()
    }
}

const HEAD: &str =
    "| member | outputs | states | gradients | accepted by peers |\n|---|---|---|---|---|\n";

fn row(name: &str, worst: &Worst) -> String {
    let gradients = worst.gradients.iter();
    let gradients: Vec<String> = gradients
        .map(|(name, error)| format!("{name} {error:.1e}"))
        .collect();
    let accepted = match accepted(name) {
        Some((peer, bound)) => format!("{bound:e} ({peer})"),
        None => "not known".into(),
    };
    format!(
        "| `{name}` | {:.1e} | {:.1e} | {} | {accepted} |\n",
        worst.outputs,
        worst.states,
        gradients.join(", ")
    )
}

fn accepted(name: &str) -> Option<(&'static str, f64)> {
    let mut all = ACCEPTED.iter();
    all.find_map(|&(peer, bound, names)| names.contains(&name).then_some((peer, bound)))
}

/// The numbers of a row that measures: those with an exponent, but for the last cell.
fn written(row: &str) -> Vec<f64> {
    let cells: Vec<&str> = row.split('|').collect();
    let measured = cells[2..5].join(" ").replace(',', " ");
    measured
        .split_whitespace()
        .filter(|word| word.contains('e'))
        .filter_map(|word| word.parse().ok())
        .collect()
}

#[test]
fn the_table_of_errors_is_kept() {
    let cpu = Cpu::new(Some(2)).expect("threads start");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/numerics.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let start = page.find(HEAD).expect("docs/numerics.md has the table") + HEAD.len();
    let end = start + page[start..].find("\n\n").expect("text follows the table") + 1;
    let known: Vec<&str> = page[start..end].lines().collect();
    let measured: Vec<(&str, Worst)> = (0..)
        .zip(builtin::NAMES)
        .map(|(seed, name)| (*name, Worst::of(name, 1000 + seed, &cpu)))
        .collect();
    if std::env::var("ERRORS").is_ok_and(|value| value == "write") {
        let rows: String = measured
            .iter()
            .map(|(name, worst)| row(name, worst))
            .collect();
        let page = format!("{}{rows}{}", &page[..start], &page[end..]);
        std::fs::write(path, page).expect("a writable page");
        return;
    }
    assert_eq!(known.len(), measured.len(), "a row for each member");
    for ((name, worst), line) in measured.iter().zip(known) {
        let row = row(name, worst);
        let (found, said) = (worst.numbers(), written(line));
        assert!(line.starts_with(&format!("| `{name}` |")), "{line}");
        let label = |text: &str| -> String {
            text.chars()
                .filter(|c| !"0123456789.e-".contains(*c))
                .collect()
        };
        assert_eq!(
            label(line),
            label(row.trim_end()),
            "measured\n{row}said\n{line}"
        );
        // What is exact is exact everywhere.
        let same = |(&found, &said): (&f64, &f64)| (said / 2.1..=said * 2.1).contains(&found);
        assert!(
            found.len() == said.len() && found.iter().zip(&said).all(same),
            "measured\n{row}said\n{line}"
        );
        if let Some((peer, bound)) = accepted(name) {
            let largest = worst.largest();
            assert!(
                largest <= bound / 10.0,
                "{name}: {largest:e}, {peer} accepts {bound:e}"
            );
        }
    }
}
