//! `baton bench`: what it says of a small shape; the times themselves are not judged.

use crate::program::{Folder, Tensors, baton, save};
use safetensors::tensor::Dtype;

#[test]
fn bench_gives_times_counts_and_shares() {
    let shape = "B=1,T=64,H=4,P=8,N=16,G=1";
    let fixed = [
        "bench",
        "mamba2",
        "--shape",
        shape,
        "--threads",
        "2",
        "--repetitions",
        "3",
    ];
    let done = baton(&[&fixed[..], &["--chunk", "32", "--check", "--json"]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let value = done.json();
    for part in ["forward", "forward_keep", "backward", "step", "compile"] {
        let [min, p10, median, p90] = ["min_ms", "p10_ms", "median_ms", "p90_ms"]
            .map(|key| value[part][key].as_f64().unwrap());
        assert!(
            0.0 < min && min <= p10 && p10 <= median && median <= p90,
            "{part}: {value}"
        );
    }
    let peak = value["machine"]["peak_gflops"].as_f64().unwrap();
    assert!(peak > 0.0);
    for part in ["forward", "forward_keep", "backward", "step"] {
        let flops = value[part]["flops"].as_f64().unwrap();
        let rate = flops / (value[part]["median_ms"].as_f64().unwrap() * 1e6);
        let share = value[part]["peak_share"].as_f64().unwrap();
        assert!((share * peak / rate - 1.0).abs() < 1e-9, "{part}: {value}");
        assert!(value[part]["bytes"].as_u64().unwrap() > 0);
    }
    // Per token: (C + 1) P + 4 N P for each head, (C + 1) N once.
    assert_eq!(
        value["forward"]["flops"],
        64 * (4 * (33 * 8 + 4 * 16 * 8) + 33 * 16)
    );
    assert_eq!(
        value["shape"],
        serde_json::json!({"B": 1, "T": 64, "H": 4, "G": 1, "P": 8, "N": 16})
    );
    assert_eq!(
        (&value["chunk"], &value["threads"]),
        (&32.into(), &2.into())
    );
    for part in ["outputs", "gradients"] {
        let error = value["checked_error"][part].as_f64().unwrap();
        assert!(0.0 < error && error <= 1e-5, "{part}: {error}");
    }
    let (cold, inputs) = (value["cold_start_ms"].as_f64(), value["inputs_ms"].as_f64());
    assert!(cold.unwrap() > inputs.unwrap());
    let short = baton(&[
        "bench",
        "mamba2",
        "--shape",
        shape,
        "--seconds",
        "0.000001",
        "--json",
    ])
    .json();
    assert_eq!(short["forward"]["repetitions"], 3);
    let shown = baton(&fixed);
    assert_eq!(shown.code, 0);
    assert!(shown.stdout.contains("of peak") && shown.stdout.contains("cold start"));
}

#[test]
fn bench_names_what_is_wrong_with_a_shape() {
    for (name, shape, part) in [
        ("mamba2", "T=64,H=4,P=8", "does not give N"),
        ("mamba2", "T=64,H=4,P=8,N=8,K=8", "K=8"),
        ("mamba2", "T=64,H=4,P=8,N=8,G=3", "divisor of H"),
        ("gla", "T=64,H=4,K=8,V=8,G=2", "per group"),
    ] {
        let done = baton(&["bench", name, "--shape", shape]);
        assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{shape}");
        assert!(done.stderr.contains(part), "{shape}: {}", done.stderr);
    }
}

/// Where the recurrence itself is not finite no kernel is blamed, and tensors on which it is are judged.
#[test]
fn bench_checks_what_is_finite() {
    let folder = Folder::new("bench-finite");
    let counter = "recurrence counter { inputs { x: [] } state { n: [], s: [] }
        n = n + 1; s = 0.5 * s + x; output o: [] = s * rsqrt(n); }";
    let file = folder.write("counter.rec", counter);
    let fixed = [
        "bench",
        &file,
        "--shape",
        "T=16,H=2",
        "--repetitions",
        "1",
        "--check",
    ];
    let drawn = baton(&fixed);
    assert_eq!((drawn.code, drawn.stdout.as_str()), (2, ""));
    for part in ["`counter` itself is not finite on drawn inputs", "`o`"] {
        assert!(drawn.stderr.contains(part), "{}", drawn.stderr);
    }
    assert!(!drawn.stderr.contains("kernels are wrong"));
    let inputs = folder.path("in.safetensors");
    for (start, code, part) in [
        (3.0, 0, "relative errors: outputs"),
        (-3.0, 2, "itself is not finite on the given tensors"),
    ] {
        let state = (Dtype::F32, vec![1, 2], vec![start; 2]);
        save(&inputs, &Tensors::from([("n".to_string(), state)]));
        let given = baton(&[&fixed[..], &["--inputs", &inputs]].concat());
        assert_eq!(given.code, code, "{}", given.stderr);
        let said = format!("{}{}", given.stdout, given.stderr);
        assert!(said.contains(part), "{said}");
        // As --shape takes it: nothing is per group.
        assert!(said.contains("H=2") && !said.contains("G="), "{said}");
    }
}

#[test]
fn bench_measures_on_tensors_of_a_file() {
    let folder = Folder::new("bench-inputs");
    let tensor = |shape: [usize; 4]| {
        (
            Dtype::F32,
            shape.to_vec(),
            vec![0.5; shape.iter().product()],
        )
    };
    for (name, given, code, part) in [
        ("q", tensor([1, 16, 2, 8]), 0, "of peak"),
        (
            "v",
            tensor([1, 2, 16, 8]),
            2,
            "tensor `v` has shape [1, 2, 16, 8], expected [1, 16, 2, 8] as --shape says",
        ),
        ("w", tensor([1, 16, 2, 8]), 2, "tensor `w` has no place"),
    ] {
        let file = folder.path("in.safetensors");
        save(&file, &Tensors::from([(name.to_string(), given)]));
        let shape = "T=16,H=2,K=8,V=8";
        let done = baton(&[
            "bench",
            "gla",
            "--shape",
            shape,
            "--inputs",
            &file,
            "--repetitions",
            "1",
        ]);
        assert_eq!(done.code, code, "{}", done.stderr);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains(part), "{said}");
    }
}
