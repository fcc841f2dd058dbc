//! One row for each instruction: operands and result by hand, from the manual's definitions.

use baton_emulator::{Launch, Memory, Module};

use crate::support::{HEADER, assert_clean, block};

/// What an operand's register is: `h` 16, `r` 32, `d` 64 bits, `p` a predicate.
fn register(class: char, name: &str) -> String {
    let ty = match class {
        'h' => "b16",
        'r' => "b32",
        'd' => "b64",
        _ => "pred",
    };
    format!(".reg .{ty} {name};\n")
}

/// Runs one instruction on one thread: `%d` is written, `%a`, `%b`, `%c` and `%e` are read.
fn result(instruction: &str, classes: &str, operands: &[u64], launch: &Launch) -> u64 {
    let mut classes = classes.chars();
    let to = classes.next().expect("a destination");
    let names = ["%a", "%b", "%c", "%e"];
    let mut body = register(to, "%d");
    body += ".reg .b64 %in, %out;\n.reg .b32 %t, %u;\nld.param.u64 %in, [in];\nld.param.u64 %out, [out];\n";
    for (i, (class, name)) in classes.zip(names).enumerate() {
        body += &register(class, name);
        body += &match class {
            'h' => format!("ld.global.b16 {name}, [%in+{}];\n", 8 * i),
            'r' => format!("ld.global.b32 {name}, [%in+{}];\n", 8 * i),
            'd' => format!("ld.global.b64 {name}, [%in+{}];\n", 8 * i),
            _ => format!(
                "ld.global.b32 %t, [%in+{}];\nsetp.ne.u32 {name}, %t, 0;\n",
                8 * i
            ),
        };
    }
    body += instruction;
    body += ";\n";
    body += match to {
        'h' => "st.global.b16 [%out], %d;\n",
        'r' => "st.global.b32 [%out], %d;\n",
        'd' => "st.global.b64 [%out], %d;\n",
        _ => "selp.u32 %u, 1, 0, %d;\nst.global.b32 [%out], %u;\n",
    };
    let text =
        format!("{HEADER}.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n{body}ret;\n}}\n");
    let mut memory = Memory::new();
    let mut bytes: Vec<u8> = operands.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes.resize(bytes.len().max(8), 0);
    let input = memory.input(&bytes);
    let output = memory.in_out(&[0; 8]);
    let launch = Launch {
        parameters: vec![memory.address(input).into(), memory.address(output).into()],
        ..launch.clone()
    };
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let kernel = module.kernel("k").expect("a kernel");
    let report = kernel.launch(&launch, &mut memory).expect("a launch");
    assert_clean(&report);
    u64::from_le_bytes(memory.read(output).try_into().expect("eight bytes"))
}

fn check(rows: &[(&str, &str, &[u64], u64)]) {
    for &(instruction, classes, operands, wanted) in rows {
        let found = result(instruction, classes, operands, &block(1, vec![]));
        assert_eq!(
            found, wanted,
            "{instruction} of {operands:x?}: found {found:#x}, wanted {wanted:#x}"
        );
    }
}

const fn f(x: f32) -> u64 {
    x.to_bits() as u64
}

const fn g(x: f64) -> u64 {
    x.to_bits()
}

const MINUS: u64 = 0xffff_ffff;

