//! What a run of a kernel must move and multiply at least, and what it multiplies.
//!
//! Bytes and products are those of the cost model, of the tile program that the kernel was made from:
//! states enter as zero, and a gradient that a group or strips share counts once in its own dtype, also where a
//! kernel writes it in parts; of strips all are counted. Executed products are counted in the PTX, whose loop over chunks is its only one
//! with tensor-core products in it.

use crate::emit::label;
use crate::failure::Failure;
use crate::shape::Shape;
use crate::source::Source;
use baton_codegen::schedule::cost::{Cost, GPUS, Peak, RunShape};
use baton_codegen::target::Gpu;
use baton_codegen::{Compiler, Phase};
use baton_ir::recurrence::Recurrence;
use baton_ir::tile::{PortDecl, Role, TileProgram};
use baton_kernels::manifest::Kernel;
use std::path::Path;

/// What a run comes to.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Floor {
    /// Bytes that must move.
    pub bytes: u64,
    /// Of these, bytes that must be read.
    pub read: u64,
    /// Multiplies and adds of the products.
    pub flops: u64,
    /// Products of 16 x 8 that a warp does in a chunk.
    pub products: f64,
    /// Multiplies and adds that the tensor cores do.
    pub executed_flops: f64,
    /// Multiplies and adds a byte.
    pub intensity: f64,
    /// Milliseconds of an H100: of bytes or of what is executed, whichever is longer.
    pub milliseconds: f64,
    /// Whether it is the bytes.
    pub by_bytes: bool,
}

/// `B=8,T=2048,H=80,G=1`; one where nothing is given.
pub fn run_shape(shape: &Shape) -> Result<RunShape, Failure> {
    shape.only_of("--run", &["B", "T", "H", "G"])?;
    let [batch, time, heads, groups] =
        ["B", "T", "H", "G"].map(|name| shape.get(name).unwrap_or(1));
    match heads.is_multiple_of(groups) {
        true => Ok(RunShape {
            batch,
            time,
            heads,
            groups,
            entering: false,
        }),
        false => Err(Failure::new(format!(
            "--run gives H={heads} and G={groups}, expected H to be a multiple of G"
        ))),
    }
}

impl Floor {
    /// Of a run of a kernel of this folder with this PTX.
    pub fn new(folder: &Path, kernel: &Kernel, ptx: &str, run: RunShape) -> Result<Floor, Failure> {
        let (cost, read) = cost(folder, kernel, run)?;
        let strips = kernel.strips.as_ref().map_or(1, |strips| strips.count);
        let blocks = (run.heads * strips) as f64 / f64::from(kernel.heads);
        let warps = blocks * f64::from(kernel.warps) * run.chunks(kernel.chunk as u32) as f64;
        let executed_flops = warps * products(ptx);
        let Peak {
            bytes, products, ..
        } = GPUS[0];
        let rate = match (kernel.dtype.as_str(), kernel.products.as_str()) {
            ("f32", "tf32") => products / 2.0,
            _ => products,
        };
        let (moved, multiplied) = (cost.bytes() as f64 / bytes, executed_flops / rate);
        Ok(Floor {
            bytes: cost.bytes(),
            read,
            products: ptx.matches("mma.sync.aligned.m16n8k").count() as f64,
            flops: cost.flops.products,
            executed_flops,
            intensity: cost.intensity(),
            milliseconds: 1e3 * moved.max(multiplied),
            by_bytes: moved >= multiplied,
        })
    }

    /// In words.
    pub fn text(&self) -> String {
        format!(
            "the run: at least {:.3} GB and {:.1} GFLOP ({:.0} FLOP a byte), {:.1} GFLOP executed; {:.3} ms on an H100 \
             by {}",
            self.bytes as f64 * 1e-9,
            self.flops as f64 * 1e-9,
            self.intensity,
            self.executed_flops * 1e-9,
            self.milliseconds,
            if self.by_bytes {
                "its bytes"
            } else {
                "what it executes"
            },
        )
    }
}

