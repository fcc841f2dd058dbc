//! The verbs that read a recurrence and print: `check`, `print`, `derive`, `schedule`.

use crate::program::{Folder, baton};
use baton_ir::text::{chunked, tile};
use baton_ir::{builtin, chunked::Direction};

const BAD: &str = "recurrence bad {
    dims   { K, V }
    inputs { q: [K], k: [K], v: [V] }
    state  { S: [K, V], n: [K] }

    S = tanh(S) + outer(k, v);
    n = n + tanh(n) + k;
    output o: [V] = dot(q, S) + dot(q, n);
}
";

const TWO_SIDED: &str = "recurrence two_sided {
    dims   { K, V }
    inputs { q: [K], k: [K], v: [V], beta: [], g: [] }
    state  { S: [K, V] }
    S = exp(g) * S;
    S = S + outer(k, beta * (v - dot(k, S)));
    S = S - outer(0.5 * dot(S, v), v);
    output o: [V] = dot(q, S);
}
";

#[test]
fn check_gives_class_and_kernels() {
    for &name in builtin::NAMES {
        let done = baton(&["check", name, "--json"]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{name}");
        let value = done.json();
        let class = match name {
            "gla" | "hgrn2" | "rwkv6" | "mamba1" | "longhorn" => "diagonal",
            "delta_net"
            | "gated_delta_net"
            | "gated_delta_product"
            | "kda"
            | "efla"
            | "kaczmarz" => "delta",
            "comba" | "rwkv7" => "diagonal plus low rank",
            "mlstm" | "mamba3" => "coupled",
            _ => "scalar",
        };
        assert_eq!(value["class"], class, "{name}");
        assert_eq!(value["recurrence"], name);
        let kernels: Vec<&str> = (value["kernels"].as_array().unwrap().iter())
            .map(|kernel| kernel.as_str().unwrap())
            .collect();
        assert!(kernels.iter().all(|kernel| kernel.starts_with(name)));
        for phase in ["_output_forward", "_gradient_backward"] {
            assert!(
                kernels.iter().any(|kernel| kernel.contains(phase)),
                "{name}: {kernels:?}"
            );
        }
        let decays = kernels.iter().any(|kernel| kernel.contains("decay"));
        // Where a state is read in its own update, what a segment does to it is no decay.
        let decayed =
            !name.starts_with("linear_attention") && ["scalar", "diagonal"].contains(&class);
        assert_eq!(decays, decayed, "{name}: {kernels:?}");
        let shown = baton(&["check", name]);
        assert_eq!(shown.code, 0);
        assert!(
            shown.stdout.starts_with(&format!("{name}: class ")),
            "{}",
            shown.stdout
        );
    }
}

/// Which dims are cut and why another is not; at sizes, what runs and what is slower for them.
#[test]
fn check_says_what_a_gpu_does_with_sizes() {
    let said = |arguments: &[&str]| -> Vec<String> {
        let value = baton(&[&["check", "--json"], arguments].concat()).json();
        let lines = value["gpu"].as_array().expect("lines").iter();
        lines
            .map(|line| line.as_str().unwrap().to_string())
            .collect()
    };
    let cut = said(&["gla"]);
    assert_eq!(
        cut[0],
        "no strips of K, along which a state is to fit a block whole: output `o` has no `K` (docs/gpu.md, \"Sizes\")"
    );
    assert!(cut[1].ends_with("cut into strips of V"), "{cut:?}");
    let wide = said(&["gla", "--shape", "K=128,V=1024"]);
    assert!(wide[0].contains("strips of K=128, V="), "{wide:?}");
    let odd = said(&["gla", "--shape", "K=24,V=30", "--dtype", "f32"]);
    let of = |what: &str| odd.iter().filter(|line| line.contains(what)).count();
    assert_eq!(
        [of("whole"), of("padded to 32"), of("by 8 at a time")],
        [1, 2, 2],
        "{odd:?}"
    );
    let folder = Folder::new("stepped");
    let stepped = "recurrence r { dims { D, N } inputs { u: [D], c: [N] } params { a: [D, N] } state { S: [D, N] }
        S = exp(-exp(a)) * S + outer(u, c); output y: [D] = dot(S, c); }";
    assert!(said(&[&folder.write("stepped.rec", stepped)]).is_empty());
    let refused = baton(&["check", "gla", "--shape", "Q=3"]);
    assert_eq!(refused.code, 2);
    let narrow = said(&["rwkv6", "--shape", "K=1024,V=16"]);
    assert!(
        narrow[0].contains("the nearest size that runs is"),
        "{narrow:?}"
    );
}

