//! Predictions held to the emulator: what a warp's way through the machine code has of each kind of instruction is
//! what the PTX executes of it, and passes through shared memory are those that the emulator counts.

use baton_codegen::target::{Gpu, Storage};
use baton_ir::{builtin, text};
use baton_kernels::manifest::{Kernel, Manifest};
use baton_predict::{H100, Listing, Step, Unit, Walk, works};
use baton_runtime::device::gpu::{Counts, Emulator, Ledger};
use baton_runtime::{Call, Device, Options, Tensor};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Chunks of a run and of a longer one: what is compared is what the further ones add, as a kernel stops copying ahead before
/// its end.
const CHUNKS: [usize; 2] = [3, 5];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The machine code of PTX; none where `make cuda-tools` was not run.
fn assembled(ptx: &str, chip: &str, name: &str) -> Option<Listing> {
    let tools = root().join("target/cuda/nvidia/cu13/bin");
    if !tools.join("ptxas").exists() {
        eprintln!("not checked: `make cuda-tools` was not run");
        return None;
    }
    let file = |end| {
        std::env::temp_dir().join(format!("baton-{}-{name}-{chip}.{end}", std::process::id()))
    };
    let (text, cubin) = (file("ptx"), file("cubin"));
    fs::write(&text, ptx).unwrap();
    let made = Command::new(tools.join("ptxas"))
        .arg(format!("-arch={chip}"))
        .args([text.as_os_str(), "-o".as_ref(), cubin.as_os_str()])
        .status();
    assert!(made.unwrap().success(), "{name}");
    let said = Command::new(tools.join("nvdisasm"))
        .args(["-c", "-hex"])
        .arg(&cubin)
        .output();
    for file in [text, cubin] {
        fs::remove_file(file).unwrap();
    }
    let said = String::from_utf8(said.unwrap().stdout).unwrap();
    Some(Listing::parse(&said).unwrap())
}

/// The shipped kernels of a phase in bf16 at a size, one head a block, of those recurrences.
fn shipped(recurrence: &str, phase: &str, sizes: [usize; 2]) -> Kernel {
    let text = fs::read_to_string(root().join("kernels-generated/manifest.json")).unwrap();
    let mut kernels = Manifest::parse(&text).unwrap().kernels.into_iter();
    let asked = |kernel: &Kernel| {
        let same = kernel.recurrence == recurrence && kernel.phase == phase;
        same && kernel.dtype == "bf16" && kernel.heads == 1 && kernel.sizes.values().eq(&sizes)
    };
    kernels.find(asked).expect("it is shipped")
}

fn ptx(kernel: &Kernel) -> String {
    let file = root().join("kernels-generated").join(&kernel.file);
    baton_kernels::unpack(&fs::read(file).unwrap()).unwrap()
}

/// What the emulator executes of a kernel, for one head of one sequence of full chunks.
fn executed(kernel: &Kernel, chunks: usize) -> Counts {
    let recurrence = text::parse(builtin::text(&kernel.recurrence).unwrap()).unwrap();
    let sizes: Vec<usize> = recurrence
        .dims
        .iter()
        .map(|dim| kernel.sizes[dim])
        .collect();
    let ledger = Ledger::default();
    let mut device = Emulator::new(Gpu::sm_80(Storage::Bf16));
    device.ledger = Some(ledger.clone());
    let loaded = device
        .load(&recurrence, &sizes, &Options::default())
        .unwrap();
    let time = chunks * kernel.chunk;
    let tensor = |shape: &[usize], of: &[baton_ir::recurrence::DimId]| {
        let dims = of.iter().map(|dim| sizes[dim.index()]);
        Tensor::full(&shape.iter().copied().chain(dims).collect::<Vec<_>>(), 0.1)
    };
    let all = |ports: &[baton_ir::recurrence::Port], shape: &[usize]| -> Vec<Tensor<f32>> {
        ports
            .iter()
            .map(|port| tensor(shape, &port.shape))
            .collect()
    };
    let inputs = all(&recurrence.inputs, &[1, time, 1]);
    let params = all(&recurrence.params, &[1]);
    let call = Call {
        inputs: inputs.iter().map(Tensor::view).collect(),
        params: params.iter().map(Tensor::view).collect(),
        states: recurrence.states.iter().map(|_| None).collect(),
        cu_seqlens: None,
    };
    let run = loaded.forward(&call, kernel.phase != "forward").unwrap();
    if kernel.phase == "backward" {
        let arriving = all(&recurrence.outputs, &[1, time, 1]);
        let outputs: Vec<_> = arriving.iter().map(|tensor| Some(tensor.view())).collect();
        let states: Vec<_> = recurrence.states.iter().map(|_| None).collect();
        loaded
            .backward(&call, run.saved.as_ref(), &outputs, &states)
            .unwrap();
    }
    let mut launches = ledger
        .take()
        .into_iter()
        .filter(|(name, _)| *name == kernel.name);
    let (_, counts) = launches.next().expect("it was launched");
    assert!(launches.next().is_none(), "{} ran twice", kernel.name);
    counts
}

