//! `baton run`: files in, files out.

use crate::program::{Finished, Folder, Tensors, baton, load, save};
use safetensors::tensor::Dtype;

/// A recurrence that is not among the built-in ones: two states, a decay for each row and one for
/// each head, an output that divides one readout by another.
const OWN: &str = "recurrence averaged {
    dims   { K, V }
    inputs { q: [K], k: [K] per group, v: [V], g: [K], a: [] }
    params { skip: [V], bias: [] }
    state  { S: [K, V], n: [K] }

    let keep = sigmoid(a + bias);
    S = rows(exp(-softplus(g))) * S + outer(sigmoid(k), v);
    n = keep * n + (1 - keep) * sigmoid(k);
    output o: [V] = dot(q, S) / (1 + dot(abs(q), n)) + skip * v;
}
";

const B: usize = 2;
const T: usize = 37;
const H: usize = 4;
const G: usize = 2;
const K: usize = 12;
const V: usize = 20;

/// Tensors for [`OWN`]: inputs and params.
fn tensors(dtype: Dtype, batch: usize) -> Tensors {
    let mut seed = 7u64;
    [
        ("q", vec![batch, T, H, K]),
        ("k", vec![batch, T, G, K]),
        ("v", vec![batch, T, H, V]),
        ("g", vec![batch, T, H, K]),
        ("a", vec![batch, T, H]),
        ("skip", vec![H, V]),
        ("bias", vec![H]),
    ]
    .into_iter()
    .map(|(name, shape)| (name.to_string(), tensor(&mut seed, dtype, shape)))
    .collect()
}

/// Values in -1..1 that f32 holds exactly.
fn tensor(seed: &mut u64, dtype: Dtype, shape: Vec<usize>) -> (Dtype, Vec<usize>, Vec<f64>) {
    let mut value = || {
        *seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (*seed >> 42) as f64 / (1u64 << 21) as f64 - 1.0
    };
    let data = (0..shape.iter().product()).map(|_| value()).collect();
    (dtype, shape, data)
}

/// Adds states in and arriving gradients.
fn with_ports(mut tensors: Tensors, sequences: usize) -> Tensors {
    let mut seed = 8u64;
    let (dtype, shape, _) = tensors["v"].clone();
    for (name, shape) in [
        ("S", vec![sequences, H, K, V]),
        ("n", vec![sequences, H, K]),
        ("d_o", vec![shape[0], T, H, V]),
        ("d_S", vec![sequences, H, K, V]),
        ("d_n", vec![sequences, H, K]),
    ] {
        tensors.insert(name.into(), tensor(&mut seed, dtype, shape));
    }
    // A normaliser is no negative number.
    let n = tensors.get_mut("n").expect("just inserted");
    n.2.iter_mut().for_each(|x| *x = x.abs());
    tensors
}

struct Bench {
    folder: Folder,
    file: String,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let folder = Folder::new(name);
        let file = folder.write("averaged.rec", OWN);
        Bench { folder, file }
    }

    /// Runs `OWN` on `tensors`; the results lie in `out.safetensors`.
    fn run(&self, tensors: &Tensors, more: &[&str]) -> Finished {
        let (input, output) = (self.folder.path("in.safetensors"), self.output());
        save(&input, tensors);
        let fixed = [
            "run", "--file", &self.file, "--inputs", &input, "--output", &output,
        ];
        baton(&[&fixed, more].concat())
    }

    fn output(&self) -> String {
        self.folder.path("out.safetensors")
    }

    /// The results of a run that must succeed.
    fn results(&self, tensors: &Tensors, more: &[&str]) -> Tensors {
        let done = self.run(tensors, more);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""));
        load(&self.output())
    }
}

fn relative_error(given: &[f64], truth: &[f64]) -> f64 {
    assert_eq!(given.len(), truth.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut given.iter().zip(truth).map(|(a, b)| a - b));
    difference / norm(&mut truth.iter().copied())
}

