//! Arrays of Python as views, and results as arrays.
//!
//! Invariant: an [`Array`] keeps its object alive, has one of the two dtypes, and its strides are whole
//! numbers of elements, none negative; what is not so was copied once. Python can still write to an array
//! that is lent, from another thread: as everywhere, a caller's own race.

use baton_runtime::{Error, Tensor, View};
use numpy::ndarray::{ArrayD, IxDyn};
use numpy::{
    Element, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods, PyUntypedArray,
    PyUntypedArrayMethods, dtype,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::slice;

/// What numbers are held and computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// float32, by kernels.
    F32,
    /// float64, by the interpreter.
    F64,
}

impl Precision {
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "float32",
            Precision::F64 => "float64",
        }
    }
}

/// A type of numbers that arrays have.
pub trait Number: Element + Copy {
    const PRECISION: Precision;
}

impl Number for f32 {
    const PRECISION: Precision = Precision::F32;
}

impl Number for f64 {
    const PRECISION: Precision = Precision::F64;
}

/// An array that is read.
pub struct Array {
    /// Keeps the memory.
    _object: Py<PyUntypedArray>,
    pub precision: Precision,
    address: usize,
    pub shape: Vec<usize>,
    /// In elements.
    strides: Vec<usize>,
}

impl Array {
    /// The array given as `name`: of numpy, or of anything that `numpy.from_dlpack` takes.
    pub fn take(name: &str, given: &Bound<'_, PyAny>) -> PyResult<Array> {
        let py = given.py();
        let array = imported(name, given)?;
        let is = array.dtype();
        let precision = if is.is_equiv_to(&dtype::<f32>(py)) {
            Precision::F32
        } else if is.is_equiv_to(&dtype::<f64>(py)) {
            Precision::F64
        } else {
            let expected = "float32, or float64 throughout";
            return Err(PyTypeError::new_err(
                dtype_error(name, &is.to_string(), expected).to_string(),
            ));
        };
        let bytes = is.itemsize() as isize;
        let whole = |&stride: &isize| stride >= 0 && stride % bytes == 0;
        let array = match array.is_aligned() && array.strides().iter().all(whole) {
            true => array,
            false => {
                let copy = py.import("numpy")?.call_method1("array", (array, &is))?;
                copy.cast_into()?
            }
        };
        let address = match precision {
            Precision::F32 => array.cast::<PyArrayDyn<f32>>()?.data() as usize,
            Precision::F64 => array.cast::<PyArrayDyn<f64>>()?.data() as usize,
        };
        let strides = array.strides().iter();
        Ok(Array {
            precision,
            address,
            shape: array.shape().to_vec(),
            strides: strides.map(|stride| (stride / bytes) as usize).collect(),
            _object: array.unbind(),
        })
    }

    /// A view of its memory.
    ///
    /// # Panics
    /// Where `T` is not its type.
    pub fn view<T: Number>(&self) -> View<'_, T> {
        assert_eq!(self.precision, T::PRECISION, "an array of another dtype");
        let last = |(&size, &stride): (&usize, &usize)| (size.saturating_sub(1)) * stride;
        let count = match self.shape.contains(&0) {
            true => 0,
            false => {
                1 + self
                    .shape
                    .iter()
                    .zip(&self.strides)
                    .map(last)
                    .sum::<usize>()
            }
        };
        let data = match count {
            0 => &[],
            // SAFETY: numpy's shape and strides describe memory that the object keeps, aligned as `take` saw.
            _ => unsafe { slice::from_raw_parts(self.address as *const T, count) },
        };
        View {
            data,
            shape: self.shape.clone(),
            strides: self.strides.clone(),
        }
    }
}

/// As the runtime says it.
pub fn dtype_error(name: &str, given: &str, expected: &str) -> Error {
    Error::Dtype {
        tensor: name.into(),
        given: given.into(),
        expected: expected.into(),
    }
}

fn imported<'py>(name: &str, given: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    if let Ok(array) = given.cast::<PyUntypedArray>() {
        return Ok(array.clone());
    }
    let py = given.py();
    if !given.hasattr("__dlpack__")? {
        let kind = given.get_type().name()?;
        let expected = "expected a numpy array, or a tensor on the CPU with `__dlpack__`";
        let text = format!("tensor `{name}` is of type `{kind}`, {expected}");
        return Err(PyTypeError::new_err(text));
    }
    let array = py.import("numpy")?.call_method1("from_dlpack", (given,));
    let array = array.map_err(|why| {
        let text = format!("tensor `{name}` cannot be read as an array on the CPU: {why}");
        PyTypeError::new_err(text)
    })?;
    Ok(array.cast_into()?)
}

/// The offsets of packed sequences: whole numbers, by anything that numpy makes an array of.
pub fn offsets(given: &Bound<'_, PyAny>) -> PyResult<Vec<i64>> {
    let py = given.py();
    let numpy = py.import("numpy")?;
    let wrong = |what: String| {
        let expected = "expected S + 1 offsets as whole numbers in one dimension";
        PyTypeError::new_err(format!("tensor `cu_seqlens` {what}, {expected}"))
    };
    let array = match given.hasattr("__dlpack__")? {
        true => imported("cu_seqlens", given)?.into_any(),
        false => (numpy.call_method1("asarray", (given,)))
            .map_err(|why| wrong(format!("is no array ({why})")))?,
    };
    let array = array.cast::<PyUntypedArray>()?;
    if !matches!(array.dtype().kind(), b'i' | b'u') {
        return Err(wrong(format!("holds {}", array.dtype())));
    }
    if array.ndim() != 1 {
        return Err(wrong(format!("has shape {:?}", array.shape())));
    }
    let list = array.call_method0("tolist")?.extract::<Vec<i64>>();
    list.map_err(|why| PyValueError::new_err(format!("tensor `cu_seqlens`: {why}")))
}

/// The array of a result, which has the tensor's memory.
pub fn owned<T: Number>(py: Python<'_>, tensor: Tensor<T>) -> PyResult<Bound<'_, PyArrayDyn<T>>> {
    let array = ArrayD::from_shape_vec(IxDyn(&tensor.shape), tensor.data);
    let array = array.map_err(|why| PyValueError::new_err(why.to_string()))?;
    Ok(PyArrayDyn::from_owned_array(py, array))
}
