use super::super::emulated::Emulated;
use super::*;
use crate::device::Options;
use crate::engine::call::Strided;
use baton_codegen::target::Gpu;
use baton_ir::{builtin, text};

fn kernels() -> Arc<GpuKernels> {
    let recurrence = text::parse(builtin::text("linear_attention").unwrap()).unwrap();
    let options = Options {
        chunk: Some(16),
        ..Options::default()
    };
    let target = Gpu::sm_80(Storage::F32);
    let kernels = GpuKernels::new("emulator", &recurrence, &[16, 16], &options, target);
    Arc::new(kernels.expect("kernels"))
}

/// Two groups of three heads at five steps, of which the sum takes rows 1 and 0 in this order.
#[test]
fn sums_are_rounded_once_in_every_dtype_and_width() {
    let kernels = kernels();
    let [rows, steps, columns, parts] = [2, 5, 2, 3];
    for (storage, entries) in [
        (Storage::F32, 1),
        (Storage::F32, 8),
        (Storage::F16, 8),
        (Storage::Bf16, 8),
    ] {
        for parts in [parts, 0] {
            let count = rows * steps * columns * 3 * entries;
            let numbers: Vec<f32> = (0..count).map(|i| (i % 97) as f32 / 89.0 - 0.5).collect();
            let mut machine = Blocks::new(kernels.clone(), Emulated::new(0, false));
            let from = machine
                .memory
                .input(&bytes(&numbers, Storage::F32))
                .unwrap();
            let size = storage.bytes() as usize;
            let address = machine
                .room(rows * steps * columns * entries * size)
                .unwrap();
            let stride = |n: usize| n as i64;
            let part = 4 * entries;
            let asked = Sum {
                sizes: [rows, steps, columns, entries, parts],
                from,
                strides: [
                    steps * columns * 3 * part,
                    columns * 3 * part,
                    3 * part,
                    part,
                ]
                .map(stride),
                rows: Some(&[1, 0]),
                to: Strided {
                    address,
                    strides: [steps * columns, columns, 1].map(|n| stride(n * entries * size)),
                },
                storage,
                many: false,
            };
            machine.sum(&asked).expect("it runs");
            let row = count / rows;
            let swapped = numbers[row..]
                .chunks(3 * entries)
                .chain(numbers[..row].chunks(3 * entries));
            let expected: Vec<f32> = swapped
                .flat_map(|all| {
                    let add = |i| (0..parts).fold(0.0, |sum, p| sum + all[p * entries + i]);
                    (0..entries).map(add).collect::<Vec<f32>>()
                })
                .collect();
            let expected = values(&bytes(&expected, storage), storage);
            let found = values(&machine.memory.read(address).unwrap(), storage);
            assert_eq!(found, expected, "{storage:?} of {entries}");
        }
    }
}
