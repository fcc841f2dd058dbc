//! Whole sequences by chunks: the loop around [`run_chunk`](super::run_chunk).
//!
//! Every sequence starts its own chunks, so that the last chunk of each may be short. Forward
//! programs carry the states in order of time, reverse programs the gradients of the states
//! against it; gradients of params are summed over chunks and sequences, log decays over chunks.

use super::chunk::{Bindings, run_chunk};
use crate::chunked::{Axis, Chunked, Direction, Op, Target};
use crate::interp::problem::{Problem, Sequence};
use crate::recurrence::{Port, StateId};

/// Results of a program over whole sequences, as `Chunked::results` lists them. Layouts as in
/// [`Problem`]: of a log decay `[S, H]` or `[S, H, dim]`.
#[derive(Clone, Debug)]
pub struct Whole {
    /// The results.
    pub results: Vec<(Target, Vec<f64>)>,
    /// The states (in reverse, their gradients) that entered each chunk.
    pub entering: Entering,
}

impl Whole {
    /// A result, if the program has it.
    pub fn get(&self, target: Target) -> Option<&[f64]> {
        let found = self.results.iter().find(|(own, _)| *own == target);
        found.map(|(_, data)| data.as_slice())
    }
}

/// For each state `[N, H, dims..]`, N the chunks of all sequences in order of time.
pub type Entering = Vec<Vec<f64>>;

/// The gradients that arrive; zero when absent.
#[derive(Clone, Debug, Default)]
pub struct Arriving<'a> {
    /// For each output.
    pub outputs: Vec<Option<&'a [f64]>>,
    /// For each state.
    pub states: Vec<Option<&'a [f64]>>,
}

/// Runs a forward program with chunks of `chunk` steps.
pub fn forward(program: &Chunked, problem: &Problem, chunk: usize) -> Result<Whole, String> {
    let none = Arriving {
        outputs: vec![None; program.outputs.len()],
        states: vec![None; program.states.len()],
    };
    expect(program, Direction::Forward)?;
    run(program, problem, chunk, &[], &none)
}

/// Runs a reverse program; `entering` comes from [`forward`] with the same `chunk`.
pub fn reverse(
    program: &Chunked,
    problem: &Problem,
    chunk: usize,
    entering: &Entering,
    arriving: &Arriving,
) -> Result<Whole, String> {
    expect(program, Direction::Reverse)?;
    problem.check_outputs("the gradient of output", &arriving.outputs)?;
    problem.check_states("the gradient of state", &arriving.states)?;
    run(program, problem, chunk, entering, arriving)
}

fn expect(program: &Chunked, direction: Direction) -> Result<(), String> {
    match program.direction == direction {
        true => Ok(()),
        false => Err(format!(
            "`{}` runs {:?}, expected {direction:?}",
            program.name, program.direction
        )),
    }
}

fn run(
    program: &Chunked,
    problem: &Problem,
    chunk: usize,
    entering: &[Vec<f64>],
    arriving: &Arriving,
) -> Result<Whole, String> {
    problem.check()?;
    if chunk == 0 {
        return Err("a chunk needs at least one step".into());
    }
    let recurrence = problem.recurrence;
    let same = (&recurrence.inputs, &recurrence.params, &recurrence.states)
        == (&program.inputs, &program.params, &program.states);
    if !same || recurrence.outputs != program.outputs {
        let (program, recurrence) = (&program.name, &recurrence.name);
        return Err(format!(
            "`{program}` does not have the ports of `{recurrence}`"
        ));
    }
    let forward = program.direction == Direction::Forward;
    let sequences = problem.sequences();
    let chunks: usize = sequences.iter().map(|s| s.len.div_ceil(chunk)).sum();
    if !forward {
        for (port, data) in program.states.iter().zip(entering) {
            let (given, expected) = (data.len(), chunks * problem.row(port));
            if given != expected {
                let name = &port.name;
                return Err(format!(
                    "entering states `{name}` have {given} entries, expected {expected}"
                ));
            }
        }
        if entering.len() != program.states.len() {
            let (given, expected) = (entering.len(), program.states.len());
            return Err(format!(
                "{given} entering states given, expected {expected}"
            ));
        }
    }
    let start = if forward {
        &problem.states
    } else {
        &arriving.states
    };
    let carried: Vec<Vec<f64>> = program
        .states
        .iter()
        .zip(start)
        .map(|(port, data)| match data {
            Some(data) => data.to_vec(),
            None => vec![0.0; sequences.len() * problem.row(port)],
        })
        .collect();
    let whole = Whole {
        results: program
            .results
            .iter()
            .map(|&(target, _)| Ok((target, vec![0.0; total(program, problem, target)?])))
            .collect::<Result<_, String>>()?,
        entering: program
            .states
            .iter()
            .map(|port| vec![0.0; chunks * problem.row(port)])
            .collect(),
    };
    let mut driver = Driver {
        program,
        problem,
        chunk,
        entering,
        arriving,
        carried,
        whole,
    };
    let mut first = 0;
    for (number, &sequence) in sequences.iter().enumerate() {
        let count = sequence.len.div_ceil(chunk);
        for i in 0..count {
            let i = if forward { i } else { count - 1 - i };
            for group in 0..problem.groups {
                driver.chunk(number, sequence, i, first + i, group, i + 1 == count)?;
            }
        }
        first += count;
    }
    driver.finish();
    Ok(driver.whole)
}