const RESULTS: [&str; 12] = [
    "S", "d_S", "d_a", "d_bias", "d_g", "d_k", "d_n", "d_q", "d_skip", "d_v", "n", "o",
];

#[test]
fn an_own_recurrence_agrees_with_the_interpreter() {
    let bench = Bench::new("own_recurrence");
    let truth = bench.results(
        &with_ports(tensors(Dtype::F64, B), B),
        &["--grad", "--device", "interpreter"],
    );
    let inputs = with_ports(tensors(Dtype::F32, B), B);
    for more in [
        &["--grad"][..],
        &["--grad", "--chunk", "16", "--threads", "1"],
        &["--grad", "--chunk", "64", "--threads", "2"],
        &["--grad", "--device", "interpreter"],
    ] {
        let given = bench.results(&inputs, more);
        assert_eq!(given.keys().collect::<Vec<_>>(), RESULTS, "{more:?}");
        for (name, (dtype, shape, data)) in &given {
            let (_, expected, truth) = &truth[name];
            assert_eq!((*dtype, shape), (Dtype::F32, expected), "{name}");
            let tolerance = if name.starts_with("d_") { 1e-5 } else { 2e-6 };
            let error = relative_error(data, truth);
            assert!(error <= tolerance, "{name} with {more:?}: {error:e}");
        }
    }
    let shapes = ["o", "S", "n", "d_k", "d_bias"].map(|name| truth[name].1.clone());
    let expected: [&[usize]; 5] = [
        &[B, T, H, V],
        &[B, H, K, V],
        &[B, H, K],
        &[B, T, G, K],
        &[H],
    ];
    assert_eq!(shapes, expected);
}

#[test]
fn what_is_absent_is_zero() {
    let bench = Bench::new("absent_is_zero");
    let mut full = with_ports(tensors(Dtype::F32, B), B);
    for name in ["S", "n", "d_n"] {
        full.get_mut(name).expect("a port").2.fill(0.0);
    }
    let mut sparse = full.clone();
    sparse.retain(|name, _| !["S", "n", "d_n"].contains(&name.as_str()));
    assert_eq!(
        bench.results(&full, &["--grad"]),
        bench.results(&sparse, &["--grad"])
    );
    let forward: Tensors = tensors(Dtype::F32, B);
    let names: Vec<String> = bench.results(&forward, &[]).into_keys().collect();
    assert_eq!(names, ["S", "n", "o"]);
}

#[test]
fn threads_change_no_bit() {
    let bench = Bench::new("threads");
    let inputs = with_ports(tensors(Dtype::F32, B), B);
    let one = bench.results(&inputs, &["--grad", "--threads", "1"]);
    assert_eq!(one, bench.results(&inputs, &["--grad", "--threads", "3"]));
}

