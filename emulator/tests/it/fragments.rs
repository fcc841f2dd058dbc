//! Fragments of matrices against a direct product, with the layouts written out as the manual's tables say:
//! element (row, column) by lane and register, not by the interpreter's own formulas.

use baton_emulator::Memory;

use crate::support::{HEADER, assert_clean, block, floats, run};

/// Small whole numbers, so that every product and sum is exact.
fn value(row: usize, column: usize, salt: usize) -> f32 {
    ((row * 7 + column * 3 + salt) % 11) as f32 - 5.0
}

fn bf16(x: f32) -> u32 {
    x.to_bits() >> 16
}

fn f16(x: f32) -> u32 {
    if x == 0.0 {
        return 0;
    }
    let bits = x.to_bits();
    bits >> 16 & 0x8000 | ((bits >> 23 & 255) - 112) << 10 | bits >> 13 & 0x3ff
}

/// Runs one `mma` on given registers; lane-major words in, four floats of each lane out.
fn product(shape: &str, types: &str, a: &[Vec<u32>], b: &[Vec<u32>], c: &[Vec<f32>]) -> Vec<f32> {
    let (na, nb) = (a[0].len(), b[0].len());
    let names = |prefix: &str, count: usize| {
        let names: Vec<String> = (0..count).map(|i| format!("%{prefix}{i}")).collect();
        names.join(", ")
    };
    let mut loads = String::new();
    for i in 0..na {
        loads += &format!("ld.global.b32 %a{i}, [%in+{}];\n", 4 * i);
    }
    for i in 0..nb {
        loads += &format!("ld.global.b32 %b{i}, [%in+{}];\n", 4 * (na + i));
    }
    for i in 0..4 {
        loads += &format!("ld.global.f32 %c{i}, [%in+{}];\n", 4 * (na + nb + i));
    }
    let stride = 4 * (na + nb + 4);
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 in, .param .u64 out)
{{
.reg .b32 %a<4>, %b<2>, %t;
.reg .f32 %c<4>, %d<4>;
.reg .b64 %in, %out, %x;
ld.param.u64 %in, [in];
ld.param.u64 %out, [out];
mov.u32 %t, %tid.x;
mul.wide.u32 %x, %t, {stride};
add.s64 %in, %in, %x;
mul.wide.u32 %x, %t, 16;
add.s64 %out, %out, %x;
{loads}mma.sync.aligned.{shape}.row.col.{types} {{{}}}, {{{}}}, {{{}}}, {{{}}};
st.global.v4.f32 [%out], {{%d0, %d1, %d2, %d3}};
ret;
}}
",
        names("d", 4),
        names("a", na),
        names("b", nb),
        names("c", 4)
    );
    let mut bytes = vec![];
    for lane in 0..32 {
        let words = a[lane].iter().chain(&b[lane]).copied();
        let words = words.chain(c[lane].iter().map(|c| c.to_bits()));
        bytes.extend(words.flat_map(u32::to_le_bytes));
    }
    let mut memory = Memory::new();
    let (input, output) = (memory.input(&bytes), memory.output(512));
    let parameters = vec![memory.address(input).into(), memory.address(output).into()];
    let report = run(&text, &block(32, parameters), &mut memory);
    assert_clean(&report);
    assert_eq!(report.counts.tensor_ops, 1);
    floats(memory.read(output))
}

/// Row and column of accumulator register i.
fn accumulator(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + if i < 2 { 0 } else { 8 }, lane % 4 * 2 + (i & 1))
}

