//! Tensors in a safetensors file.
//!
//! A file is read whole and its tensors are taken by name, as the type that the caller expects.

use crate::failure::Failure;
use crate::input;
use baton_data::plain;
use baton_runtime::{Error, Tensor};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView, serialize};
use std::path::Path;

/// A type that a tensor of a file is read as and written from.
pub trait Element: Copy {
    /// Its name in the file.
    const DTYPE: Dtype;
    /// One element from its bytes, of which there are as many as it has.
    fn read(bytes: &[u8]) -> Self;
    /// Its bytes.
    fn write(self, to: &mut Vec<u8>);
}

macro_rules! element {
    ($($type:ident = $dtype:ident,)*) => {
        $(impl Element for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            fn read(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$type>()];
                own.copy_from_slice(bytes);
                $type::from_le_bytes(own)
            }

            fn write(self, to: &mut Vec<u8>) {
                to.extend_from_slice(&self.to_le_bytes());
            }
        })*
    };
}

element! {
    f32 = F32,
    f64 = F64,
    i32 = I32,
    i64 = I64,
}

/// The contents of a file.
pub struct Archive {
    bytes: Vec<u8>,
    data: usize,
    metadata: Metadata,
}

impl Archive {
    /// Reads a file, or the standard input.
    pub fn read(path: &Path) -> Result<Archive, Failure> {
        let bytes = input::bytes(path)?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|why| {
            let name = input::name(path);
            let why = plain::safetensors(&why);
            Failure::new(format!("`{name}` is no safetensors file: {why}"))
        })?;
        Ok(Archive {
            data: size_of::<u64>() + header,
            bytes,
            metadata,
        })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.metadata.tensors().into_keys().collect();
        names.sort();
        names
    }

    /// The type of a tensor.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.metadata.info(name).map(|info| info.dtype)
    }

    /// A tensor, if there is one of this name; it must hold elements of type `T`.
    pub fn take<T: Element>(&self, name: &str) -> Result<Option<Tensor<T>>, Error> {
        match self.metadata.info(name) {
            Some(info) if info.dtype == T::DTYPE => Ok(Some(self.tensor(info))),
            Some(info) => Err(wrong_dtype(name, info.dtype, &label(T::DTYPE))),
            None => Ok(None),
        }
    }

    /// A vector of offsets, if there is one of this name: i32 or i64.
    pub fn offsets(&self, name: &str) -> Result<Option<Vec<i64>>, Error> {
        let Some(info) = self.metadata.info(name) else {
            return Ok(None);
        };
        if info.shape.len() != 1 {
            return Err(Error::Shape {
                tensor: name.into(),
                given: info.shape.clone(),
                expected: "[S + 1]".into(),
            });
        }
        match info.dtype {
            Dtype::I64 => Ok(Some(self.tensor(info).data)),
            Dtype::I32 => {
                let narrow: Tensor<i32> = self.tensor(info);
                Ok(Some(narrow.data.into_iter().map(i64::from).collect()))
            }
            given => Err(wrong_dtype(name, given, "i32 or i64")),
        }
    }

    /// A tensor of whole numbers of any type, if there is one of this name.
    pub fn integers(&self, name: &str) -> Result<Option<Tensor<i64>>, Error> {
        let Some(info) = self.metadata.info(name) else {
            return Ok(None);
        };
        let width = match info.dtype {
            Dtype::I64 | Dtype::U64 => 8,
            Dtype::I32 | Dtype::U32 => 4,
            Dtype::I16 | Dtype::U16 => 2,
            Dtype::I8 | Dtype::U8 => 1,
            given => return Err(wrong_dtype(name, given, "whole numbers")),
        };
        let signed = matches!(info.dtype, Dtype::I64 | Dtype::I32 | Dtype::I16 | Dtype::I8);
        let (start, end) = info.data_offsets;
        let whole = |bytes: &[u8]| {
            let negative = signed && bytes[width - 1] >= 0x80;
            let mut own = [if negative { 0xff } else { 0 }; 8];
            own[..width].copy_from_slice(bytes);
            i64::from_le_bytes(own) // a u64 past i64 comes out negative, which no index may be
        };
        let bytes = &self.bytes[self.data + start..self.data + end];
        Ok(Some(Tensor {
            shape: info.shape.clone(),
            data: bytes.chunks_exact(width).map(whole).collect(),
        }))
    }

    fn tensor<T: Element>(&self, info: &TensorInfo) -> Tensor<T> {
        let (start, end) = info.data_offsets;
        let bytes = &self.bytes[self.data + start..self.data + end];
        Tensor {
            shape: info.shape.clone(),
            data: bytes.chunks_exact(size_of::<T>()).map(T::read).collect(),
        }
    }
}

/// The type as messages name it.
pub fn label(dtype: Dtype) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// The error of a tensor that holds another type.
pub fn wrong_dtype(name: &str, given: Dtype, expected: &str) -> Error {
    Error::Dtype {
        tensor: name.into(),
        given: label(given),
        expected: expected.into(),
    }
}

/// The bytes of a file of tensors by name.
pub fn pack<T: Element>(tensors: &[(String, Tensor<T>)]) -> Result<Vec<u8>, Failure> {
    let bytes: Vec<Vec<u8>> = (tensors.iter())
        .map(|(_, tensor)| {
            let mut bytes = Vec::with_capacity(size_of_val(tensor.data.as_slice()));
            tensor.data.iter().for_each(|x| x.write(&mut bytes));
            bytes
        })
        .collect();
    let views: Result<Vec<_>, _> = (tensors.iter().zip(&bytes))
        .map(|((name, tensor), bytes)| {
            TensorView::new(T::DTYPE, tensor.shape.clone(), bytes).map(|view| (name, view))
        })
        .collect();
    let file = views.and_then(|views| serialize(views, None));
    file.map_err(|why| Failure::new(format!("tensors that no file can hold: {why}")))
}
