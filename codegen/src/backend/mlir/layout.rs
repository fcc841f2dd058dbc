//! Where the elements of a tile are: in which threads' registers, or how in shared memory.
//!
//! A kernel runs `warps` warps. A matrix in registers is a [`Form::Fragment`]: the accumulators of
//! `mma.m16n8`, 16 x 8 elements a piece, the pieces dealt to a [`Grid`] of warps that depends on
//! the matrix's size alone, so that equal sizes meet without conversion. A vector along the rows
//! of a matrix lies in [`Form::Rows`], along its columns in [`Form::Cols`], in both with as many
//! copies as there are threads that need it. The forms in shared memory are those that products
//! and 16-byte accesses read, and those by which warps exchange.
//!
//! `place` inserts every conversion between forms; `emit` carries them out. A form of other
//! hardware (a descriptor of shared memory, an accumulator of a warp group) joins here.

/// How a matrix is dealt to warps and threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Warps along the rows.
    pub row_warps: u32,
    /// Warps along the columns.
    pub column_warps: u32,
    /// Pieces of 16 rows for each warp.
    pub row_pieces: u32,
    /// Pieces of 8 columns for each warp.
    pub column_pieces: u32,
}

impl Grid {
    /// The grid of `rows` x `columns` over `warps` (a power of two).
    pub fn new([rows, columns]: [u32; 2], warps: u32) -> Self {
        let (rows, columns) = (rows / 16, columns / 8);
        let row_warps = (1 << rows.trailing_zeros()).min(warps);
        let column_warps = (1 << columns.trailing_zeros()).min(warps / row_warps);
        Self {
            row_warps,
            column_warps,
            row_pieces: rows / row_warps,
            column_pieces: columns / column_warps,
        }
    }

    /// Warps along rows and columns.
    pub fn warps(&self) -> [u32; 2] {
        [self.row_warps, self.column_warps]
    }

    /// The register of an element by its row and column among those of a thread.
    pub fn index(&self, row: usize, column: usize) -> usize {
        let piece = row / 2 * self.column_pieces as usize + column / 2;
        4 * piece + row % 2 * 2 + column % 2
    }

    /// Row and column among those of a thread of the element in a register.
    pub fn place(&self, register: usize) -> [usize; 2] {
        let (piece, e) = (register / 4, register % 4);
        let pieces = self.column_pieces as usize;
        [piece / pieces * 2 + e / 2, piece % pieces * 2 + e % 2]
    }

    /// The form of a vector along its columns.
    pub fn cols(&self) -> Form {
        Form::Cols(self.warps())
    }

    /// Warps that hold something no other holds; the rest hold copies.
    pub fn owners(&self) -> u32 {
        self.row_warps * self.column_warps
    }
}

/// Where a tile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A number, in a register of every thread.
    Scalar,
    /// A vector along the rows: two registers a row piece, rows g and g + 8.
    Rows,
    /// A vector along the columns of a matrix whose grid has these warps along rows and columns:
    /// two registers a column piece, columns 2 t and 2 t + 1.
    Cols([u32; 2]),
    /// A matrix: four registers a piece.
    Fragment,
    /// A matrix in shared memory, as products read it: one plane for each term.
    Operand,
    /// A matrix in shared memory in the dtype of storage, on its way out.
    Outgoing,
    /// A matrix in shared memory in the dtype of storage, as it came in; one of a ring.
    Staged,
    /// A matrix in shared memory, f32, as what goes along the steps reads and leaves it.
    Exact,
    /// A vector in shared memory, f32.
    Vector,
    /// Parts of a sum, one for each warp along the summed axes, in shared memory, f32.
    Partial,
    /// Sums of a vector along the rows over the aligned blocks of 2, 4, 8 and 16 steps.
    Sums,
    /// The same before each step's own value: for a strict reader.
    StrictSums,
    /// Sums of each row of a matrix over the columns of each warp along them, in shared memory, f32.
    RowTotals,
    /// Sums of each column of a matrix over the aligned blocks of 16 rows, in shared memory, f32.
    ColumnSums,
    /// What one level of a trilinear form (the op's index, the level) reads of one side.
    Level(u32, u32, Side),
}

/// The sides of a level of a trilinear form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// `m` where a pair parts at this level, else zero: planes, as [`Form::Operand`].
    Pairs,
    /// `q` times the decay from where the reader's half begins: planes.
    Readers,
    /// `k` times the decay to where the writer's half ends: planes.
    Writers,
    /// Sums of a gradient of log decays, as [`Form::ColumnSums`].
    Totals,
}

impl Form {
    /// Whether it is in shared memory, at least in part.
    pub fn shared(self) -> bool {
        !matches!(
            self,
            Form::Scalar | Form::Rows | Form::Cols(_) | Form::Fragment
        )
    }
}

/// The order of 16-byte units in a row of shared memory: unit u of row r lies at `u ^ turn(r)`.
/// Eight rows of one unit then touch all banks, whatever the row's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swizzle {
    /// Rows that share one turn, as a shift.
    pub shift: u32,
    /// Units that are exchanged, minus one.
    pub mask: u32,
}

impl Swizzle {
    /// For rows of `bytes`, a multiple of 16.
    pub fn new(bytes: u32) -> Self {
        let units = (1 << (bytes / 16).trailing_zeros()).min(8);
        Self {
            shift: (8u32 / units).trailing_zeros(),
            mask: units - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_dealt_to_equal_warps() {
        for warps in [1, 2, 4, 8] {
            for rows in [16, 32, 48, 64, 128] {
                let of = |columns| Grid::new([rows, columns], warps);
                assert_eq!(of(64).row_warps, of(128).row_warps);
                let grid = of(64);
                assert_eq!(grid.row_warps * grid.row_pieces * 16, rows);
                assert_eq!(grid.column_warps * grid.column_pieces * 8, 64);
                assert!(grid.owners() <= warps);
            }
        }
    }

    #[test]
    fn eight_rows_of_a_unit_touch_every_bank() {
        for bytes in [16, 32, 64, 128, 256, 512] {
            let Swizzle { shift, mask } = Swizzle::new(bytes);
            let units = bytes / 16;
            for unit in 0..units {
                let mut banks: Vec<u32> = (0..8)
                    .map(|row| (row * units + (unit ^ ((row >> shift) & mask))) % 8)
                    .collect();
                banks.sort_unstable();
                assert_eq!(banks, [0, 1, 2, 3, 4, 5, 6, 7]);
            }
        }
    }
}
