//! PyTorch's files of weights in a build without the feature `torch`: refused by what would read and write them.

use super::weight::Weight;
use baton_config::Error;
use baton_data::files;
use baton_runtime::Tensor;
use std::collections::BTreeMap;
use std::path::Path;

pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    files::open(path)?;
    Err(refused(path))
}

pub(super) fn write(path: &Path, _: &[(Vec<&str>, Weight<'_>)]) -> Result<(), Error> {
    Err(refused(path))
}

fn refused(path: &Path) -> Error {
    let what = "a file of PyTorch's given to a build without the feature `torch`, expected model.safetensors, or a build \
                with it";
    Error::file(path, what)
}
