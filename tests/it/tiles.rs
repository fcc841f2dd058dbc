//! Level 3 against level 1, in f64: what placement and fusion do is algebra too.
//!
//! Each task runs one sequence and one group; memory outside is as a device lays it out.

use baton_codegen::schedule::{SideBySide, lower, side_by_side};
use baton_codegen::{Compiler, Phase, derive_any, grad};
use baton_ir::chunked::{Chunked, Target};
use baton_ir::interp::recurrence::{Gradient, Outcome};
use baton_ir::interp::tile::{CarryPlace, Memory, PortPlace, run_task};
use baton_ir::recurrence::Port;
use baton_ir::tile::{CarryId, CarryRole, Pace, PortId, Role, TileProgram};
use baton_ir::{builtin, text, verify};
use baton_tests::tolerance::Arithmetic;
use baton_tests::{Case, Decay, EXTRAS, Extents, Random, STEPPED, relative_error};

use crate::levels::cases;

/// Tensors of a run by role, `[B, T, H, dims...]` and so on; entering states `[chunks, H, dims]`
/// of one sequence at a time.
struct Tensors {
    ports: Vec<(Role, Vec<f64>)>,
    carries: Vec<(CarryRole, Vec<f64>)>,
}

fn size(case: &Case, port: &Port) -> usize {
    port.shape
        .iter()
        .map(|dim| case.extents.sizes[dim.index()])
        .product()
}

impl Tensors {
    fn port(&self, role: Role) -> &[f64] {
        &self
            .ports
            .iter()
            .find(|(known, _)| *known == role)
            .expect("a known role")
            .1
    }

    fn carry(&self, role: CarryRole) -> &[f64] {
        &self
            .carries
            .iter()
            .find(|(known, _)| *known == role)
            .expect("a known role")
            .1
    }

    /// Runs `program` on one group of one sequence, with as many heads side by side as it has; where its loops
    /// are exchanged, so are steps and heads.
    fn run(&mut self, case: &Case, wide: &SideBySide, sequence: usize, group: usize) {
        let program = &wide.program;
        let beside = wide.heads as usize;
        let extents = &case.extents;
        let sequences = case.problem().sequences();
        let place = sequences[sequence];
        let group_heads = extents.heads / extents.groups;
        let head = group * group_heads;
        let exchanged = |[steps, heads]: [usize; 2]| match program.across {
            true => [heads, steps],
            false => [steps, heads],
        };
        let [len, heads] = exchanged([place.len, group_heads / beside]);
        let mut memory = Memory {
            buffers: vec![],
            ports: vec![],
            carries: vec![],
            len,
            heads,
        };
        let step = place.row * extents.time + place.start;
        let mut ports: Vec<_> = self
            .ports
            .iter_mut()
            .map(|(role, data)| (*role, Some(&mut data[..])))
            .collect();
        let mut carries: Vec<_> = self
            .carries
            .iter_mut()
            .map(|(role, data)| (*role, Some(&mut data[..])))
            .collect();
        for (port, &(_, copy)) in program.ports.iter().zip(&wide.ports) {
            let entries = port.dims.iter().map(|&n| n as usize).product::<usize>();
            let (per_head, moves) = match program.across {
                true => (port.pace == Pace::Step, port.per_head),
                false => (port.per_head, port.pace == Pace::Step),
            };
            let lanes = if per_head {
                extents.heads
            } else {
                extents.groups
            };
            let lane = if per_head { head } else { group };
            let base = match (port.role, moves) {
                (Role::Entering(_), _) | (_, false) => lane * entries,
                (_, true) => (step * lanes + lane) * entries,
            };
            let [time, head] = exchanged([lanes * entries, beside * entries]);
            if copy == 0 {
                memory.buffers.push(take(&mut ports, port.role));
            }
            memory.ports.push(PortPlace {
                buffer: memory.buffers.len() - 1,
                base: base + copy as usize * entries,
                time,
                head,
            });
        }
        for (carry, &(_, copy)) in program.carries.iter().zip(&wide.carries) {
            let entries = carry.dims.iter().map(|&n| n as usize).product::<usize>();
            if copy == 0 {
                memory.buffers.push(take(&mut carries, carry.role));
            }
            let first = sequence * extents.heads + head;
            memory.carries.push(CarryPlace {
                buffer: memory.buffers.len() - 1,
                base: (first + copy as usize) * entries,
                head: beside * entries,
            });
        }
        run_task(program, &mut memory).expect("a verified program runs");
    }
}

fn take<'a, R: PartialEq>(all: &mut [(R, Option<&'a mut [f64]>)], role: R) -> &'a mut [f64] {
    let found = all
        .iter_mut()
        .find(|(known, _)| *known == role)
        .expect("a known role");
    found.1.take().expect("a role is bound once")
}

