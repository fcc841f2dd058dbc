//! The CPU back end: a tile program becomes native code by way of Cranelift.
//!
//! [`compile`] cuts maps at costly functions ([`functions`]), plans ([`plan`]: order of the work, place of every tile), emits ([`emit`]: loops
//! and effects, [`ops`]: calls, [`map`]: fused maps as instructions, [`math`]: the functions in
//! them) and links.
//! Cranelift has vectors of 128 bits; what that would hold back (products, decays, copies) are
//! [`micro`]-kernels that the code calls by address, chosen for the CPU once.
//!
//! Arithmetic is f32. The same inputs give the same bits on one machine: every sum has one order,
//! fixed when the code is made. How code is called is said in [`abi`].
//!
//! A sum takes in what it is a sum of and nothing else, to the letter: not padding ([`poison`] shows
//! it), not what a causal mask or a triangle leaves out, not steps past the end of a sequence. Left
//! out means not read or selected, never multiplied by zero, as zero times a NaN is a NaN.

mod abi;
mod called;
mod checks;
mod emit;
mod functions;
mod map;
mod math;
mod micro;
mod ops;
mod plan;
mod poison;
mod products;
#[cfg(test)]
mod tests;

pub use abi::Abi;

use crate::schedule::Traits;
use crate::target::{Native, Target};
use baton_ir::tile::TileProgram;
use checks::Checks;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AbiParam, UserFuncName};
use cranelift_codegen::isa::TargetIsa;
use cranelift_codegen::settings::{self, Configurable, Flags};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, ModuleError, default_libcall_names};
use micro::Kernels;
use std::fmt;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Why there is no code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Cranelift has no back end for this machine, or a setting is not known to it.
    Host(String),
    /// Cranelift refused the function; a defect of this back end.
    Emit(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Host(why) => write!(f, "this machine cannot be compiled for: {why}"),
            Error::Emit(why) => write!(f, "the emitted function was refused: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<ModuleError> for Error {
    fn from(error: ModuleError) -> Self {
        Error::Emit(format!("{error:?}"))
    }
}

/// Native code of one program, with the memory it lies in.
pub struct Code {
    module: ManuallyDrop<JITModule>,
    entry: unsafe extern "C" fn(*const i64),
    scratch_bytes: usize,
    bytes: usize,
    abi: Abi,
}

// SAFETY: the module's memory is only executed after `compile`, and freed by the one owner.
unsafe impl Send for Code {}
// SAFETY: as above; `call` changes nothing of `Code`.
unsafe impl Sync for Code {}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("bytes", &self.bytes)
            .field("scratch_bytes", &self.scratch_bytes)
            .finish()
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        // SAFETY: taken once, here; no call is running, as calls borrow `self`.
        unsafe { ManuallyDrop::take(&mut self.module).free_memory() }
    }
}

impl Code {
    /// Bytes of scratch that a call needs, aligned to 64; its contents before are of no matter.
    pub fn scratch_bytes(&self) -> usize {
        self.scratch_bytes
    }

    /// Bytes of machine code.
    pub fn code_bytes(&self) -> usize {
        self.bytes
    }

    /// The layout of a call's words.
    pub fn abi(&self) -> Abi {
        self.abi
    }

    /// Runs one task.
    ///
    /// # Safety
    ///
    /// `words` are laid out as [`Abi`] says for the program that was compiled; the scratch has
    /// [`scratch_bytes`](Self::scratch_bytes) bytes; every step and head of every port and carry
    /// lies in memory that may be read (and written, where the program stores) and that no other
    /// thread writes meanwhile.
    pub unsafe fn call(&self, words: *const i64) {
        // SAFETY: the code computes every address from the words, as the caller vouches.
        unsafe { (self.entry)(words) }
    }
}

impl Target for Native {
    type Code = Code;
    type Error = Error;

    fn suffix(&self) -> String {
        Self::SUFFIX.into()
    }

