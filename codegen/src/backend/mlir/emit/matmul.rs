//! Products: `mma.sync` over fragments.
//!
//! The left operand comes from registers where each warp holds whole rows (an accumulator's
//! registers, packed, *are* the left operand of the next product), else from shared memory as the
//! right one does, by `ldmatrix`, transposed on the way where need be. A product of f32 in three
//! terms is six products of bf16, from the smallest: those whose terms' numbers add up to 2 or
//! less; an operand of two terms beside one of one is two. In tf32 the words are f32 and the pieces 8 deep.

use super::*;

/// One operand in shared memory.
#[derive(Clone, Copy)]
pub(super) struct Source {
    origin: Val,
    /// Bytes of a row, and of a plane.
    bytes: u32,
    plane: u32,
    /// Planes; 0 means tf32.
    terms: u32,
    transposed: bool,
}

impl Machine<'_> {
    pub(super) fn matmul(&mut self, tile: TileId) -> Vec<Val> {
        let node = self.program.node(tile);
        let Op::Matmul {
            a, ta, b, tb, add, ..
        } = node.op
        else {
            unreachable!("a product");
        };
        let grid = self.grid(&node.shape);
        let a_shape = self.program.node(a).shape.clone();
        let depth = a_shape[usize::from(!ta)];
        let mut sums = match add {
            Some(add) => self.held[&(add, Form::Fragment)].clone(),
            None => vec![self.text.float(0.0); self.registers(&node.shape)],
        };
        let held = forms::operand_a(self.program, self.options, tile, a, ta) == Form::Fragment;
        let left = (!held).then(|| self.source(a, ta));
        let right = self.source(b, tb);
        let (rows, columns) = (self.row_bases(grid), self.column_bases(grid));
        let step = if self.options.terms() == 0 { 8 } else { 16 };
        for k in (0..depth).step_by(step as usize) {
            let depth = self.text.int(k as i32);
            let lefts: Vec<Vec<Vec<Val>>> = (0..grid.row_pieces as usize)
                .map(|p| match left {
                    Some(source) => self.left(source, rows[p], depth),
                    None => self.left_held(a, p, k),
                })
                .collect();
            let mut q = 0;
            while q < columns.len() {
                let count = (columns.len() - q).min(2);
                let pieces = self.right(right, &columns[q..q + count], depth);
                for (i, piece) in pieces.into_iter().enumerate() {
                    for (p, left) in lefts.iter().enumerate() {
                        let at = (p * columns.len() + q + i) * 4;
                        let more = self.mma(left, &piece, &sums[at..at + 4]);
                        sums[at..at + 4].copy_from_slice(&more);
                    }
                }
                q += count;
            }
        }
        sums
    }

    pub(super) fn source(&mut self, tile: TileId, transposed: bool) -> Source {
        let form = match self.placement.rooms.contains_key(&(tile, Form::Operand)) {
            true => Form::Operand,
            false => Form::Staged,
        };
        self.source_in(tile, form, transposed)
    }

    /// An operand in a form that has planes.
    pub(super) fn source_in(&mut self, tile: TileId, form: Form, transposed: bool) -> Source {
        let shape = self.program.node(tile).shape.clone();
        let terms = match form {
            Form::Operand => forms::terms(self.program, self.options, tile),
            _ => self.options.terms(),
        };
        let width = if terms == 0 { 4 } else { 2 };
        let bytes = shape[1] * width;
        Source {
            terms,
            origin: self.origin(tile, form),
            bytes,
            plane: shape[0] * bytes,
            transposed,
        }
    }

    /// The terms of the left operand at rows from `row` and from `depth`: four words each.
    pub(super) fn left(&mut self, source: Source, row: Val, depth: Val) -> Vec<Vec<Val>> {
        if source.terms == 0 {
            if source.transposed {
                return vec![self.words(source, row, depth, &[(0, 0), (8, 0), (0, 4), (8, 4)])];
            }
            let twice = self.text.int_op("shl", depth, 1);
            return vec![self.matrix(source.origin, source.bytes, [row, twice], 4, false)];
        }
        (0..source.terms)
            .map(|term| {
                let origin = self.plane(source, term);
                if !source.transposed {
                    return self.matrix(origin, source.bytes, [row, depth], 4, false);
                }
                let [bit, low] = [8, 7].map(|mask| self.text.int_op("and", self.lane, mask));
                let far = self.text.int_op("lshr", self.lane, 4);
                let far = self.text.int_op("shl", far, 3);
                let stored = self.text.add(low, far);
                let stored = self.text.add(stored, depth);
                let column = self.text.add(row, bit);
                let unit = self.text.int_op("lshr", column, 3);
                let at = self.unit_at(origin, stored, unit, source.bytes);
                self.matrix_at(at, 4, true)
            })
            .collect()
    }

    /// The same from the registers of a fragment whose rows this warp holds whole.
    fn left_held(&mut self, a: TileId, piece: usize, k: u32) -> Vec<Vec<Val>> {
        let grid = self.grid(&self.program.node(a).shape.clone());
        let held = &self.held[&(a, Form::Fragment)];
        let first = (piece * grid.column_pieces as usize + k as usize / 8) * 4;
        let values: Vec<Val> = held[first..first + 8].to_vec();
        let terms = forms::terms(self.program, self.options, a);
        let pairs: Vec<Vec<Val>> = values
            .chunks(2)
            .map(|pair| self.terms(terms, pair[0], pair[1]))
            .collect();
        let term = |term: usize| pairs.iter().map(|words| words[term]).collect();
        (0..terms as usize).map(term).collect()
    }

    /// The right operand at one or two column pieces and from `depth`: for each piece the terms, two
    /// words each.
    pub(super) fn right(
        &mut self,
        source: Source,
        columns: &[Val],
        depth: Val,
    ) -> Vec<Vec<Vec<Val>>> {
        let count = 2 * columns.len();
        let mut pieces = vec![Vec::new(); columns.len()];
        if source.terms == 0 {
            for (piece, &column) in pieces.iter_mut().zip(columns) {
                piece.push(match source.transposed {
                    true => self.words_right(source, column, depth),
                    false => self.words(source, column, depth, &[(0, 0), (0, 4)]),
                });
            }
            return pieces;
        }
        for term in 0..source.terms {
            let origin = self.plane(source, term);
            let words = if source.transposed {
                let low = self.text.int_op("and", self.lane, 7);
                let bit = self.text.int_op("and", self.lane, 8);
                let far = match columns.len() {
                    2 => {
                        let far = self.text.int_op("lshr", self.lane, 4);
                        self.text.int_op("shl", far, 3)
                    }
                    _ => self.text.int(0),
                };
                let stored = self.text.add(columns[0], low);
                let stored = self.text.add(stored, far);
                let column = self.text.add(depth, bit);
                let unit = self.text.int_op("lshr", column, 3);
                let at = self.unit_at(origin, stored, unit, source.bytes);
                self.matrix_at(at, count, false)
            } else {
                self.matrix(origin, source.bytes, [depth, columns[0]], count, true)
            };
            for (piece, words) in pieces.iter_mut().zip(words.chunks(2)) {
                piece.push(words.to_vec());
            }
        }
        pieces
    }

    fn plane(&mut self, source: Source, term: u32) -> Val {
        self.text
            .int_op("add", source.origin, (term * source.plane) as i32)
    }

    /// tf32 words `[k + d + t][column + c + g]` of a tile stored by depth.
    fn words(&mut self, source: Source, column: Val, k: Val, from: &[(i32, i32)]) -> Vec<Val> {
        let column = self.text.add(column, self.row);
        let depth = self.text.add(self.pair, k);
        from.iter()
            .map(|&(c, d)| {
                let (column, row) = (
                    self.text.int_op("add", column, c),
                    self.text.int_op("add", depth, d),
                );
                self.word(source, row, column)
            })
            .collect()
    }

    /// tf32 words `[column + g][k + t]` and `[column + g][k + 4 + t]` of a tile stored by column.
    fn words_right(&mut self, source: Source, column: Val, k: Val) -> Vec<Val> {
        let row = self.text.add(column, self.row);
        let first = self.text.add(self.pair, k);
        [0, 4]
            .map(|d| {
                let depth = self.text.int_op("add", first, d);
                self.word(source, row, depth)
            })
            .to_vec()
    }

    fn word(&mut self, source: Source, row: Val, column: Val) -> Val {
        let unit = self.text.int_op("lshr", column, 2);
        let at = self.unit_at(source.origin, row, unit, source.bytes);
        let rest = self.text.int_op("and", column, 3);
        let rest = self.text.int_op("shl", rest, 2);
        let at = self.text.add(at, rest);
        let at = self.shared_at(at);
        self.text.load(at, 3, "i32")
    }

    pub(super) fn mma(&mut self, left: &[Vec<Val>], right: &[Vec<Val>], sums: &[Val]) -> Vec<Val> {
        let mut sums = sums.to_vec();
        for both in (0..left.len().max(right.len())).rev() {
            for i in (0..=both).filter(|&i| i < left.len() && both - i < right.len()) {
                sums = self.mma_one(&left[i], &right[both - i], &sums);
            }
        }
        sums
    }

    fn mma_one(&mut self, left: &[Val], right: &[Val], sums: &[Val]) -> Vec<Val> {
        use super::super::text::list;
        let (ty, depth, words) = match (self.options.terms(), self.options.operand()) {
            (0, _) => ("tf32", 8, "i32, i32"),
            (_, Storage::F16) => ("f16", 16, "vector<2xf16>, vector<2xf16>"),
            _ => ("bf16", 16, "i32, i32"),
        };
        let cast = |machine: &mut Self, words: &[Val]| -> Vec<Val> {
            match ty {
                "f16" => words
                    .iter()
                    .map(|w| machine.text.bitcast(*w, "i32", "vector<2xf16>"))
                    .collect(),
                _ => words.to_vec(),
            }
        };
        let (left, right) = (cast(self, left), cast(self, right));
        let kinds = match ty {
            "f16" => String::new(),
            _ => format!(
                "multiplicandAPtxType = #nvvm.mma_type<{ty}>, multiplicandBPtxType = #nvvm.mma_type<{ty}>, "
            ),
        };
        let out = "!llvm.struct<(f32, f32, f32, f32)>";
        let result = self.text.def(format_args!(
            "nvvm.mma.sync A[{}] B[{}] C[{}] {{layoutA = #nvvm.mma_layout<row>, layoutB = #nvvm.mma_layout<col>, \
             {kinds}shape = #nvvm.shape<m = 16, n = 8, k = {depth}>}} : ({words}, f32) -> {out}",
            list(&left),
            list(&right),
            list(sums),
        ));
        self.text.fields(result, 4, "f32")
    }
}
