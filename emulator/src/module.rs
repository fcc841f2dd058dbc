//! The public face of a module and its kernels.

use crate::decode::{self, ParameterShape, Program, SHARED_BASE};
use crate::error::{Error, Result};
use crate::memory::Memory;
use crate::report::Report;
use crate::run::{self, Launch};
use crate::text;

/// A module of PTX text with all of its kernels decoded.
#[derive(Clone, Debug)]
pub struct Module {
    /// Tells this text's variables from another's in one [`Memory`].
    key: u64,
    programs: Vec<Program>,
}

/// One kernel of a module.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'m> {
    key: u64,
    program: &'m Program,
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Module {
    /// Reads a module. The error names the line, and an unknown instruction by its full name.
    pub fn parse(text: &str) -> Result<Module> {
        let tree = text::parse(text)?;
        let kernels = tree.functions.iter().filter(|function| function.kernel);
        let programs = kernels.map(|function| decode::decode(&tree, function));
        Ok(Module {
            key: hash(text),
            programs: programs.collect::<Result<_>>()?,
        })
    }

    /// The kernels, in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = Kernel<'_>> {
        self.programs.iter().map(|program| Kernel {
            key: self.key,
            program,
        })
    }

    /// The kernel of a name.
    pub fn kernel(&self, name: &str) -> Result<Kernel<'_>> {
        self.kernels().find(|k| k.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.kernels().map(|kernel| kernel.name()).collect();
            Error::general(format!(
                "no kernel `{name}` in the module, which has {}",
                names.join(", ")
            ))
        })
    }
}

impl<'m> Kernel<'m> {
    /// Its name in the text.
    pub fn name(&self) -> &'m str {
        &self.program.name
    }

    /// Its parameters, in order.
    pub fn parameters(&self) -> &'m [ParameterShape] {
        &self.program.parameters
    }

    /// Bytes of static shared memory.
    pub fn static_shared(&self) -> u64 {
        self.program.shared_end - SHARED_BASE
    }

    /// Bytes of local memory of one thread.
    pub fn local(&self) -> u64 {
        self.program.local_bytes
    }

    /// `.maxntid`.
    pub fn max_block(&self) -> Option<[u32; 3]> {
        self.program.max_block
    }

    /// `.reqntid`.
    pub fn required_block(&self) -> Option<[u32; 3]> {
        self.program.required_block
    }

    /// Runs a grid of blocks. An error is a launch that does not fit the kernel; what the kernel does wrong
    /// is in the report.
    pub fn launch(&self, launch: &Launch, memory: &mut Memory) -> Result<Report> {
        run::launch(self.program, self.key, launch, memory)
    }
}
