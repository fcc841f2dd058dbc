//! Tensors of the host: an owned contiguous one, and a strided view of somebody's memory.

use crate::Error;

/// An owned tensor, row-major and contiguous.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T = f32> {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub data: Vec<T>,
}

impl<T: Copy> Tensor<T> {
    /// A tensor of one value.
    pub fn full(shape: &[usize], value: T) -> Self {
        Self {
            shape: shape.to_vec(),
            data: vec![value; shape.iter().product()],
        }
    }

    /// A view of the whole.
    pub fn view(&self) -> View<'_, T> {
        View {
            data: &self.data,
            shape: self.shape.clone(),
            strides: contiguous(&self.shape),
        }
    }
}

/// A borrowed tensor: `shape` and `strides` in elements, outermost first, both of one length.
#[derive(Clone, Debug)]
pub struct View<'a, T = f32> {
    /// Memory from the first element on.
    pub data: &'a [T],
    /// Sizes.
    pub shape: Vec<usize>,
    /// Steps in elements.
    pub strides: Vec<usize>,
}

impl<'a, T: Copy> View<'a, T> {
    /// A view of contiguous memory.
    pub fn contiguous(data: &'a [T], shape: &[usize]) -> Self {
        Self {
            data,
            shape: shape.to_vec(),
            strides: contiguous(shape),
        }
    }

    /// Whether every element lies inside `data`.
    pub fn check(&self, name: &str) -> Result<(), Error> {
        let last =
            self.shape
                .iter()
                .zip(&self.strides)
                .try_fold(0usize, |sum, (&size, &stride)| {
                    size.saturating_sub(1)
                        .checked_mul(stride)
                        .and_then(|step| sum.checked_add(step))
                });
        let empty = self.shape.contains(&0);
        match last {
            Some(last) if empty || last < self.data.len() => Ok(()),
            _ => Err(Error::OutOfBounds {
                tensor: name.into(),
                shape: self.shape.clone(),
                strides: self.strides.clone(),
                len: self.data.len(),
            }),
        }
    }

    /// A contiguous copy.
    pub fn to_tensor(&self) -> Tensor<T> {
        let mut data = Vec::with_capacity(self.shape.iter().product());
        gather(self.data, &self.shape, &self.strides, 0, &mut data);
        Tensor {
            shape: self.shape.clone(),
            data,
        }
    }
}

fn gather<T: Copy>(from: &[T], shape: &[usize], strides: &[usize], at: usize, to: &mut Vec<T>) {
    match (shape, strides) {
        ([], _) => to.push(from[at]),
        ([n], [1]) if *n > 0 => to.extend_from_slice(&from[at..at + n]),
        ([n], [step]) => to.extend((0..*n).map(|i| from[at + i * step])),
        ([n, rest @ ..], [step, steps @ ..]) => {
            (0..*n).for_each(|i| gather(from, rest, steps, at + i * step, to))
        }
        _ => unreachable!("shape and strides have one length"),
    }
}

/// Row-major strides of a shape, in elements.
pub fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}
