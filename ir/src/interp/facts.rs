//! The algebra that verification finds, run step after step in f64.
//!
//! A second witness beside the interpreter of the statements: what [`Facts`] say of a recurrence
//! is all of it when both agree. States with an [`Obstacle`](crate::recurrence::Obstacle) are
//! refused, as their facts hold nothing.

use super::problem::Problem;
use super::recurrence::Outcome;
use crate::pointwise;
use crate::recurrence::{
    DimId, Facts, Moment, Port, Pure, PureId, Read, Readout, ReadoutId, Running, Side, Transition,
};

/// Runs the facts of `problem.recurrence` from its entering states; layouts as in [`Problem`].
pub fn forward(problem: &Problem, facts: &Facts) -> Result<Outcome, String> {
    problem.check()?;
    let recurrence = problem.recurrence;
    for (transition, port) in facts.transitions.iter().zip(&recurrence.states) {
        if let Some(obstacle) = transition.obstacle {
            let why = obstacle.reason(recurrence);
            return Err(format!("facts do not hold state `{}`: {why}", port.name));
        }
    }
    let zeros = |ports: &[Port], rows: usize| -> Vec<Vec<f64>> {
        let zeros = |port: &Port| vec![0.0; rows * problem.row(port)];
        ports.iter().map(zeros).collect()
    };
    let mut outcome = Outcome {
        outputs: zeros(&recurrence.outputs, problem.batch * problem.time),
        states: zeros(&recurrence.states, problem.sequences().len()),
    };
    for (number, sequence) in problem.sequences().into_iter().enumerate() {
        for head in 0..problem.heads {
            let at = |port: &Port| {
                let len = problem.entries(port);
                let start = (number * problem.heads + head) * len;
                start..start + len
            };
            let ports = recurrence.states.iter().zip(&problem.states);
            let mut states: Vec<Vec<f64>> = ports
                .map(|(port, data)| match data {
                    Some(data) => data[at(port)].to_vec(),
                    None => vec![0.0; problem.entries(port)],
                })
                .collect();
            for step in 0..sequence.len {
                let row = sequence.row * problem.time + sequence.start + step;
                let step = Step::new(problem, facts, row, head, &states);
                let ports = recurrence.outputs.iter().zip(&mut outcome.outputs);
                for ((port, to), value) in ports.zip(&facts.outputs) {
                    let len = problem.entries(port);
                    let to = &mut to[(row * problem.heads + head) * len..][..len];
                    for (i, to) in to.iter_mut().enumerate() {
                        *to = at_index(step.value(*value), i);
                    }
                }
                states = step.leaving.into_iter().flatten().collect();
            }
            for ((port, state), to) in recurrence
                .states
                .iter()
                .zip(&states)
                .zip(&mut outcome.states)
            {
                to[at(port)].copy_from_slice(state);
            }
        }
    }
    Ok(outcome)
}

/// An element of a vector; a scalar is repeated.
fn at_index(value: &[f64], i: usize) -> f64 {
    value[if value.len() == 1 { 0 } else { i }]
}

/// One step of one head.
struct Step<'a> {
    problem: &'a Problem<'a>,
    facts: &'a Facts,
    row: usize,
    head: usize,
    values: Vec<Option<Vec<f64>>>,
    entering: &'a [Vec<f64>],
    leaving: Vec<Option<Vec<f64>>>,
}

impl<'a> Step<'a> {
    fn new(
        problem: &'a Problem<'a>,
        facts: &'a Facts,
        row: usize,
        head: usize,
        entering: &'a [Vec<f64>],
    ) -> Self {
        let mut step = Step {
            problem,
            facts,
            row,
            head,
            values: vec![None; facts.pure.len()],
            entering,
            leaving: vec![None; facts.transitions.len()],
        };
        // A state leaves once those that enter its update are known.
        loop {
            step.evaluate();
            let open = |&s: &usize| step.leaving[s].is_none();
            let left: Vec<usize> = (0..step.leaving.len()).filter(open).collect();
            if left.is_empty() {
                return step;
            }
            for &s in &left {
                step.leaving[s] = step.leave(s, &facts.transitions[s]);
            }
            let now = left.iter().any(|&s| step.leaving[s].is_some());
            assert!(now, "no state enters its own update but linearly");
        }
    }

    fn known(&self, id: PureId) -> Option<&[f64]> {
        self.values[id.index()].as_deref()
    }

    fn value(&self, id: PureId) -> &[f64] {
        self.known(id).expect("it is known")
    }

    fn evaluate(&mut self) {
        for i in 0..self.values.len() {
            if self.values[i].is_none() {
                self.values[i] = self.pure(self.facts.pure[i]);
            }
        }
    }