#[test]
fn check_fails_where_a_required_target_has_no_kernels() {
    let folder = Folder::new("check_required");
    let stepped = folder.write("two.rec", TWO_SIDED);
    for (given, code, why) in [
        (&["gla", "--require", "cpu,gpu"][..], 0, ""),
        (&[&stepped, "--require", "cpu"], 0, ""),
        (
            &[&stepped, "--require", "cpu,gpu"],
            2,
            "`two_sided` has no kernels there: no chunked form",
        ),
        (
            &["rwkv6", "--shape", "K=1024,V=16", "--require", "gpu"],
            2,
            "--require gpu given, and `rwkv6` has no kernels there: ",
        ),
    ] {
        let done = baton(&[&["check"], given].concat());
        assert_eq!(done.code, code, "{}", done.stderr);
        assert!(done.stderr.contains(why), "{}", done.stderr);
    }
}

/// A matrix for each step is read by the interpreter only.
#[test]
fn check_says_what_no_kernel_reads() {
    let folder = Folder::new("check_matrix");
    let text = "recurrence r { dims { K, V } inputs { q: [K], a: [K, V] } state { S: [K, V] }
        S = 0.5 * S + a; output o: [V] = dot(q, S); }";
    let done = baton(&["check", &folder.write("matrix.rec", text)]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    for part in [
        "  kernels  none\n",
        "input `a` is a matrix, which no kernel reads; it runs on the interpreter only",
    ] {
        assert!(done.stdout.contains(part), "{}", done.stdout);
    }
}

#[test]
fn check_gives_every_diagnostic_with_its_place() {
    let folder = Folder::new("check_diagnostics");
    let file = folder.write("bad.rec", BAD);
    let done = baton(&["check", &file, "--json"]);
    assert_eq!((done.code, done.stderr.as_str()), (1, ""));
    let value = done.json();
    let places: Vec<_> = (value["diagnostics"].as_array().unwrap().iter())
        .map(|d| {
            assert!(!d["message"].as_str().unwrap().is_empty());
            (
                d["code"].as_str().unwrap(),
                ["line", "column", "length"].map(|key| d[key].as_u64().unwrap()),
            )
        })
        .collect();
    assert_eq!(places, [("R040", [6, 9, 7]), ("R040", [7, 13, 7])]);
}

#[test]
fn check_counts_columns_in_characters() {
    let folder = Folder::new("check_characters");
    let text = BAD.replace("tanh(S)", "S + outer(k é, w)");
    let file = folder.write("bad.rec", &text);
    let value = baton(&["check", &file, "--json"]).json();
    let place = |code: &str| {
        let list = value["diagnostics"].as_array().unwrap();
        let found = list
            .iter()
            .find(|d| d["code"] == code)
            .unwrap_or_else(|| panic!("{value}"));
        ["line", "column", "length"].map(|key| found[key].as_u64().unwrap())
    };
    assert_eq!(place("R001"), [6, 21, 1]);
    assert_eq!(place("R012"), [6, 24, 1]);
}

#[test]
fn check_shows_the_source_line_without_colour_in_a_pipe() {
    let folder = Folder::new("check_shown");
    let file = folder.write("bad.rec", BAD);
    let done = baton(&["check", &file]);
    assert_eq!((done.code, done.stdout.as_str()), (1, ""));
    for part in [
        "error[R040]",
        "bad.rec:6:9",
        "6 |     S = tanh(S) + outer(k, v);\n  |         ^^^^^^^\n",
        "bad.rec:7:13",
    ] {
        assert!(
            done.stderr.contains(part),
            "{part} is not in\n{}",
            done.stderr
        );
    }
    assert!(!done.stderr.contains('\x1b'));
}

