//! Where the PTX of a kernel comes from: it was supplied, it is shipped, or MLIR makes it.
//!
//! A kernel is lowered to MLIR's text in any case, which takes milliseconds and says what is
//! wanted; PTX is found by that text, so it is what MLIR would make of it.

use super::Schedule;
use crate::Error;
use baton_codegen::{Compiler, GpuArtifact, Phase};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// PTX by name and hash of the MLIR text.
static SUPPLIED: LazyLock<Mutex<HashMap<(String, String), String>>> = LazyLock::new(Mutex::default);

/// Has every device of this process take `ptx` where it needs the kernel `name` made from `mlir`.
pub fn supply(name: &str, mlir: &str, ptx: String) {
    let mut supplied = SUPPLIED.lock().expect("no holder of this lock panics");
    supplied.insert((name.into(), baton_kernels::hash(mlir)), ptx);
}

fn supplied(name: &str, mlir: &str) -> Option<String> {
    let supplied = SUPPLIED.lock().expect("no holder of this lock panics");
    supplied
        .get(&(name.into(), baton_kernels::hash(mlir)))
        .cloned()
}

/// The kernel of a phase for `device`.
pub(crate) fn artifact(
    device: &str,
    compiler: &Compiler,
    phase: Phase,
    chunk: usize,
    schedule: &Schedule,
) -> Result<GpuArtifact, Error> {
    let refused = |reason: String| Error::Unsupported {
        device: device.into(),
        reason,
    };
    let lowered = compiler
        .gpu(phase, chunk, schedule)
        .map_err(|why| refused(why.to_string()))?;
    let name = &lowered.program.name;
    let what = || {
        let sizes = compiler.sizes_text();
        format!("`{name}` with {sizes} at chunks of {chunk}")
    };
    let ptx = ptx(name, &lowered.text, what).map_err(refused)?;
    Ok(lowered.with(ptx))
}

/// The PTX of the kernel `name` of this MLIR text; `what` names it where there is none.
pub(crate) fn ptx(name: &str, text: &str, what: impl Fn() -> String) -> Result<String, String> {
    match supplied(name, text).or_else(|| baton_kernels::ptx(name, text)) {
        Some(ptx) => Ok(ptx),
        None => make(text, what),
    }
}

#[cfg(feature = "mlir")]
fn make(text: &str, _: impl Fn() -> String) -> Result<String, String> {
    use baton_codegen::backend::mlir::Toolchain;
    Toolchain::new().ptx(text).map_err(|why| why.to_string())
}

#[cfg(not(feature = "mlir"))]
fn make(_: &str, what: impl Fn() -> String) -> Result<String, String> {
    Err(format!(
        "{} is not among the {} kernels shipped with this program (kernels-generated/README.md lists them), and it \
         was built without the feature `mlir`, which makes any other",
        what(),
        baton_kernels::count()
    ))
}
