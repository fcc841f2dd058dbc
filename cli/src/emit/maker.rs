//! What makes PTX, and the files that it goes to.

use crate::failure::Failure;
use baton_codegen::Assembler;
use baton_data::files::write_whole;
use std::path::Path;

/// PTX of texts: what MLIR makes of them where it is built in, else what is shipped.
pub struct Maker(Option<Assembler>);

impl Maker {
    pub fn new() -> Self {
        Self(Assembler::new())
    }

    pub fn ptx(&self, name: &str, text: &str) -> Result<String, Failure> {
        match &self.0 {
            Some(assembler) => assembler.ptx(text).map_err(refused),
            None => baton_kernels::ptx(name, text).ok_or_else(|| {
                Failure::new(format!(
                    "`{name}` of this schedule is not among the {} kernels shipped with this program, and it \
                     was built without the feature `mlir`, which makes any other",
                    baton_kernels::count()
                ))
            }),
        }
    }
}

pub fn write(file: &Path, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
    Ok(write_whole(file, bytes.as_ref())?)
}

pub fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|why| Failure::new(format!("cannot make `{}`: {why}", folder.display())))
}

pub fn refused(why: impl ToString) -> Failure {
    Failure::new(why.to_string())
}
