//! What a run of a kernel must move and multiply at least, and what it multiplies.
//!
//! Bytes: every tensor read or written once, the state on chip; what a group shares counts once,
//! also where a kernel writes its gradient in parts. Products: those of the chunked form with only
//! the pairs of the causal half, as if every head of a group shared what can be shared. Executed
//! products are counted in the PTX, whose loop over chunks is its only one with tensor-core products in
//! it. Symbols are those of benches/gpu/floors.py, which has the bytes too; a test holds them equal.

use crate::failure::Failure;
use crate::shape::Shape;
use baton_kernels::manifest::{Kernel, Port};

/// Bytes a second of a copy on an H100.
const COPY: f64 = 3.0e12;
/// Multiplies and adds a second of an H100's bf16 products; half as many of tf32.
const PRODUCTS: f64 = 790e12;

/// The extents of a run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    batch: f64,
    time: f64,
    heads: f64,
    groups: f64,
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Floor {
    /// Bytes that must move.
    pub bytes: f64,
    /// Multiplies and adds of the products.
    pub flops: f64,
    /// Multiplies and adds that the tensor cores do.
    pub executed_flops: f64,
    /// Multiplies and adds a byte.
    pub intensity: f64,
    /// Milliseconds of an H100: of bytes or of what is executed, whichever is longer.
    pub milliseconds: f64,
    /// Whether it is the bytes.
    pub by_bytes: bool,
}

impl Run {
    /// `B=8,T=2048,H=80,G=1`; one where nothing is given.
    pub fn new(shape: &Shape) -> Result<Run, Failure> {
        shape.only(&["B", "T", "H", "G"])?;
        let of = |name| shape.get(name).unwrap_or(1) as f64;
        let [batch, time, heads, groups] = ["B", "T", "H", "G"].map(of);
        match heads % groups == 0.0 {
            true => Ok(Run {
                batch,
                time,
                heads,
                groups,
            }),
            false => Err(Failure::new(format!(
                "--run gives H={heads} and G={groups}, expected H to be a multiple of G"
            ))),
        }
    }
}

impl Floor {
    /// Of a run of a kernel with this PTX.
    pub fn new(kernel: &Kernel, ptx: &str, run: Run) -> Floor {
        let (bytes, flops) = (bytes(kernel, run), flops(kernel, run));
        let chunks = run.batch * (run.time / kernel.chunk as f64).ceil();
        let executed_flops =
            chunks * run.heads / f64::from(kernel.heads) * f64::from(kernel.warps) * products(ptx);
        let rate = match (kernel.dtype.as_str(), kernel.products.as_str()) {
            ("f32", "tf32") => PRODUCTS / 2.0,
            _ => PRODUCTS,
        };
        let (moved, multiplied) = (bytes / COPY, executed_flops / rate);
        Floor {
            bytes,
            flops,
            executed_flops,
            intensity: flops / bytes,
            milliseconds: 1e3 * moved.max(multiplied),
            by_bytes: moved >= multiplied,
        }
    }
}

fn entries(dims: &[u32]) -> f64 {
    dims.iter().map(|&n| f64::from(n)).product()
}

fn width(port: &Port) -> f64 {
    if port.dtype == "f32" { 4.0 } else { 2.0 }
}

/// Bytes that a run must move.
fn bytes(kernel: &Kernel, run: Run) -> f64 {
    let steps = run.batch * run.time;
    let ports = kernel.ports.iter().map(|port| {
        // The gradient of what a group shares counts as what it is the gradient of.
        let of = port.role.strip_prefix("d_").unwrap_or(&port.role);
        let own = kernel.ports.iter().find(|other| other.role == of);
        let own = own.unwrap_or(port);
        let lanes = if own.by_head { run.heads } else { run.groups };
        match port.pace.as_str() {
            "step" => steps * lanes * entries(&port.dims) * width(own),
            "chunk" => steps * lanes * entries(&port.dims) * width(port) / kernel.chunk as f64,
            _ => 0.0,
        }
    });
    let carries = kernel
        .carries
        .iter()
        .map(|carry| match kernel.phase.as_str() {
            "backward" => 0.0,
            _ => 4.0 * run.batch * run.heads * entries(&carry.dims),
        });
    ports.chain(carries).sum()
}

