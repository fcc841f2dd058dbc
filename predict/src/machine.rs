//! What a multiprocessor can do, as published measurements have it.
//!
//! Every number has its source in `docs/gpu.md`. Latencies of arithmetic are not here: the assembler has written them into
//! each instruction as clocks to wait.

/// A GPU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// What it is called.
    pub name: &'static str,
    /// What is assembled for it.
    pub chip: &'static str,
    /// Clocks a second under load.
    pub hertz: f64,
    /// Multiprocessors.
    pub multiprocessors: usize,
    /// Schedulers of each, which issue an instruction a clock.
    pub schedulers: usize,
    /// Registers of a multiprocessor.
    pub registers: usize,
    /// Bytes of its shared memory.
    pub shared_bytes: usize,
    /// Bytes of it that a block takes for itself.
    pub shared_reserved: usize,
    /// Its threads.
    pub threads: usize,
    /// Its blocks.
    pub blocks: usize,
    /// Clocks of a scheduler's tensor core for a product of 16 x 8 x 16 in 16 bits.
    pub product: f64,
    /// Clocks of a scheduler's units for one instruction of 32 lanes: additions and products of f32.
    pub float: f64,
    /// Integer products.
    pub product_of_integers: f64,
    /// Integer additions, logic, comparisons, selections, conversions of pairs.
    pub integer: f64,
    /// Exponentials and their kin.
    pub special: f64,
    /// Clocks until an exponential is there.
    pub special_latency: u32,
    /// Until a word of shared memory is there.
    pub shared_latency: u32,
    /// Until one of the first cache is.
    pub cached_latency: u32,
    /// Until one of memory is.
    pub memory_latency: u32,
    /// Bytes a second from memory.
    pub memory: f64,
    /// Bytes a second from the second cache.
    pub cache: f64,
    /// Bytes a clock between a multiprocessor and the second cache.
    pub port: f64,
    /// Seconds from the end of a kernel to the begin of the next one that waits in a queue.
    pub launch: f64,
}

/// An H100 with SXM5.
pub const H100: Machine = Machine {
    name: "H100",
    chip: "sm_90",
    hertz: 1.755e9,
    multiprocessors: 132,
    schedulers: 4,
    registers: 65_536,
    shared_bytes: 228 * 1024,
    shared_reserved: 1024,
    threads: 2048,
    blocks: 32,
    product: 4.0 / 0.63,
    float: 1.0,
    product_of_integers: 2.0,
    integer: 2.0,
    special: 8.0,
    special_latency: 18,
    shared_latency: 29,
    cached_latency: 40,
    memory_latency: 570,
    memory: 3.0e12,
    cache: 6.65e12,
    port: 64.0,
    launch: 0.9e-6,
};

/// An A100 with SXM4 and 40 GB.
pub const A100: Machine = Machine {
    name: "A100",
    chip: "sm_80",
    hertz: 1.41e9,
    multiprocessors: 108,
    schedulers: 4,
    registers: 65_536,
    shared_bytes: 164 * 1024,
    shared_reserved: 1024,
    threads: 2048,
    blocks: 32,
    product: 8.0,
    float: 2.0,
    product_of_integers: 2.0,
    integer: 2.0,
    special: 8.0,
    special_latency: 18,
    shared_latency: 29,
    cached_latency: 38,
    memory_latency: 466,
    memory: 1.39e12,
    cache: 7.2e12,
    port: 64.0,
    launch: 0.9e-6,
};

/// All that are known, by what is assembled for them.
pub const MACHINES: [Machine; 2] = [H100, A100];

impl Machine {
    /// Blocks that a multiprocessor holds at once.
    pub fn resident(&self, threads: usize, registers: usize, shared_bytes: usize) -> usize {
        let warps = threads.div_ceil(32).max(1);
        // Registers are given out by 256 to a warp.
        let of_registers =
            self.registers / ((32 * registers).next_multiple_of(256).max(256) * warps);
        let of_shared = self.shared_bytes / (shared_bytes + self.shared_reserved);
        let of_threads = self.threads / (32 * warps);
        of_registers.min(of_shared).min(of_threads).min(self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_by_what_is_scarce() {
        assert_eq!(H100.resident(256, 146, 155_648), 1);
        assert_eq!(H100.resident(256, 128, 100_000), 2);
        assert_eq!(H100.resident(256, 255, 1024), 1);
        assert_eq!(H100.resident(32, 32, 0), 32);
        assert_eq!(H100.resident(256, 64, 233_000), 0);
        assert_eq!(A100.resident(128, 128, 60_000), 2);
    }

    #[test]
    fn peaks_are_the_published_ones() {
        // Dense products of 16 bits at the clock of the data sheet, before the loss of `mma.sync`.
        let flops = 2.0 * 16.0 * 8.0 * 16.0 * (132 * 4) as f64 * 1.83e9;
        assert!((flops / 4.0 / 989.4e12 - 1.0).abs() < 1e-2);
        let flops = 2.0 * 16.0 * 8.0 * 16.0 * (108 * 4) as f64 * A100.hertz;
        assert!((flops / A100.product / 312e12 - 1.0).abs() < 1e-2);
    }
}
