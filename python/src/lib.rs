//! The Python door: arrays in, the same runtime, arrays out. The package is `baton`, this module its core.
//!
//! It has no numerics of its own. Arrays are lent to the runtime as strided views and results are handed
//! over without a copy; kernels run without the interpreter's lock; whatever goes wrong is one exception.

mod addressed;
mod arguments;
mod array;
mod call;
mod definition;
mod device;
mod failure;
mod pullback;
mod recurrence;
mod watch;

use pyo3::prelude::*;

#[pymodule]
mod _baton {
    #[pymodule_export]
    use crate::addressed::Addressed;
    #[pymodule_export]
    use crate::device::{follow_num_threads, get_num_threads, keep_memory, set_num_threads};
    #[pymodule_export]
    use crate::pullback::Pullback;
    #[pymodule_export]
    use crate::recurrence::{PyRecurrence, builtins};
}
