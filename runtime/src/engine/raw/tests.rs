//! What can be seen of a call without running it: its errors, and the parameters of its launch.

mod memory;

use super::*;
use crate::device::Options;
use crate::device::gpu::blocks::Blocks;
use crate::device::gpu::kernels::GpuKernels;
use crate::device::gpu::memory::{DeviceMemory, Parameter, Ptx};
use baton_codegen::Phase;
use baton_codegen::target::Gpu;
use baton_ir::tile::CarryRole;
use baton_ir::{builtin, text};
use std::sync::Arc;

const ADDRESS: u64 = 0x1000;

fn kernel(name: &str, storage: Storage, keep_bytes: Option<usize>) -> GpuKernels {
    kernel_of(name, [16, 16], Gpu::sm_80(storage), keep_bytes)
}

fn kernel_of(name: &str, sizes: [usize; 2], target: Gpu, keep_bytes: Option<usize>) -> GpuKernels {
    let recurrence = text::parse(builtin::text(name).unwrap()).unwrap();
    let options = Options {
        chunk: Some(16),
        keep_bytes,
    };
    GpuKernels::new("emulator", &recurrence, &sizes, &options, target).expect("kernels")
}

fn call(kernel: &GpuKernels) -> DeviceCall<'static> {
    let recurrence = &kernel.shapes().recurrence;
    let tensor = DeviceTensor {
        address: ADDRESS,
        strides: [4096, 256, 64],
    };
    DeviceCall {
        batch: 2,
        time: 100,
        heads: 46,
        groups: 2,
        inputs: vec![tensor; recurrence.inputs.len()],
        params: vec![tensor; recurrence.params.len()],
        states: vec![0; recurrence.states.len()],
        cu_seqlens: None,
    }
}

fn to(kernel: &GpuKernels) -> DeviceForward {
    let recurrence = &kernel.shapes().recurrence;
    let tensor = call(kernel).inputs[0];
    DeviceForward {
        outputs: vec![tensor; recurrence.outputs.len()],
        states: vec![0x2000; recurrence.states.len()],
        kept: 0,
    }
}

/// A machine that only notes what it is asked for.
#[derive(Default)]
struct Notes {
    tables: Vec<Vec<u8>>,
    launches: Vec<(String, [u32; 2], Vec<Parameter>)>,
}

impl DeviceMemory for Notes {
    fn input(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        self.tables.push(bytes.to_vec());
        Ok(0x10_0000 * self.tables.len() as u64)
    }

    fn output(&mut self, _: usize) -> Result<u64, Error> {
        Ok(0x8000)
    }

    fn launch(
        &mut self,
        name: &str,
        _: &Ptx,
        grid: [u32; 2],
        parameters: &[Parameter],
    ) -> Result<(), Error> {
        self.launches.push((name.into(), grid, parameters.to_vec()));
        Ok(())
    }
}

#[test]
fn heads_of_a_group_run_side_by_side_where_the_caller_says_so() {
    let grid = |kernel: &Arc<GpuKernels>, heads: usize, groups: usize| {
        let call = DeviceCall {
            heads,
            groups,
            ..call(kernel)
        };
        let mut machine = Blocks::new(kernel.clone(), Notes::default());
        forward(&**kernel, &mut machine, &call, &to(kernel)).unwrap();
        let (name, grid, _) = machine.memory.launches.remove(0);
        (grid, name.ends_with("_heads2"))
    };
    let mut kernel = Arc::new(kernel("mamba2", Storage::Bf16, None));
    assert_eq!(grid(&kernel, 132, 2), ([132, 2], false));
    assert_eq!(grid(&kernel, 44, 2), ([44, 2], false));
    let alone = Arc::get_mut(&mut kernel).expect("no run is under way");
    alone.target.heads = Some(2);
    assert_eq!(grid(&kernel, 44, 2), ([22, 2], true));
    assert_eq!(grid(&kernel, 46, 2), ([46, 2], false));
}

#[test]
fn parameters_are_those_of_the_kernel_in_its_order() {
    let kernel = Arc::new(kernel("mamba2", Storage::Bf16, None));
    let mut machine = Blocks::new(kernel.clone(), Notes::default());
    forward(&*kernel, &mut machine, &call(&kernel), &to(&kernel)).unwrap();
    let notes = machine.memory;
    let cut = cut(&*kernel, &call(&kernel)).unwrap();
    let made = kernel.made(Phase::Forward, &cut).unwrap();
    let program = &made.program;
    let mut expected = vec![0x10_0000.into(), Parameter::Int(46), Parameter::Int(23)];
    for port in &program.ports {
        let strides = match port.role {
            Role::Param(_) => [0, 0, 64],
            _ => [4096, 256, 64],
        };
        expected.push(ADDRESS.into());
        expected.extend(strides.map(Parameter::Long));
    }
    for carry in &program.carries {
        assert!(matches!(carry.role, CarryRole::State(_)));
        expected.extend([0, 0x2000].map(Parameter::from));
    }
    assert_eq!(expected.len(), Gpu::parameters(program));
    assert_eq!(notes.launches, [(program.name.clone(), [46, 2], expected)]);
    let table: Vec<u8> = [[0i64, 0, 100, 0], [1, 0, 100, 7]]
        .as_flattened()
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    assert_eq!(notes.tables, [table]);
}

