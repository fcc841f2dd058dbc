//! The shipped kernels: complete, fresh, and right under the emulator.
//!
//! That each is what the generator makes needs no MLIR: its file is found by the text that it was
//! made from, and holds the PTX whose hash stands in the manifest. With MLIR the PTX itself is made
//! again, of one size of every recurrence. No kernel is edited by hand: it would have another hash.

use baton_codegen::target::{Gpu, Storage};
use baton_codegen::{Compiler, Phase, Service};
use baton_ir::{builtin, text};
use baton_kernels::manifest::{Kernel, Manifest, Port};
use baton_runtime::Options;
use baton_runtime::device::gpu::Emulator;
use baton_tests::harness::check;
use baton_tests::tolerance::Arithmetic;
use baton_tests::{Case, Decay, Extents, on_gpu};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Sizes of the state's first dim, and of its second.
const STATE: [usize; 3] = [16, 64, 128];
const HEAD: [usize; 2] = [64, 128];
const PHASES: [(Phase, &str); 7] = [
    (Phase::Forward, "forward"),
    (Phase::ForwardKeep, "keep"),
    (Phase::Summary, "summary"),
    (Phase::Entering, "entering"),
    (Phase::LogDecay, "log_decay"),
    (Phase::Backward, "backward"),
    (Phase::BackwardState, "backward_state"),
];

