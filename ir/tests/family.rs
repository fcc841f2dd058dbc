//! Members of the family against their authors' own code (`tests/golden`): outputs, leaving states
//! and every gradient of the level-1 interpreter, relative error at most 1e-11.

use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{forward, gradient};
use baton_ir::pointwise::unary;
use baton_ir::recurrence::UnaryFn;
use baton_ir::{builtin, text, verify};
use safetensors::{Dtype, SafeTensors};
use std::f64::consts::PI;

const BOUND: f64 = 1e-11;

/// A member, and where its numbers stand in the file.
struct Member {
    /// The name in the file, and that of the recurrence.
    case: &'static str,
    recurrence: &'static str,
    sizes: &'static [usize],
    heads: usize,
    groups: usize,
    /// Names in the file of inputs and params, in order.
    inputs: &'static [&'static str],
    params: &'static [&'static str],
    /// Of states: that of the entering one, and what ends the names of leaving ones.
    states: &'static [(&'static str, &'static str)],
}

const CHANNELS: Member = Member {
    case: "",
    recurrence: "",
    sizes: &[],
    heads: 12,
    groups: 12,
    inputs: &[],
    params: &[],
    states: &[("h0", "")],
};

/// What a port of this name takes of a stored tensor, where it takes it: `.x` and `.y` are the first and second
/// of each pair (of entries, for matrices of rows of eight), and there are four pairs, of which two are turned.
fn part(name: &str, stored: Vec<f64>) -> Vec<Option<f64>> {
    let half = |second: usize| {
        let row = if name.starts_with('S') { 8 } else { 1 };
        let rows = stored.chunks_exact(row).skip(second).step_by(2);
        rows.flatten().copied().map(Some).collect()
    };
    match name {
        "angles" | "theta0" => {
            let turned = stored.chunks_exact(2);
            let pairs = turned.map(|two| [Some(two[0]), Some(two[1]), None, None]);
            pairs.flatten().collect()
        }
        name if name.ends_with(".x") => half(0),
        name if name.ends_with(".y") => half(1),
        _ => stored.into_iter().map(Some).collect(),
    }
}

/// The name of the stored tensor that a port takes part of.
fn whole(name: &str) -> &str {
    let base = name.strip_suffix(".x").or(name.strip_suffix(".y"));
    base.unwrap_or(name)
}

/// A stored tensor's numbers.
fn get(file: &SafeTensors, name: &str) -> Vec<f64> {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let numbers = view.data().chunks_exact(8);
    let numbers = numbers.map(|bytes| bytes.try_into().unwrap());
    match view.dtype() {
        Dtype::I64 => numbers.map(|n| i64::from_le_bytes(n) as f64).collect(),
        _ => numbers.map(f64::from_le_bytes).collect(),
    }
}

fn near(what: &str, given: &[f64], wanted: &[Option<f64>]) {
    assert_eq!(given.len(), wanted.len(), "{what}");
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut wanted.iter().copied().flatten());
    let pairs = given.iter().zip(wanted);
    let error = norm(&mut pairs.filter_map(|(a, b)| Some(a - (*b)?)));
    assert!(
        error <= BOUND * size,
        "{what}: error {error:e} beside {size:e}"
    );
}