fn lowered(case: &Case, program: &Chunked, chunk: usize, keep: bool) -> TileProgram {
    let name = format!("{}_test_f64_interpreter", program.name);
    lower(program, &case.extents.sizes, chunk, keep, name)
}

#[test]
fn tiles_agree_with_the_step() {
    for case in cases() {
        agrees(&case, &[1, 16, 64]);
    }
}

/// The tile programs of a case agree with level 1 in chunks of any of these lengths; of one step where it goes step by step.
pub fn agrees(case: &Case, chunks: &[usize]) {
    let facts = verify::verify(&case.recurrence).expect("it verifies");
    let (program, steps) = derive_any(&case.recurrence, &facts).expect("no input is a matrix");
    let gradient = grad(&program);
    let (outcome, truth) = case.truth();
    let chunks = if steps { &[1] } else { chunks };
    for &chunk in chunks {
        let group = (case.extents.heads / case.extents.groups) as u32;
        for heads in (1..=group).filter(|heads| group.is_multiple_of(*heads)) {
            let [forward, backward] = lowered_pair(case, &program, &gradient, chunk, heads);
            check(case, &forward, &backward, &outcome, &truth);
        }
    }
}

/// The programs of level 3, forward and in reverse, with `heads` of a group side by side.
pub fn lowered_pair(
    case: &Case,
    forward: &Chunked,
    gradient: &Chunked,
    chunk: usize,
    heads: u32,
) -> [SideBySide; 2] {
    let plain = forward.keep(|t| matches!(t, Target::Output(_) | Target::State(_)));
    let forward = lowered(case, &plain, chunk, true);
    let backward = lowered(case, gradient, chunk, false);
    [&forward, &backward].map(|program| side_by_side(program, heads))
}

/// Outputs, states, then the gradients of inputs, params and states.
pub fn results(case: &Case, forward: &SideBySide, backward: &SideBySide) -> Vec<Vec<f64>> {
    let chunk = if forward.program.across {
        1
    } else {
        forward.program.chunk
    };
    let chunks = case.extents.time.div_ceil(chunk as usize);
    let heads = case.extents.heads;
    let r = &case.recurrence;
    let number = |i: usize| i as u32;
    let mut tensors = Tensors {
        ports: vec![],
        carries: vec![],
    };
    for (i, data) in case.inputs.iter().enumerate() {
        tensors.ports.push((Role::Input(number(i)), data.clone()));
        tensors
            .ports
            .push((Role::DInput(number(i)), vec![0.0; data.len()]));
    }
    for (i, data) in case.params.iter().enumerate() {
        tensors.ports.push((Role::Param(number(i)), data.clone()));
        tensors
            .ports
            .push((Role::DParam(number(i)), vec![0.0; data.len()]));
    }
    for (i, data) in case.d_outputs.iter().enumerate() {
        tensors.ports.push((Role::DOutput(number(i)), data.clone()));
        tensors
            .ports
            .push((Role::Output(number(i)), vec![f64::NAN; data.len()]));
    }
    for (i, port) in r.states.iter().enumerate() {
        let kept = vec![f64::NAN; chunks * heads * size(case, port)];
        tensors.ports.push((Role::Entering(number(i)), kept));
        tensors
            .carries
            .push((CarryRole::State(number(i)), case.states[i].clone()));
        tensors
            .carries
            .push((CarryRole::DState(number(i)), case.d_states[i].clone()));
    }
    for sequence in 0..case.problem().sequences().len() {
        for group in 0..case.extents.groups {
            tensors.run(case, forward, sequence, group);
            tensors.run(case, backward, sequence, group);
        }
    }
    let port = |role| tensors.port(role).to_vec();
    let carry = |role| tensors.carry(role).to_vec();
    let count = |ports: &[Port]| 0..ports.len() as u32;
    let outputs = count(&r.outputs).map(|i| port(Role::Output(i)));
    let states = count(&r.states).map(|i| carry(CarryRole::State(i)));
    let d_inputs = count(&r.inputs).map(|i| port(Role::DInput(i)));
    let d_params = count(&r.params).map(|i| port(Role::DParam(i)));
    let d_states = count(&r.states).map(|i| carry(CarryRole::DState(i)));
    let all = outputs.chain(states).chain(d_inputs).chain(d_params);
    all.chain(d_states).collect()
}

