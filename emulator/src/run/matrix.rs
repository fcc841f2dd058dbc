//! Matrix fragments and the products of tensor cores, in the layouts of the manual.

use super::access::Place;
use super::block::Machine;
use super::warp::{Warp, lanes};
use crate::lanes::Lanes;
use crate::number::f16_value;
use crate::number::tensor;
use crate::op::{Address, Element, Slot};

/// Rows of 16 bytes; of each element whether it was written.
type Tile = [[(u16, bool); 8]; 8];

impl Machine<'_> {
    /// The places of the eight rows of one matrix; lane 8 m + r has the address of row r of matrix m.
    fn rows(
        &mut self,
        warp: &Warp,
        addresses: &[u64; 32],
        space: crate::types::Space,
        matrix: usize,
    ) -> [Option<usize>; 8] {
        let mut words = [0; 32];
        let mut rows = [None; 8];
        for (row, found) in rows.iter_mut().enumerate() {
            let lane = 8 * matrix + row;
            for word in 0..4 {
                words[4 * row + word] = addresses[lane] / 4 + word as u64;
            }
            *found = match self.place(warp, lane, space, addresses[lane], 16) {
                Some(Place::Shared(start)) => Some(start),
                _ => None,
            };
        }
        self.count_wavefronts(&mut words);
        rows
    }

    fn matrix_addresses(
        &mut self,
        warp: &mut Warp,
        address: Address,
        count: usize,
        mask: u32,
    ) -> [u64; 32] {
        let used = if count == 4 {
            u32::MAX
        } else {
            (1 << (8 * count)) - 1
        };
        self.addresses(warp, address, mask & used)
    }

    pub(super) fn load_matrix(
        &mut self,
        warp: &mut Warp,
        slots: &[Slot],
        transposed: bool,
        address: Address,
        at: u32,
        mask: u32,
    ) {
        self.whole_warp(warp, mask, "ldmatrix");
        let addresses = self.matrix_addresses(warp, address, slots.len(), mask);
        let mut results: Vec<(Slot, Lanes, u32)> = vec![];
        for (matrix, &slot) in slots.iter().enumerate() {
            let rows = self.rows(warp, &addresses, address.space, matrix);
            let mut tile: Tile = [[(0, true); 8]; 8];
            for (row, start) in rows.into_iter().enumerate() {
                let Some(start) = start else {
                    continue;
                };
                let lane = 8 * matrix + row;
                self.check_read(warp.index, lane, Place::Shared(start), 16, at, false);
                for (column, element) in tile[row].iter_mut().enumerate() {
                    let (value, written) = self.shared.load(start + 2 * column, 2);
                    *element = (value as u16, written);
                }
            }
            let (mut values, mut valid) = ([0; 32], 0);
            for (lane, value) in values.iter_mut().enumerate() {
                let (first, second) = pair(&tile, lane, transposed);
                *value = u64::from(first.0) | u64::from(second.0) << 16;
                valid |= u32::from(first.1 && second.1) << lane;
            }
            results.push((slot, values, valid));
        }
        for (slot, values, valid) in results {
            warp.write(slot, &values, mask);
            warp.mark(slot, mask, valid, self.line);
        }
    }

    pub(super) fn store_matrix(
        &mut self,
        warp: &mut Warp,
        slots: &[Slot],
        transposed: bool,
        address: Address,
        at: u32,
        mask: u32,
    ) {
        self.whole_warp(warp, mask, "stmatrix");
        let addresses = self.matrix_addresses(warp, address, slots.len(), mask);
        for (matrix, &slot) in slots.iter().enumerate() {
            let rows = self.rows(warp, &addresses, address.space, matrix);
            for (row, start) in rows.into_iter().enumerate() {
                let Some(start) = start else {
                    continue;
                };
                let provider = 8 * matrix + row;
                self.check_write(warp.index, provider, Place::Shared(start), 16, at, false);
                for column in 0..8 {
                    let (r, c) = if transposed {
                        (column, row)
                    } else {
                        (row, column)
                    };
                    let lane = 4 * r + c / 2;
                    let value = warp.get(slot, lane) >> (16 * (c % 2)) & 0xffff;
                    let written = warp.valid[slot as usize] >> lane & 1 == 1;
                    self.shared.save(start + 2 * column, 2, value, written);
                }
            }
        }
    }

    /// `movmatrix`: lane 4 r + c/2 holds elements (r, c) and (r, c + 1).
    pub(super) fn transpose_matrix(&mut self, warp: &mut Warp, d: Slot, a: Slot, mask: u32) {
        self.whole_warp(warp, mask, "movmatrix");
        self.needs(warp, a, mask, "the matrix");
        let mut tile: Tile = [[(0, true); 8]; 8];
        for lane in 0..32 {
            let value = warp.get(a, lane);
            tile[lane / 4][lane % 4 * 2].0 = value as u16;
            tile[lane / 4][lane % 4 * 2 + 1].0 = (value >> 16) as u16;
        }
        let values = std::array::from_fn(|lane| {
            let (first, second) = pair(&tile, lane, true);
            u64::from(first.0) | u64::from(second.0) << 16
        });
        warp.write(d, &values, mask);
    }

    /// `mma.sync`: D = A B + C with A of 16 x k, B of k x 8.
    pub(super) fn product(
        &mut self,
        warp: &mut Warp,
        (element, depth): (Element, u32),
        d: [Slot; 4],
        (a, b): (&[Slot], &[Slot]),
        c: [Slot; 4],
        mask: u32,
    ) {
        self.whole_warp(warp, mask, "mma");
        for (slots, what) in [
            (a, "operand A"),
            (b, "operand B"),
            (&c[..], "the accumulator"),
        ] {
            for &slot in slots {
                self.needs(warp, slot, mask, what);
            }
        }
        let k = depth as usize;
        let mut left = [[0f32; 16]; 16];
        let mut right = [[0f32; 16]; 8];
        for lane in 0..32 {
            let (group, thread) = (lane / 4, lane % 4);
            for (i, &slot) in a.iter().enumerate() {
                let row = group + 8 * (i % 2);
                place(element, i / 2, thread, warp.get(slot, lane), &mut left[row]);
            }
            for (i, &slot) in b.iter().enumerate() {
                place(element, i, thread, warp.get(slot, lane), &mut right[group]);
            }
        }
        let mut out: [Lanes; 4] = [[0; 32]; 4];
        for lane in lanes(mask) {
            for (i, out) in out.iter_mut().enumerate() {
                let (row, column) = (lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2);
                let (x, y) = (&left[row][..k], &right[column][..k]);
                let start = f32::from_bits(warp.get(c[i], lane) as u32);
                let sum = match element {
                    Element::Tf32 => dot::<4>(start, x, y),
                    Element::F16 | Element::Bf16 => dot::<8>(start, x, y),
                };
                out[lane] = u64::from(sum.to_bits());
            }
        }
        for (slot, out) in d.iter().zip(&out) {
            warp.write(*slot, out, mask);
        }
        self.counts.tensor_ops += 1;
        self.counts.tensor_macs += 16 * 8 * u64::from(depth);
    }
}