fn arithmetic(dtype: &str) -> Arithmetic {
    match dtype {
        "bf16" => Arithmetic::Bf16,
        _ => Arithmetic::Split,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels-generated")
}

fn manifest() -> Manifest {
    let text = fs::read_to_string(folder().join("manifest.json")).expect("a manifest");
    let manifest = Manifest::parse(&text).expect("a manifest of this version");
    assert_eq!(
        manifest.print(),
        text,
        "the manifest was not written by `baton emit`"
    );
    manifest
}

fn target(kernel: &Kernel) -> Gpu {
    let storage = match kernel.dtype.as_str() {
        "bf16" => Storage::Bf16,
        "f32" => Storage::F32,
        other => panic!("no kernels are shipped in {other}"),
    };
    Gpu::sm_80(storage)
}

fn compiler(kernel: &Kernel) -> Compiler {
    let source = builtin::text(&kernel.recurrence).expect("a built-in recurrence");
    let recurrence = text::parse(source).expect("it parses");
    assert_eq!(
        baton_kernels::hash(&text::print(&recurrence)),
        kernel.text_hash
    );
    let sizes: Vec<usize> = (recurrence.dims.iter())
        .map(|dim| kernel.sizes[dim])
        .collect();
    Compiler::new(&recurrence, &sizes).expect("it verifies")
}

fn phase(kernel: &Kernel) -> Phase {
    let found = PHASES.iter().find(|(_, label)| *label == kernel.phase);
    found.expect("a phase that is shipped").0
}

/// Kernels of a recurrence, dtype and size stand together.
fn is_of_one_group(one: &Kernel, other: &Kernel) -> bool {
    let group = |kernel: &Kernel| {
        (
            kernel.recurrence.clone(),
            kernel.dtype.clone(),
            kernel.sizes.clone(),
        )
    };
    group(one) == group(other)
}

/// Every recurrence that the target has kernels for, and no other: each dtype and size has every phase that
/// devices run, or a reason why not.
#[test]
fn the_set_is_complete() {
    let manifest = manifest();
    let mut there: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for kernel in &manifest.kernels {
        let key = (&kernel.recurrence, &kernel.dtype, &kernel.sizes);
        there.entry(key).or_default().insert(&kernel.phase);
    }
    for (recurrence, ..) in there.keys() {
        assert!(on_gpu().contains(&recurrence.as_str()), "{recurrence}");
    }
    for name in on_gpu() {
        let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
        let dims = &recurrence.dims;
        let compiler = Compiler::new(&recurrence, &vec![16; dims.len()]).expect("it verifies");
        let phases: Vec<Phase> = compiler.phases(&Gpu::sm_80(Storage::F32)).collect();
        let labels: Vec<_> = (PHASES.iter())
            .filter(|(phase, _)| phases.contains(phase))
            .map(|(_, label)| *label)
            .collect();
        for (dtype, state, head) in ["bf16", "f32"]
            .into_iter()
            .flat_map(|dtype| STATE.map(|state| (dtype, state)))
            .flat_map(|(dtype, state)| HEAD.map(|head| (dtype, state, head)))
        {
            let sizes: BTreeMap<_, _> = dims.iter().cloned().zip([state, head]).collect();
            let (name, dtype) = (name.to_string(), dtype.to_string());
            let absent = (manifest.absent.iter())
                .any(|a| a.recurrence == name && a.dtype == dtype && a.sizes == sizes);
            let found = there.get(&(&name, &dtype, &sizes));
            let all = found.is_some_and(|found| labels.iter().all(|label| found.contains(label)));
            assert!(
                all != absent,
                "{name} {dtype} {sizes:?}: run `make kernels`"
            );
        }
    }
}

/// Whether a kernel's PTX is other than the generator wrote.
fn was_edited(kernel: &Kernel, ptx: &str) -> bool {
    baton_kernels::hash(ptx) != kernel.ptx_hash
}

/// One character in one kernel is enough.
#[test]
fn an_edited_kernel_is_noticed() {
    let kernel = &manifest().kernels[0];
    let lowered = compiler(kernel).compile(&target(kernel), phase(kernel), kernel.chunk);
    let ptx = baton_kernels::ptx(&kernel.name, &lowered.unwrap().code.text).expect("it is shipped");
    assert!(!was_edited(kernel, &ptx));
    let edited = ptx.replacen("ret;", "ret; ", 1);
    assert!(edited != ptx && was_edited(kernel, &edited));
}

/// No kernel is other than the generator of today would make, and none lies there unnamed.
#[test]
fn every_kernel_is_fresh() {
    let manifest = manifest();
    let (mut files, mut stale) = (BTreeSet::new(), vec![]);
    for group in manifest.kernels.chunk_by(is_of_one_group) {
        let (compiler, plain) = (compiler(&group[0]), target(&group[0]));
        let chunk = compiler.chunk(&plain).expect("a chunk that fits");
        let all: BTreeSet<_> = compiler
            .phases(&plain)
            .map(|phase| phase as usize)
            .collect();
        let there = group.iter().map(|k| phase(k) as usize).collect();
        assert_eq!(all, there, "{}: run `make kernels`", group[0].name);
        for kernel in group {
            let name = &kernel.file;
            assert_eq!(chunk, kernel.chunk, "{name}");
            let lowered = compiler.compile(&target(kernel), phase(kernel), chunk);
            let text = lowered.expect("it compiles").code.text;
            if baton_kernels::hash(&text) != kernel.mlir_hash {
                stale.push(name.as_str());
                continue;
            }
            let ptx = baton_kernels::ptx(&kernel.name, &text);
            let ptx = ptx.unwrap_or_else(|| panic!("{name} is not in the program"));
            assert!(!was_edited(kernel, &ptx), "{name} was edited");
            let bytes = fs::read(folder().join(name)).expect("the file that the manifest names");
            assert!(baton_kernels::unpack(&bytes).unwrap() == ptx, "{name}");
            assert!(files.insert(folder().join(name)), "{name} is named twice");
        }
    }
    assert_eq!(stale, [""; 0], "run `make kernels`");
    let target = Gpu::sm_80(Storage::F32);
    assert_eq!(manifest.services.len(), Service::ALL.len());
    for (service, kernel) in Service::ALL.into_iter().zip(&manifest.services) {
        let (name, text) = (service.name(&target), service.source(&target).text);
        assert_eq!(name, kernel.name);
        let ptx = baton_kernels::ptx(&name, &text);
        let ptx = ptx.unwrap_or_else(|| panic!("{name} is stale: run `make kernels`"));
        assert_eq!(baton_kernels::hash(&ptx), kernel.ptx_hash, "{name}");
        assert!(files.insert(folder().join(&kernel.file)), "{name}");
    }
    let there = fs::read_dir(folder().join("ptx")).expect("the kernels");
    let there: BTreeSet<_> = there.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(
        there, files,
        "files that the manifest does not name, or lacks"
    );
    assert_eq!(baton_kernels::count(), files.len());
    let size = |file: &PathBuf| fs::metadata(file).unwrap().len();
    let bytes: u64 = files.iter().map(size).sum();
    assert!(bytes < 30 << 20, "{bytes} bytes of kernels");
}

/// Two heads, so that the gradient of a number for each head is no single number that nearly cancels.
const HEADS: usize = 2;

/// A shipped size from a state that is not zero over `chunks` chunks and a step, against the truth. The
/// device takes what is shipped: a finding of the emulator is an error of the run.
fn agrees(kernel: &Kernel, chunks: usize) {
    let target = target(kernel);
    let compiler = compiler(kernel);
    let dims = &compiler.recurrence().dims;
    let extents = Extents {
        sizes: dims.iter().map(|dim| kernel.sizes[dim]).collect(),
        batch: 1,
        time: chunks * kernel.chunk + 1,
        heads: HEADS,
        groups: 1,
        cu_seqlens: None,
    };
    let case = Case::builtin(&kernel.recurrence, extents, Decay::Weak, 5).rounded(target.storage);
    let bounds = arithmetic(&kernel.dtype).tolerance();
    let device = Emulator::new(target);
    for keep in [true, false] {
        check(&case, &device, &Options::default(), keep, bounds);
    }
}

/// One kernel of a recurrence and a size, of every recurrence of a dtype: in the smallest size and one more,
/// which the hash of its text picks, so that a kernel that changes is met in another. What the manifest says of
/// all the others was found when they were made (`every_kernel_was_run_within_its_bounds`); with
/// BATON_KERNELS=all they run too.
fn each(dtype: &str, run: impl Fn(&Kernel)) {
    let manifest = manifest();
    let forward = |kernel: &&Kernel| kernel.dtype == dtype && kernel.phase == "forward";
    let kernels: Vec<&Kernel> = manifest.kernels.iter().filter(forward).collect();
    let all = std::env::var_os("BATON_KERNELS").is_some_and(|which| which == "all");
    for sizes in kernels.chunk_by(|one, other| one.recurrence == other.recurrence) {
        let number = u64::from_str_radix(&sizes[0].mlir_hash, 16).expect("a hash");
        let picked = sizes[number as usize % sizes.len()];
        let runs = |kernel: &&&Kernel| all || is_smallest(kernel) || kernel.file == picked.file;
        sizes.iter().filter(runs).for_each(|kernel| run(kernel));
    }
}

fn is_smallest(kernel: &Kernel) -> bool {
    kernel.sizes.values().sum::<usize>() == STATE[0] + HEAD[0]
}

/// A size without kernels of its own that runs in strips of a shipped size has its kernels with it.
#[test]
fn strips_of_a_shipped_size_are_shipped() {
    let manifest = manifest();
    let mut found = 0;
    for absent in &manifest.absent {
        let recurrence = text::parse(builtin::text(&absent.recurrence).unwrap()).unwrap();
        let sizes: Vec<usize> = (recurrence.dims.iter())
            .map(|dim| absent.sizes[dim])
            .collect();
        let whole = Compiler::new(&recurrence, &sizes).expect("it verifies");
        let target = Gpu::sm_80(arithmetic(&absent.dtype).storage());
        let Ok((compiler, chunk)) = whole.fit(&target, None) else {
            continue;
        };
        let strip: BTreeMap<_, _> = (recurrence.dims.iter().cloned())
            .zip(compiler.sizes().iter().copied())
            .collect();
        let is = |kernel: &Kernel| {
            let same = kernel.recurrence == absent.recurrence && kernel.dtype == absent.dtype;
            same && kernel.sizes == strip
        };
        if !manifest.kernels.iter().any(is) {
            continue;
        }
        for phase in compiler.phases(&target) {
            let made = compiler.compile(&target, phase, chunk);
            let made = made.expect("it compiles");
            let name = &made.program.name;
            let there = baton_kernels::ptx(name, &made.code.text).is_some();
            assert!(there, "{name} of {strip:?}");
        }
        found += 1;
    }
    assert!(found > 0, "no size runs in strips of a shipped one");
}

/// Runs in segments, which have kernels of their own, in the smallest size of what is cut.
fn segments(dtype: &str) {
    each(dtype, |kernel| {
        if is_smallest(kernel) && compiler(kernel).traits().summary == Some(0) {
            agrees(kernel, 12);
        }
    });
}

#[test]
fn bf16_kernels_agree_with_the_truth() {
    each("bf16", |kernel| agrees(kernel, 1));
}

#[test]
fn f32_kernels_agree_with_the_truth() {
    each("f32", |kernel| agrees(kernel, 1));
}

#[test]
fn bf16_kernels_agree_in_segments() {
    segments("bf16");
}

#[test]
fn f32_kernels_agree_in_segments() {
    segments("f32");
}

/// The manifest's own errors, found when the kernel was made: every kernel ran, without a finding, near enough
/// to the truth.
#[test]
fn every_kernel_was_run_within_its_bounds() {
    for kernel in manifest().kernels {
        let name = &kernel.file;
        let bounds = arithmetic(&kernel.dtype).tolerance();
        let errors = kernel.errors.as_ref();
        let [found, found_gradients] = [
            errors.and_then(|e| e.outputs),
            errors.and_then(|e| e.gradients),
        ];
        match kernel.phase.as_str() {
            "forward" | "keep" => assert!(found.unwrap() <= bounds.outputs, "{name}"),
            "entering" | "backward" => {
                assert!(found_gradients.unwrap() <= bounds.gradients, "{name}")
            }
            _ => assert!(errors.is_none(), "{name}: of segments"),
        }
        assert!(errors.is_none_or(|errors| errors.run[1] % 2 == 1), "{name}");
    }
}

/// What the assembler made of every kernel: every product runs on tensor cores, loads are asynchronous,
/// fragments come by matrix loads, results leave by 16 bytes, what spills has a reason, and nothing is in local
/// memory where nothing spills.
#[test]
fn every_kernel_was_assembled_as_meant() {
    for kernel in manifest().kernels {
        let bytes = fs::read(folder().join(&kernel.file)).expect("the file");
        let ptx = baton_kernels::unpack(&bytes).expect("PTX");
        let products = ptx.matches("mma.sync").count() as u64;
        let chips: Vec<&String> = kernel.assembled.keys().collect();
        assert_eq!(chips, ["sm_80", "sm_90"], "{}", kernel.file);
        for (chip, made) in &kernel.assembled {
            let of = format!("{} {chip}", kernel.file);
            let count = |mnemonic: &str| {
                let counted = made.instructions.get(mnemonic);
                *counted.unwrap_or_else(|| panic!("{of}: {mnemonic} is counted"))
            };
            assert!(count("HMMA") >= products, "{of}: products elsewhere");
            if kernel.phase != "log_decay" {
                assert!(products > 0, "{of}: no products");
                assert!(count("LDSM") > 0, "{of}: no matrix loads");
            }
            let reads = |port: &Port| port.pace == "step" && !port.dims.is_empty();
            let copies = kernel.ports.iter().any(reads);
            assert_eq!(count("LDGSTS") > 0, copies, "{of}: asynchronous copies");
            let of_states = ["summary", "log_decay", "backward_state"];
            if !of_states.contains(&kernel.phase.as_str()) {
                assert!(count("STG.E.128") > 0, "{of}: no 16-byte stores");
            }
            let local = count("LDL") + count("STL");
            assert_eq!(
                local > 0,
                made.spill_bytes > 0,
                "{of}: {local} accesses of local memory"
            );
            assert_eq!(made.spill_bytes > 0, made.why.is_some(), "{of}");
        }
    }
}

/// MLIR makes the same bytes again.
#[cfg(feature = "mlir")]
#[test]
fn mlir_makes_the_same_kernels() {
    let assembler = baton_codegen::Assembler::new().expect("MLIR is built in");
    let manifest = manifest();
    for kernel in manifest.kernels.iter().filter(|kernel| is_smallest(kernel)) {
        let target = target(kernel);
        let lowered = compiler(kernel).compile(&target, phase(kernel), kernel.chunk);
        let ptx = assembler.ptx(&lowered.unwrap().code.text).unwrap();
        assert_eq!(
            baton_kernels::hash(&ptx),
            kernel.ptx_hash,
            "{}",
            kernel.file
        );
    }
}
