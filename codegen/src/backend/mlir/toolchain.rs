//! MLIR as a function from text to PTX: the one place that names melior.
//!
//! The emitter writes MLIR's textual form, which is what MLIR keeps stable and what a person can
//! read; parsing verifies the whole module. Whatever MLIR says is gathered and returned as one
//! error: nothing is printed, nothing aborts.

use super::Error;
use melior::Context;
use melior::dialect::DialectRegistry;
use melior::ir::Module;
use melior::ir::operation::OperationLike;
use melior::pass::PassManager;
use melior::utility;
use mlir_sys as sys;
use std::sync::{Arc, Mutex, Once};

const PIPELINE: &str = "builtin.module(convert-scf-to-cf,convert-cf-to-llvm,\
    convert-arith-to-llvm,canonicalize,cse,reconcile-unrealized-casts,\
    gpu-module-to-binary{format=isa})";

/// A context with the dialects loaded, and what it has said.
pub(super) struct Toolchain {
    context: Context,
    said: Arc<Mutex<Vec<String>>>,
}

impl Toolchain {
    /// The context that every kernel is made in.
    pub fn new() -> Self {
        static PASSES: Once = Once::new();
        PASSES.call_once(utility::register_all_passes);
        let registry = DialectRegistry::new();
        utility::register_all_dialects(&registry);
        let context = Context::new();
        context.append_dialect_registry(&registry);
        context.load_all_available_dialects();
        utility::register_all_llvm_translations(&context);
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        context.attach_diagnostic_handler(move |diagnostic| {
            if let Ok(mut heard) = heard.lock() {
                heard.push(diagnostic.to_string());
            }
            true
        });
        Self { context, said }
    }

    /// The PTX of the one `gpu.module` in `text`.
    pub fn ptx(&self, text: &str) -> Result<String, Error> {
        let mut module =
            Module::parse(&self.context, text).ok_or_else(|| self.error("does not parse"))?;
        let passes = PassManager::new(&self.context);
        utility::parse_pass_pipeline(passes.as_operation_pass_manager(), PIPELINE)
            .map_err(|_| self.error("refuses the pass pipeline"))?;
        passes
            .run(&mut module)
            .map_err(|_| self.error("does not lower"))?;
        self.assembly(&module)
            .ok_or_else(|| self.error("gives no PTX"))
    }

    /// The text inside `gpu.binary`.
    fn assembly(&self, module: &Module<'_>) -> Option<String> {
        let body = module.body();
        let mut next = body.first_operation();
        while let Some(operation) = next {
            if let Ok(objects) = operation.attribute("objects") {
                // SAFETY: the attribute is alive as long as the module, and each accessor is called
                // only after its `isA` said yes.
                return unsafe {
                    let objects = objects.to_raw();
                    if !sys::mlirAttributeIsAArray(objects)
                        || sys::mlirArrayAttrGetNumElements(objects) == 0
                    {
                        return None;
                    }
                    let object = sys::mlirArrayAttrGetElement(objects, 0);
                    if !sys::mlirAttributeIsAGPUObjectAttr(object) {
                        return None;
                    }
                    let text = sys::mlirGPUObjectAttrGetObject(object);
                    let bytes = std::slice::from_raw_parts(text.data.cast::<u8>(), text.length);
                    let text = String::from_utf8_lossy(bytes);
                    Some(text.trim_end_matches('\0').to_string())
                };
            }
            next = operation.next_in_block();
        }
        None
    }

    fn error(&self, what: &str) -> Error {
        let said = self
            .said
            .lock()
            .map(|mut said| std::mem::take(&mut *said))
            .unwrap_or_default();
        Error::Mlir(format!("the module {what}: {}", said.join("; ")))
    }
}

use melior::ir::{AttributeLike, BlockLike};