/// What a run costs of the program that a kernel was made from, in the kernel's dtypes, and how much of it is read.
fn cost(folder: &Path, kernel: &Kernel, run: RunShape) -> Result<(Cost, u64), Failure> {
    let unlike = |what: &str| {
        Failure::new(format!(
            "the manifest says of `{}` {what}; it was written by another version of this program",
            kernel.file
        ))
    };
    let recurrence = recurrence(folder, kernel)?;
    let strips = |dim: &String| { kernel.strips.iter() }.find(|strips| strips.dim == *dim);
    let size = |dim: &String| {
        let count = strips(dim).map_or(1, |strips| strips.count);
        kernel.sizes.get(dim).map(|size| size * count)
    };
    let sizes: Option<Vec<usize>> = recurrence.dims.iter().map(size).collect();
    let sizes = sizes.ok_or_else(|| unlike("not the size of every dim"))?;
    let compiler = Compiler::new(&recurrence, &sizes)
        .map_err(|_| unlike("a recurrence that does not verify"))?;
    let mut phases = Phase::ALL.into_iter();
    let phase = phases.find(|&phase| label(phase) == kernel.phase);
    let phase = phase.ok_or_else(|| unlike("a phase that there is not"))?;
    let program = compiler.program(phase, kernel.chunk);
    let known = |port: &PortDecl| kernel.ports.iter().any(|other| other.name == port.name);
    if !program.ports.iter().all(known) {
        return Err(unlike("other ports than this recurrence has"));
    }
    let cost = Cost::new(&program, run, |port| width(kernel, &program, port));
    let read = read(&program, phase, &cost);
    Ok((cost, read))
}

/// Bytes of what a phase reads.
fn read(program: &TileProgram, phase: Phase, cost: &Cost) -> u64 {
    let reads = |port: &PortDecl| match port.role {
        Role::Input(_) | Role::Param(_) | Role::DOutput(_) => true,
        Role::Output(_) | Role::DInput(_) | Role::DParam(_) => false,
        Role::Entering(_) => matches!(phase, Phase::Backward | Phase::BackwardState),
    };
    let ports = program.ports.iter().zip(&cost.ports);
    let read = ports.filter(|(port, _)| reads(port));
    read.map(|(_, bytes)| bytes).sum()
}

/// Bytes that a phase must read for a run, of a kernel that is made for a target.
pub fn read_bytes(
    compiler: &Compiler,
    target: &Gpu,
    phase: Phase,
    chunk: usize,
    run: RunShape,
) -> u64 {
    let program = compiler.program(phase, chunk);
    let width = |port: &PortDecl| u64::from(target.dtype(port.held).bytes());
    read(&program, phase, &Cost::new(&program, run, width))
}

/// The text that a kernel was made from: built in, or beside the manifest.
fn recurrence(folder: &Path, kernel: &Kernel) -> Result<Recurrence, Failure> {
    let file = folder.join(format!("{}.rec", kernel.recurrence));
    let sources = [Source::builtin(&kernel.recurrence), Source::file(&file)];
    let same = |recurrence: &Recurrence| {
        baton_kernels::hash(&baton_ir::text::print(recurrence)) == kernel.text_hash
    };
    let mut parsed = sources
        .into_iter()
        .filter_map(|source| source.ok()?.parse().ok());
    parsed.find(same).ok_or_else(|| {
        Failure::new(format!(
            "the text that `{}` was made from is neither built in nor `{}`; `baton emit --file` writes it there",
            kernel.file,
            file.display()
        ))
    })
}

/// Bytes of a number of a port; a gradient's are those of what it is the gradient of.
fn width(kernel: &Kernel, program: &TileProgram, port: &PortDecl) -> u64 {
    let of = match port.role {
        Role::DInput(i) => Role::Input(i),
        role => role,
    };
    let own = program.ports.iter().find(|other| other.role == of);
    let name = &own.unwrap_or(port).name;
    let declared = kernel.ports.iter().find(|other| &other.name == name);
    match declared.is_none_or(|port| port.dtype == "f32") {
        true => 4,
        false => 2,
    }
}