    fn chunks(&self, traits: Traits) -> &'static [usize] {
        match traits.by_channel {
            true => &[16],
            false => &[64],
        }
    }

    /// Chained products are the runtime's, of every size.
    fn chains(&self, _: usize) -> bool {
        true
    }

    /// Scratch has no limit, so there is code for every program.
    fn fits(&self, _: &TileProgram) -> Result<bool, Error> {
        Ok(true)
    }

    fn emit(&self, program: &TileProgram) -> Result<Code, Error> {
        compile(program)
    }
}

impl Native {
    /// The instruction set that kernels are made of on this machine: `avx512`, `avx2` or another.
    pub fn instructions(&self) -> &'static str {
        Kernels::best().name
    }

    /// What makes machine code of a program, with versions.
    pub fn tools(&self) -> String {
        let cranelift = cranelift_codegen::VERSION;
        format!("baton {}, cranelift {cranelift}", env!("CARGO_PKG_VERSION"))
    }
}

/// Compiles a verified program for this machine.
pub fn compile(program: &TileProgram) -> Result<Code, Error> {
    compile_with(program, Kernels::best(), Checks::new())
}

/// Compiles with a given table of micro-kernels.
fn compile_with(program: &TileProgram, kernels: &Kernels, checks: Checks) -> Result<Code, Error> {
    let isa = host()?;
    let fma = has_fma(&*isa);
    let call_conv = isa.default_call_conv();
    let frontend = isa.frontend_config();
    let program = &functions::alone(program);
    let plan = plan::plan(program);
    let mut module = JITModule::new(JITBuilder::with_isa(isa, default_libcall_names()));
    let mut signature = module.make_signature();
    signature.params.push(AbiParam::new(I64));
    let entry = module.declare_function("task", Linkage::Export, &signature)?;
    let mut context = module.make_context();
    context.func.signature = signature;
    context.func.name = UserFuncName::user(0, entry.as_u32());
    let mut building = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut context.func, &mut building);
    emit::emit(
        &mut builder,
        program,
        &plan,
        kernels,
        checks,
        call_conv,
        fma,
    );
    builder.finalize(frontend);
    module.define_function(entry, &mut context)?;
    let bytes = context
        .compiled_code()
        .map_or(0, |code| code.code_buffer().len());
    module.finalize_definitions()?;
    let address = module.get_finalized_function(entry);
    // SAFETY: the function was defined with exactly this signature.
    let entry =
        unsafe { std::mem::transmute::<*const u8, unsafe extern "C" fn(*const i64)>(address) };
    Ok(Code {
        module: ManuallyDrop::new(module),
        entry,
        scratch_bytes: plan.scratch * size_of::<f32>(),
        bytes,
        abi: Abi::new(program),
    })
}

/// This machine with all it has.
fn host() -> Result<Arc<dyn TargetIsa>, Error> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        ("is_pic", "false"),
        ("use_colocated_libcalls", "false"),
        (
            "enable_verifier",
            if cfg!(debug_assertions) {
                "true"
            } else {
                "false"
            },
        ),
    ] {
        flags
            .set(name, value)
            .map_err(|error| Error::Host(error.to_string()))?;
    }
    cranelift_native::builder()
        .map_err(|error| Error::Host(error.to_string()))?
        .finish(Flags::new(flags))
        .map_err(|error| Error::Host(error.to_string()))
}

/// Whether `fma` is one instruction; elsewhere it would be a call for each lane.
fn has_fma(isa: &dyn TargetIsa) -> bool {
    match isa.triple().architecture.to_string().as_str() {
        "x86_64" => {
            let set = |name| {
                isa.isa_flags()
                    .iter()
                    .any(|flag| flag.name == name && flag.as_bool() == Some(true))
            };
            set("has_avx") && set("has_fma")
        }
        "aarch64" => true,
        _ => false,
    }
}