/// Multiplies and adds of a run.
fn flops(kernel: &Kernel, run: Run) -> f64 {
    let (steps, chunk) = (run.batch * run.time, kernel.chunk as f64);
    let matrices = kernel.carries.iter().filter(|carry| carry.dims.len() == 2);
    let one = |dims: &[u32]| {
        let [rows, columns] = [f64::from(dims[0]), f64::from(dims[1])];
        let shared =
            |port: &Port| port.role.starts_with("input") && !port.by_head && port.dims == dims[..1];
        let lanes = match kernel.ports.iter().any(shared) {
            true => run.groups,
            false => run.heads,
        };
        let pairs = lanes * chunk * rows;
        match kernel.phase.as_str() {
            "entering" | "summary" | "backward_state" => run.heads * 2.0 * rows * columns,
            "backward" => run.heads * (2.0 * chunk * columns + 8.0 * rows * columns) + 3.0 * pairs,
            _ => run.heads * (chunk * columns + 4.0 * rows * columns) + pairs,
        }
    };
    matrices.map(|carry| steps * one(&carry.dims)).sum()
}

/// Multiplies and adds of the tensor-core products in a text, for one warp.
fn products(ptx: &str) -> f64 {
    let one = |line: &str| {
        let (_, rest) = line.split_once("mma.sync.aligned.m16n8k")?;
        let depth = rest.split('.').next()?.parse::<f64>().ok()?;
        Some(2.0 * 16.0 * 8.0 * depth)
    };
    ptx.lines().filter_map(one).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::entries;
    use std::process::Command;

    fn run(text: &str) -> Run {
        Run::new(&text.parse().unwrap()).unwrap()
    }

    /// The kernels of a recurrence as the manifest has them, without PTX.
    fn kernels(name: &str, sizes: &[usize]) -> Vec<Kernel> {
        entries(name, sizes).unwrap()
    }

    /// GB and GFLOP of the closed forms, at the shapes that are published.
    #[test]
    fn agrees_with_the_closed_forms() {
        let shape = run("B=8,T=2048,H=80,G=1");
        let all = kernels("mamba2", &[128, 64]);
        let phase = |label| all.iter().find(|kernel| kernel.phase == label).unwrap();
        let [forward, backward] = ["forward", "backward"].map(phase);
        let near = |found: f64, known: f64| (found - known).abs() < 6e-4 * known.max(1.0);
        assert_eq!((forward.chunk, backward.chunk), (64, 64));
        assert!(near(bytes(forward, shape) / 1e9, 0.370));
        assert!(near(bytes(backward, shape) / 1e9, 0.866));
        assert!((flops(forward, shape) / 1e9 - 48.5).abs() < 0.1);
        assert!((flops(backward, shape) / 1e9 - 97.0).abs() < 0.5);
    }

    /// benches/gpu/floors.py says the same bytes.
    #[test]
    fn agrees_with_the_kit() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/gpu");
        for (name, sizes, shape) in [
            ("mamba2", [128, 64], "8,2048,80,1"),
            ("linear_attention", [128, 128], "8,2048,16,16"),
            ("simple_gla", [128, 128], "8,2048,16,16"),
            ("gla", [64, 64], "8,2048,16,16"),
        ] {
            for kernel in kernels(name, &sizes) {
                if !["forward", "keep", "backward"].contains(&kernel.phase.as_str()) {
                    continue;
                }
                let (phase, chunk) = (&kernel.phase, kernel.chunk);
                let named = serde_json::to_string(&kernel.sizes).unwrap();
                let ask = format!(
                    "import floors; print(floors.floor_bytes('{name}', '{phase}', {shape}, {named}, {chunk}))"
                );
                let Ok(said) = Command::new("python3")
                    .current_dir(folder)
                    .args(["-B", "-c", &ask])
                    .output()
                else {
                    eprintln!("not checked: there is no python3");
                    return;
                };
                let said: f64 = String::from_utf8(said.stdout)
                    .unwrap()
                    .trim()
                    .parse()
                    .unwrap();
                let [b, t, h, g] = [0, 1, 2, 3].map(|i| shape.split(',').nth(i).unwrap());
                let found = bytes(&kernel, run(&format!("B={b},T={t},H={h},G={g}")));
                assert!(
                    (found - said).abs() <= 1.0,
                    "{name} {phase}: {found}, {said}"
                );
            }
        }
    }

    #[test]
    fn products_are_counted_by_their_depth() {
        let text =
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16\n mma.sync.aligned.m16n8k8.row\nadd.f32\n";
        assert_eq!(products(text), 4096.0 + 2048.0);
    }
}