    fn pure(&self, expr: Pure) -> Option<Vec<f64>> {
        let of = |id: PureId| self.values[id.index()].as_deref();
        let Problem { heads, groups, .. } = *self.problem;
        Some(match expr {
            Pure::Number(x) => vec![x],
            Pure::Size(dim) => vec![self.problem.sizes[dim.index()] as f64],
            Pure::Input(id) => {
                let port = &self.problem.recurrence.inputs[id.index()];
                let len = self.problem.entries(port);
                let at = match port.per_group {
                    true => self.row * groups + self.head / (heads / groups),
                    false => self.row * heads + self.head,
                };
                self.problem.inputs[id.index()][at * len..][..len].to_vec()
            }
            Pure::Param(id) => {
                let port = &self.problem.recurrence.params[id.index()];
                let len = self.problem.entries(port);
                self.problem.params[id.index()][self.head * len..][..len].to_vec()
            }
            Pure::Readout(id) => return self.readout(id),
            Pure::Unary(function, a) => {
                let a = of(a)?.iter();
                a.map(|&a| pointwise::unary(function, a)).collect()
            }
            Pure::Binary(function, a, b) => {
                let (a, b) = (of(a)?, of(b)?);
                let at = |i| pointwise::binary(function, at_index(a, i), at_index(b, i));
                (0..a.len().max(b.len())).map(at).collect()
            }
            Pure::Select([x, y, a, b]) => {
                let (x, y, a, b) = (of(x)?, of(y)?, of(a)?, of(b)?);
                let len = [x, y, a, b].iter().map(|of| of.len()).max();
                let at = |i| {
                    let [x, y, a, b] = [x, y, a, b].map(|of| at_index(of, i));
                    pointwise::select(x, y, a, b)
                };
                (0..len.unwrap_or(0)).map(at).collect()
            }
            Pure::Sum(a) => vec![of(a)?.iter().sum()],
        })
    }

    /// A state contracted as a readout says, once it is known; a weight that is a scalar is repeated.
    fn readout(&self, id: ReadoutId) -> Option<Vec<f64>> {
        let Readout {
            state,
            moment,
            weight,
            across,
        } = self.facts.readouts[id.index()];
        let data = match moment {
            Moment::Entering => &self.entering[state.index()],
            Moment::Leaving => self.leaving[state.index()].as_ref()?,
            Moment::Between(_) => unreachable!("only of a state with an obstacle"),
        };
        let shape = &self.problem.recurrence.states[state.index()].shape;
        let size = |dim: DimId| self.problem.sizes[dim.index()];
        let Some((side, weight)) = weight else {
            return Some(data.clone());
        };
        let weight = self.known(weight)?;
        let found: Vec<f64> = match (shape.as_slice(), side) {
            (&[m, n], Side::Row) => (0..size(n))
                .map(|j| {
                    let terms = (0..size(m)).map(|i| at_index(weight, i) * data[i * size(n) + j]);
                    terms.sum()
                })
                .collect(),
            (&[m, n], Side::Col) => (0..size(m))
                .map(|i| {
                    let terms = (0..size(n)).map(|j| at_index(weight, j) * data[i * size(n) + j]);
                    terms.sum()
                })
                .collect(),
            _ => {
                let terms = data.iter().enumerate();
                vec![terms.map(|(i, x)| at_index(weight, i) * x).sum()]
            }
        };
        let Some(across) = across else {
            return Some(found);
        };
        let across = self.known(across)?;
        let terms = found.iter().enumerate();
        Some(vec![terms.map(|(i, x)| at_index(across, i) * x).sum()])
    }

    /// The leaving value of a state, once all that enters it is known.
    fn leave(&self, index: usize, transition: &Transition) -> Option<Vec<f64>> {
        let shape = &self.problem.recurrence.states[index].shape;
        let size = |side: usize| shape.get(side).map_or(1, |d| self.problem.sizes[d.index()]);
        let (rows, cols) = (size(0), size(1));
        let entering = &self.entering[index];
        if let Some(Running { bound, shift }) = transition.running {
            let zero = || Some(&[0.0][..]);
            let shift = shift.map_or_else(zero, |shift| self.known(shift))?;
            let floor = bound.floor().map_or_else(zero, |floor| self.known(floor))?;
            let one = |(i, x): (usize, &f64)| bound.of(x + at_index(shift, i), at_index(floor, i));
            return Some(entering.iter().enumerate().map(one).collect());
        }
        let reads = transition.reads.iter();
        let reads = reads.map(|read| Some((read, self.readout(read.readout)?)));
        let reads: Vec<(&Read, Vec<f64>)> = reads.collect::<Option<_>>()?;
        let sides = [transition.scalar, transition.row, transition.col];
        let added = transition.added.iter().flat_map(|&(l, r)| [Some(l), r]);
        let beside = transition
            .reads
            .iter()
            .flat_map(|read| [read.row, read.col]);
        let mut parts = sides.into_iter().chain(added).chain(beside).flatten();
        if parts.any(|part| self.known(part).is_none()) {
            return None;
        }
        let log = |part: Option<PureId>, i| part.map_or(0.0, |part| at_index(self.value(part), i));
        let factor =
            |part: Option<PureId>, i| part.map_or(1.0, |part| at_index(self.value(part), i));
        let mut to = Vec::with_capacity(rows * cols);
        for i in 0..rows {
            for j in 0..cols {
                let decay =
                    log(transition.scalar, 0) + log(transition.row, i) + log(transition.col, j);
                let mut sum = match transition.overwritten {
                    true => 0.0,
                    false => decay.exp() * entering[i * cols + j],
                };
                for &(left, right) in &transition.added {
                    sum += factor(Some(left), i) * factor(right, j);
                }
                for (read, value) in &reads {
                    let along = match read.along {
                        None => value[0],
                        Some(Side::Row) => value[i],
                        Some(Side::Col) => value[j],
                    };
                    sum += factor(read.row, i) * factor(read.col, j) * along;
                }
                to.push(sum);
            }
        }
        Some(to)
    }
}