#[test]
fn integers() {
    check(&[
        ("add.s32 %d, %a, %b", "rrr", &[7, MINUS], 6),
        (
            "add.sat.s32 %d, %a, %b",
            "rrr",
            &[0x7fff_ffff, 1],
            0x7fff_ffff,
        ),
        ("add.u64 %d, %a, 5", "dd", &[u64::MAX], 4),
        ("add.s16 %d, %a, -1", "hh", &[0], 0xffff),
        ("sub.u32 %d, %a, %b", "rrr", &[3, 5], 0xffff_fffe),
        ("mul.lo.s32 %d, %a, %b", "rrr", &[0x10001, 0x10001], 0x20001),
        ("mul.hi.u32 %d, %a, %b", "rrr", &[0x8000_0000, 6], 3),
        ("mul.hi.s32 %d, %a, %b", "rrr", &[MINUS, 2], MINUS),
        ("mul.hi.u64 %d, %a, %b", "ddd", &[1 << 63, 6], 3),
        (
            "mul.wide.s32 %d, %a, %b",
            "drr",
            &[MINUS, 3],
            (-3i64) as u64,
        ),
        (
            "mul.wide.u16 %d, %a, %b",
            "rhh",
            &[0xffff, 0xffff],
            0xfffe_0001,
        ),
        ("mad.lo.s32 %d, %a, %b, %c", "rrrr", &[3, 4, 5], 17),
        (
            "mad.wide.u32 %d, %a, %b, %c",
            "drrd",
            &[MINUS, 2, 5],
            0x2_0000_0003,
        ),
        ("mad.hi.s32 %d, %a, %b, %c", "rrrr", &[0x4000_0000, 8, 1], 3),
        (
            "div.s32 %d, %a, %b",
            "rrr",
            &[(-7i32) as u32 as u64, 2],
            (-3i32) as u32 as u64,
        ),
        ("div.u32 %d, %a, %b", "rrr", &[7, 2], 3),
        (
            "rem.s32 %d, %a, %b",
            "rrr",
            &[(-7i32) as u32 as u64, 2],
            MINUS,
        ),
        ("rem.u64 %d, %a, %b", "ddd", &[17, 5], 2),
        ("min.s32 %d, %a, %b", "rrr", &[MINUS, 1], MINUS),
        ("min.u32 %d, %a, %b", "rrr", &[MINUS, 1], 1),
        ("max.s64 %d, %a, %b", "ddd", &[u64::MAX, 1], 1),
        ("neg.s32 %d, %a", "rr", &[5], (-5i32) as u32 as u64),
        ("abs.s32 %d, %a", "rr", &[MINUS], 1),
    ]);
}

#[test]
fn bits() {
    check(&[
        ("and.b32 %d, %a, %b", "rrr", &[0xff0, 0x0ff], 0x0f0),
        ("or.b64 %d, %a, %b", "ddd", &[1 << 40, 2], 1 << 40 | 2),
        ("xor.b32 %d, %a, -1", "rr", &[0xf], 0xffff_fff0),
        ("not.b16 %d, %a", "hh", &[0xf0], 0xff0f),
        ("not.pred %d, %a", "pp", &[0], 1),
        ("xor.pred %d, %a, %b", "ppp", &[1, 1], 0),
        ("cnot.b32 %d, %a", "rr", &[0], 1),
        ("shl.b32 %d, %a, %b", "rrr", &[3, 31], 0x8000_0000),
        ("shl.b32 %d, %a, %b", "rrr", &[3, 32], 0),
        ("shl.b64 %d, %a, %b", "ddr", &[3, 62], 3 << 62),
        ("shr.u32 %d, %a, %b", "rrr", &[0x8000_0000, 31], 1),
        ("shr.s32 %d, %a, %b", "rrr", &[0x8000_0000, 40], MINUS),
        ("shr.b64 %d, %a, 4", "dd", &[0x100], 0x10),
        ("bfe.u32 %d, %a, %b, %c", "rrrr", &[0xabcd_1234, 8, 8], 0x12),
        (
            "bfe.s32 %d, %a, %b, %c",
            "rrrr",
            &[0x0000_8000, 8, 8],
            0xffff_ff80,
        ),
        ("bfe.s32 %d, %a, 28, 16", "rr", &[0x8000_0000], 0xffff_fff8),
        (
            "bfe.u64 %d, %a, 32, 32",
            "dd",
            &[0x1234_5678_0000_0000],
            0x1234_5678,
        ),
        (
            "bfi.b32 %d, %a, %b, 8, 8",
            "rrr",
            &[0xab, 0xffff_ffff],
            0xffff_abff,
        ),
        (
            "bfi.b64 %d, %a, %b, 32, 32",
            "ddd",
            &[0xdead, 0xbeef],
            0xdead_0000_beef,
        ),
        ("bfind.u32 %d, %a", "rr", &[0x0010_0000], 20),
        ("bfind.u32 %d, %a", "rr", &[0], MINUS),
        ("bfind.s32 %d, %a", "rr", &[0xffff_fff0], 3),
        ("bfind.shiftamt.u32 %d, %a", "rr", &[0x0010_0000], 11),
        ("clz.b32 %d, %a", "rr", &[1], 31),
        ("clz.b64 %d, %a", "rd", &[0], 64),
        ("popc.b64 %d, %a", "rd", &[u64::MAX], 64),
        ("brev.b32 %d, %a", "rr", &[1], 0x8000_0000),
        (
            "prmt.b32 %d, %a, %b, 0x5410",
            "rrr",
            &[0x1111_2222, 0x3333_4444],
            0x4444_2222,
        ),
        (
            "prmt.b32 %d, %a, %b, 0x7632",
            "rrr",
            &[0x1111_2222, 0x3333_4444],
            0x3333_1111,
        ),
        (
            "prmt.b32 %d, %a, %b, 0xba98",
            "rrr",
            &[0x80ff_007f, 0],
            0xffff_0000,
        ),
        (
            "prmt.b32.f4e %d, %a, %b, 1",
            "rrr",
            &[0x4433_2211, 0x8877_6655],
            0x5544_3322,
        ),
        (
            "prmt.b32.b4e %d, %a, %b, 1",
            "rrr",
            &[0x4433_2211, 0x8877_6655],
            0x7788_1122,
        ),
        (
            "prmt.b32.rc16 %d, %a, %b, 1",
            "rrr",
            &[0x4433_2211, 0],
            0x4433_4433,
        ),
        (
            "lop3.b32 %d, %a, %b, %c, 0x96",
            "rrrr",
            &[0xf0, 0xcc, 0xaa],
            0x96,
        ),
        (
            "lop3.b32 %d, %a, %b, %c, 0xe8",
            "rrrr",
            &[0xf0, 0xcc, 0xaa],
            0xe8,
        ),
        (
            "shf.l.wrap.b32 %d, %a, %b, 8",
            "rrr",
            &[0xaabb_ccdd, 0x1122_3344],
            0x2233_44aa,
        ),
        (
            "shf.r.clamp.b32 %d, %a, %b, 40",
            "rrr",
            &[0xaabb_ccdd, 0x1122_3344],
            0x1122_3344,
        ),
        (
            "mov.b32 %d, {%a, %b}",
            "rhh",
            &[0x1234, 0xabcd],
            0xabcd_1234,
        ),
        (
            "mov.b64 {%d, _}, %a",
            "rd",
            &[0x1111_2222_3333_4444],
            0x3333_4444,
        ),
        (
            "mov.b64 {_, %d}, %a",
            "rd",
            &[0x1111_2222_3333_4444],
            0x1111_2222,
        ),
    ]);
}