/// Multiplies and adds of the tensor-core products in a text, for one warp.
fn products(ptx: &str) -> f64 {
    let one = |line: &str| {
        let (_, rest) = line.split_once("mma.sync.aligned.m16n8k")?;
        let depth = rest.split('.').next()?.parse::<f64>().ok()?;
        Some(2.0 * 16.0 * 8.0 * depth)
    };
    // The sum of nothing is -0.0.
    ptx.lines()
        .filter_map(one)
        .fold(0.0, |sum, more| sum + more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_kernels::manifest::Manifest;

    fn run(text: &str) -> RunShape {
        run_shape(&text.parse().unwrap()).unwrap()
    }

    /// The shipped kernel of a recurrence in bf16, one head a block.
    fn shipped(name: &str, phase: &str, sizes: [usize; 2]) -> Kernel {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../kernels-generated/manifest.json"
        );
        let manifest = Manifest::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
        let asked = |kernel: &Kernel| {
            let same = kernel.recurrence == name && kernel.phase == phase;
            same && kernel.dtype == "bf16" && kernel.heads == 1 && kernel.sizes.values().eq(&sizes)
        };
        manifest.kernels.into_iter().find(asked).unwrap()
    }

    /// GB and GFLOP of closed forms, at the shapes that are published: bytes of every tensor once in bf16,
    /// a number a step and states in f32; products of causal pairs.
    #[test]
    fn agrees_with_closed_forms() {
        let of = |name, phase, sizes, shape| {
            let (cost, _) = cost(Path::new("."), &shipped(name, phase, sizes), run(shape)).unwrap();
            (cost.bytes() as f64, cost.flops.products as f64)
        };
        let (b, t, h, n, p, q) = (8.0, 2048.0, 80.0, 128.0, 64.0, 64.0);
        let (tk, th, state) = (b * t, b * t * h, 4.0 * b * h * n * p);
        let shape = "B=8,T=2048,H=80,G=1";
        let (bytes, flops) = of("mamba2", "forward", [128, 64], shape);
        let params = 3.0 * 4.0 * h;
        assert_eq!(
            bytes,
            4.0 * th * p + 4.0 * tk * n + 4.0 * th + state + params
        );
        assert_eq!(
            flops,
            th * ((q + 1.0) * p + 4.0 * n * p) + tk * (q + 1.0) * n
        );
        let (bytes, _) = of("mamba2", "backward", [128, 64], shape);
        let kept = 2.0 * th * n * p / q;
        let gradients = 6.0 * th * p + 8.0 * tk * n + 8.0 * th;
        assert_eq!(bytes, gradients + kept + state + 2.0 * params);

        let (h, k, v) = (16.0, 128.0, 128.0);
        let (th, state) = (b * t * h, 4.0 * b * h * k * v);
        let shape = "B=8,T=2048,H=16,G=16";
        let (bytes, _) = of("linear_attention", "forward", [128, 128], shape);
        assert_eq!(bytes, th * 2.0 * (2.0 * k + 2.0 * v) + state);
        let (bytes, _) = of("simple_gla", "forward", [128, 128], shape);
        assert_eq!(bytes, th * 2.0 * (2.0 * k + 2.0 * v) + 4.0 * th + state);
        let (bytes, _) = of("gla", "keep", [128, 128], shape);
        let kept = 2.0 * th * k * v / 16.0;
        assert_eq!(bytes, th * 2.0 * (3.0 * k + 2.0 * v) + state + kept);
    }

    #[test]
    fn another_text_is_refused() {
        let mut kernel = shipped("gla", "forward", [64, 64]);
        kernel.text_hash = "0".into();
        let refused = cost(Path::new("somewhere"), &kernel, run("T=16")).unwrap_err();
        assert!(
            format!("{refused:?}").contains("somewhere/gla.rec"),
            "{refused:?}"
        );
        assert!(run_shape(&"H=3,G=2".parse().unwrap()).is_err());
    }

    #[test]
    fn products_are_counted_by_their_depth() {
        let text =
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16\n mma.sync.aligned.m16n8k8.row\nadd.f32\n";
        assert_eq!(products(text), 4096.0 + 2048.0);
        assert_eq!(format!("{:.1}", products("add.f32")), "0.0");
    }
}