fn total(program: &Chunked, problem: &Problem, target: Target) -> Result<usize, String> {
    let axes = program
        .target_axes(target)
        .ok_or(format!("there is no {target:?}"))?;
    let heads = match axes.contains(&Axis::Head) {
        true => problem.heads,
        false => problem.groups,
    };
    let outer = match target {
        Target::Output(_) | Target::DInput(_) => problem.batch * problem.time,
        Target::DParam(_) => 1,
        _ => problem.sequences().len(),
    };
    Ok(outer * heads * inner(problem, &axes))
}

fn inner(problem: &Problem, axes: &[Axis]) -> usize {
    let size = |axis: &Axis| match axis {
        Axis::Dim(dim) | Axis::Prime(dim) => problem.sizes[dim.index()],
        _ => 1,
    };
    axes.iter().map(size).product()
}

struct Driver<'a> {
    program: &'a Chunked,
    problem: &'a Problem<'a>,
    chunk: usize,
    entering: &'a [Vec<f64>],
    arriving: &'a Arriving<'a>,
    /// For each state `[S, H, dims..]`: the state, in reverse its gradient.
    carried: Vec<Vec<f64>>,
    whole: Whole,
}

impl Driver<'_> {
    /// Heads of a group, R.
    fn ratio(&self) -> usize {
        self.problem.heads / self.problem.groups
    }

    /// Where the entries of `group` begin in data with heads outside `inner` entries, and how many.
    fn heads(&self, outer: usize, group: usize, inner: usize) -> std::ops::Range<usize> {
        let begin = (outer * self.problem.heads + group * self.ratio()) * inner;
        begin..begin + self.ratio() * inner
    }

    /// The first entry of a head at a step of `[B, T, H or G, inner]` for the head `h` of a group.
    fn at(&self, step: usize, group: usize, h: usize, per_group: bool, inner: usize) -> usize {
        match per_group {
            true => (step * self.problem.groups + group) * inner,
            false => (step * self.problem.heads + group * self.ratio() + h) * inner,
        }
    }

    /// `[R, C, dims..]` of a tensor over time; rows past `len` repeat the last or are zero.
    fn rows(
        &self,
        port: &Port,
        data: &[f64],
        step: usize,
        len: usize,
        group: usize,
        repeat: bool,
    ) -> Vec<f64> {
        let inner = self.problem.entries(port);
        let heads = if port.per_group { 1 } else { self.ratio() };
        let mut rows = Vec::with_capacity(heads * self.chunk * inner);
        for h in 0..heads {
            for t in 0..self.chunk {
                if t >= len && !repeat {
                    rows.extend(std::iter::repeat_n(0.0, inner));
                    continue;
                }
                let at = self.at(step + t.min(len - 1), group, h, port.per_group, inner);
                rows.extend_from_slice(&data[at..at + inner]);
            }
        }
        rows
    }

    /// One chunk of one group: `i` within its sequence, `n` among all.
    fn chunk(
        &mut self,
        number: usize,
        sequence: Sequence,
        i: usize,
        n: usize,
        group: usize,
        last: bool,
    ) -> Result<(), String> {
        let (problem, program) = (self.problem, self.program);
        let forward = program.direction == Direction::Forward;
        let step = sequence.row * problem.time + sequence.start + i * self.chunk;
        let len = self.chunk.min(sequence.len - i * self.chunk);
        let mut carried = Vec::new();
        let mut entered = Vec::new();
        for (s, port) in program.states.iter().enumerate() {
            let inner = problem.entries(port);
            let now = self.carried[s][self.heads(number, group, inner)].to_vec();
            let to = self.heads(n, group, inner);
            self.whole.entering[s][to.clone()].copy_from_slice(&now);
            if !forward {
                entered.push(self.entering[s][to].to_vec());
            }
            carried.push(now);
        }
        let zeros = |port: &Port| {
            let inner = problem.entries(port);
            vec![0.0; self.ratio() * self.chunk * inner]
        };
        let bindings = Bindings {
            heads: self.ratio(),
            chunk: self.chunk,
            len,
            sizes: problem.sizes.clone(),
            inputs: program
                .inputs
                .iter()
                .zip(&problem.inputs)
                .map(|(port, data)| self.rows(port, data, step, len, group, true))
                .collect(),
            params: program
                .params
                .iter()
                .zip(&problem.params)
                .map(|(port, data)| data[self.heads(0, group, problem.entries(port))].to_vec())
                .collect(),
            d_outputs: program
                .outputs
                .iter()
                .zip(&self.arriving.outputs)
                .map(|(port, data)| match data {
                    Some(data) => self.rows(port, data, step, len, group, false),
                    None => zeros(port),
                })
                .collect(),
            d_states: if forward { vec![] } else { carried.clone() },
            states: if forward { carried } else { entered },
        };
        let results = run_chunk(program, &bindings)?;
        let mut left = vec![false; program.states.len()];
        for (r, result) in results.into_iter().enumerate() {
            let target = program.results[r].0;
            match target {
                Target::Output(id) => {
                    self.scatter(r, &program.outputs[id.index()], &result, step, len, group)
                }
                Target::DInput(id) => {
                    self.scatter(r, &program.inputs[id.index()], &result, step, len, group)
                }
                Target::DParam(id) => {
                    let to = self.heads(0, group, problem.entries(&program.params[id.index()]));
                    add(&mut self.whole.results[r].1[to], &result);
                }
                Target::State(id) | Target::DState(id) => {
                    let inner = problem.entries(&program.states[id.index()]);
                    let to = self.heads(number, group, inner);
                    self.carried[id.index()][to].copy_from_slice(&result);
                    left[id.index()] = true;
                }
                Target::LogScalar(_) | Target::LogRow(_) | Target::LogCol(_) => {
                    let to = self.heads(number, group, result.len() / self.ratio().max(1));
                    add(&mut self.whole.results[r].1[to], &result);
                }
            }
        }
        let more = if forward { !last } else { i > 0 };
        let reads = |s: usize| {
            let id = StateId(s as u32);
            let read = if forward {
                Op::State(id)
            } else {
                Op::DState(id)
            };
            program.ops.contains(&read)
        };
        match (0..left.len()).find(|&s| more && !left[s] && reads(s)) {
            Some(s) => Err(format!(
                "`{}` reads what enters of state `{}` but does not say what leaves",
                program.name, program.states[s].name
            )),
            None => Ok(()),
        }
    }

    /// Writes the valid rows of a result over time.
    fn scatter(
        &mut self,
        r: usize,
        port: &Port,
        result: &[f64],
        step: usize,
        len: usize,
        group: usize,
    ) {
        let inner = self.problem.entries(port);
        let heads = if port.per_group { 1 } else { self.ratio() };
        for h in 0..heads {
            for t in 0..len {
                let to = self.at(step + t, group, h, port.per_group, inner);
                let from = (h * self.chunk + t) * inner;
                self.whole.results[r].1[to..to + inner]
                    .copy_from_slice(&result[from..from + inner]);
            }
        }
    }

    /// What is carried at the end is the result for the states.
    fn finish(&mut self) {
        for (target, data) in &mut self.whole.results {
            if let Target::State(id) | Target::DState(id) = target {
                data.copy_from_slice(&self.carried[id.index()]);
            }
        }
    }
}

fn add(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