/// Three sequences, one of them empty, side by side along T; each alone gives the same.
#[test]
fn packed_sequences_equal_separate_ones() {
    let bench = Bench::new("packed");
    let mut packed = with_ports(tensors(Dtype::F32, 1), 3);
    let ends = [0, 16, 16, T];
    let offsets = ends.iter().map(|&end| end as f64).collect();
    packed.insert("cu_seqlens".into(), (Dtype::I32, vec![4], offsets));
    let together = bench.results(&packed, &["--grad"]);
    packed.get_mut("cu_seqlens").expect("just inserted").0 = Dtype::I64;
    assert_eq!(together, bench.results(&packed, &["--grad"]), "i64 offsets");

    let steps = [
        "q", "k", "v", "g", "a", "d_o", "o", "d_q", "d_k", "d_v", "d_g", "d_a",
    ];
    let cut = |tensors: &Tensors, sequence: usize| -> Tensors {
        let mut part = tensors.clone();
        part.remove("cu_seqlens");
        let (start, end) = (ends[sequence], ends[sequence + 1]);
        for (name, (_, shape, data)) in &mut part {
            let whole = data.len();
            let range = match name.as_str() {
                name if steps.contains(&name) => {
                    shape[1] = end - start;
                    start * whole / T..end * whole / T
                }
                "S" | "n" | "d_S" | "d_n" => {
                    shape[0] = 1;
                    sequence * whole / 3..(sequence + 1) * whole / 3
                }
                _ => 0..whole,
            };
            *data = data[range].to_vec();
        }
        part
    };
    let mut params = [vec![0.0; H * V], vec![0.0; H]];
    for sequence in 0..3 {
        let alone = bench.results(&cut(&packed, sequence), &["--grad"]);
        for (name, (_, shape, data)) in cut(&together, sequence) {
            let (_, expected, truth) = &alone[&name];
            assert_eq!(&shape, expected, "{name}");
            match name.as_str() {
                "d_skip" => params[0]
                    .iter_mut()
                    .zip(truth)
                    .for_each(|(sum, x)| *sum += x),
                "d_bias" => params[1]
                    .iter_mut()
                    .zip(truth)
                    .for_each(|(sum, x)| *sum += x),
                _ if truth.is_empty() => {}
                _ => {
                    let largest = truth.iter().fold(0.0f64, |max, x| max.max(x.abs()));
                    let off = data
                        .iter()
                        .zip(truth)
                        .fold(0.0f64, |max, (a, b)| max.max((a - b).abs()));
                    assert!(
                        off <= 1e-5 * largest,
                        "{name} of sequence {sequence}: {off:e}"
                    );
                }
            }
        }
    }
    for (name, sum) in ["d_skip", "d_bias"].iter().zip(&params) {
        let error = relative_error(&together[*name].2, sum);
        assert!(error <= 1e-5, "{name}: {error:e}");
    }
}

#[test]
fn json_names_what_was_written() {
    let bench = Bench::new("run_json");
    let done = bench.run(&tensors(Dtype::F32, B), &["--json"]);
    let value = done.json();
    assert_eq!(value["recurrence"], "averaged");
    assert_eq!(value["device"], "cpu");
    assert_eq!(value["sizes"], serde_json::json!({ "K": K, "V": V }));
    assert_eq!(value["tensors"]["o"], serde_json::json!([B, T, H, V]));
    assert_eq!(value["output"], bench.output());
}