/// Checks one shape: `a_at` and `b_at` give (row, column) of element i of a lane, in the manual's order.
fn check(
    shape: &str,
    types: &str,
    (k, a_elements, b_elements): (usize, usize, usize),
    packs: Option<fn(f32) -> u32>,
    a_at: fn(usize, usize) -> (usize, usize),
    b_at: fn(usize, usize) -> (usize, usize),
) {
    let pack = |values: Vec<f32>| -> Vec<u32> {
        match packs {
            Some(pack) => values
                .chunks(2)
                .map(|p| pack(p[0]) | pack(p[1]) << 16)
                .collect(),
            None => values.into_iter().map(f32::to_bits).collect(),
        }
    };
    let lanes =
        |count: usize, salt: usize, at: fn(usize, usize) -> (usize, usize)| -> Vec<Vec<u32>> {
            let of = |lane| {
                let elements = (0..count).map(|i| at(lane, i));
                pack(elements.map(|(r, c)| value(r, c, salt)).collect())
            };
            (0..32).map(of).collect()
        };
    let c_of = |lane| {
        let places = (0..4).map(|i| accumulator(lane, i));
        places.map(|(r, c)| value(r, c, 5)).collect()
    };
    let c: Vec<Vec<f32>> = (0..32).map(c_of).collect();
    let found = product(
        shape,
        types,
        &lanes(a_elements, 1, a_at),
        &lanes(b_elements, 2, b_at),
        &c,
    );
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = accumulator(lane, i);
            let sum: f32 = (0..k).map(|j| value(row, j, 1) * value(j, column, 2)).sum();
            let wanted = sum + value(row, column, 5);
            assert_eq!(
                found[4 * lane + i],
                wanted,
                "{shape} {types} row {row} column {column}"
            );
        }
    }
}

#[test]
fn m16n8k16() {
    let a = |lane: usize, i: usize| {
        let row = lane / 4 + if matches!(i, 0 | 1 | 4 | 5) { 0 } else { 8 };
        (row, lane % 4 * 2 + (i & 1) + if i < 4 { 0 } else { 8 })
    };
    let b = |lane: usize, i: usize| (lane % 4 * 2 + (i & 1) + if i < 2 { 0 } else { 8 }, lane / 4);
    check(
        "m16n8k16",
        "f32.bf16.bf16.f32",
        (16, 8, 4),
        Some(bf16),
        a,
        b,
    );
    check("m16n8k16", "f32.f16.f16.f32", (16, 8, 4), Some(f16), a, b);
}

#[test]
fn m16n8k8() {
    let a = |lane: usize, i: usize| (lane / 4 + if i < 2 { 0 } else { 8 }, lane % 4 * 2 + (i & 1));
    let b = |lane: usize, i: usize| (lane % 4 * 2 + i, lane / 4);
    check("m16n8k8", "f32.bf16.bf16.f32", (8, 4, 2), Some(bf16), a, b);
    check("m16n8k8", "f32.f16.f16.f32", (8, 4, 2), Some(f16), a, b);
}

#[test]
fn tf32() {
    let a = |lane: usize, i: usize| (lane / 4 + 8 * (i % 2), lane % 4 + 4 * (i / 2));
    let b = |lane: usize, i: usize| (lane % 4 + 4 * i, lane / 4);
    check("m16n8k8", "f32.tf32.tf32.f32", (8, 4, 2), None, a, b);
    check("m16n8k4", "f32.tf32.tf32.f32", (4, 2, 1), None, a, b);
}

/// The lower 13 bits of a tf32 operand are not read, and the sum is cut, not rounded, below f32.
#[test]
fn products_are_rounded_as_documented() {
    let lanes = |value: u32, count: usize| vec![vec![value; count]; 32];
    let noisy = 1f32.to_bits() | 0x1fff;
    let found = product(
        "m16n8k8",
        "f32.tf32.tf32.f32",
        &lanes(noisy, 4),
        &lanes(1f32.to_bits(), 2),
        &vec![vec![0.0; 4]; 32],
    );
    assert!(found.iter().all(|&x| x == 8.0));
    // 8 products of 2^-26 beside a sum of 1: their sum 2^-23 is one last bit, but each is cut below 2^-25.
    let small = bf16(2f32.powi(-13));
    let found = product(
        "m16n8k8",
        "f32.bf16.bf16.f32",
        &lanes(small | small << 16, 2),
        &lanes(small | small << 16, 1),
        &vec![vec![1.0; 4]; 32],
    );
    assert!(found.iter().all(|&x| x == 1.0));
    // 8 products of 2^-25 are kept whole: 2^-22.
    let (a, b) = (bf16(2f32.powi(-13)), bf16(2f32.powi(-12)));
    let found = product(
        "m16n8k8",
        "f32.bf16.bf16.f32",
        &lanes(a | a << 16, 2),
        &lanes(b | b << 16, 1),
        &vec![vec![1.0; 4]; 32],
    );
    assert!(found.iter().all(|&x| x == 1.0 + 2.0 * f32::EPSILON));
}

