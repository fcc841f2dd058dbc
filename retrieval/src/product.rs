//! Products of small matrices that lie in larger tensors.
//!
//! The one place that calls the library of products, and the one that is unsafe: every view is checked
//! against its slice before an address leaves.

use gemm::{Parallelism, gemm};

/// A matrix in a slice: element (i, j) is `data[i * row + j * column]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// From the first element on.
    pub data: &'a [f32],
    /// Rows and columns.
    pub size: [usize; 2],
    /// From row to row.
    pub row: usize,
    /// From column to column.
    pub column: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of contiguous numbers, `row` apart.
    pub fn new(data: &'a [f32], size: [usize; 2], row: usize) -> Self {
        Matrix {
            data,
            size,
            row,
            column: 1,
        }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Matrix {
            size: [self.size[1], self.size[0]],
            row: self.column,
            column: self.row,
            ..self
        }
    }

    fn check(&self) {
        let [rows, columns] = self.size;
        if rows > 0 && columns > 0 {
            let last = (rows - 1) * self.row + (columns - 1) * self.column;
            assert!(last < self.data.len(), "a matrix past the end of its slice");
        }
    }
}

/// `out = keep out + factor a b`, with the rows of `out` contiguous and `row` apart.
pub fn product(out: &mut [f32], row: usize, keep: bool, factor: f32, a: Matrix<'_>, b: Matrix<'_>) {
    let ([m, k], [inner, n]) = (a.size, b.size);
    assert_eq!(k, inner, "the inner sizes of a product");
    if m == 0 || n == 0 {
        return;
    }
    a.check();
    b.check();
    assert!((m - 1) * row + n <= out.len() && (m == 1 || row >= n));
    let [a_column, a_row, b_column, b_row] =
        [a.column, a.row, b.column, b.row].map(|stride| stride as isize);
    // SAFETY: each matrix lies inside of its slice, rows of `out` do not overlap, and `out` is borrowed
    // for itself alone.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            row as isize,
            keep,
            a.data.as_ptr(),
            a_column,
            a_row,
            b.data.as_ptr(),
            b_column,
            b_row,
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