#[test]
fn comparisons() {
    let nan = f(f32::NAN);
    check(&[
        ("setp.lt.s32 %d, %a, %b", "prr", &[MINUS, 1], 1),
        ("setp.lt.u32 %d, %a, %b", "prr", &[MINUS, 1], 0),
        ("setp.hi.u32 %d, %a, %b", "prr", &[MINUS, 1], 1),
        ("setp.ge.s64 %d, %a, %b", "pdd", &[u64::MAX, 0], 0),
        ("setp.eq.b16 %d, %a, %b", "phh", &[3, 3], 1),
        ("setp.eq.f32 %d, %a, %b", "prr", &[f(0.0), f(-0.0)], 1),
        ("setp.ne.f32 %d, %a, %b", "prr", &[nan, f(1.0)], 0),
        ("setp.neu.f32 %d, %a, %b", "prr", &[nan, f(1.0)], 1),
        ("setp.ltu.f32 %d, %a, %b", "prr", &[nan, f(1.0)], 1),
        ("setp.lt.f32 %d, %a, %b", "prr", &[nan, f(1.0)], 0),
        ("setp.num.f32 %d, %a, %b", "prr", &[f(2.0), f(1.0)], 1),
        ("setp.nan.f32 %d, %a, %b", "prr", &[f(2.0), nan], 1),
        ("setp.eq.ftz.f32 %d, %a, %b", "prr", &[1, 0], 1),
        ("setp.gt.f64 %d, %a, %b", "pdd", &[g(2.0), g(1.0)], 1),
        ("setp.gt.f16 %d, %a, %b", "phh", &[0x4000, 0x3c00], 1),
        ("setp.lt.and.s32 %d, %a, %b, %c", "prrp", &[1, 2, 0], 0),
        ("setp.lt.or.s32 %d, %a, %b, !%c", "prrp", &[2, 1, 0], 1),
        ("setp.lt.s32 _|%d, %a, %b", "prr", &[1, 2], 0),
        ("set.lt.u32.s32 %d, %a, %b", "rrr", &[1, 2], MINUS),
        (
            "set.ge.f32.f32 %d, %a, %b",
            "rrr",
            &[f(1.0), f(1.0)],
            f(1.0),
        ),
        ("selp.b32 %d, %a, %b, %c", "rrrp", &[5, 6, 0], 6),
        ("slct.u32.s32 %d, %a, %b, %c", "rrrr", &[5, 6, MINUS], 6),
        ("testp.infinite.f32 %d, %a", "pr", &[f(f32::INFINITY)], 1),
    ]);
}

