//! A kernel's entry in the manifest.

use crate::failure::Failure;
use crate::tools::Tools;
use baton_codegen::target::Gpu;
use baton_codegen::{Artifact, Compiler, Phase};
use baton_ir::tile::{CarryRole, Pace, Role};
use baton_kernels::manifest::{Assembled, Carry, Kernel, Port, Strips};
use std::collections::BTreeMap;

/// What kernels are assembled for.
pub const CHIPS: [&str; 2] = ["sm_80", "sm_90"];

/// The versions that PTX depends on, beside the MLIR text.
pub const GENERATOR: &str = concat!("baton ", env!("CARGO_PKG_VERSION"), ", MLIR 22");

/// The sizes that the kernels of a compiler have, by name.
pub fn sizes(compiler: &Compiler) -> BTreeMap<String, usize> {
    let dims = compiler.recurrence().dims.iter().cloned();
    dims.zip(compiler.sizes().iter().copied()).collect()
}

/// The strips of which they are one.
pub fn strips(compiler: &Compiler) -> Option<Strips> {
    let strips = compiler.strips()?;
    Some(Strips {
        dim: compiler.recurrence().dims[strips.dim.index()].clone(),
        count: strips.count,
    })
}

/// The entry of a kernel that lies in `file`, before it was assembled or run.
pub fn entry(
    compiler: &Compiler,
    target: &Gpu,
    phase: Phase,
    lowered: &Artifact<Gpu>,
    ptx: &str,
    file: String,
) -> Kernel {
    let program = &lowered.program;
    let recurrence = compiler.recurrence();
    let ports = program.ports.iter().map(|port| Port {
        name: port.name.clone(),
        role: role(port.role),
        pace: pace(port.pace).into(),
        by_head: Gpu::by_head(port),
        dims: port.dims.clone(),
        dtype: target.dtype(port.held).name().into(),
    });
    let carries = program.carries.iter().map(|carry| Carry {
        name: carry.name.clone(),
        role: carry_role(carry.role),
        dims: carry.dims.clone(),
    });
    Kernel {
        file,
        name: program.name.clone(),
        recurrence: recurrence.name.clone(),
        text_hash: baton_kernels::hash(&baton_ir::text::print(recurrence)),
        mlir_hash: baton_kernels::hash(&lowered.code.text),
        ptx_hash: baton_kernels::hash(ptx),
        phase: label(phase).into(),
        target: target.chip.into(),
        dtype: target.storage.name().into(),
        products: format!("{:?}", target.products).to_lowercase(),
        sizes: sizes(compiler),
        strips: strips(compiler),
        chunk: program.chunk as usize,
        warps: lowered.code.launch.threads / 32,
        heads: lowered.code.launch.heads,
        stages: lowered.code.launch.stages,
        threads: lowered.code.launch.threads,
        shared_bytes: lowered.code.launch.shared_bytes,
        ports: ports.collect(),
        carries: carries.collect(),
        assembled: BTreeMap::new(),
        errors: None,
        measured: None,
    }
}

/// What ptxas makes of a kernel for every chip, with the reason where it spills.
pub fn assembled(
    tools: &Tools,
    ptx: &str,
    why: impl Fn(u64) -> String,
) -> Result<BTreeMap<String, Assembled>, Failure> {
    let one = |chip: &str| {
        let made = tools.assemble(ptx, chip)?;
        let (registers, spill_bytes) = (made.registers(), made.spill_bytes());
        let why = (spill_bytes > 0).then(|| why(registers));
        let found = Assembled {
            registers,
            spill_bytes,
            instructions: made.instructions()?,
            why,
        };
        Ok((chip.to_string(), found))
    };
    CHIPS.into_iter().map(one).collect()
}

/// Why a kernel spills: what each thread holds through a chunk, against what it has.
pub fn why(kernel: &Kernel, registers: u64) -> String {
    let entries = |dims: &[u32]| dims.iter().map(|&n| u64::from(n)).product::<u64>();
    let threads = u64::from(kernel.threads);
    let states: u64 = kernel.carries.iter().map(|c| entries(&c.dims)).sum();
    let rows = (kernel.ports.iter())
        .filter(|port| port.pace == "step" && port.role.starts_with("d_input"))
        .map(|port| kernel.chunk as u64 * entries(&port.dims));
    format!(
        "a thread has {registers} registers; of {} steps and the states it holds {} numbers of carries and {} of \
         gradients under way, with the fragments of operands beside them",
        kernel.chunk,
        states / threads,
        rows.sum::<u64>() / threads,
    )
}

/// A phase as manifests name it.
pub fn label(phase: Phase) -> &'static str {
    match phase {
        Phase::Forward => "forward",
        Phase::ForwardKeep => "keep",
        Phase::Entering => "entering",
        Phase::Backward => "backward",
        Phase::Summary => "summary",
        Phase::LogDecay => "log_decay",
        Phase::Transition => "transition",
        Phase::BackwardState => "backward_state",
    }
}

fn role(role: Role) -> String {
    match role {
        Role::Input(i) => format!("input {i}"),
        Role::Param(i) => format!("param {i}"),
        Role::Output(i) => format!("output {i}"),
        Role::DOutput(i) => format!("d_output {i}"),
        Role::DInput(i) => format!("d_input {i}"),
        Role::DParam(i) => format!("d_param {i}"),
        Role::Entering(i) => format!("entering {i}"),
    }
}

fn pace(pace: Pace) -> &'static str {
    match pace {
        Pace::Step => "step",
        Pace::Chunk => "chunk",
        Pace::Task => "task",
    }
}

fn carry_role(role: CarryRole) -> String {
    match role {
        CarryRole::State(i) => format!("state {i}"),
        CarryRole::DState(i) => format!("d_state {i}"),
        CarryRole::LogScalar(i) | CarryRole::LogRow(i) | CarryRole::LogCol(i) => {
            format!("log_decay {i}")
        }
    }
}
