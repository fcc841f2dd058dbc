//! Any size on a GPU, under the emulator, against the step interpreter in f64.
//!
//! Dims that are no multiples of 16 are padded within tiles, and a state too wide for a block is cut into strips. Sizes
//! are drawn, one of every residue of both dims; what is read beside a row is another head's number here, and NaN in
//! `runtime/src/engine/raw/tests`. A few are run each time, more of them with BATON_KERNELS=all.

use super::gpu::{BF16, F32, RANKS, case_of, extents, schedule};
use baton_codegen::Compiler;
use baton_ir::{builtin, text};
use baton_runtime::Options;
use baton_runtime::device::gpu::{Emulator, Gpu, Storage};
use baton_tests::harness::check;
use baton_tests::{Decay, Random, on_gpu};

const CHUNK: usize = 16;

fn all() -> bool {
    std::env::var_os("BATON_KERNELS").is_some_and(|which| which == "all")
}

/// Sizes below 48 of which each residue of 16 comes once in both dims, in an order of its own.
fn residues(random: &mut Random) -> Vec<[usize; 2]> {
    let mut seconds: Vec<usize> = (0..16).collect();
    for i in (1..16).rev() {
        seconds.swap(i, random.below(i + 1));
    }
    let mut size = |residue: usize| residue + 16 * random.between(usize::from(residue == 0), 2);
    (0..16)
        .map(|first| [size(first), size(seconds[first])])
        .collect()
}

/// Two heads of a group through sequences of two, no and more steps.
fn agrees(source: &str, sizes: [usize; 2], target: Gpu, time: usize) {
    let mut extents = extents(sizes, time, 2, 1);
    extents.cu_seqlens = Some(vec![0, 2, 2, time]);
    let storage = target.storage;
    let case = case_of(source, extents, Decay::Weak, storage);
    let bounds = match storage {
        Storage::F32 => F32,
        _ => BF16,
    };
    let options = Options {
        chunk: Some(CHUNK),
        ..Options::default()
    };
    check(&case, &Emulator::new(target), &options, true, bounds);
}

/// Every residue of both dims, each with a recurrence and a dtype drawn for it.
#[test]
fn sizes_of_every_residue_agree_with_the_truth() {
    let names = on_gpu();
    let rounds = if all() { 8 } else { 1 };
    for round in 0..rounds {
        let mut random = Random::named(round, "residues");
        for sizes in residues(&mut random) {
            let name = random.pick(names);
            let storage = *random.pick(&[Storage::Bf16, Storage::F32]);
            println!("{name} {sizes:?} {storage:?}");
            let source = builtin::text(name).expect("a built-in name");
            agrees(source, sizes, schedule(storage), 19);
        }
    }
}

/// States that are vectors and numbers, sums over what is not zero, and outputs of every rank.
#[test]
fn states_of_every_rank_take_any_size() {
    let bent = "recurrence bent {
        dims { K, V }
        inputs { q: [K], k: [K], v: [V], f: [K] per group, c: [V] }
        params { w: [K] }
        state { S: [K, V], n: [K] }
        let a = sigmoid(f + w);
        S = rows(a) * S + outer(exp(k) * (1 - a), v);
        n = a * n + exp(k);
        output o: [V] = silu(dot(q, S)) / (1 + sum(exp(q)) + softplus(sum(n))) + exp(c) / sum(exp(c));
    }";
    let sources = RANKS.into_iter().chain([bent]);
    let mut random = Random::named(0, "ranks");
    for source in sources {
        for storage in [Storage::Bf16, Storage::F32] {
            let rounds = if all() { 8 } else { 1 };
            for _ in 0..rounds {
                let sizes = [random.between(1, 40), random.between(1, 40)];
                println!("{sizes:?} {storage:?} {source}");
                agrees(source, sizes, schedule(storage), 19);
            }
        }
    }
}

/// A target whose blocks have so little shared memory that the recurrence is cut at these sizes, and the strips.
fn narrow(source: &str, sizes: [usize; 2], storage: Storage) -> (Gpu, usize) {
    let recurrence = text::parse(source).expect("it parses");
    let strips = |kilobytes: u32| {
        let target = Gpu {
            shared_limit: kilobytes << 10,
            ..schedule(storage)
        };
        let compiler = Compiler::new(&recurrence, &sizes).expect("it has a chunked form");
        let (fitted, _) = compiler.fit(&target, Some(CHUNK)).ok()?;
        fitted.strips().map(|strips| (target, strips.count))
    };
    let found = (1..80).rev().map(|n| 2 * n).find_map(strips);
    found.expect("a limit at which it is cut")
}

/// States in strips: what they share is computed by each, its gradient is the sum.
#[test]
fn strips_agree_with_the_truth() {
    let mut random = Random::named(0, "strips");
    let normed = RANKS[4];
    let names = ["mamba2", "gla", "delta_net", "retnet"];
    let sources = names.map(|name| builtin::text(name).expect("a built-in name"));
    for source in sources.into_iter().chain([normed]) {
        for storage in [Storage::Bf16, Storage::F32] {
            let sizes = [16, 16 * random.between(2, 4)];
            let (target, strips) = narrow(source, sizes, storage);
            println!("{strips} strips of {sizes:?} {storage:?}");
            agrees(source, sizes, target, 35);
        }
    }
}

/// Strips in segments, whose borders are theirs.
#[test]
fn strips_agree_in_segments() {
    let source = builtin::text("mamba2").expect("a built-in name");
    let (target, _) = narrow(source, [16, 40], Storage::F32);
    agrees(source, [16, 40], target, 230);
}

/// The sizes that are published, as they are: heads of GLA-1.3B and RetNet, and 128 by 128 in f32.
#[test]
fn published_sizes_have_kernels() {
    for (name, sizes, storage) in [
        ("gla", [256, 512], Storage::Bf16),
        ("retnet", [256, 512], Storage::Bf16),
        ("gla", [128, 256], Storage::Bf16),
        ("gla", [128, 256], Storage::F32),
        ("simple_gla", [128, 128], Storage::F32),
        ("delta_net", [128, 128], Storage::F32),
    ] {
        let source = builtin::text(name).expect("a built-in name");
        let recurrence = text::parse(source).expect("it parses");
        let compiler = Compiler::new(&recurrence, &sizes).expect("it has a chunked form");
        let target = schedule(storage);
        if let Err(why) = compiler.fit(&target, None) {
            panic!("{name} {sizes:?}: {why}");
        }
        if all() {
            agrees(source, sizes, target, 19);
        }
    }
}

/// What fits neither whole nor in strips is refused with a size that runs.
#[test]
fn a_refusal_names_the_nearest_size_that_runs() {
    let recurrence = text::parse(builtin::text("gla").unwrap()).expect("it parses");
    let fit = |sizes: [usize; 2]| {
        let compiler = Compiler::new(&recurrence, &sizes).expect("it has a chunked form");
        compiler
            .fit(&schedule(Storage::F32), None)
            .map(|(_, chunk)| chunk)
    };
    let why = fit([1024, 16])
        .expect_err("a state of 1024 rows")
        .to_string();
    assert!(why.contains("bytes of shared memory"), "{why}");
    assert!(
        why.contains("no strips are cut: output `o` has no `K`"),
        "{why}"
    );
    let (_, nearest) = why
        .split_once("nearest size that runs is K=")
        .expect("a size");
    let (rows, _) = nearest.split_once(',').expect("another dim");
    let rows: usize = rows.parse().expect("a number");
    assert!(
        fit([rows, 16]).is_ok() && fit([rows + 64, 16]).is_err(),
        "{why}"
    );
}
