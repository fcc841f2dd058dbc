//! Tensors in a safetensors file.
//!
//! A file is read whole and its tensors are taken by name, as the type that the caller expects.
//! Writing goes to a file beside the target which then takes the target's name, so that a reader
//! sees the old file or the whole new one, never a part.

use crate::failure::Failure;
use baton_runtime::{Error, Tensor};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo, TensorView, serialize};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

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
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Archive, Failure> {
        let bytes = fs::read(path)
            .map_err(|why| Failure::new(format!("cannot read `{}`: {why}", path.display())))?;
        let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|why| {
            Failure::new(format!(
                "`{}` is no safetensors file: {why}",
                path.display()
            ))
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

/// A file that can be written.
pub struct Target {
    path: PathBuf,
    beside: PathBuf,
}

impl Target {
    /// Fails where the file could not be written, before anything is computed.
    pub fn new(path: &Path) -> Result<Target, Failure> {
        let refuse = |why: &str| Failure::new(format!("cannot write `{}`: {why}", path.display()));
        let name = path.file_name().ok_or_else(|| refuse("it names no file"))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            return Err(refuse(&format!(
                "the folder `{}` does not exist",
                parent.display()
            )));
        }
        if path.exists() && !path.is_file() {
            return Err(refuse("it exists and is no regular file"));
        }
        let beside = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        Ok(Target {
            path: path.into(),
            beside: parent.join(beside),
        })
    }

    /// Writes tensors by name; an existing file is replaced at the very end.
    pub fn write<T: Element>(&self, tensors: &[(String, Tensor<T>)]) -> Result<(), Failure> {
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(format!("cannot write `{}`: {why}", self.path.display()))
        };
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
        let file = views
            .and_then(|views| serialize(views, None))
            .map_err(|why| failed(&why))?;
        let written = File::create(&self.beside)
            .and_then(|mut to| to.write_all(&file).and_then(|()| to.sync_all()))
            .and_then(|()| fs::rename(&self.beside, &self.path));
        written.map_err(|why| {
            let _ = fs::remove_file(&self.beside);
            failed(&why)
        })
    }
}