/// Instructions of both that are one to one, and passes through shared memory.
fn agree(recurrence: &str, phase: &str, sizes: [usize; 2], chip: &str) {
    let kernel = shipped(recurrence, phase, sizes);
    let text = ptx(&kernel);
    let Some(listing) = assembled(&text, chip, &format!("{recurrence}-{phase}")) else {
        return;
    };
    let counts = CHUNKS.map(|chunks| executed(&kernel, chunks));
    let work = works(&listing, &H100);
    let walks = CHUNKS.map(|chunks| -> Vec<Walk> {
        let warp = |warp| Walk::new(&listing, &work, warp, chunks).unwrap();
        (0..kernel.warps).map(warp).collect()
    });
    let of = format!("{recurrence} {phase} {chip}");
    let [short, long] = &walks;
    assert!(
        long.iter().all(|walk| walk.once.is_empty()),
        "{of}: a loop is unknown"
    );
    let sum = |walks: &[Walk], what: &dyn Fn(&Step) -> u64| -> u64 {
        let steps = walks.iter().flat_map(|walk| &walk.steps);
        steps.filter(|step| step.lanes != 0).map(what).sum()
    };
    let more = |what: &dyn Fn(&Step) -> u64| sum(long, what) - sum(short, what);
    let executed = |what: &dyn Fn(&Counts) -> u64| what(&counts[1]) - what(&counts[0]);
    let base = |step: &Step| listing.code[step.index].base();
    let mut left_out = 0;
    for (opcode, prefix) in [
        ("HMMA", "mma.sync"),
        ("LDSM", "ldmatrix"),
        ("LDGSTS", "cp.async.cg"),
        ("LDGDEPBAR", "cp.async.commit"),
        ("SHFL", "shfl"),
    ] {
        let found = more(&|step| u64::from(base(step) == opcode));
        let expected = executed(&|counts| counts.of(prefix));
        // The assembler leaves out loads and exchanges of what a warp has already, and adds none.
        let written = listing.code.iter().filter(|i| i.base() == opcode).count();
        let kept = written as f64 / text.matches(prefix).count().max(1) as f64;
        let share = found as f64 / expected.max(1) as f64;
        assert!(
            found <= expected
                && share >= (kept - 0.02).min(1.0) * f64::from(expected.min(1) as u32),
            "{of}: {found} {opcode} of {expected}, {kept} of the text"
        );
        if !matches!(opcode, "LDSM" | "SHFL") {
            assert_eq!(found, expected, "{of}: {opcode}");
        }
        if opcode == "LDSM" {
            left_out = expected - found;
        }
        assert!(found > 0 || opcode == "SHFL", "{of}: no {opcode}");
    }
    let met = more(&|step| u64::from(base(step) == "BAR")) / u64::from(kernel.warps);
    assert_eq!(met, executed(&|counts| counts.barriers), "{of}: barriers");
    let passes = more(&|step| {
        // Exchanges go the same way and touch no bank; asynchronous copies write.
        let shared = work[step.index].unit == Unit::Shared && base(step) != "SHFL";
        if shared || base(step) == "LDGSTS" {
            u64::from(step.passes)
        } else {
            0
        }
    });
    let wavefronts = executed(&|counts| counts.shared_wavefronts);
    // No pass is invented; missing are those of the loads that are left out, and what the assembler joins.
    let most = 4 * left_out + wavefronts * 3 / 100;
    assert!(
        passes <= wavefronts && wavefronts - passes <= most,
        "{of}: {passes} passes of {wavefronts}, {left_out} loads left out"
    );
}

#[test]
fn ways_have_what_the_emulator_executes() {
    for (recurrence, phase) in [
        ("mamba2", "forward"),
        ("mamba2", "backward"),
        ("linear_attention", "forward"),
        ("linear_attention", "backward"),
        ("gla", "forward"),
        ("gla", "backward"),
        ("delta_net", "forward"),
        ("delta_net", "backward"),
    ] {
        agree(recurrence, phase, [64, 64], "sm_90");
    }
    agree("mamba2", "forward", [64, 64], "sm_80");
}
