//! Blocks of texts: every built-in one learns in all its weights, and one of everything is computed by hand.

use super::*;
use crate::models::{HostStates, LanguageModel, LayerState, Pass, parameters};
use crate::op::{cross_entropy, device};
use baton_config::{BlockConfig, BlockText, ModelConfig};
use baton_data::rng::Purpose;
use baton_ir::builtin;
use baton_runtime::Call;
use baton_runtime::Tensor as Host;
use baton_runtime::device::cpu::Cpu;
use baton_runtime::device::interpreter::Interpreter;
use std::collections::BTreeMap;

/// Wide, so that no norm of two small numbers is a step where it is compared with differences.
const EPSILON: f64 = 1e-2;

/// Numbers below `n`.
fn drawn(count: usize, n: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng::at(seed, Purpose::Trials, 0);
    (0..count).map(|_| rng.below(n) as u32).collect()
}

fn small(name: &str, seed: u64) -> ModelConfig {
    let mut rng = Rng::at(seed, Purpose::Trials, 1);
    let mut text = BlockText::new(name);
    let heads = 2 + rng.below(2);
    let shared = builtin::text(name).is_some_and(|text| text.contains("per group"));
    let groups = if shared { 1 + rng.below(2) } else { 1 };
    text.num_heads = Some(heads * groups);
    text.num_groups = Some(groups);
    let recurrence = baton_ir::text::parse(builtin::text(name).unwrap()).unwrap();
    text.dims = recurrence
        .dims
        .into_iter()
        .map(|dim| (dim, 2 + rng.below(5)))
        .collect();
    ModelConfig {
        vocab_size: 13,
        hidden_size: 7,
        num_hidden_layers: 2,
        layer_norm_epsilon: EPSILON,
        tie_word_embeddings: true,
        intermediate_size: None,
        output_logit_soft_cap: None,
        block: BlockConfig::Recurrence(text.settle(7).unwrap()),
    }
}

fn host(states: &[LayerState]) -> HostStates {
    states.iter().map(LayerState::to_host).collect()
}

/// The largest difference over the largest value.
fn apart(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let far = got.iter().zip(want).map(|(a, b)| (a - b).abs());
    far.fold(0.0, f32::max) / want.iter().fold(1e-3, |most: f32, x| x.abs().max(most))
}