/// `given` and `slope` turn what is stored into what the text takes, and back its gradient; both
/// have the name and the stored numbers.
fn agrees(
    member: &Member,
    given: impl Fn(&str, Vec<f64>) -> Vec<f64>,
    slope: impl Fn(&str, &[f64]) -> f64,
) {
    let bytes = std::fs::read("../tests/golden/family_golden.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let name = |part: &str| format!("{}.{part}", member.case);
    let taken = |kind: &str, own: &str| {
        let stored = get(&file, &name(&format!("{kind}{}", whole(own))));
        part(own, stored)
    };
    let source = builtin::text(member.recurrence).unwrap();
    let recurrence = text::parse(source).unwrap();
    assert_eq!(recurrence.name, member.recurrence);
    verify::verify(&recurrence).expect("it verifies");
    let stored = |names: &[&str]| -> Vec<Vec<f64>> {
        let one = |n: &&str| {
            let values = taken("in.", n).into_iter().map(Option::unwrap_or_default);
            given(n, values.collect())
        };
        names.iter().map(one).collect()
    };
    let (inputs, params) = (stored(member.inputs), stored(member.params));
    let entering: Vec<&str> = member.states.iter().map(|(enter, _)| *enter).collect();
    let states = stored(&entering);
    let problem = Problem {
        recurrence: &recurrence,
        sizes: member.sizes.to_vec(),
        batch: 2,
        time: 40,
        heads: member.heads,
        groups: member.groups,
        cu_seqlens: None,
        inputs: inputs.iter().map(Vec::as_slice).collect(),
        params: params.iter().map(Vec::as_slice).collect(),
        states: states.iter().map(|state| Some(state.as_slice())).collect(),
    };
    let outcome = forward(&problem).unwrap();
    near("o", &outcome.outputs[0], &taken("", "o"));
    let d_o = get(&file, &name("do"));
    let mut d_states = vec![];
    for ((enter, end), found) in member.states.iter().zip(&outcome.states) {
        let stored = |kind: &str| part(enter, get(&file, &name(&format!("{kind}{end}"))));
        let (mut left, mut arriving) = (stored("hT"), stored("dhT"));
        if *enter == "theta0" {
            let angles = left.iter_mut().flatten();
            angles.for_each(|x| *x = unary(UnaryFn::Wrap, *x / PI));
            arriving.iter_mut().flatten().for_each(|d| *d *= PI);
        }
        near("hT", found, &left);
        let arriving = arriving.into_iter().map(Option::unwrap_or_default);
        d_states.push(arriving.collect::<Vec<_>>());
    }
    let d_states: Vec<_> = d_states.iter().map(|d| Some(d.as_slice())).collect();
    let gradient = gradient(&problem, &[Some(&d_o)], &d_states).unwrap();
    let parts = [
        (member.inputs, &gradient.inputs),
        (member.params, &gradient.params),
        (&entering, &gradient.states),
    ];
    for (names, found) in parts {
        for (own, found) in names.iter().zip(found) {
            if *own == "pos" {
                continue;
            }
            let values = taken("in.", own);
            let scaled = found.iter().zip(&values);
            let scaled: Vec<f64> = scaled
                .map(|(d, x)| d * slope(own, &[x.unwrap_or_default()]))
                .collect();
            near(own, &scaled, &taken("grad.", own));
        }
    }
}

fn as_stored(_: &str, values: Vec<f64>) -> Vec<f64> {
    values
}

fn one(_: &str, _: &[f64]) -> f64 {
    1.0
}

#[test]
fn mamba1() {
    let member = Member {
        case: "mamba1",
        recurrence: "mamba1",
        sizes: &[8],
        groups: 1,
        inputs: &["u", "dt", "B", "C"],
        params: &["A", "D", "dt_bias"],
        ..CHANNELS
    };
    // A is given by the logarithm of its negative: dA = da_log / A.
    agrees(
        &member,
        |name, values| match name {
            "A" => values.iter().map(|a| (-a).ln()).collect(),
            _ => values,
        },
        |name, x| if name == "A" { 1.0 / x[0] } else { 1.0 },
    );
}

#[test]
fn mlstm() {
    let member = Member {
        case: "mlstm",
        recurrence: "mlstm",
        sizes: &[8, 8],
        heads: 2,
        groups: 2,
        inputs: &["q", "k", "v", "i", "f"],
        params: &[],
        states: &[("C0", ".C"), ("n0", ".n"), ("m0", ".m")],
    };
    agrees(&member, as_stored, one);
}

#[test]
fn mamba3() {
    let member = Member {
        case: "mamba3",
        recurrence: "mamba3",
        sizes: &[4, 8],
        heads: 2,
        groups: 1,
        inputs: &[
            "q.x", "q.y", "k.x", "k.y", "v", "adt", "dt", "trap", "angles",
        ],
        params: &["q_bias.x", "q_bias.y", "k_bias.x", "k_bias.y", "D"],
        states: &[
            ("theta0", ".theta"),
            ("S0.x", ".S"),
            ("S0.y", ".S"),
            ("k0.x", ".k"),
            ("k0.y", ".k"),
            ("v0", ".v"),
        ],
    };
    // Angles are stored in radians.
    agrees(
        &member,
        |name, values| match name {
            "theta0" => values.iter().map(|x| x / PI).collect(),
            _ => values,
        },
        |name, _| if name == "theta0" { 1.0 / PI } else { 1.0 },
    );
}

#[test]
fn rg_lru() {
    for case in ["rglru", "rglru_reset"] {
        let member = Member {
            case,
            recurrence: "rg_lru",
            inputs: &["x", "gx", "ga", "pos"],
            params: &["a_param"],
            ..CHANNELS
        };
        // Positions are shared by channels; the first of a text resets.
        let reset = |position: f64| {
            if position == 0.0 { f64::INFINITY } else { 0.0 }
        };
        agrees(
            &member,
            |name, values| match name {
                "pos" => values.iter().flat_map(|&p| [reset(p); 12]).collect(),
                _ => values,
            },
            one,
        );
    }
}

#[test]
fn min_gru() {
    let member = Member {
        case: "mingru",
        recurrence: "min_gru",
        inputs: &["x", "z"],
        ..CHANNELS
    };
    agrees(&member, as_stored, one);
    // The form in log space takes x through its g.
    let log = Member {
        case: "mingru_log",
        ..member
    };
    let g = |x: f64| {
        if x >= 0.0 {
            x + 0.5
        } else {
            1.0 / (1.0 + (-x).exp())
        }
    };
    let slope = |x: f64| if x >= 0.0 { 1.0 } else { g(x) * (1.0 - g(x)) };
    agrees(
        &log,
        |name, values| match name {
            "x" => values.iter().map(|&x| g(x)).collect(),
            _ => values,
        },
        |name, x| if name == "x" { slope(x[0]) } else { 1.0 },
    );
}