#[test]
fn a_wrong_file_is_one_message_and_writes_nothing() {
    let bench = Bench::new("wrong_files");
    std::fs::write(bench.output(), "kept").expect("written");
    let good = with_ports(tensors(Dtype::F32, B), B);
    type Change = fn(&mut Tensors);
    let cases: [(&str, Change, &[&str], &[&str]); 16] = [
        (
            "two missing",
            |t| {
                t.remove("v");
                t.remove("skip");
            },
            &["--grad"],
            &["tensors `v`, `skip` missing", "v: [V], skip: [V]"],
        ),
        (
            "heads before steps",
            |t| {
                for name in ["q", "k", "v", "g", "a"] {
                    t.get_mut(name).unwrap().1.swap(1, 2);
                }
            },
            &["--grad"],
            &["`q`", "the 4 heads of `skip`", "steps before heads"],
        ),
        (
            "no axis of batches",
            |t| {
                for name in ["q", "k", "v", "g", "a"] {
                    let shape = &mut t.get_mut(name).unwrap().1;
                    shape.remove(0);
                    shape[0] *= B;
                }
            },
            &["--grad"],
            &["`q` has shape [74, 4, 12], expected [B, T, H, K]"],
        ),
        (
            "no gradient arrives",
            |t| t.retain(|name, _| !name.starts_with("d_")),
            &["--grad"],
            &["expected `d_o` or `d_S` or `d_n`", "zero"],
        ),
        (
            "unknown",
            |t| {
                t.insert("w".into(), t["q"].clone());
            },
            &["--grad"],
            &["`w`", "`averaged`", "q, k, v"],
        ),
        (
            "missing input",
            |t| {
                t.remove("v");
            },
            &["--grad"],
            &["`v`", "missing", "v: [V]"],
        ),
        (
            "missing param",
            |t| {
                t.remove("skip");
            },
            &["--grad"],
            &["`skip`", "missing"],
        ),
        ("gradient without --grad", |_| (), &[], &["`d_S`", "--grad"]),
        (
            "heads",
            |t| t.get_mut("v").unwrap().1 = vec![B, T, H / 2, 2 * V],
            &["--grad"],
            &["`v`", "H=4"],
        ),
        (
            "rank",
            |t| t.get_mut("q").unwrap().1 = vec![B * T, H, K],
            &["--grad"],
            &["`q`"],
        ),
        (
            "dim",
            |t| {
                let v = t.remove("n").unwrap();
                t.insert(
                    "n".into(),
                    (v.0, vec![B, H, K - 1], v.2[..B * H * (K - 1)].to_vec()),
                );
            },
            &["--grad"],
            &["`n`", "K=12"],
        ),
        (
            "arriving",
            |t| t.get_mut("d_o").unwrap().1 = vec![B, T, V, H],
            &["--grad"],
            &["`d_o`", "V=20"],
        ),
        (
            "f64 on the CPU",
            |t| t.values_mut().for_each(|t| t.0 = Dtype::F64),
            &["--grad"],
            &["`q`", "f64", "interpreter"],
        ),
        (
            "mixed types",
            |t| t.get_mut("g").unwrap().0 = Dtype::F64,
            &["--grad", "--device", "interpreter"],
            &["`g`", "f64", "f32 as `q`"],
        ),
        (
            "integers",
            |t| t.get_mut("a").unwrap().0 = Dtype::I32,
            &["--grad"],
            &["`a`", "i32", "f32"],
        ),
        (
            "float offsets",
            |t| {
                t.insert("cu_seqlens".into(), (Dtype::F32, vec![2], vec![0.0, 37.0]));
            },
            &["--grad"],
            &["`cu_seqlens`", "i32 or i64"],
        ),
    ];
    for (what, change, more, parts) in cases {
        let mut tensors = good.clone();
        change(&mut tensors);
        let done = bench.run(&tensors, more);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (2, ""),
            "{what}: {}",
            done.stderr
        );
        assert_eq!(done.stderr.lines().count(), 1, "{what}: {}", done.stderr);
        for part in parts {
            assert!(
                done.stderr.contains(part),
                "{what}: {part} is not in {}",
                done.stderr
            );
        }
        assert_eq!(
            std::fs::read_to_string(bench.output()).unwrap(),
            "kept",
            "{what}"
        );
        assert_eq!(
            bench.folder.files(),
            ["averaged.rec", "in.safetensors", "out.safetensors"]
        );
    }
}