/// Steps from zero and from the states that the step before left: all is finite, and every weight has a gradient.
/// At last the loss changes along the gradient as much as that says.
#[test]
fn every_built_in_recurrence_is_a_block() {
    let cpu = Cpu::new(Some(1)).unwrap();
    let given = |states: &Option<HostStates>| {
        let states = states.clone()?.into_iter();
        Some(states.map(LayerState::from_host).collect())
    };
    let mut wrong = Vec::new();
    for (seed, name) in builtin::NAMES.iter().enumerate() {
        let config = small(name, seed as u64);
        let BlockConfig::Recurrence(block) = &config.block else {
            panic!("{name}")
        };
        let json = serde_json::to_value(&config).unwrap();
        let read: ModelConfig = serde_json::from_value(json).unwrap();
        assert_eq!(read, config, "{name}");
        let mut model = LanguageModel::new(&config, &cpu, 1).unwrap();
        let shape @ [batch, time] = [2, 19];
        let (ids, targets) = (drawn(batch * time, 13, 5), drawn(batch * time, 13, 6));
        let run = |model: &LanguageModel, states: &Option<HostStates>| {
            let states = given(states);
            let pass = Pass {
                ids: &ids,
                shape,
                states,
                packing: None,
                noise: None,
            };
            let passed = pass.run(model, false, |logits| {
                cross_entropy(logits, targets.clone())
            });
            let passed = passed.unwrap();
            assert!(passed.loss.is_finite(), "{name}");
            passed
        };
        let moved = |model: LanguageModel, by: f32, gradients: &BTreeMap<String, Host>| {
            crate::models::update(model, &mut |weight, mut value| {
                let pairs = value.data.iter_mut().zip(&gradients[weight].data);
                pairs.for_each(|(x, g)| *x += by * g);
                value
            })
        };
        let (mut states, mut reached) = (None, BTreeMap::new());
        let mut gradients = BTreeMap::new();
        for step in 0..3 {
            if step > 0 {
                model = moved(model, -0.02, &gradients);
            }
            let before = states.clone();
            let passed = run(&model, &before);
            let found = passed.gradients.into_iter().map(|p| (p.name, p.value));
            gradients = found.collect();
            for (weight, gradient) in &gradients {
                let finite = gradient.data.iter().all(|g| g.is_finite());
                assert!(finite, "{name}: {weight}");
                *reached.entry(weight.clone()).or_insert(false) |=
                    gradient.data.iter().any(|g| *g != 0.0);
            }
            let finals = host(&passed.finals);
            for layer in &finals {
                let shapes = layer.recurrence.iter().map(|s| s.shape[1..].to_vec());
                assert_eq!(shapes.collect::<Vec<_>>(), block.state_sizes(), "{name}");
                let conv = layer
                    .conv
                    .as_ref()
                    .map(|conv| [conv.shape[2], conv.shape[1] + 1]);
                assert_eq!(conv, block.conv_size(), "{name}");
                for state in layer.recurrence.iter().chain(&layer.conv) {
                    assert!(state.data.iter().all(|x| x.is_finite()), "{name}");
                    assert!(state.data.iter().any(|x| *x != 0.0), "{name}");
                }
            }
            if step < 2 {
                states = Some(finals);
            }
        }
        let missed: Vec<_> = reached.iter().filter(|(_, reached)| !**reached).collect();
        assert!(missed.is_empty(), "{name}: no gradient at {missed:?}");
        assert_eq!(reached.len(), parameters(&model).len(), "{name}");
        let all = gradients.values().flat_map(|g| &g.data);
        let norm = all.map(|g| (*g as f64).powi(2)).sum::<f64>().sqrt();
        let step = 5e-4;
        let by = (step / norm) as f32;
        let [up, down] = [by, -by].map(|by| {
            let there = moved(model.clone(), by, &gradients);
            run(&there, &states).loss as f64
        });
        let slope = (up - down) / (2.0 * step);
        if (slope / norm - 1.0).abs() > 0.02 {
            wrong.push(format!("{name}: {slope}, {norm}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A segment after another from its states is the whole, whatever states there are.
#[test]
fn segments_with_their_states_are_the_whole_of_every_built_in_recurrence() {
    for (seed, name) in builtin::NAMES.iter().enumerate() {
        let config = small(name, 100 + seed as u64);
        let model = LanguageModel::new(&config, &Interpreter, 1).unwrap();
        let (batch, time) = (2, 9);
        let cut = 1 + seed % (time - 1);
        let ids = drawn(batch * time, 13, seed as u64);
        let part = |from: usize, to: usize| -> Vec<u32> {
            ids.chunks(time)
                .flat_map(|row| row[from..to].to_vec())
                .collect()
        };
        let (whole, last) = model.forward(&ids, [batch, time], None).unwrap();
        let (_, between) = model.forward(&part(0, cut), [batch, cut], None).unwrap();
        let rest = [batch, time - cut];
        let (second, end) = model
            .forward(&part(cut, time), rest, Some(between))
            .unwrap();
        let tail = whole.slice([0..batch, cut..time]);
        let [got, want] = [second, tail].map(|t| Value::new(t).unwrap().to_host().data);
        assert!(apart(&got, &want) < 1e-5, "{name}: {}", apart(&got, &want));
        for (got, want) in host(&end).iter().zip(&host(&last)) {
            let pairs = got.recurrence.iter().zip(&want.recurrence);
            for (got, want) in pairs.chain(got.conv.iter().zip(&want.conv)) {
                assert!(apart(&got.data, &want.data) < 1e-5, "{name}");
            }
        }
    }
}

const EVERYTHING: &str = "recurrence everything {
    dims   { K, V }
    inputs { q: [K], k: [K] per group, v: [V], r: [K], w: [K], g: [], c: [] }
    params { u: [K], s: [] }
    state  { S: [K, V], z: [] }

    S = rows(sigmoid(w)) * S + outer(k * u, v);
    z = 0.5 * z + g * c;
    output o: [V] = dot(q + r, S) * s;
    output p: [] = z + sum(k);
}";

/// Every setting at once, against the same sums written out.
#[test]
fn a_block_is_what_its_settings_say() {
    let (hidden, heads, groups, k, v) = (6, 4, 2, 3, 2);
    let mut text = BlockText::new(EVERYTHING);
    (text.num_heads, text.num_groups) = (Some(heads), Some(groups));
    text.dims = BTreeMap::from([("K".into(), k), ("V".into(), v)]);
    let ports = [
        ("q", "conv=3,act=silu,norm=l2"),
        ("k", "conv=2"),
        ("v", "bias=-1..1,conv=4,act=tanh"),
        ("r", "act=sigmoid,scale=-3,norm=rms,times=q"),
        ("w", "rank=2,scale=0.5,called=decay"),
        ("g", "bias=none"),
        ("c", "plain,constant=0.75"),
        ("u", "normal=1"),
        ("s", "uniform=1..2,fixed"),
        ("o", "norm=rms,gate=sigmoid"),
        ("p", "gate=none"),
    ];
    text.ports = ports.map(|(port, line)| (port.into(), line.into())).into();
    let config = text.settle(hidden).unwrap();
    let on = device(&Interpreter).unwrap();
    let mut rng = Rng::at(3, Purpose::Weights, 0);
    let block = RecurrenceBlock::new(&config, hidden, 1e-5, &Interpreter, &mut rng, &on).unwrap();
    let (batch, time) = (2, 5);
    let x: Vec<f64> = (0..batch * time * hidden).map(|_| rng.normal()).collect();
    let given = Host {
        shape: vec![batch, time, hidden],
        data: x.iter().map(|x| *x as f32).collect(),
    };
    let x = Value::from_host(given.clone()).tensor().unwrap();
    let mut passage = Passage::new(None, None);
    let y = block.forward(x, &mut passage).unwrap();
    let (_, state) = passage.end();

    let mut weights = BTreeMap::new();
    collect(&block, &mut weights);
    let names: Vec<&str> = weights.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "decay_down.weight",
            "decay_up.weight",
            "in_proj.weight",
            "k_conv.weight",
            "o_norm.weight",
            "out_proj.weight",
            "p_norm.weight",
            "q_conv.weight",
            "r_norm.weight",
            "u",
            "v_bias",
            "v_conv.weight",
            "v_up.weight",
        ]
    );
    let w = |name: &str| -> Vec<f64> { weights[name].data.iter().map(|x| *x as f64).collect() };
    let rows = batch * time;
    let xs: Vec<f64> = given.data.iter().map(|x| *x as f64).collect();
    let matmul = |x: &[f64], weight: &[f64], from: usize| -> Vec<f64> {
        let to = weight.len() / from;
        let entry = |i: usize| {
            (0..from)
                .map(|j| x[i / to * from + j] * weight[i % to * from + j])
                .sum()
        };
        (0..x.len() / from * to).map(entry).collect()
    };
    // Columns: r, g, the gate of o; then q and k, which are convolved.
    let all = matmul(&xs, &w("in_proj.weight"), hidden);
    let widths = [heads * k, heads, heads * v, heads * k, groups * k];
    let total: usize = widths.iter().sum();
    assert_eq!(all.len(), rows * total);
    let part = |n: usize| -> Vec<f64> {
        let from: usize = widths[..n].iter().sum();
        all.chunks(total)
            .flat_map(|row| row[from..from + widths[n]].to_vec())
            .collect()
    };
    let conv = |x: &[f64], weight: &[f64], channels: usize| -> Vec<f64> {
        let width = weight.len() / channels;
        let entry = |i: usize| -> f64 {
            let (row, c) = (i / channels, i % channels);
            let t = row % time;
            let taps = (0..width).filter(|tap| t + tap + 1 >= width);
            taps.map(|tap| weight[c * width + tap] * x[(row + tap + 1 - width) * channels + c])
                .sum()
        };
        (0..x.len()).map(entry).collect()
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let normed = |x: Vec<f64>, width: usize, eps: f64, mean: bool| -> Vec<f64> {
        let one = |row: &[f64]| {
            let sum: f64 = row.iter().map(|x| x * x).sum();
            let scale = if mean { width as f64 } else { 1.0 };
            let by = (sum / scale + eps).sqrt();
            row.iter().map(|x| x / by).collect::<Vec<_>>()
        };
        x.chunks(width).flat_map(one).collect()
    };
    let q = conv(&part(3), &w("q_conv.weight"), heads * k);
    let q = normed(
        q.into_iter().map(|x| x * sigmoid(x)).collect(),
        k,
        1e-6,
        false,
    );
    let keys = conv(&part(4), &w("k_conv.weight"), groups * k);
    let values = matmul(&xs, &w("v_up.weight"), hidden);
    let bias = [-1.0, 1.0].repeat(heads);
    let values: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(i, x)| x + bias[i % bias.len()])
        .collect();
    let values = conv(&values, &w("v_conv.weight"), heads * v);
    let values: Vec<f64> = values.into_iter().map(f64::tanh).collect();
    let r = part(0).into_iter().map(|x| -3.0 * sigmoid(x)).collect();
    let r = normed(r, k, 1e-5, true)
        .into_iter()
        .zip(&q)
        .map(|(r, q)| r * q)
        .collect();
    let down = matmul(&xs, &w("decay_down.weight"), hidden);
    let decay = matmul(&down, &w("decay_up.weight"), 2)
        .iter()
        .map(|x| 0.5 * x)
        .collect();
    let tensor = |data: Vec<f64>, inner: &[usize]| Host {
        shape: [&[batch, time], inner].concat(),
        data: data.into_iter().map(|x| x as f32).collect(),
    };
    let inputs = [
        tensor(q, &[heads, k]),
        tensor(keys, &[groups, k]),
        tensor(values, &[heads, v]),
        tensor(r, &[heads, k]),
        tensor(decay, &[heads, k]),
        tensor(part(1), &[heads]),
        tensor(vec![0.75; rows * heads], &[heads]),
    ];
    let fixed = block.compiled.fixed[1].clone().unwrap();
    assert!(fixed.data.iter().all(|x| (1.0..2.0).contains(x)));
    let params = [weights["u"].clone(), fixed];
    let call = Call {
        inputs: inputs.iter().map(Host::view).collect(),
        params: params.iter().map(Host::view).collect(),
        states: vec![None, None],
        cu_seqlens: None,
    };
    let run = block.compiled.kernel.forward(&call, false).unwrap();
    let out = |i: usize| -> Vec<f64> { run.outputs[i].data.iter().map(|x| *x as f64).collect() };
    let o = normed(out(0), v, 1e-5, true);
    let o: Vec<f64> = o
        .iter()
        .zip(part(2))
        .map(|(o, gate)| o * sigmoid(gate))
        .collect();
    let p = normed(out(1), heads, 1e-5, true);
    let pairs = o.chunks(heads * v).zip(p.chunks(heads));
    let both: Vec<f64> = pairs.flat_map(|(o, p)| [o, p].concat()).collect();
    let want = matmul(&both, &w("out_proj.weight"), heads * (v + 1));
    let want: Vec<f32> = want.into_iter().map(|x| x as f32).collect();
    let got = Value::new(y).unwrap().to_host();
    assert!(
        apart(&got.data, &want) < 1e-5,
        "{}",
        apart(&got.data, &want)
    );
    for (state, want) in state.recurrence.iter().zip(&run.states) {
        assert!(apart(&state.to_host().data, &want.data) < 1e-5);
    }
    assert_eq!(
        config.conv_size(),
        Some([heads * k + groups * k + heads * v, 4])
    );
}

/// The weights of a block by name.
fn collect(block: &RecurrenceBlock, weights: &mut BTreeMap<String, Host>) {
    for parameter in crate::models::parameters::of(block) {
        weights.insert(parameter.name, parameter.value);
    }
}

#[test]
fn what_is_left_out_follows_from_the_text() {
    let settled =
        |text: &str, hidden| BlockText::from(BlockText::new(text).settle(hidden).unwrap());
    let gla = settled("gla", 128);
    assert_eq!((gla.num_heads, gla.num_groups), (Some(4), Some(1)));
    assert_eq!(
        gla.dims,
        BTreeMap::from([("K".into(), 32), ("V".into(), 32)])
    );
    assert_eq!(gla.ports["q"], "plain");
    assert_eq!(
        gla.ports["g"],
        "plain,rank=16,bias=0,act=logsigmoid,scale=0.0625,called=gk"
    );
    assert_eq!(gla.ports["o"], "plain,norm=rms,gate=silu");
    // Heads of one number are channels.
    let mamba1 = settled("mamba1", 24);
    assert_eq!((mamba1.num_heads, mamba1.dims["N"]), (Some(24), 16));
    // A text of one's own: by shape, and where it takes the log of a decay raw.
    let own = "recurrence own { dims { K } inputs { x: [K], rate: [], f: [K] } state { h: [K] }
        h = exp(f) * h + sigmoid(rate) * x; output o: [K] = h; }";
    let own = settled(own, 6);
    assert_eq!((own.num_heads, own.dims["K"]), (Some(1), 6));
    assert_eq!(own.ports["x"], "plain");
    assert_eq!(own.ports["rate"], "plain,bias=0");
    assert_eq!(
        own.ports["f"],
        "plain,rank=16,bias=0,act=logsigmoid,scale=0.0625"
    );
    // Written whole, it is read as what it was, and says only what the text says.
    assert_eq!(settled(&own.text, 6).text, own.text);
    assert_eq!(BlockText::from(own.settle(6).unwrap()), own);
    let commented = builtin::text("gla").unwrap();
    assert!(commented.contains("//") && !gla.text.contains("//"));
    assert_eq!(settled(commented, 128), gla);
}

#[test]
fn what_makes_no_block_is_refused() {
    let refused = |change: &dyn Fn(&mut BlockText)| {
        let mut text = BlockText::new("kda");
        change(&mut text);
        text.settle(16).unwrap_err().to_string()
    };
    let port = |port: &'static str, line: &'static str| {
        move |text: &mut BlockText| {
            text.ports.insert(port.into(), line.into());
        }
    };
    let many: Vec<String> = (0..25).map(|i| format!("x{i}: []")).collect();
    let sum: Vec<String> = (0..25).map(|i| format!("x{i}")).collect();
    let many = format!(
        "recurrence many {{ inputs {{ {} }} state {{ h: [] }} h = 0.5 * h + {}; output o: [] = h; }}",
        many.join(", "),
        sum.join(" + ")
    );
    for (error, part) in [
        (
            refused(&|t| t.text = "kdb".into()),
            "`kdb` given as the text of a block",
        ),
        (
            refused(&|t| t.text = "recurrence x {".into()),
            "error[R003]",
        ),
        (
            refused(&|t| {
                t.text = "recurrence x { inputs { a: [] } state { h: [] } h = h + a; }".into()
            }),
            "error[R034]",
        ),
        (
            refused(&|t| t.text = many.clone()),
            "recurrence `many` of 26 inputs, params and states",
        ),
        (
            refused(&|t| t.num_heads = Some(0)),
            "num_heads 0, num_groups 1 and dims",
        ),
        (
            refused(&|t| (t.num_heads, t.num_groups) = (Some(4), Some(3))),
            "num_heads 4, num_groups 3 and dims",
        ),
        (
            refused(&|t| t.dims = BTreeMap::from([("N".into(), 4)])),
            "the dim `N` given, expected one of the recurrence `kda`, which has K, V",
        ),
        (
            refused(&|t| t.dims = BTreeMap::from([("K".into(), usize::MAX)])),
            "`q` of [4, 18446744073709551615] numbers given, expected at most 1e9 in all",
        ),
        (
            refused(&|t| t.dims = BTreeMap::from([("K".into(), 0)])),
            "num_groups 1 and dims [0, 4] given",
        ),
        (
            refused(&port("w", "act=silu")),
            "the port `w` given, expected one of the recurrence `kda`, which has q, ",
        ),
        (
            refused(&port("S", "conv=4")),
            "settings of `S` given, which is a state of `kda`",
        ),
        (
            refused(&port("k", "con=4")),
            "`con` given for the input `k`",
        ),
        (
            refused(&port("beta", "norm=l2")),
            "norm given for the input `beta`",
        ),
        (
            refused(&port("k", "constant=1")),
            "a constant and other settings given for the input `k`",
        ),
        (
            refused(&port("k", "times=v")),
            "times=v given for the input `k`",
        ),
        (
            refused(&port("k", "times=k")),
            "times=k given for the input `k`",
        ),
    ] {
        assert!(error.contains(part), "{error}");
    }
    let mut twice = BlockText::new(
        "recurrence twice { inputs { x: [] } params { x_bias: [] } state { h: [] }
        h = 0.5 * h + x + x_bias; output o: [] = h; }",
    );
    let error = twice.settle(8).unwrap_err().to_string();
    assert!(error.contains("two weights called `x_bias`"), "{error}");
    twice.ports.insert("x".into(), "called=y".into());
    twice.settle(8).unwrap();
    // What no kernel is made of is shown in the text.
    let matrix =
        "recurrence m { dims { K, V } inputs { A: [K, V], v: [V], k: [K] } state { S: [K, V] }
        S = sigmoid(A) * S + outer(k, v); output o: [V] = dot(k, S); }";
    let config = BlockText::new(matrix).settle(8).unwrap();
    let (cpu, mut rng) = (Cpu::new(Some(1)).unwrap(), Rng::at(1, Purpose::Weights, 0));
    let on = device(&cpu).unwrap();
    let error = RecurrenceBlock::new(&config, 8, 1e-5, &cpu, &mut rng, &on).unwrap_err();
    assert!(matches!(&error, Error::Text { .. }), "{error}");
    assert!(error.to_string().contains("A: [K, V]"), "{error}");
}

#[test]
fn the_text_is_found_by_path_from_the_folder_on() {
    let folder = std::env::temp_dir().join(format!("baton-block-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("my.rec"), EVERYTHING).unwrap();
    let found = |text: &str| {
        let mut config =
            serde_json::json!({"model": {"block": {"type": "recurrence", "text": text}}});
        baton_config::in_full(&mut config, &folder)
            .map(|()| config["model"]["block"]["text"].clone())
    };
    assert_eq!(found("my.rec").unwrap(), EVERYTHING);
    assert_eq!(found("gla").unwrap(), "gla");
    assert_eq!(found(EVERYTHING).unwrap(), EVERYTHING);
    let error = found("none.rec").unwrap_err().to_string();
    assert!(
        error.contains("none.rec") && error.contains("expected the text"),
        "{error}"
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
