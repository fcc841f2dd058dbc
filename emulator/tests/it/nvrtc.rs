//! Kernels compiled from CUDA C by NVRTC (`tests/nvrtc/compile.py` makes them anew): right results, no
//! findings, the same bits under every schedule; and with a defect put into the text, the finding.

use baton_emulator::{Kind, Launch, Memory, Module, Parameter, Report};

use crate::support::{assert_clean, bytes, floats, kinds, words};

macro_rules! ptx {
    ($name:literal) => {
        include_str!(concat!("../nvrtc/", $name, ".ptx"))
    };
}

fn launch(text: &str, kernel: &str, launch: &Launch, memory: &mut Memory) -> Report {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let kernel = module
        .kernel(kernel)
        .unwrap_or_else(|error| panic!("{error}"));
    kernel
        .launch(launch, memory)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs under several schedules; the output's bytes agree and nothing is found.
fn clean(
    text: &str,
    kernel: &str,
    shape: ([u32; 3], [u32; 3], u32),
    make: impl Fn(&mut Memory) -> (Vec<Parameter>, baton_emulator::Buffer),
) -> (Vec<u8>, Report) {
    let mut runs = (0..3).map(|schedule_seed| {
        let mut memory = Memory::new();
        let (parameters, output) = make(&mut memory);
        let (grid, block, dynamic_shared) = shape;
        let asked = Launch {
            grid,
            block,
            dynamic_shared,
            parameters,
            schedule_seed,
            ..Launch::default()
        };
        let report = launch(text, kernel, &asked, &mut memory);
        assert_clean(&report);
        assert_eq!(memory.unwritten(output), vec![]);
        (memory.read(output).to_vec(), report)
    });
    let first = runs.next().expect("a run");
    for (bytes, report) in runs {
        assert!(bytes == first.0, "{kernel}: the schedule changes the bits");
        assert_eq!(report.counts.instructions, first.1.counts.instructions);
    }
    first
}

fn wave(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 16.0)
        .collect()
}

fn single(values: &[f32]) -> Vec<u8> {
    bytes(values, f32::to_le_bytes)
}

#[test]
fn reductions() {
    let x = wave(1000);
    let (found, _) = clean(
        ptx!("reduce"),
        "reduce",
        ([3, 1, 1], [96, 1, 1], 0),
        |memory| {
            let (input, sums) = (memory.input(&single(&x)), memory.output(12));
            let addresses = [memory.address(input), memory.address(sums)].map(Parameter::from);
            let [a, b] = addresses;
            (vec![a, b, 1000i32.into()], sums)
        },
    );
    let total: f32 = x.iter().sum();
    // Multiples of 1/16 below 2^20: every sum is exact in any order.
    assert_eq!(floats(&found).iter().sum::<f32>(), total);

    let x: Vec<f64> = (0..200).map(f64::from).collect();
    let (found, _) = clean(
        ptx!("reduce"),
        "tree",
        ([2, 1, 1], [128, 1, 1], 1024),
        |memory| {
            let input = memory.input(&bytes(&x, f64::to_le_bytes));
            let sums = memory.output(16);
            (
                vec![
                    memory.address(input).into(),
                    memory.address(sums).into(),
                    200i32.into(),
                ],
                sums,
            )
        },
    );
    let sum = |range: std::ops::Range<u32>| range.map(f64::from).sum::<f64>();
    assert_eq!(
        found,
        bytes(&[sum(0..128), sum(128..200)], f64::to_le_bytes)
    );
}

#[test]
fn transposes_count_their_bank_conflicts() {
    let (rows, columns) = (50usize, 70usize);
    let x = wave(rows * columns);
    let mut conflicts = vec![];
    for kernel in ["padded", "conflicting"] {
        let shape = ([3, 2, 1], [32, 8, 1], 0);
        let (found, report) = clean(ptx!("transpose"), kernel, shape, |memory| {
            let (input, output) = (memory.input(&single(&x)), memory.output(4 * x.len()));
            let (a, b) = (memory.address(input).into(), memory.address(output).into());
            (
                vec![a, b, (rows as i32).into(), (columns as i32).into()],
                output,
            )
        });
        let found = floats(&found);
        for (i, x) in x.iter().enumerate() {
            assert_eq!(found[i % columns * rows + i / columns], *x);
        }
        let counts = report.counts;
        assert_eq!(counts.bytes_read, 4 * x.len() as u64);
        assert_eq!(counts.bytes_written, 4 * x.len() as u64);
        assert_eq!(counts.barriers, 6);
        conflicts.push(counts.bank_conflicts);
    }
    assert_eq!(conflicts[0], 0);
    // A column of 32 words lies in one bank: every read takes as many passes as it has lanes. Six blocks read
    // 50 x 70 elements by rows of 32 or 18.
    let lanes_beyond_the_first: u64 = (0..70).map(|_| 31 + 17).sum();
    assert_eq!(conflicts[1], lanes_beyond_the_first);
}

