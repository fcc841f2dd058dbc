//! Where a thread is: its rows and columns of a tile, places in shared memory, and which threads run.

use super::super::forms;
use super::super::layout::{Form, Grid, Swizzle};
use super::super::place::Room;
use super::super::text::Val;
use super::Machine;
use baton_ir::tile::TileId;

impl Machine<'_> {
    pub(super) fn grid(&self, shape: &[u32]) -> Grid {
        forms::grid(shape, self.options)
    }

    /// Registers of a value of `shape`.
    pub(super) fn registers(&self, shape: &[u32]) -> usize {
        let grid = self.grid(shape);
        (match shape.len() {
            0 => 1,
            1 => 2 * grid.row_pieces,
            _ => 4 * grid.row_pieces * grid.column_pieces,
        }) as usize
    }

    /// This warp's number along the rows of a grid.
    pub(super) fn row_warp(&mut self, row_warps: u32) -> Val {
        self.text.int_op("and", self.warp, row_warps as i32 - 1)
    }

    /// This warp's number along the columns of a grid.
    pub(super) fn column_warp(&mut self, [row_warps, column_warps]: [u32; 2]) -> Val {
        let over = self
            .text
            .int_op("lshr", self.warp, row_warps.trailing_zeros() as i32);
        self.text.int_op("and", over, column_warps as i32 - 1)
    }

    /// The first row of each row piece.
    pub(super) fn row_bases(&mut self, grid: Grid) -> Vec<Val> {
        let warp = self.row_warp(grid.row_warps);
        let first = self.text.int_op("mul", warp, 16 * grid.row_pieces as i32);
        (0..grid.row_pieces)
            .map(|p| self.text.int_op("add", first, 16 * p as i32))
            .collect()
    }

    /// The first column of each column piece.
    pub(super) fn column_bases(&mut self, grid: Grid) -> Vec<Val> {
        let warp = self.column_warp([grid.row_warps, grid.column_warps]);
        let first = self.text.int_op("mul", warp, 8 * grid.column_pieces as i32);
        (0..grid.column_pieces)
            .map(|q| self.text.int_op("add", first, 8 * q as i32))
            .collect()
    }

    /// The rows of this thread: g and g + 8 of each piece.
    pub(super) fn rows(&mut self, grid: Grid) -> Vec<Val> {
        let bases = self.row_bases(grid);
        let both = |machine: &mut Self, base| {
            let low = machine.text.add(base, machine.row);
            [low, machine.text.int_op("add", low, 8)]
        };
        bases
            .into_iter()
            .flat_map(|base| both(self, base))
            .collect()
    }

    /// The columns of this thread: 2 t and 2 t + 1 of each piece.
    pub(super) fn columns(&mut self, grid: Grid) -> Vec<Val> {
        let pair = self.text.int_op("mul", self.pair, 2);
        let bases = self.column_bases(grid);
        let both = |machine: &mut Self, base| {
            let low = machine.text.add(base, pair);
            [low, machine.text.int_op("add", low, 1)]
        };
        bases
            .into_iter()
            .flat_map(|base| both(self, base))
            .collect()
    }

    /// An address in shared memory, `bytes` from the start.
    pub(super) fn shared_at(&mut self, bytes: Val) -> Val {
        self.text.at(self.shared, bytes, 3, "i32")
    }

    /// Where `room` begins: of a staged tile, in the current stage.
    pub(super) fn origin(&mut self, tile: TileId, form: Form) -> Val {
        let offset = self.room(tile, form).offset as i32;
        match form {
            Form::Staged => self.text.int_op("add", self.stage, offset),
            _ => self.text.int(offset),
        }
    }

    pub(super) fn room(&self, tile: TileId, form: Form) -> Room {
        self.placement.rooms[&(tile, form)]
    }

    /// The place of unit `unit` (16 bytes) of row `row` in a swizzled tile of rows of `bytes`.
    pub(super) fn unit_at(&mut self, origin: Val, row: Val, unit: Val, bytes: u32) -> Val {
        let Swizzle { shift, mask } = Swizzle::new(bytes);
        let turn = self.text.int_op("lshr", row, shift as i32);
        let turn = self.text.int_op("and", turn, mask as i32);
        let unit = self.text.binary("xor", unit, turn, "i32");
        let unit = self.text.int_op("shl", unit, 4);
        let row = self.text.int_op("mul", row, bytes as i32);
        let at = self.text.add(row, unit);
        self.text.add(origin, at)
    }

    /// Runs `then` in warps below `count` only, where there are more.
    pub(super) fn in_warps(&mut self, count: u32, then: impl FnOnce(&mut Self)) {
        if count >= self.options.warps() {
            return then(self);
        }
        let limit = self.text.int(count as i32);
        let mine = self.text.icmp("slt", self.warp, limit);
        self.when(mine, then);
    }

    /// Runs `then` where `condition` holds.
    pub(super) fn when(&mut self, condition: Val, then: impl FnOnce(&mut Self)) {
        let mut text = std::mem::take(&mut self.text);
        text.when(condition, |text| {
            std::mem::swap(text, &mut self.text);
            then(self);
            std::mem::swap(text, &mut self.text);
        });
        self.text = text;
    }

    /// Runs `then` in the lanes where `part` (a number of the lane) is zero.
    pub(super) fn where_zero(&mut self, part: Val, then: impl FnOnce(&mut Self)) {
        let zero = self.text.int(0);
        let mine = self.text.icmp("eq", part, zero);
        self.when(mine, then);
    }
}
