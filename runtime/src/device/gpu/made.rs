//! Where the PTX of a kernel comes from: it was supplied, it is shipped, or MLIR makes it.
//!
//! A kernel is lowered to MLIR's text in any case, which takes milliseconds and says what is
//! wanted; PTX is found by that text, so it is what MLIR would make of it.

use super::memory::Ptx;
use crate::Error;
use baton_codegen::target::{Gpu, Source};
use baton_codegen::{Assembler, Compiler, Phase};
use baton_ir::tile::TileProgram;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

/// PTX by name and hash of the text that it was made from.
static SUPPLIED: LazyLock<Mutex<HashMap<(String, String), String>>> = LazyLock::new(Mutex::default);

/// Has every device of this process take `ptx` where it needs the kernel `name` made from the text `source`.
pub fn supply(name: &str, source: &str, ptx: String) {
    supply_hashed(name, &baton_kernels::hash(source), ptx);
}

/// The same, of a text whose hash alone is known.
pub fn supply_hashed(name: &str, hash: &str, ptx: String) {
    let mut supplied = SUPPLIED.lock().expect("no holder of this lock panics");
    supplied.insert((name.into(), hash.into()), ptx);
}

fn supplied(name: &str, source: &str) -> Option<String> {
    let supplied = SUPPLIED.lock().expect("no holder of this lock panics");
    supplied
        .get(&(name.into(), baton_kernels::hash(source)))
        .cloned()
}

/// A kernel with its signature.
pub(crate) struct Made {
    pub program: TileProgram,
    pub kernel: Ptx,
}

/// The kernel of a phase for `device`.
pub(crate) fn kernel(
    device: &str,
    compiler: &Compiler,
    phase: Phase,
    chunk: usize,
    target: &Gpu,
) -> Result<Made, Error> {
    let refused = |reason: String| Error::Unsupported {
        device: device.into(),
        reason,
    };
    let artifact = compiler
        .compile(target, phase, chunk)
        .map_err(|why| refused(why.to_string()))?;
    let name = &artifact.program.name;
    let what = || {
        let sizes = compiler.sizes_text();
        format!("`{name}` with {sizes} at chunks of {chunk}")
    };
    let kernel = ptx(name, artifact.code, what).map_err(refused)?;
    Ok(Made {
        program: artifact.program,
        kernel,
    })
}

/// The kernel `name` of this text; `what` names it where there is none.
pub(crate) fn ptx(name: &str, source: Source, what: impl Fn() -> String) -> Result<Ptx, String> {
    let Source { text, launch } = source;
    let found = supplied(name, &text).or_else(|| baton_kernels::ptx(name, &text));
    let text = match found.map_or_else(|| Err(Assembler::new()), Ok) {
        Ok(ptx) => ptx,
        Err(Some(assembler)) => assembler.ptx(&text).map_err(|why| why.to_string())?,
        Err(None) => {
            return Err(format!(
                "{} is not among the {} kernels shipped with this program (kernels-generated/README.md lists \
                 them), and it was built without the feature `mlir`, which makes any other",
                what(),
                baton_kernels::count()
            ));
        }
    };
    Ok(Ptx { text, launch })
}
