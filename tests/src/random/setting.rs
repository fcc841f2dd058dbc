//! Where a program is run: sizes, packing, what is absent, how memory lies, options.
//!
//! Sizes are drawn over the whole range first. What costs more than it should is then made smaller
//! by steps of 16 (dims) and 128 (T), so that the remainders, which is where kernels go wrong, stay as
//! drawn.

use super::ast::{Port, Program};
use crate::Random;

/// How a tensor lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shift {
    /// Contiguous.
    None,
    /// With gaps behind every axis.
    Gaps,
    /// With gaps and the axes in another order.
    Turned,
}

/// Everything but the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Where the numbers come from.
    pub seed: u64,
    /// Sizes of the dims by name.
    pub sizes: Vec<(String, usize)>,
    /// B
    pub batch: usize,
    /// T
    pub time: usize,
    /// H
    pub heads: usize,
    /// G
    pub groups: usize,
    /// Offsets of packed sequences.
    pub cu_seqlens: Option<Vec<usize>>,
    /// C
    pub chunk: Option<usize>,
    /// What a forward run may keep.
    pub keep_bytes: Option<usize>,
    /// Whether the forward run keeps anything for the backward.
    pub keep: bool,
    /// Threads of the CPU.
    pub threads: usize,
    /// Whether states and arriving gradients may be absent.
    pub absent: bool,
    /// How strided the views are.
    pub shift: Shift,
    /// Whether inputs spread over six orders of magnitude.
    pub wild: bool,
    /// Heads side by side on a GPU.
    pub beside: u32,
}

const CHUNKS: [usize; 4] = [16, 32, 64, 128];

impl Setting {
    pub(super) fn new(random: &mut Random, program: &Program, seed: u64) -> Setting {
        let size = |random: &mut Random| match random.chance(0.5) {
            true => 1 + random.below(70),
            false => 1 + random.below(20),
        };
        let dims = program.dims.iter();
        let mut setting = Setting {
            seed,
            sizes: dims.map(|dim| (dim.clone(), size(random))).collect(),
            batch: *random.pick(&[1, 1, 2, 3]),
            time: random.below(301),
            heads: *random.pick(&[1, 1, 2, 3, 4]),
            groups: 1,
            cu_seqlens: None,
            chunk: match random.chance(0.4) {
                true => None,
                false => Some(*random.pick(&CHUNKS)),
            },
            keep_bytes: *random.pick(&[None, None, Some(0), Some(1 << 12)]),
            keep: random.chance(0.8),
            threads: 1 + random.below(3),
            absent: random.chance(0.4),
            shift: *random.pick(&[Shift::None, Shift::Gaps, Shift::Turned]),
            wild: random.chance(0.25),
            beside: 1,
        };
        // Chunks take turns through every remainder of T, which chance would need long for.
        let turn = (seed / 4) as usize;
        match seed % 4 {
            0 => (setting.chunk, setting.time) = (Some(128), turn % 128 + 128 * random.below(2)),
            1 => (setting.chunk, setting.time) = (Some(64), turn % 64 + 64 * random.below(4)),
            2 if turn.is_multiple_of(2) => {
                let rest = turn / 2 % 32;
                (setting.chunk, setting.time) = (Some(32), rest + 32 * random.below(9));
            }
            2 => {
                let rest = turn / 2 % 16;
                (setting.chunk, setting.time) = (Some(16), rest + 16 * random.below(18));
            }
            _ => {}
        }
        let budget = 10f64.powf(3.5 + 2.0 * random.uniform());
        setting.fit(program, budget, random);
        setting.pack(program, random);
        setting
    }

    pub(super) fn blocks(random: &mut Random, program: &Program, seed: u64) -> Setting {
        let mut setting = Setting::new(random, program, seed);
        let sizes = setting.sizes.iter_mut();
        sizes.for_each(|(_, size)| *size = random.between(1, 32));
        setting.time = 1 + random.below(40);
        setting.batch = 1;
        setting.heads = *random.pick(&[1, 2, 2]);
        setting.chunk = match random.chance(0.3) {
            true => None,
            false => Some(*random.pick(&[16, 16, 32])),
        };
        setting.beside = 1 + random.below(2) as u32;
        setting.wild = false;
        let budget = 3e5;
        while setting.cost(program) > budget && setting.heads > 1 {
            setting.heads /= 2;
        }
        setting.pack(program, random);
        setting
    }

    /// The size of a dim.
    pub fn size(&self, dim: &str) -> usize {
        let found = self.sizes.iter().find(|(name, _)| name == dim);
        found.map_or(1, |(_, size)| *size)
    }

    /// Entries of a port.
    pub fn entries(&self, port: &Port) -> usize {
        port.dims.iter().map(|dim| self.size(dim)).product()
    }

    /// Entries of states and vectors that a run touches.
    pub fn cost(&self, program: &Program) -> f64 {
        let states: usize = program.states.iter().map(|port| self.entries(port)).sum();
        let dims: usize = program.dims.iter().map(|dim| self.size(dim)).sum();
        let statements = program.body.len();
        (self.batch * self.time * self.heads) as f64 * (states * 2 + dims * statements + 20) as f64
    }

    /// Makes the run as cheap as it should be without touching what is left over modulo 16 and 128.
    fn fit(&mut self, program: &Program, budget: f64, random: &mut Random) {
        // The order is drawn, so that either long runs or large states are left.
        let long = random.chance(0.5);
        for round in 0..2 {
            if (round == 0) == long {
                for i in 0..self.sizes.len() {
                    while self.cost(program) > budget && self.sizes[i].1 > 16 {
                        self.sizes[i].1 -= 16;
                    }
                }
            } else {
                while self.cost(program) > budget && self.time >= 128 {
                    self.time -= 128;
                }
                while self.cost(program) > budget && self.batch * self.heads > 1 {
                    match self.heads > 1 {
                        true => self.heads -= 1,
                        false => self.batch -= 1,
                    }
                }
            }
        }
    }

    /// Groups and packed sequences.
    fn pack(&mut self, program: &Program, random: &mut Random) {
        let divisors: Vec<usize> = (1..=self.heads)
            .filter(|g| self.heads.is_multiple_of(*g))
            .collect();
        self.groups = *random.pick(&divisors);
        if !program.inputs.iter().any(|port| port.per_group) {
            self.groups = self.heads;
        }
        self.cu_seqlens = None;
        if random.chance(0.3) {
            self.batch = 1;
            let mut ends: Vec<usize> = (0..random.below(4))
                .map(|_| random.below(self.time + 1))
                .collect();
            // Empty ones at either end and between.
            if random.chance(0.5) {
                let again = *random.pick(&[0, self.time, ends.first().copied().unwrap_or(0)]);
                ends.push(again);
            }
            ends.extend([0, self.time]);
            ends.sort_unstable();
            self.cu_seqlens = Some(ends);
        }
        self.settle(program);
    }

    /// Undoes what a call could not say: where nothing has an axis H, a group is a head.
    pub fn settle(&mut self, program: &Program) {
        let headless = program.params.is_empty() && program.inputs.iter().all(|p| p.per_group);
        if headless || !self.heads.is_multiple_of(self.groups) {
            self.groups = self.heads;
        }
    }

    /// S
    pub fn sequences(&self) -> usize {
        self.cu_seqlens
            .as_ref()
            .map_or(self.batch, |ends| ends.len() - 1)
    }
}
