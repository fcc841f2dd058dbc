//! The level-1 interpreter: step after step, as the text says. The truth of the project.
//!
//! The body is compiled once into a flat list of ops over one buffer (`program`); a head of a
//! sequence then runs through time alone. The gradient is reverse mode over the same ops, one
//! rule for each op and none for any recurrence. Entering states are kept every ~sqrt(T) steps
//! and rebuilt between, so memory is O(sqrt(T)) states of one head.
//!
//! Sums over heads (params, inputs shared by a group) run in one fixed order.

mod program;
mod reverse;

use super::problem::{Problem, Sequence};
use crate::recurrence::Port;
use program::{Program, Slot};

/// What a run gives. Layouts as in [`Problem`].
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// For each output.
    pub outputs: Vec<Vec<f64>>,
    /// For each state, as it leaves.
    pub states: Vec<Vec<f64>>,
}

/// The gradient of a run: of everything that entered it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// For each input.
    pub inputs: Vec<Vec<f64>>,
    /// For each param.
    pub params: Vec<Vec<f64>>,
    /// For each state, as it entered.
    pub states: Vec<Vec<f64>>,
}

/// Runs a recurrence from its entering states.
pub fn forward(problem: &Problem) -> Result<Outcome, String> {
    problem.check()?;
    let program = Program::new(problem.recurrence, &problem.sizes)?;
    let mut outcome = Outcome {
        outputs: zeros(
            problem,
            &problem.recurrence.outputs,
            problem.batch * problem.time,
        ),
        states: zeros(
            problem,
            &problem.recurrence.states,
            problem.sequences().len(),
        ),
    };
    let mut run = Run::new(problem, &program);
    for (number, sequence) in problem.sequences().into_iter().enumerate() {
        for head in 0..problem.heads {
            run.enter(number, head);
            for step in 0..sequence.len {
                run.step(sequence.row * problem.time + sequence.start + step, head);
                let row = sequence.row * problem.time + sequence.start + step;
                for (port, &slot) in program.outputs.iter().enumerate() {
                    let at = (row * problem.heads + head) * slot.len;
                    outcome.outputs[port][at..at + slot.len].copy_from_slice(slot.of(&run.values));
                }
                run.carry();
            }
            for (port, &slot) in program.entering.iter().enumerate() {
                let at = (number * problem.heads + head) * slot.len;
                outcome.states[port][at..at + slot.len].copy_from_slice(slot.of(&run.values));
            }
        }
    }
    Ok(outcome)
}

/// The gradient of the sum of all outputs and leaving states, each weighted by what arrives;
/// what is absent arrives as zero.
pub fn gradient(
    problem: &Problem,
    d_outputs: &[Option<&[f64]>],
    d_states: &[Option<&[f64]>],
) -> Result<Gradient, String> {
    problem.check()?;
    problem.check_outputs("gradient of output", d_outputs)?;
    problem.check_states("gradient of state", d_states)?;
    let recurrence = problem.recurrence;
    let program = Program::new(recurrence, &problem.sizes)?;
    let mut gradient = Gradient {
        inputs: zeros(problem, &recurrence.inputs, problem.batch * problem.time),
        params: zeros(problem, &recurrence.params, 1),
        states: zeros(problem, &recurrence.states, problem.sequences().len()),
    };
    let mut back = Back {
        run: Run::new(problem, &program),
        adjoints: vec![0.0; program.len],
        carried: vec![0.0; program.states_len],
        arriving: d_outputs,
        gradient: &mut gradient,
    };
    for (number, sequence) in problem.sequences().into_iter().enumerate() {
        for head in 0..problem.heads {
            back.head(number, sequence, head, d_states);
        }
    }
    Ok(gradient)
}

fn zeros(problem: &Problem, ports: &[Port], rows: usize) -> Vec<Vec<f64>> {
    let zeros = |port: &Port| vec![0.0; rows * problem.row(port)];
    ports.iter().map(zeros).collect()
}

