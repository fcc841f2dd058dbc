//! The level-1 interpreter against the peers' own reference code (`tests/golden`): outputs, last
//! state and every gradient, relative error (norm of difference over norm) at most 1e-12.

use baton_ir::interp::problem::Problem;
use baton_ir::interp::recurrence::{Outcome, forward, gradient};
use baton_ir::{builtin, text};
use safetensors::SafeTensors;

const BOUND: f64 = 1e-12;

/// A stored tensor, shape and entries.
fn tensor(file: &SafeTensors, name: &str) -> (Vec<usize>, Vec<f64>) {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    let entries = view.data().chunks_exact(8);
    let entries = entries.map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()));
    (view.shape().to_vec(), entries.collect())
}

/// Swaps axes `axis` and `axis + 1`.
fn swap((shape, data): (Vec<usize>, Vec<f64>), axis: usize) -> (Vec<usize>, Vec<f64>) {
    let (m, n) = (shape[axis], shape[axis + 1]);
    let inner: usize = shape[axis + 2..].iter().product();
    let mut to = vec![0.0; data.len()];
    for (i, row) in data.chunks_exact(inner).enumerate() {
        let (outer, m_, n_) = (i / (m * n), i / n % m, i % n);
        let at = ((outer * n + n_) * m + m_) * inner;
        to[at..at + inner].copy_from_slice(row);
    }
    let mut swapped = shape;
    swapped.swap(axis, axis + 1);
    (swapped, to)
}

fn near(what: &str, given: &[f64], wanted: &[f64]) {
    assert_eq!(given.len(), wanted.len(), "{what}");
    let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut wanted.iter().copied());
    let error = norm(&mut given.iter().zip(wanted).map(|(a, b)| a - b)) / size;
    assert!(
        size > 0.0 && error <= BOUND,
        "{what}: relative error {error:e}"
    );
}