#[test]
fn paths_are_checked_before_anything_runs() {
    let bench = Bench::new("wrong_paths");
    let input = bench.folder.path("in.safetensors");
    save(&input, &tensors(Dtype::F32, B));
    let text = bench.folder.write("text.safetensors", "this is no archive");
    let absent = bench.folder.path("absent/out.safetensors");
    let below = format!("{text}/out.safetensors");
    let folder = bench.folder.path("");
    let output = bench.output();
    for (input, output, part) in [
        (&input, &below, "is no folder"),
        (&input, &input, "part of what is read"),
        (&input, &folder, "no regular file"),
        (&text, &output, "no safetensors file"),
        (&absent, &output, "cannot read"),
    ] {
        let done = baton(&[
            "run",
            "--file",
            &bench.file,
            "--inputs",
            input,
            "--output",
            output,
        ]);
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    assert_eq!(
        bench.folder.files(),
        ["averaged.rec", "in.safetensors", "text.safetensors"]
    );
}

/// The CPU runs it step by step; a GPU says where in the text it fails.
#[test]
fn a_class_without_a_chunked_form_runs_on_the_cpu_and_on_no_gpu() {
    let bench = Bench::new("no_kernels");
    let file = bench.folder.write(
        "delta.rec",
        "recurrence delta {\n    dims { K, V }\n    inputs { q: [K], k: [K], v: [V] }\n    \
         state { S: [K, V] }\n    S = S + outer(k, v - dot(k, S)) - outer(dot(S, v), v);\n    \
         output o: [V] = dot(q, S);\n}\n",
    );
    let (input, output) = (bench.folder.path("in.safetensors"), bench.output());
    // One step from zero: S = k v', o = (q . k) v.
    let (q, k, v) = (vec![1.0, 2.0], vec![0.5, 0.25], vec![3.0, 4.0]);
    let one = |data: Vec<f64>| (Dtype::F32, vec![1, 1, 1, 2], data);
    let inputs = [("q", one(q)), ("k", one(k)), ("v", one(v))];
    save(
        &input,
        &inputs
            .into_iter()
            .map(|(name, t)| (name.into(), t))
            .collect(),
    );
    let fixed = [
        "run", "--file", &file, "--inputs", &input, "--output", &output,
    ];
    for device in ["interpreter", "cpu"] {
        let done = baton(&[&fixed[..], &["--device", device]].concat());
        assert_eq!(done.code, 0, "{}", done.stderr);
        assert_eq!(load(&output)["o"].2, [3.0, 4.0], "{device}");
    }
    let done = baton(&[&fixed[..], &["--device", "emulator"]].concat());
    assert_eq!(done.code, 1);
    assert!(
        done.stderr
            .contains("error[D001]: state `S` has no derivation")
            && done.stderr.contains("delta.rec:4:13"),
        "{}",
        done.stderr
    );
}

/// Without params and states nothing but the rank and the order of sizes says which axis is which.
#[test]
fn axes_are_told_as_far_as_they_can_be() {
    let bench = Bench::new("axes");
    let (input, output) = (bench.folder.path("in.safetensors"), bench.output());
    let run = |shape: &[usize]| {
        let one = (
            Dtype::F32,
            shape.to_vec(),
            vec![0.25; shape.iter().product()],
        );
        let all = ["q", "k", "v"].map(|name| (name.to_string(), one.clone()));
        save(&input, &all.into_iter().collect());
        baton(&[
            "run",
            "linear_attention",
            "--inputs",
            &input,
            "--output",
            &output,
        ])
    };
    let done = run(&[37, 4, 5]);
    assert_eq!(done.code, 2);
    let part = "`q` has shape [37, 4, 5], expected [B, T, H, K]";
    assert!(done.stderr.contains(part), "{}", done.stderr);
    let done = run(&[1, 4, 37, 5]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let part = "note: `q` has shape [1, 4, 37, 5]";
    assert!(done.stderr.contains(part), "{}", done.stderr);
    let done = run(&[1, 37, 4, 5]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
}

/// A recurrence is FILE|NAME wherever one is taken.
#[test]
fn a_file_stands_where_a_name_does() {
    let bench = Bench::new("file_or_name");
    let (input, output) = (bench.folder.path("in.safetensors"), bench.output());
    save(&input, &tensors(Dtype::F32, B));
    let done = baton(&["run", &bench.file, "--inputs", &input, "--output", &output]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let done = baton(&["emit", &bench.file, "--level", "tile"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let done = baton(&["run", "gle", "--inputs", &input, "--output", &output]);
    assert!(
        done.stderr.contains("did you mean `gla`?"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_name_or_a_file_is_needed() {
    for more in [&[][..], &["mamba2", "--file", "x.rec"]] {
        let fixed = ["run", "--inputs", "in", "--output", "out"];
        assert_eq!(baton(&[&fixed, more].concat()).code, 2);
    }
    let done = baton(&["run", "mamba9", "--inputs", "in", "--output", "out"]);
    assert!(
        done.stderr.contains("`mamba9`") && done.stderr.contains("mamba2"),
        "{}",
        done.stderr
    );
}
