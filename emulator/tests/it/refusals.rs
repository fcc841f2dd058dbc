//! What is not known or not well-formed is refused with its line, and no text makes the parser panic.

use baton_emulator::{Launch, Memory, Module, Parameter};

use crate::support::{HEADER, block};

fn error(body: &str) -> String {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 out)\n{{\n.reg .b32 %r<4>;\n.reg .b64 %x;\n.reg .pred %p;\n{body}\nret;\n}}\n"
    );
    let error = Module::parse(&text).expect_err(body);
    assert_eq!(error.line, Some(9), "{error}");
    error.to_string()
}

#[test]
fn unknown_instructions_are_named() {
    for instruction in [
        "wgmma.fence.sync.aligned",
        "txq.width.b32 %r0, [%x]",
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%r0}, {%r1}, {%r2}, {%r3}",
        "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r0, %r0}, {%r1}, {%r2}, {%r3}",
        "cp.async.bulk.commit_group",
        "add.f32.rzz %r0, %r1, %r2",
        "ld.global.v3.u32 {%r0, %r1, %r2}, [%x]",
        "cvt.rn.satfinite.e4m3x2.f32 %r0, %r1, %r2",
        "shl.s32 %r0, %r1, 1",
        "bar.cluster.sync",
        "fence.proxy.async",
        "vadd.s32.s32.s32 %r0, %r1, %r2",
    ] {
        let name = instruction.split(' ').next().expect("a mnemonic");
        let message = error(&format!("{instruction};"));
        assert!(
            message.contains(&format!("`{name}` is not known")),
            "{message}"
        );
    }
}

#[test]
fn malformed_bodies_are_named() {
    for (body, wanted) in [
        ("add.u32 %r0, %r1;", "takes 3 operands, found 2"),
        ("add.u32 %r0, %r1, %r9;", "`%r9` is not declared"),
        (
            ".reg .b32 %s<2>; add.u32 %r0, %r1, %s4294967295;",
            "`%s4294967295` is not declared",
        ),
        ("add.u32 %q0, %r1, %r1;", "`%q0` is no register"),
        ("@%r1 add.u32 %r0, %r1, %r1;", "`%r1` is no predicate"),
        ("bra NOWHERE;", "label `NOWHERE` is placed nowhere"),
        ("call f;", "`f` is no function"),
        ("cvt.s32.f32 %r0, %r1;", "needs a rounding modifier"),
        (
            "cp.async.cg.shared.global [%r0], [%x], 8;",
            "copies [16] bytes, found 8",
        ),
        ("ld.global.u64 %r0, [%x];", "narrower"),
        ("lop3.b32 %r0, %r1, %r2, %r3, 256;", "table from 0 to 255"),
        ("add.u32 %r0, %p, 1;", "`%p` is a predicate"),
        (".tex .u32 x;", "`.tex`"),
    ] {
        let message = error(body);
        assert!(message.contains(wanted), "{body}: {message}");
    }
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 a, .param .u32 b) .reqntid 64, 1, 1 {{ ret; }}"
    );
    let module = Module::parse(&text).expect("a module");
    let kernel = module.kernel("k").expect("a kernel");
    let message = |launch: &Launch| {
        let error = kernel.launch(launch, &mut Memory::new());
        error.expect_err("a refusal").to_string()
    };
    let both: Vec<Parameter> = vec![1u64.into(), 2u32.into()];
    assert!(message(&block(64, vec![1u64.into()])).contains("takes 2 parameters, not 1"));
    assert!(message(&block(64, vec![1u64.into(), 2u64.into()])).contains("`b` has 4 bytes, not 8"));
    assert!(message(&block(32, both.clone())).contains("requires blocks of [64, 1, 1]"));
    assert!(message(&block(2048, both.clone())).contains("1 to 1024 threads"));
    let large = Launch {
        dynamic_shared: 1 << 20,
        ..block(64, both)
    };
    assert!(message(&large).contains("shared memory"));
    assert!(
        module
            .kernel("q")
            .expect_err("no q")
            .to_string()
            .contains("no kernel `q`")
    );
}

/// Every prefix of a real module, and the module with bytes changed, gives an answer.
#[test]
fn no_text_makes_the_parser_panic() {
    let text = include_str!("../nvrtc/flow.ptx");
    for end in (0..text.len()).step_by(7) {
        if text.is_char_boundary(end) {
            let _ = Module::parse(&text[..end]);
        }
    }
    let signs = b"{}[]();,.:%$@!<>0x9 \n\"/*-+|aR_";
    let mut state = 1u64;
    for _ in 0..3000 {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..3 {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = signs[(state >> 20) as usize % signs.len()];
        }
        let _ = Module::parse(&String::from_utf8_lossy(&bytes));
    }
}