/// The values of one step of one head. The entering states are the first slots.
struct Run<'a> {
    problem: &'a Problem<'a>,
    program: &'a Program,
    values: Vec<f64>,
    leaving: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(problem: &'a Problem<'a>, program: &'a Program) -> Self {
        Self {
            problem,
            program,
            values: program.constants(),
            leaving: vec![0.0; program.states_len],
        }
    }

    /// Loads what is the same at every step, and the states that enter a sequence.
    fn enter(&mut self, sequence: usize, head: usize) {
        for (data, &slot) in self.problem.params.iter().zip(&self.program.params) {
            let from = &data[head * slot.len..][..slot.len];
            slot.of_mut(&mut self.values).copy_from_slice(from);
        }
        for (data, &slot) in self.problem.states.iter().zip(&self.program.entering) {
            let to = slot.of_mut(&mut self.values);
            match data {
                Some(data) => {
                    let at = (sequence * self.problem.heads + head) * slot.len;
                    to.copy_from_slice(&data[at..at + slot.len]);
                }
                None => to.fill(0.0),
            }
        }
    }

    /// Everything at one step from the inputs of row `row` of `[B * T, H]`.
    fn step(&mut self, row: usize, head: usize) {
        for (input, &slot) in self.program.inputs.iter().enumerate() {
            let at = self.input_at(input, row, head) * slot.len;
            let from = &self.problem.inputs[input][at..at + slot.len];
            slot.of_mut(&mut self.values).copy_from_slice(from);
        }
        self.program.forward(&mut self.values);
    }

    /// Where a head's entries of an input stand in `[B * T, H or G]`.
    fn input_at(&self, input: usize, row: usize, head: usize) -> usize {
        let Problem { heads, groups, .. } = *self.problem;
        match self.problem.recurrence.inputs[input].per_group {
            true => row * groups + head / (heads / groups),
            false => row * heads + head,
        }
    }

    /// The leaving states become the entering ones of the next step.
    fn carry(&mut self) {
        let mut at = 0;
        for slot in &self.program.leaving {
            self.leaving[at..at + slot.len].copy_from_slice(slot.of(&self.values));
            at += slot.len;
        }
        self.values[..at].copy_from_slice(&self.leaving);
    }
}

struct Back<'a> {
    run: Run<'a>,
    adjoints: Vec<f64>,
    /// Gradient of the states between two steps.
    carried: Vec<f64>,
    arriving: &'a [Option<&'a [f64]>],
    gradient: &'a mut Gradient,
}

impl Back<'_> {
    fn head(
        &mut self,
        number: usize,
        sequence: Sequence,
        head: usize,
        d_states: &[Option<&[f64]>],
    ) {
        let (program, problem) = (self.run.program, self.run.problem);
        let at = |slot: &Slot| (number * problem.heads + head) * slot.len;
        for (slot, data) in program.entering.iter().zip(d_states) {
            let to = slot.of_mut(&mut self.carried);
            match data {
                Some(data) => to.copy_from_slice(&data[at(slot)..][..slot.len]),
                None => to.fill(0.0),
            }
        }
        let states = program.states_len;
        let stretch = sequence.len.isqrt().max(1);
        let first = sequence.row * problem.time + sequence.start;

        self.run.enter(number, head);
        let mut checkpoints = Vec::with_capacity(sequence.len.div_ceil(stretch) * states);
        for step in 0..sequence.len {
            if step % stretch == 0 {
                checkpoints.extend_from_slice(&self.run.values[..states]);
            }
            self.run.step(first + step, head);
            self.run.carry();
        }
        let mut entering = Vec::with_capacity(stretch * states);
        for number in (0..sequence.len.div_ceil(stretch)).rev() {
            let start = number * stretch;
            let end = (start + stretch).min(sequence.len);
            self.run.values[..states].copy_from_slice(&checkpoints[number * states..][..states]);
            entering.clear();
            for step in start..end {
                entering.extend_from_slice(&self.run.values[..states]);
                if step + 1 < end {
                    self.run.step(first + step, head);
                    self.run.carry();
                }
            }
            for step in (start..end).rev() {
                let from = &entering[(step - start) * states..][..states];
                self.run.values[..states].copy_from_slice(from);
                self.run.step(first + step, head);
                self.step(first + step, head);
            }
        }
        for (slot, to) in program.entering.iter().zip(&mut self.gradient.states) {
            to[at(slot)..][..slot.len].copy_from_slice(slot.of(&self.carried));
        }
    }

    /// One step backward; its values are in `run`.
    fn step(&mut self, row: usize, head: usize) {
        let (program, problem) = (self.run.program, self.run.problem);
        self.adjoints.fill(0.0);
        for (slot, data) in program.outputs.iter().zip(self.arriving) {
            if let Some(data) = data {
                let at = (row * problem.heads + head) * slot.len;
                add(slot.of_mut(&mut self.adjoints), &data[at..at + slot.len]);
            }
        }
        for (leaving, entering) in program.leaving.iter().zip(&program.entering) {
            add(
                leaving.of_mut(&mut self.adjoints),
                entering.of(&self.carried),
            );
        }
        program.reverse(&self.run.values, &mut self.adjoints);
        self.carried
            .copy_from_slice(&self.adjoints[..program.states_len]);
        for (input, slot) in program.inputs.iter().enumerate() {
            let at = self.run.input_at(input, row, head) * slot.len;
            let to = &mut self.gradient.inputs[input][at..at + slot.len];
            add(to, slot.of(&self.adjoints));
        }
        for (slot, to) in program.params.iter().zip(&mut self.gradient.params) {
            add(
                &mut to[head * slot.len..][..slot.len],
                slot.of(&self.adjoints),
            );
        }
    }
}

fn add(to: &mut [f64], from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
