//! Conversions between forms, each once: registers to shared memory and back.

use super::*;

impl Machine<'_> {
    pub(super) fn convert(&mut self, tile: TileId, from: Form, to: Form) {
        let shape = self.program.node(tile).shape.clone();
        let values = match (from, to) {
            (Form::Staged, Form::Fragment) => self.fragment_of_staged(tile, &shape),
            (Form::Exact, Form::Fragment) => self.fragment_of_f32(tile, from, &shape),
            (Form::Fragment, Form::Exact) => {
                let values = self.held[&(tile, from)].clone();
                self.write_fragment(tile, to, &shape, Storage::F32, 1, &values)
            }
            (Form::Fragment, Form::Operand) => {
                let values = self.held[&(tile, from)].clone();
                self.write_planes(tile, to, &shape, &values)
            }
            (Form::Fragment, Form::Level(op, level, side)) => {
                let values = self.level_values(tile, TileId(op), level, side);
                self.write_planes(tile, to, &shape, &values)
            }
            (Form::Fragment, Form::Outgoing) => {
                let storage = self.options.storage;
                let values = self.held[&(tile, from)].clone();
                self.write_fragment(tile, to, &shape, storage, 1, &values)
            }
            (Form::Fragment, Form::ColumnSums) => self.column_sums(tile, &shape),
            (Form::Fragment, Form::RowTotals) => self.row_totals(tile, &shape),
            (Form::Partial, _) => self.sum_parts(tile, &shape, to),
            (Form::Vector, _) => {
                let index = self.indices(&shape, to);
                self.read_vector(tile, Form::Vector, 0, &index)
            }
            (_, Form::Vector) => self.vector_of(tile, &shape, from),
            (Form::Rows, Form::Sums | Form::StrictSums) => {
                self.sums(tile, shape[0], to == Form::StrictSums)
            }
            _ => unreachable!("`place` asks for no {from:?} to {to:?}"),
        };
        self.held.insert((tile, to), values);
    }

    fn fragment_of_staged(&mut self, tile: TileId, shape: &[u32]) -> Vec<Val> {
        let grid = self.grid(shape);
        let storage = self.options.storage;
        if storage == Storage::F32 {
            return self.fragment_of_f32(tile, Form::Staged, shape);
        }
        let bytes = shape[1] * storage.bytes();
        let origin = self.origin(tile, Form::Staged);
        let columns = grid.column_pieces as usize;
        let mut values = Vec::with_capacity(grid.row_pieces as usize * columns * 4);
        let (rows, columns) = (self.row_bases(grid), self.column_bases(grid));
        for row in rows {
            for pair in columns.chunks(2) {
                for word in self.matrix(origin, bytes, [row, pair[0]], pair.len() * 2, false) {
                    values.extend(self.unpack16(word, storage));
                }
            }
        }
        values
    }

    fn fragment_of_f32(&mut self, tile: TileId, form: Form, shape: &[u32]) -> Vec<Val> {
        let grid = self.grid(shape);
        let (origin, bytes) = (self.origin(tile, form), shape[1] * 4);
        let (rows, bases) = (self.rows(grid), self.column_bases(grid));
        let mut values = Vec::with_capacity(rows.len() * bases.len() * 2);
        for p in 0..grid.row_pieces as usize {
            for &base in &bases {
                for row in &rows[2 * p..2 * p + 2] {
                    let at = self.pair_at(origin, *row, base, bytes, Storage::F32);
                    let pair = self.text.load(at, 3, "vector<2xf32>");
                    values.extend(self.text.unpack(pair, 2, "f32"));
                }
            }
        }
        values
    }

    /// Loads 2 or 4 matrices of 8 x 8 words of 16 bits by `ldmatrix`: rows `from[0]` to + 15 and
    /// columns `from[1]` to + 7 or + 15, in the order (top, bottom) of each eight columns; with
    /// `transposed`, each matrix is, and the order is (left, right) of each eight rows.
    pub(super) fn matrix(
        &mut self,
        origin: Val,
        bytes: u32,
        from: [Val; 2],
        count: usize,
        transposed: bool,
    ) -> Vec<Val> {
        let low = self.text.int_op("and", self.lane, 15);
        let far = match count {
            4 => self.text.int_op("lshr", self.lane, 4),
            _ => self.text.int(0),
        };
        let row = self.text.add(from[0], low);
        let unit = self.text.int_op("lshr", from[1], 3);
        let unit = self.text.add(unit, far);
        let at = self.unit_at(origin, row, unit, bytes);
        self.matrix_at(at, count, transposed)
    }

    /// `ldmatrix` with each lane's address given.
    pub(super) fn matrix_at(&mut self, at: Val, count: usize, transposed: bool) -> Vec<Val> {
        let at = self.shared_at(at);
        let layout = if transposed { "col" } else { "row" };
        let ty = format!("!llvm.struct<({})>", vec!["i32"; count].join(", "));
        let words = self.text.def(format_args!(
            "nvvm.ldmatrix {at} {{num = {count} : i32, layout = #nvvm.mma_layout<{layout}>, \
             shape = #nvvm.ld_st_matrix_shape<m = 8, n = 8>, \
             eltType = #nvvm.ld_st_matrix_elt_type<b16>}} : (!llvm.ptr<3>) -> {ty}"
        ));
        self.text.fields(words, count, "i32")
    }

    /// The address of this thread's pair of columns, in the eight columns from `base`.
    pub(super) fn pair_at(
        &mut self,
        origin: Val,
        row: Val,
        base: Val,
        bytes: u32,
        storage: Storage,
    ) -> Val {
        let (unit, rest) = match storage {
            Storage::F32 => {
                let unit = self.text.int_op("lshr", base, 2);
                let half = self.text.int_op("lshr", self.pair, 1);
                let odd = self.text.int_op("and", self.pair, 1);
                (self.text.add(unit, half), self.text.int_op("shl", odd, 3))
            }
            _ => {
                let rest = self.text.int_op("shl", self.pair, 2);
                (self.text.int_op("lshr", base, 3), rest)
            }
        };
        let at = self.unit_at(origin, row, unit, bytes);
        let at = self.text.add(at, rest);
        self.shared_at(at)
    }

    /// Writes a matrix as products read it, a plane for each term.
    fn write_planes(
        &mut self,
        tile: TileId,
        form: Form,
        shape: &[u32],
        values: &[Val],
    ) -> Vec<Val> {
        let terms = match form {
            Form::Operand => forms::terms(self.program, self.options, tile),
            _ => self.options.terms(),
        };
        match terms {
            0 => self.write_fragment(tile, form, shape, Storage::F32, 1, values),
            terms => {
                let storage = self.options.operand();
                self.write_fragment(tile, form, shape, storage, terms, values)
            }
        }
    }

    /// Writes a matrix row by row: pairs of f32 (rounded to tf32 as an operand), or words of
    /// 16 bits, one plane for each term.
    fn write_fragment(
        &mut self,
        tile: TileId,
        form: Form,
        shape: &[u32],
        storage: Storage,
        terms: u32,
        values: &[Val],
    ) -> Vec<Val> {
        let grid = self.grid(shape);
        let bytes = shape[1] * storage.bytes();
        let origin = self.origin(tile, form);
        let (rows, bases) = (self.rows(grid), self.column_bases(grid));
        self.in_warps(grid.owners(), |machine| {
            for (at, pair) in values.chunks(2).enumerate() {
                let (piece, half) = (at / 2, at % 2);
                let (p, q) = (piece / bases.len(), piece % bases.len());
                let to = machine.pair_at(origin, rows[2 * p + half], bases[q], bytes, storage);
                if storage == Storage::F32 {
                    let pair = match form {
                        Form::Operand | Form::Level(..) => {
                            [0, 1].map(|i| machine.round_tf32(pair[i]))
                        }
                        _ => [pair[0], pair[1]],
                    };
                    let pair = machine.text.pack(&pair, "f32");
                    machine.text.store(pair, to, 3, "vector<2xf32>");
                    continue;
                }
                let words = match terms {
                    1 => vec![machine.pack16(pair[0], pair[1], storage)],
                    _ => machine.terms(terms, pair[0], pair[1]),
                };
                for (term, word) in words.into_iter().enumerate() {
                    let plane = machine.text.int(term as i32 * (shape[0] * bytes) as i32);
                    let to = machine.text.at(to, plane, 3, "i32");
                    machine.text.store(word, to, 3, "i32");
                }
            }
        });
        vec![]
    }

    fn round_tf32(&mut self, value: Val) -> Val {
        let bits = self
            .text
            .call("llvm.nvvm.f2tf32.rna", &[value], "(f32) -> i32");
        self.text.bitcast(bits, "i32", "f32")
    }

    fn row_totals(&mut self, tile: TileId, shape: &[u32]) -> Vec<Val> {
        let grid = self.grid(shape);
        let values = self.held[&(tile, Form::Fragment)].clone();
        let sums = self.row_sums(grid, &values);
        let (rows, part) = (self.rows(grid), self.column_warp(grid.warps()));
        self.store_parts(
            tile,
            Form::RowTotals,
            self.pair,
            grid.owners(),
            part,
            &rows,
            &sums,
        )
    }

    /// Runs `each` for every row that this thread has when each has one.
    pub(super) fn by_row(&mut self, rows: u32, each: impl Fn(&mut Self, Val)) {
        self.pieces(rows, 1, |machine, row, _| each(machine, row));
    }

    /// The indices at which a thread reads a vector for a form.
    fn indices(&mut self, shape: &[u32], form: Form) -> Vec<Val> {
        match form {
            Form::Rows => {
                let grid = self.grid(shape);
                self.rows(grid)
            }
            Form::Cols(warps) => self.columns_of(shape[0], warps),
            _ => vec![self.text.int(0)],
        }
    }

    /// Reads f32 at `index` from `offset` bytes into a form.
    pub(super) fn read_vector(
        &mut self,
        tile: TileId,
        form: Form,
        offset: u32,
        index: &[Val],
    ) -> Vec<Val> {
        let origin = self.origin(tile, form);
        let origin = self.text.int_op("add", origin, offset as i32);
        let read = |machine: &mut Self, index| {
            let at = machine.text.int_op("shl", index, 2);
            let at = machine.text.add(origin, at);
            let at = machine.shared_at(at);
            machine.text.load(at, 3, "f32")
        };
        index.iter().map(|&index| read(self, index)).collect()
    }

    fn sum_parts(&mut self, tile: TileId, shape: &[u32], to: Form) -> Vec<Val> {
        let index = self.indices(shape, to);
        let entries: u32 = shape.iter().product();
        let parts = forms::parts(self.program, self.options, tile);
        let mut sums = self.read_vector(tile, Form::Partial, 0, &index);
        for part in 1..parts {
            let more = self.read_vector(tile, Form::Partial, 4 * part * entries, &index);
            let pairs = sums.iter().zip(more);
            sums = pairs.map(|(a, b)| self.text.fadd(*a, b)).collect();
        }
        sums
    }

    fn vector_of(&mut self, tile: TileId, shape: &[u32], from: Form) -> Vec<Val> {
        let index = self.indices(shape, from);
        let values = self.held[&(tile, from)].clone();
        let (lead, owners) = match from {
            Form::Cols([rows, columns]) => (self.row, rows * columns),
            _ => (self.pair, self.grid(shape).row_warps),
        };
        let first = match from {
            Form::Cols([rows, _]) => Some(self.row_warp(rows)),
            _ => None,
        };
        let origin = self.origin(tile, Form::Vector);
        let write = |machine: &mut Self| {
            for (&index, &value) in index.iter().zip(&values) {
                let at = machine.text.int_op("shl", index, 2);
                let at = machine.text.add(origin, at);
                let at = machine.shared_at(at);
                machine.text.store(value, at, 3, "f32");
            }
        };
        self.in_warps(owners, |machine| {
            machine.where_zero(lead, |machine| match first {
                Some(warp) => machine.where_zero(warp, write),
                None => write(machine),
            });
        });
        vec![]
    }
}