#[test]
fn a_gradient_is_of_the_dtype_of_what_it_is_of() {
    let kernel = kernel("mamba2", Storage::Bf16, None);
    let [x, _, _, dt] = [0, 1, 2, 3].map(|i| dtype(&kernel, Role::DInput(i)));
    assert_eq!((x, dt), (Some(Storage::Bf16), Some(Storage::F32)));
    for i in 0..4 {
        assert_eq!(
            dtype(&kernel, Role::DInput(i)),
            dtype(&kernel, Role::Input(i))
        );
    }
    assert_eq!(dtype(&kernel, Role::DParam(0)), Some(Storage::F32));
    assert_eq!(dtype(&kernel, Role::Output(0)), Some(Storage::Bf16));
    assert_eq!(dtype(&kernel, Role::Output(1)), None);
}

#[test]
fn wrong_calls_are_named() {
    let kernel = Arc::new(kernel("mamba2", Storage::Bf16, None));
    let says = |change: fn(&mut DeviceCall<'_>, &mut DeviceForward)| {
        let (mut call, mut to) = (call(&kernel), to(&kernel));
        change(&mut call, &mut to);
        let mut machine = Blocks::new(kernel.clone(), Notes::default());
        let ran = forward(&*kernel, &mut machine, &call, &to);
        ran.unwrap_err().to_string()
    };
    for (said, expected) in [
        (
            says(|c, _| c.states.clear()),
            "state in: 0 given, expected 1",
        ),
        (says(|c, _| c.groups = 3), "H=46 heads"),
        (says(|c, _| c.heads = 0), "H=0 heads"),
        (
            says(|c, _| c.time = usize::MAX / 2),
            "more than memory can hold",
        ),
        (says(|c, _| c.batch = 70_000), "at most 65535"),
        (says(|c, _| c.cu_seqlens = Some(&[0, 100][..])), "with B=2"),
        (
            says(|c, _| (c.batch, c.cu_seqlens) = (1, Some(&[0, 60, 50, 100][..]))),
            "must rise from 0",
        ),
        (
            says(|c, _| (c.batch, c.cu_seqlens) = (1, Some(&[][..]))),
            "0 offsets",
        ),
        (
            says(|_, t| t.outputs[0].address = 8),
            "output `y` lies at 0x8",
        ),
        (says(|_, t| t.outputs[0].strides[1] = 24), "multiples of 16"),
        (says(|_, t| t.states[0] = 0), "state out `S` lies at 0x0"),
        (
            says(|c, t| c.states = t.states.clone()),
            "memory of its own",
        ),
        (says(|_, t| t.kept = 8), "what is kept lies at 0x8"),
    ] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn wrong_gradients_are_named() {
    let kernel = Arc::new(kernel("mamba2", Storage::Bf16, None));
    let recurrence = &kernel.shapes().recurrence;
    let tensor = call(&kernel).inputs[0];
    let says = |change: fn(&mut DeviceBackward)| {
        let mut with = DeviceBackward {
            kept: 0,
            d_outputs: vec![tensor; recurrence.outputs.len()],
            d_states_out: vec![0; recurrence.states.len()],
            d_inputs: vec![tensor; recurrence.inputs.len()],
            d_params: vec![tensor; recurrence.params.len()],
            d_states_in: vec![0x2000; recurrence.states.len()],
        };
        change(&mut with);
        let mut machine = Blocks::new(kernel.clone(), Notes::default());
        let ran = backward(&*kernel, &mut machine, &call(&kernel), &with);
        ran.unwrap_err().to_string()
    };
    assert!(says(|w| w.d_outputs.clear()).contains("gradient of output: 0 given, expected 1"));
    assert!(says(|w| w.d_inputs[0].address = 0).contains("gradient of input `x` lies at 0x0"));
    assert!(says(|w| w.d_params[0].address = 4).contains("gradient of param `a_log` lies at 0x4"));
    assert!(says(|w| w.d_states_out[0] = 4).contains("or 0 for zeros"));
    assert!(says(|w| w.d_states_in[0] = 0).contains("gradient of state in `S` lies at 0x0"));
}