#[test]
fn floats() {
    check(&[
        ("add.f32 %d, %a, %b", "rrr", &[f(1.5), f(2.25)], f(3.75)),
        ("add.rz.f32 %d, %a, %b", "rrr", &[f(1.0), f(1e-10)], f(1.0)),
        (
            "add.rp.f32 %d, %a, %b",
            "rrr",
            &[f(1.0), f(1e-10)],
            f(1.0 + f32::EPSILON),
        ),
        (
            "add.rm.f32 %d, %a, %b",
            "rrr",
            &[f(-1.0), f(-1e-10)],
            f(-1.0 - f32::EPSILON),
        ),
        ("sub.f64 %d, %a, %b", "ddd", &[g(1.0), g(0.25)], g(0.75)),
        ("mul.f32 %d, %a, 0f40000000", "rr", &[f(1.5)], f(3.0)),
        ("mul.ftz.f32 %d, %a, %b", "rrr", &[f(1e-30), f(1e-10)], 0),
        (
            "mul.f32 %d, %a, %b",
            "rrr",
            &[f(1e-30), f(1e-10)],
            f(1e-30 * 1e-10),
        ),
        ("add.sat.f32 %d, %a, %b", "rrr", &[f(1.0), f(1.0)], f(1.0)),
        (
            "fma.rn.f32 %d, %a, %b, %c",
            "rrrr",
            &[f(1.0 + f32::EPSILON), f(1.0 - f32::EPSILON), f(-1.0)],
            f(-(f32::EPSILON * f32::EPSILON)),
        ),
        (
            "fma.rm.f32 %d, %a, %b, %c",
            "rrrr",
            &[f(1.0), f(1e-20), f(-1.0)],
            f(-1.0),
        ),
        (
            "fma.rp.f32 %d, %a, %b, %c",
            "rrrr",
            &[f(1.0), f(1e-20), f(1.0)],
            f(1.0 + f32::EPSILON),
        ),
        (
            "fma.rn.f64 %d, %a, %b, %c",
            "dddd",
            &[g(3.0), g(4.0), g(5.0)],
            g(17.0),
        ),
        (
            "div.rn.f32 %d, %a, %b",
            "rrr",
            &[f(1.0), f(3.0)],
            f(1.0 / 3.0),
        ),
        (
            "div.rz.f32 %d, %a, %b",
            "rrr",
            &[f(2.0), f(3.0)],
            0x3f2a_aaaa,
        ),
        ("div.full.f32 %d, %a, %b", "rrr", &[f(1.0), f(4.0)], f(0.25)),
        ("rcp.rn.f32 %d, %a", "rr", &[f(8.0)], f(0.125)),
        ("sqrt.rn.f32 %d, %a", "rr", &[f(2.0)], f(2f32.sqrt())),
        ("sqrt.rp.f32 %d, %a", "rr", &[f(2.0)], 0x3fb5_04f4),
        ("rsqrt.approx.f32 %d, %a", "rr", &[f(16.0)], f(0.25)),
        ("ex2.approx.ftz.f32 %d, %a", "rr", &[f(-3.0)], f(0.125)),
        ("ex2.approx.ftz.f32 %d, %a", "rr", &[f(-130.0)], 0),
        ("ex2.approx.f32 %d, %a", "rr", &[f(f32::NEG_INFINITY)], 0),
        ("ex2.approx.f16 %d, %a", "hh", &[0x3c00], 0x4000),
        ("ex2.approx.ftz.bf16 %d, %a", "hh", &[0x4000], 0x4080),
        ("lg2.approx.f32 %d, %a", "rr", &[f(8.0)], f(3.0)),
        (
            "lg2.approx.f32 %d, %a",
            "rr",
            &[f(0.0)],
            f(f32::NEG_INFINITY),
        ),
        ("sin.approx.f32 %d, %a", "rr", &[f(0.0)], f(0.0)),
        ("cos.approx.f32 %d, %a", "rr", &[f(0.0)], f(1.0)),
        ("tanh.approx.f32 %d, %a", "rr", &[f(100.0)], f(1.0)),
        ("min.f32 %d, %a, %b", "rrr", &[f(f32::NAN), f(1.0)], f(1.0)),
        ("min.f32 %d, %a, %b", "rrr", &[f(0.0), f(-0.0)], f(-0.0)),
        (
            "max.NaN.f32 %d, %a, %b",
            "rrr",
            &[f(f32::NAN), f(1.0)],
            0x7fff_ffff,
        ),
        ("neg.f32 %d, %a", "rr", &[f(0.0)], f(-0.0)),
        ("abs.f64 %d, %a", "dd", &[g(-2.0)], g(2.0)),
        (
            "copysign.f32 %d, %a, %b",
            "rrr",
            &[f(-1.0), f(3.0)],
            f(-3.0),
        ),
    ]);
}