/// Heads as rows, in blocks that are full and that are not, of every recurrence whose states are numbers and vectors.
#[test]
fn rows_of_heads_agree_with_the_step() {
    let mut random = Random(13);
    let mut draw = |from, to| random.between(from, to);
    let names = builtin::NAMES.iter();
    let sources = names.map(|name| builtin::text(name).expect("a built-in name"));
    let mut found = vec![];
    for source in sources
        .chain(EXTRAS.iter().copied())
        .chain(STEPPED.iter().copied())
    {
        for seed in 0..3 {
            let groups = draw(1, 2);
            let time = draw(1, 20);
            let extents = Extents {
                sizes: vec![draw(1, 5), draw(1, 5)],
                batch: 1,
                time,
                heads: groups * draw(1, 7),
                groups,
                cu_seqlens: (draw(0, 1) == 1).then(|| vec![0, time / 3, time / 3, time]),
            };
            let case = Case::new(source, extents, Decay::Weak, seed);
            let sizes = &case.extents.sizes;
            let compiler = Compiler::of_any(&case.recurrence, sizes).expect("it verifies");
            // A block holds every head of a task, as what a group shares is stored once.
            let rows = case.extents.heads / groups + draw(0, 4);
            let programs = [Phase::ForwardKeep, Phase::Backward]
                .map(|phase| compiler.across(phase, rows).map(alone));
            if let [Some(forward), Some(backward)] = programs {
                for SideBySide { program, .. } in [&forward, &backward] {
                    let source = text::tile::print(program);
                    let (draft, spans) = text::tile::parse(&source).expect("it is printed");
                    assert_eq!(verify::tile::verify(draft, &spans).as_ref(), Ok(program));
                }
                let (outcome, truth) = case.truth();
                println!("{} {:?} in {rows} rows", case.recurrence.name, case.extents);
                check(&case, &forward, &backward, &outcome, &truth);
                found.push(case.recurrence.name);
            }
        }
    }
    for name in ["mamba1", "rg_lru", "min_gru", "longhorn"] {
        assert!(found.iter().any(|known| known == name), "{name} has rows");
    }
}

/// What the sequences of a case do to each state that is read in its own update, `[S, H, n, n]`, by the tile program
/// from the identity, in chunks of `chunk` steps. Nothing where there is no such state.
pub fn matrices(case: &Case, chunk: usize) -> Vec<(usize, Vec<f64>)> {
    let compiler = Compiler::new(&case.recurrence, &case.extents.sizes).expect("it verifies");
    let program = alone(compiler.program(Phase::Transition, chunk));
    let inputs = { (0..).zip(&case.inputs) }.map(|(i, data)| (Role::Input(i), data.clone()));
    let params = { (0..).zip(&case.params) }.map(|(i, data)| (Role::Param(i), data.clone()));
    let sequences = case.problem().sequences().len();
    let carries = program.program.carries.iter().map(|carry| {
        let n = carry.dims[0] as usize;
        let entry = |at: usize| f64::from(u8::from(at / n % n == at % n));
        let lanes = sequences * case.extents.heads;
        (carry.role, (0..lanes * n * n).map(entry).collect())
    });
    let mut tensors = Tensors {
        ports: inputs.chain(params).collect(),
        carries: carries.collect(),
    };
    for sequence in 0..sequences {
        for group in 0..case.extents.groups {
            tensors.run(case, &program, sequence, group);
        }
    }
    let state = |(role, data)| match role {
        CarryRole::State(i) => (i as usize, data),
        _ => unreachable!("matrices are carried as states"),
    };
    tensors.carries.into_iter().map(state).collect()
}

/// A program with one of each head, however it takes them.
fn alone(program: TileProgram) -> SideBySide {
    SideBySide {
        heads: 1,
        ports: (0..program.ports.len() as u32)
            .map(|i| (PortId(i), 0))
            .collect(),
        carries: (0..program.carries.len() as u32)
            .map(|i| (CarryId(i), 0))
            .collect(),
        program,
    }
}

fn check(
    case: &Case,
    forward: &SideBySide,
    backward: &SideBySide,
    outcome: &Outcome,
    truth: &Gradient,
) {
    let found = results(case, forward, backward);
    let all = [
        ("output", &outcome.outputs),
        ("state", &outcome.states),
        ("d_input", &truth.inputs),
        ("d_param", &truth.params),
        ("d_state", &truth.states),
    ];
    let truths = all
        .iter()
        .flat_map(|(part, all)| all.iter().enumerate().map(move |(i, t)| (*part, i, t)));
    let truths: Vec<_> = truths.collect();
    assert_eq!(found.len(), truths.len());
    for ((part, i, truth), found) in truths.into_iter().zip(&found) {
        let error = relative_error(found, truth);
        let name = &forward.program.name;
        assert!(
            error <= Arithmetic::F64.tolerance().outputs,
            "{name} {part} {i}: relative error {error:e}"
        );
    }
}