/// A built-in against a case of a file; `names`: for each input and param of the text its name there.
fn agrees(name: &str, (file, case): (&str, &str), names: &[(&str, &str)], head_first: bool) {
    let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
    let bytes = std::fs::read(format!("../tests/golden/{file}_golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |name: &str| {
        names
            .iter()
            .find(|(own, _)| *own == name)
            .map_or_else(|| name.to_string(), |n| n.1.to_string())
    };
    let get = |part: &str, name: &str| tensor(&file, &format!("{case}.{part}{}", stored(name)));
    let sequence = |part: &str, name: &str| match head_first {
        true => swap(pad(get(part, name)), 1).1,
        false => get(part, name).1,
    };
    let inputs: Vec<Vec<f64>> = recurrence
        .inputs
        .iter()
        .map(|p| sequence("in.", &p.name))
        .collect();
    let params: Vec<Vec<f64>> = recurrence
        .params
        .iter()
        .map(|p| get("in.", &p.name).1)
        .collect();
    let (states, h0) = get("in.", "h0");
    let (batch, heads) = (states[0], states[1]);
    let problem = Problem {
        recurrence: &recurrence,
        sizes: states[2..].to_vec(),
        batch,
        time: get("", "o").0[if head_first { 2 } else { 1 }],
        heads,
        groups: heads,
        cu_seqlens: None,
        inputs: inputs.iter().map(Vec::as_slice).collect(),
        params: params.iter().map(Vec::as_slice).collect(),
        states: vec![Some(&h0)],
    };
    let outcome = forward(&problem).unwrap();
    near("o", &outcome.outputs[0], &sequence("", "o"));
    near("hT", &outcome.states[0], &get("", "hT").1);
    let (d_o, d_h) = (sequence("", "do"), get("", "dhT").1);
    let gradient = gradient(&problem, &[Some(&d_o)], &[Some(&d_h)]).unwrap();
    for (port, given) in recurrence.inputs.iter().zip(&gradient.inputs) {
        near(&port.name, given, &sequence("grad.", &port.name));
    }
    for (port, given) in recurrence.params.iter().zip(&gradient.params) {
        near(&port.name, given, &get("grad.", &port.name).1);
    }
    near("h0", &gradient.states[0], &get("grad.", "h0").1);
}

/// `[B, H, T]` as `[B, H, T, 1]`.
fn pad((mut shape, data): (Vec<usize>, Vec<f64>)) -> (Vec<usize>, Vec<f64>) {
    shape.resize(4, 1);
    (shape, data)
}

#[test]
fn simple_gla() {
    agrees("simple_gla", ("fla", "simple_gla"), &[], false);
}

#[test]
fn gla() {
    agrees("gla", ("fla", "gla"), &[("g", "gk")], false);
}

#[test]
fn rwkv6() {
    agrees("rwkv6", ("fla", "rwkv6"), &[("r", "q")], true);
}

#[test]
fn delta_net() {
    agrees("delta_net", ("fla", "delta"), &[], true);
    agrees("delta_net", ("delta", "delta_net"), &[], false);
}

#[test]
fn gated_delta_net() {
    agrees("gated_delta_net", ("fla", "gated_delta"), &[], false);
}

#[test]
fn kda() {
    agrees("kda", ("fla", "kda"), &[], false);
    agrees("kda", ("delta", "kda"), &[], false);
}

#[test]
fn rwkv7() {
    agrees("rwkv7", ("fla", "rwkv7_dplr"), &[], true);
    agrees("rwkv7", ("delta", "rwkv7"), &[], false);
}

#[test]
fn comba() {
    agrees("comba", ("delta", "comba"), &[], false);
}

#[test]
fn gated_delta_product() {
    let case = ("delta", "gated_delta_product");
    agrees("gated_delta_product", case, &[], false);
}

#[test]
fn mamba2() {
    let recurrence = text::parse(builtin::text("mamba2").unwrap()).unwrap();
    let bytes = std::fs::read("../tests/golden/ssd_f64.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for case in ["a", "b"] {
        let get = |name: &str| tensor(&file, &format!("{case}.{name}"));
        let state = |name: &str| swap(with_unit(get(name)), 2).1;
        let (shape, x) = get("x");
        let groups = get("B").0[2];
        let a = get("A").1;
        let a_log: Vec<f64> = a.iter().map(|a| (-a).ln()).collect();
        let (b, c, dt) = (get("B").1, get("C").1, get("dt").1);
        let (d, bias, h0) = (get("D").1, get("dt_bias").1, state("h0"));
        let mut problem = Problem {
            recurrence: &recurrence,
            sizes: vec![16, 8],
            batch: shape[0],
            time: shape[1],
            heads: shape[2],
            groups,
            cu_seqlens: None,
            inputs: vec![&x, &b, &c, &dt],
            params: vec![&a_log, &d, &bias],
            states: vec![Some(&h0)],
        };
        let outcome = forward(&problem).unwrap();
        near("y", &outcome.outputs[0], &get("y").1);
        near("hT", &outcome.states[0], &state("hT"));
        let (dy, dh) = (get("dy").1, state("dhT"));
        let gradient = gradient(&problem, &[Some(&dy)], &[Some(&dh)]).unwrap();
        for (i, name) in ["x", "B", "C", "dt"].into_iter().enumerate() {
            near(name, &gradient.inputs[i], &get(&format!("grad_{name}")).1);
        }
        let d_a = get("grad_A").1;
        let d_a_log: Vec<f64> = d_a.iter().zip(&a).map(|(d_a, a)| d_a * a).collect();
        near("a_log", &gradient.params[0], &d_a_log);
        near("d", &gradient.params[1], &get("grad_D").1);
        near("dt_bias", &gradient.params[2], &get("grad_dt_bias").1);
        near("h0", &gradient.states[0], &state("grad_h0"));
        if case == "a" {
            problem.states = vec![None];
            let outcome = forward(&problem).unwrap();
            near("y_h0zero", &outcome.outputs[0], &get("y_h0zero").1);
            near("hT_h0zero", &outcome.states[0], &state("hT_h0zero"));
        }
    }
}

/// `[B, H, P, N]` as `[B, H, P, N, 1]`.
fn with_unit((mut shape, data): (Vec<usize>, Vec<f64>)) -> (Vec<usize>, Vec<f64>) {
    shape.push(1);
    (shape, data)
}

/// The normalised form is two runs without normaliser on the features, one of them on values of one.
fn normalised(inputs: &[&[f64]; 3], h0: &[f64]) {
    let run = |name: &str, inputs: &[&[f64]], states: Vec<Option<&[f64]>>| {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        forward(&Problem {
            recurrence: &recurrence,
            sizes: vec![8, 8],
            batch: 2,
            time: 24,
            heads: 3,
            groups: 3,
            cu_seqlens: None,
            inputs: inputs.to_vec(),
            params: vec![],
            states,
        })
        .unwrap()
    };
    let elu_plus_one = |x: &f64| if *x > 0.0 { x + 1.0 } else { x.exp() };
    let [q, k, v] = *inputs;
    let query: Vec<f64> = q.iter().map(|x| elu_plus_one(x) * 8f64.sqrt()).collect();
    let key: Vec<f64> = k.iter().map(elu_plus_one).collect();
    // Positive, so that no denominator is near zero; the same for each column of a state.
    let z: Vec<f64> = h0.iter().step_by(8).map(|x| x.abs()).collect();
    let wide: Vec<f64> = z.iter().flat_map(|x| [*x; 8]).collect();
    let found = run("linear_attention_norm", inputs, vec![Some(h0), Some(&z)]);
    let above = run("linear_attention", &[&query, &key, v], vec![Some(h0)]);
    let ones = vec![1.0; v.len()];
    let below = run(
        "linear_attention",
        &[&query, &key, &ones],
        vec![Some(&wide)],
    );
    let quotients = above.outputs[0].iter().zip(&below.outputs[0]);
    let quotients: Vec<f64> = quotients.map(|(a, b)| a / (b + 1e-6)).collect();
    near("linear_attention_norm", &found.outputs[0], &quotients);
    near("linear_attention_norm", &found.states[0], &above.states[0]);
    let columns: Vec<f64> = below.states[0].iter().step_by(8).copied().collect();
    near("linear_attention_norm", &found.states[1], &columns);
}

/// The built-ins that the file has not are members of those that it has: what one makes of the
/// stored numbers, the other makes of the same, said its own way. The bound is that of rounding.
#[test]
fn members_agree_with_their_families() {
    let bytes = std::fs::read("../tests/golden/fla_golden.safetensors").unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let get = |name: &str| tensor(&file, name).1;
    let [q, k, v] = ["q", "k", "v"].map(|name| get(&format!("gla.in.{name}")));
    let (g, h0) = (get("gla.in.gk"), get("gla.in.h0"));
    let run = |name: &str, inputs: &[&[f64]], params: &[&[f64]]| {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        forward(&Problem {
            recurrence: &recurrence,
            sizes: vec![8, 8],
            batch: 2,
            time: 24,
            heads: 3,
            groups: 3,
            cu_seqlens: None,
            inputs: inputs.to_vec(),
            params: params.to_vec(),
            states: vec![Some(&h0)],
        })
        .unwrap()
    };
    let same = |what: &str, a: Outcome, b: Outcome| {
        near(what, &a.outputs[0], &b.outputs[0]);
        near(what, &a.states[0], &b.states[0]);
    };
    let steps = 2 * 24;
    let none = vec![0.0; steps * 3];
    same(
        "linear_attention",
        run("linear_attention", &[&q, &k, &v], &[]),
        run("simple_gla", &[&q, &k, &v, &none], &[]),
    );
    normalised(&[&q, &k, &v], &h0);
    let fixed = [-0.01, -0.1, -0.5];
    same(
        "retnet",
        run("retnet", &[&q, &k, &v], &[&fixed]),
        run("simple_gla", &[&q, &k, &v, &fixed.repeat(steps)], &[]),
    );
    let kept: Vec<f64> = g.iter().map(|g| 1.0 - g.exp()).collect();
    same(
        "hgrn2",
        run("hgrn2", &[&q, &g, &v], &[]),
        run("gla", &[&q, &kept, &v, &g], &[]),
    );
}