#[test]
fn halves() {
    check(&[
        ("add.f16 %d, %a, %b", "hhh", &[0x3c00, 0x3c00], 0x4000),
        (
            "mul.f16x2 %d, %a, %b",
            "rrr",
            &[0x4000_3c00, 0x4200_4000],
            0x4600_4000,
        ),
        (
            "fma.rn.f16 %d, %a, %b, %c",
            "hhhh",
            &[0x3c01, 0x3c01, 0xbc01],
            0x1401,
        ),
        (
            "fma.rn.bf16 %d, %a, %b, %c",
            "hhhh",
            &[0x4000, 0x4040, 0x3f80],
            0x40e0,
        ),
        (
            "fma.rn.relu.bf16x2 %d, %a, %b, %c",
            "rrrr",
            &[0x4000_bf80, 0x4040_3f80, 0],
            0x40c0_0000,
        ),
        (
            "max.bf16x2 %d, %a, %b",
            "rrr",
            &[0x3f80_c000, 0x4000_bf80],
            0x4000_bf80,
        ),
        ("neg.bf16 %d, %a", "hh", &[0x3f80], 0xbf80),
        ("abs.f16x2 %d, %a", "rr", &[0xbc00_c000], 0x3c00_4000),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("cvt.rn.bf16.f32 %d, %a", "hr", &[0x3f80_8000], 0x3f80),
        ("cvt.rn.bf16.f32 %d, %a", "hr", &[0x3f81_8000], 0x3f82),
        ("cvt.rz.bf16.f32 %d, %a", "hr", &[0x3f81_ffff], 0x3f81),
        ("cvt.rn.relu.bf16.f32 %d, %a", "hr", &[f(-1.0)], 0),
        (
            "cvt.rn.bf16x2.f32 %d, %a, %b",
            "rrr",
            &[f(1.0), f(2.0)],
            0x3f80_4000,
        ),
        (
            "cvt.rn.f16x2.f32 %d, %a, %b",
            "rrr",
            &[f(1.0), f(-2.0)],
            0x3c00_c000,
        ),
        ("cvt.rn.f16.f32 %d, %a", "hr", &[f(65520.0)], 0x7c00),
        ("cvt.rz.f16.f32 %d, %a", "hr", &[f(65520.0)], 0x7bff),
        ("cvt.rn.f16.f32 %d, %a", "hr", &[f(5.9604645e-8)], 1),
        ("cvt.rn.f16.f32 %d, %a", "hr", &[f(2.9802322e-8)], 0),
        ("cvt.f32.f16 %d, %a", "rh", &[1], f(5.9604645e-8)),
        ("cvt.f32.bf16 %d, %a", "rh", &[0x3fc0], f(1.5)),
        ("cvt.rna.tf32.f32 %d, %a", "rr", &[0x3f80_1000], 0x3f80_2000),
        ("cvt.rn.tf32.f32 %d, %a", "rr", &[0x3f80_1000], 0x3f80_0000),
        ("cvt.rn.f32.s32 %d, %a", "rr", &[MINUS], f(-1.0)),
        ("cvt.rn.f32.u32 %d, %a", "rr", &[0x0100_0001], f(16777216.0)),
        ("cvt.rp.f32.u32 %d, %a", "rr", &[0x0100_0001], f(16777218.0)),
        ("cvt.rz.f32.u64 %d, %a", "rd", &[u64::MAX], 0x5f7f_ffff),
        ("cvt.rn.f64.s64 %d, %a", "dd", &[u64::MAX], g(-1.0)),
        (
            "cvt.rzi.s32.f32 %d, %a",
            "rr",
            &[f(-2.7)],
            (-2i32) as u32 as u64,
        ),
        ("cvt.rni.s32.f32 %d, %a", "rr", &[f(2.5)], 2),
        (
            "cvt.rmi.s32.f32 %d, %a",
            "rr",
            &[f(-2.1)],
            (-3i32) as u32 as u64,
        ),
        ("cvt.rzi.u32.f32 %d, %a", "rr", &[f(-1.0)], 0),
        ("cvt.rzi.s32.f32 %d, %a", "rr", &[f(1e20)], 0x7fff_ffff),
        ("cvt.rzi.s64.f64 %d, %a", "dd", &[g(-1e30)], 1 << 63),
        ("cvt.rzi.s32.f32 %d, %a", "rr", &[f(f32::NAN)], 0),
        ("cvt.rni.f32.f32 %d, %a", "rr", &[f(3.5)], f(4.0)),
        ("cvt.sat.f32.f32 %d, %a", "rr", &[f(3.5)], f(1.0)),
        ("cvt.rn.f32.f64 %d, %a", "rd", &[g(0.1)], f(0.1)),
        ("cvt.f64.f32 %d, %a", "dr", &[f(0.5)], g(0.5)),
        ("cvt.s64.s32 %d, %a", "dr", &[MINUS], u64::MAX),
        ("cvt.u64.u32 %d, %a", "dr", &[MINUS], MINUS),
        ("cvt.s32.s8 %d, %a", "rr", &[0x80], 0xffff_ff80),
        ("cvt.u32.u8 %d, %a", "rr", &[0x180], 0x80),
        ("cvt.u16.u32 %d, %a", "hr", &[0x12345], 0x2345),
        ("cvt.sat.u8.s32 %d, %a", "rr", &[300], 255),
        (
            "cvt.sat.s8.s32 %d, %a",
            "rr",
            &[(-300i32) as u32 as u64],
            0xffff_ff80,
        ),
        ("cvt.u32.u64 %d, %a", "rd", &[0x1_0000_0002], 2),
    ]);
}