#[test]
fn a_class_without_a_chunked_form_goes_step_by_step() {
    let folder = Folder::new("check_delta");
    let file = folder.write("delta.rec", TWO_SIDED);
    let done = baton(&["check", &file, "--json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let value = done.json();
    assert_eq!(value["class"], "delta");
    assert!(value["kernels"].as_array().unwrap().len() > 3, "{value}");
    assert!(
        value["note"].as_str().unwrap().contains("step by step"),
        "{value}"
    );
    let done = baton(&["derive", &file]);
    assert!(
        done.code == 0 && done.stdout.starts_with("// No chunked form"),
        "{}",
        done.stdout
    );
    let done = baton(&["schedule", &file, "--json"]);
    assert_eq!(
        (done.code, &done.json()["chunk"]),
        (0, &serde_json::json!(1))
    );
    let done = baton(&["emit", "--file", &file, "-o", &folder.path("kernels")]);
    assert!(
        done.code == 1 && done.stderr.contains("error[D001]"),
        "{}",
        done.stderr
    );
}

#[test]
fn what_is_no_recurrence_is_one_message() {
    let folder = Folder::new("no_recurrence");
    let (absent, bytes) = (folder.path("absent.rec"), folder.path("bytes.rec"));
    std::fs::write(&bytes, [0xff, 0xfe]).unwrap();
    for (place, part) in [
        ("mamba9", "built-in"),
        (absent.as_str(), "absent.rec"),
        (bytes.as_str(), "bytes.rec"),
    ] {
        for verb in ["check", "print", "derive", "schedule"] {
            let done = baton(&[verb, place]);
            assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{verb} {place}");
            assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
            assert!(done.stderr.contains(part), "{}", done.stderr);
        }
        let done = baton(&["check", place, "--json"]);
        assert!(done.json()["error"].as_str().unwrap().contains(part));
    }
}

#[test]
fn print_is_canonical() {
    let folder = Folder::new("print");
    for &name in builtin::NAMES {
        let first = baton(&["print", name]);
        assert_eq!(first.code, 0);
        assert!(
            !first.stdout.contains("//"),
            "comments are not part of the text"
        );
        let file = folder.write("again.rec", &first.stdout);
        assert_eq!(baton(&["print", &file]).stdout, first.stdout);
        assert_eq!(
            baton(&["print", name, "--json"]).json()["text"],
            first.stdout.as_str()
        );
    }
}

#[test]
fn derive_prints_what_parses() {
    for &name in builtin::NAMES {
        let value = baton(&["derive", name, "--gradient", "--json"]).json();
        let program = |key: &str| chunked::parse(value[key].as_str().unwrap()).unwrap().0;
        let (forward, reverse) = (program("forward"), program("reverse"));
        assert_eq!(forward.direction, Direction::Forward);
        assert_eq!(reverse.direction, Direction::Reverse);
        assert!(reverse.results.len() >= reverse.inputs.len() + reverse.params.len());
        let shown = baton(&["derive", name]);
        assert_eq!(shown.code, 0);
        let forward = value["forward"].as_str().unwrap();
        match value["steps"].as_bool().unwrap() {
            true => assert!(
                shown.stdout.starts_with("// No chunked form") && shown.stdout.ends_with(forward)
            ),
            false => assert_eq!(shown.stdout, forward),
        }
    }
}

#[test]
fn schedule_prints_what_parses() {
    for (direction, chunk, name) in [
        ("forward", 32, "gla_output_forward_f32_cpu"),
        ("backward", 32, "gla_gradient_backward_f32_cpu"),
        ("step", 1, "gla_output_forward_f32_cpu"),
    ] {
        let done = baton(&[
            "schedule",
            "gla",
            "--shape",
            "K=24",
            "--chunk",
            "32",
            "--direction",
            direction,
        ]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        let (program, _) = tile::parse(&done.stdout).unwrap();
        assert_eq!((program.chunk, program.name.as_str()), (chunk, name));
        let state = &program.carries[0];
        assert_eq!(state.dims, [24, 64], "K as given, V as usual");
    }
    for (shape, part) in [
        ("Q=3", "names here are K, V"),
        ("K=0", "`0` for K"),
        ("K", "NAME=SIZE"),
    ] {
        let done = baton(&["schedule", "gla", "--shape", shape]);
        assert_eq!(done.code, 2);
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    assert_eq!(baton(&["schedule", "gla", "--chunk", "48"]).code, 2);
}

/// The verbs that the help names.
fn verbs() -> Vec<String> {
    let help = baton(&["--help"]).stdout;
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    let verbs: Vec<String> = names.map(String::from).filter(|v| v != "help").collect();
    assert!(verbs.len() > 10 && verbs.contains(&"train".to_string()));
    verbs
}

#[test]
fn every_verb_has_an_example() {
    for verb in verbs() {
        let done = baton(&[verb.as_str(), "--help"]);
        assert!(done.stdout.contains("Example"), "{verb}: {}", done.stdout);
    }
    for verb in ["check", "print", "derive", "schedule", "run", "bench"] {
        let done = baton(&[verb, "--help"]);
        assert_eq!(done.code, 0, "{verb}");
        assert!(
            done.stdout.contains(&format!("Example:\n  baton {verb} ")),
            "{}",
            done.stdout
        );
        assert_eq!(baton(&[verb]).code, 2, "{verb} needs arguments");
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    for flag in ["-v", "--version"] {
        let done = baton(&[flag]);
        let expected = format!("baton {} (features ", env!("CARGO_PKG_VERSION"));
        assert_eq!(done.code, 0);
        assert!(done.stdout.starts_with(&expected), "{}", done.stdout);
        assert_eq!(done.stdout.contains("mlir"), cfg!(feature = "mlir"));
    }
}

#[test]
fn shells_and_manuals_know_every_verb() {
    let folder = Folder::new("man");
    let done = baton(&["man", &folder.path("pages")]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let scripts = ["bash", "zsh", "fish"].map(|shell| baton(&["completions", shell]).stdout);
    for verb in verbs() {
        let page = folder.path(&format!("pages/baton-{verb}.1"));
        let page = std::fs::read_to_string(page).expect("a page for each verb");
        assert!(page.contains("Example"), "{verb}");
        assert!(
            scripts.iter().all(|script| script.contains(&verb)),
            "{verb}"
        );
    }
    let refused = baton(&["completions", "dos"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("bash"), "{}", refused.stderr);
}