/// The two elements of a matrix that a lane holds.
fn pair(tile: &Tile, lane: usize, transposed: bool) -> ((u16, bool), (u16, bool)) {
    let (row, column) = (lane / 4, lane % 4 * 2);
    match transposed {
        false => (tile[row][column], tile[row][column + 1]),
        true => (tile[column][row], tile[column + 1][row]),
    }
}

/// Writes what a register holds into its row: along k, registers follow each other by 8 elements of 16 bits
/// or by 4 of tf32.
fn place(element: Element, register: usize, thread: usize, bits: u64, row: &mut [f32; 16]) {
    let half = |bits: u64| match element {
        Element::F16 => f16_value(bits as u16),
        _ => f32::from_bits((bits as u32) << 16),
    };
    match element {
        Element::Tf32 => row[4 * register + thread] = tensor::tf32_value(bits as u32),
        _ => {
            row[8 * register + 2 * thread] = half(bits & 0xffff);
            row[8 * register + 2 * thread + 1] = half(bits >> 16);
        }
    }
}

/// One element of a product, N products at a time.
fn dot<const N: usize>(start: f32, x: &[f32], y: &[f32]) -> f32 {
    let groups = x.as_chunks().0.iter().zip(y.as_chunks().0);
    groups.fold(start, |sum, (x, y): (&[f32; N], &[f32; N])| {
        let products = std::array::from_fn(|j| f64::from(x[j]) * f64::from(y[j]));
        tensor::group::<N>(sum, &products)
    })
}