#[test]
fn softmax() {
    let (rows, columns) = (5usize, 77usize);
    let x = wave(rows * columns);
    let (found, _) = clean(
        ptx!("softmax"),
        "softmax",
        ([2, 1, 1], [96, 1, 1], 0),
        |memory| {
            let (input, output) = (memory.input(&single(&x)), memory.output(4 * x.len()));
            let (a, b) = (memory.address(input).into(), memory.address(output).into());
            (
                vec![a, b, (rows as i32).into(), (columns as i32).into()],
                output,
            )
        },
    );
    for (row, found) in x.chunks(columns).zip(floats(&found).chunks(columns)) {
        let largest = row.iter().copied().fold(f32::MIN, f32::max);
        let powers: Vec<f64> = row.iter().map(|x| f64::from(x - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        for (power, found) in powers.iter().zip(found) {
            assert!((f64::from(*found) * sum / power - 1.0).abs() < 2e-6);
        }
    }
}

const SIDE: usize = 128;

fn matmul(memory: &mut Memory) -> (Vec<Parameter>, baton_emulator::Buffer, Vec<f32>) {
    let k = 96;
    let value = |i: usize, salt: usize| ((i * salt) % 9) as f32 - 4.0;
    let a: Vec<f32> = (0..SIDE * k).map(|i| value(i, 5)).collect();
    let b: Vec<f32> = (0..k * SIDE).map(|i| value(i, 7)).collect();
    let narrow = |values: &[f32]| -> Vec<u8> {
        let halves = values.iter().map(|v| (v.to_bits() >> 16) as u16);
        halves.flat_map(u16::to_le_bytes).collect()
    };
    let (left, right) = (memory.input(&narrow(&a)), memory.input(&narrow(&b)));
    let output = memory.output(4 * SIDE * SIDE);
    let wanted = (0..SIDE * SIDE).map(|i| {
        let (row, column) = (i / SIDE, i % SIDE);
        (0..k).map(|j| a[row * k + j] * b[j * SIDE + column]).sum()
    });
    let wanted = wanted.collect();
    let parameters = vec![
        memory.address(left).into(),
        memory.address(right).into(),
        memory.address(output).into(),
        (SIDE as i32).into(),
        (k as i32).into(),
    ];
    (parameters, output, wanted)
}

#[test]
fn tensor_core_matmul() {
    let wanted = matmul(&mut Memory::new()).2;
    let shape = ([2, 2, 1], [128, 1, 1], 0);
    let (found, report) = clean(ptx!("matmul"), "matmul", shape, |memory| {
        let (parameters, output, _) = matmul(memory);
        (parameters, output)
    });
    assert_eq!(floats(&found), wanted);
    // 4 blocks of 4 warps: 3 tiles of k, 2 steps, 8 products; 2 + 4 fragments.
    let counts = report.counts;
    assert_eq!(counts.tensor_ops, 4 * 4 * 3 * 2 * 8);
    assert_eq!(counts.tensor_macs, (SIDE * SIDE * 96) as u64);
    assert_eq!(counts.of("ldmatrix"), 4 * 4 * 3 * 2 * 6);
    assert_eq!(counts.of("cp.async.cg"), 4 * 4 * 3 * 4);
    assert_eq!(counts.load_sectors, counts.ideal_load_sectors);
    assert_eq!(counts.bytes_written, 4 * (SIDE * SIDE) as u64);
    assert_eq!(counts.barriers, 4 * 6);
    // ldmatrix has no conflicts. Copies into rows of 80 bytes have one in each pass of eight lanes: two rows
    // of 64 bytes whose first and last words share banks.
    assert_eq!(counts.bank_conflicts, 4 * 4 * 3 * 2 * 4);
}

/// One change to the compiled text, and what must be found.
fn defect(from: &str, to: &str) -> Vec<Kind> {
    let text = ptx!("matmul");
    assert!(text.contains(from), "{from}");
    let mut memory = Memory::new();
    let (parameters, _, _) = matmul(&mut memory);
    let asked = Launch {
        grid: [2, 2, 1],
        block: [128, 1, 1],
        parameters,
        ..Launch::default()
    };
    kinds(&launch(
        &text.replace(from, to),
        "matmul",
        &asked,
        &mut memory,
    ))
}

#[test]
fn defects_of_a_pipeline_are_found() {
    assert!(
        defect("cp.async.wait_group 1;", "cp.async.wait_group 2;").contains(&Kind::AsyncNotWaited)
    );
    assert!(defect("cp.async.commit_group;", "").contains(&Kind::AsyncNotWaited));
    assert!(defect("bar.sync", "// bar.sync").contains(&Kind::Race));
}

#[test]
fn scans() {
    let x: Vec<i32> = (0..300).map(|i| i * 7919 % 1000 - 500).collect();
    let (found, _) = clean(
        ptx!("scan"),
        "scan",
        ([1, 1, 1], [320, 1, 1], 0),
        |memory| {
            let (input, output) = (
                memory.input(&bytes(&x, i32::to_le_bytes)),
                memory.output(2400),
            );
            let (a, b) = (memory.address(input).into(), memory.address(output).into());
            (vec![a, b, 300i32.into()], output)
        },
    );
    let mut sum = 0i64;
    let sums: Vec<i64> = x
        .iter()
        .map(|x| {
            sum += i64::from(*x);
            sum
        })
        .collect();
    assert_eq!(found, bytes(&sums, i64::to_le_bytes));
}

fn collatz(mut n: i64) -> i32 {
    let mut steps = 0;
    while n != 1 {
        n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    steps
}

fn flow(i: i32) -> i32 {
    let mut digits = [0; 10];
    let mut rest = i * 7919;
    while rest > 0 {
        digits[(rest % 10) as usize] += 1;
        rest /= 10;
    }
    let result = digits[(i % 10) as usize];
    match i % 7 {
        0 => result + collatz(i64::from(i) + 1),
        1 => result - [2, 3, 5, 7, 11, 13][(i % 6) as usize],
        2 => result * 3,
        3 => (i.count_ones() + i.leading_zeros()) as i32 + (i.reverse_bits() as u32 % 5) as i32,
        4 => result + (0..i % 13).map(|j| j * j).sum::<i32>(),
        5 => (result ^ 0x55) + 1,
        _ => result + 1,
    }
}

#[test]
fn divergent_flow() {
    let n = 500;
    let make = |memory: &mut Memory| {
        let output = memory.output(4 * n);
        (
            vec![memory.address(output).into(), (n as i32).into()],
            output,
        )
    };
    let (found, _) = clean(ptx!("flow"), "flow", ([4, 1, 1], [128, 1, 1], 0), make);
    let wanted: Vec<u32> = (0..n as i32).map(|i| flow(i) as u32).collect();
    assert_eq!(words(&found), wanted);
}

/// A module's variable keeps its value from one launch to the next.
#[test]
fn module_variables_stay() {
    let mut memory = Memory::new();
    let (y, count) = (memory.output(2000), memory.output(4));
    for (kernel, threads, parameters) in [
        ("flow", 128, vec![memory.address(y).into(), 500i32.into()]),
        ("count", 1, vec![memory.address(count).into()]),
    ] {
        let asked = Launch {
            grid: [if threads == 1 { 1 } else { 4 }, 1, 1],
            block: [threads, 1, 1],
            parameters,
            ..Launch::default()
        };
        assert_clean(&launch(ptx!("flow"), kernel, &asked, &mut memory));
    }
    assert_eq!(words(memory.read(count)), [500]);
}

#[test]
fn doubles_and_the_library() {
    let n = 300usize;
    let x: Vec<f64> = (0..n).map(|i| (i as f64 - 150.0) / 40.0).collect();
    let p: Vec<i64> = (0..n as i64)
        .map(|i| (i - 150) * 1_234_567_890_123_457)
        .collect();
    let mut memory = Memory::new();
    let inputs = [
        memory.input(&bytes(&x, f64::to_le_bytes)),
        memory.input(&bytes(&p, i64::to_le_bytes)),
    ];
    let outputs = [
        memory.output(8 * n),
        memory.output(8 * n),
        memory.output(4 * n),
    ];
    let a = |buffer| Parameter::from(memory.address(buffer));
    let asked = Launch {
        grid: [3, 1, 1],
        block: [128, 1, 1],
        parameters: vec![
            a(inputs[0]),
            a(outputs[0]),
            a(inputs[1]),
            a(outputs[1]),
            a(outputs[2]),
            (n as i32).into(),
        ],
        ..Launch::default()
    };
    assert_clean(&launch(ptx!("numbers"), "numbers", &asked, &mut memory));
    let double = |buffer| -> Vec<u64> {
        let chunks = memory.read(buffer).chunks_exact(8);
        chunks
            .map(|c| u64::from_le_bytes(c.try_into().expect("eight")))
            .collect()
    };
    let (y, q, z) = (
        double(outputs[0]),
        double(outputs[1]),
        floats(memory.read(outputs[2])),
    );
    for i in 0..n {
        let v = x[i];
        let wanted = v.abs().sqrt() + (-v * v).exp() * v.mul_add(0.5, 1.0) / (1.0 + v * v);
        assert!((f64::from_bits(y[i]) / wanted - 1.0).abs() < 1e-14, "{i}");
        let (a, b) = (p[i], i as i64 % 9 - 4);
        let wanted = if b == 0 {
            ((i128::from(a) * i128::from(a)) >> 64) as i64
        } else {
            a / b + a % b
        };
        assert_eq!(q[i] as i64, wanted, "{i}");
        let s = v as f32;
        let d = f64::from(s);
        let wanted = f64::from(s * 1000.0).sin()
            + f64::from(s.abs() + 1.0).ln()
            + (-d).exp()
            + (d.abs() + 0.5).sqrt().recip()
            + d.tanh()
            + d.floor();
        assert!(
            (f64::from(z[i]) - wanted).abs() < 2e-5 * wanted.abs().max(1.0),
            "{i}"
        );
    }
}