#[test]
fn approximations_move_within_their_error_on_request() {
    let launch = Launch {
        approximation_errors: true,
        ..block(1, vec![])
    };
    let rows = [
        (
            "ex2.approx.ftz.f32 %d, %a",
            0.7f32,
            0.7f64.exp2(),
            2f64.powi(-22),
        ),
        ("rcp.approx.ftz.f32 %d, %a", 3.0, 1.0 / 3.0, 2f64.powi(-22)),
        (
            "rsqrt.approx.f32 %d, %a",
            3.0,
            3f64.sqrt().recip(),
            2f64.powi(-22),
        ),
        ("lg2.approx.f32 %d, %a", 3.0, 3f64.log2(), 2f64.powi(-21)),
        ("tanh.approx.f32 %d, %a", 0.5, 0.5f64.tanh(), 2f64.powi(-10)),
    ];
    for (instruction, x, exact, bound) in rows {
        let found = |launch: &Launch| {
            let bits = result(instruction, "rr", &[f(x)], launch) as u32;
            f64::from(f32::from_bits(bits))
        };
        let (plain, moved) = (found(&block(1, vec![])), found(&launch));
        let exact = if instruction.starts_with("ex2") {
            f64::from(x).exp2()
        } else {
            exact
        };
        assert!(
            (plain / exact - 1.0).abs() < 2f64.powi(-24),
            "{instruction}: {plain}"
        );
        assert!(
            (moved / exact - 1.0).abs() < bound,
            "{instruction}: {moved}"
        );
        assert_ne!(plain, moved, "{instruction}");
        assert_eq!(
            moved,
            found(&launch),
            "{instruction} is a function of its input"
        );
    }
}