/// Moves a table of 16-bit numbers through shared memory: element (r, c) of matrix m is 100 m + 10 r + c.
fn moved(instruction: &str, registers: usize) -> Vec<u32> {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 in, .param .u64 out)
{{
.reg .b32 %r<4>, %t, %s, %m;
.reg .b64 %in, %out, %x;
.shared .align 16 .b8 tile[512];
ld.param.u64 %in, [in];
ld.param.u64 %out, [out];
mov.u32 %t, %tid.x;
mul.wide.u32 %x, %t, 16;
add.s64 %in, %in, %x;
add.s64 %out, %out, %x;
ld.global.v4.b32 {{%r0, %r1, %r2, %r3}}, [%in];
mov.u32 %s, tile;
shl.b32 %m, %t, 4;
add.s32 %s, %s, %m;
st.shared.v4.b32 [%s], {{%r0, %r1, %r2, %r3}};
bar.warp.sync -1;
{instruction}
st.global.v4.b32 [%out], {{%r0, %r1, %r2, %r3}};
ret;
}}
"
    );
    let mut bytes = vec![];
    for (m, r) in (0..4u16).flat_map(|m| (0..8u16).map(move |r| (m, r))) {
        bytes.extend((0..8u16).flat_map(|c| (100 * m + 10 * r + c).to_le_bytes()));
    }
    let mut memory = Memory::new();
    let (input, output) = (memory.input(&bytes), memory.output(512));
    let parameters = vec![memory.address(input).into(), memory.address(output).into()];
    let report = run(&text, &block(32, parameters), &mut memory);
    assert_clean(&report);
    let words = crate::support::words(memory.read(output));
    words
        .chunks(4)
        .flat_map(|lane| lane[..registers].to_vec())
        .collect()
}

fn both(first: u32, second: u32) -> u32 {
    first | second << 16
}

#[test]
fn matrices_load_by_rows_and_transposed() {
    let plain = moved(
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r0, %r1, %r2, %r3}, [%s];",
        4,
    );
    let turned = moved(
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared::cta.b16 {%r0, %r1, %r2, %r3}, [%s];",
        4,
    );
    let two = moved(
        "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r0, %r1}, [%s];",
        2,
    );
    for lane in 0..32usize {
        let (i, j) = ((lane / 4) as u32, (lane % 4 * 2) as u32);
        for m in 0..4u32 {
            let at = 4 * lane + m as usize;
            assert_eq!(
                plain[at],
                both(100 * m + 10 * i + j, 100 * m + 10 * i + j + 1)
            );
            assert_eq!(
                turned[at],
                both(100 * m + 10 * j + i, 100 * m + 10 * (j + 1) + i)
            );
        }
        assert_eq!(two[2 * lane], plain[4 * lane]);
        assert_eq!(two[2 * lane + 1], plain[4 * lane + 1]);
    }
}

/// A matrix that is stored and loaded again is the same; loading what was stored transposed turns it.
#[test]
fn matrices_store_and_turn() {
    let load = "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%s];\n";
    let plain = moved(load, 1);
    let store = format!(
        "{load}bar.warp.sync -1;\nstmatrix.sync.aligned.m8n8.x1.shared.b16 [%s], {{%r0}};\nbar.warp.sync -1;\n{load}"
    );
    assert_eq!(moved(&store, 1), plain);
    let turned = moved(
        "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r0}, [%s];",
        1,
    );
    let store = store.replace("x1.shared.b16 [", "x1.trans.shared.b16 [");
    assert_eq!(moved(&store, 1), turned);
    let register = format!("{load}movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r0;");
    assert_eq!(moved(&register, 1), turned);
}
