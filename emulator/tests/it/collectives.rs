//! Values that lanes and warps exchange, lane by lane against the manual's pseudo-code.

use baton_emulator::Memory;

use crate::support::{HEADER, assert_clean, block, run, words};

/// `%d` of every thread, from its number `%t`.
fn lanes(body: &str, threads: u32) -> Vec<u32> {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 out)
{{
.reg .b32 %d, %t, %r<8>;
.reg .b64 %out, %x;
.reg .pred %p<4>;
.shared .align 4 .b32 total;
ld.param.u64 %out, [out];
mov.u32 %t, %tid.x;
mul.wide.u32 %x, %t, 4;
add.s64 %out, %out, %x;
{body}
st.global.b32 [%out], %d;
ret;
}}
"
    );
    let mut memory = Memory::new();
    let output = memory.output(4 * threads as usize);
    let parameters = vec![memory.address(output).into()];
    let report = run(&text, &block(threads, parameters), &mut memory);
    assert_clean(&report);
    words(memory.read(output))
}

fn check(body: &str, wanted: impl Fn(u32) -> u32) {
    let found = lanes(body, 32);
    let wanted: Vec<u32> = (0..32).map(wanted).collect();
    assert_eq!(found, wanted, "{body}");
}

#[test]
fn shuffles() {
    check("shfl.sync.bfly.b32 %d, %t, 5, 0x1f, -1;", |t| t ^ 5);
    check("shfl.sync.up.b32 %d, %t, 3, 0, -1;", |t| {
        if t < 3 { t } else { t - 3 }
    });
    check("shfl.sync.down.b32 %d, %t, 3, 0x1f, -1;", |t| {
        if t > 28 { t } else { t + 3 }
    });
    check("shfl.sync.idx.b32 %d, %t, 7, 0x1f, -1;", |_| 7);
    // Segments of eight lanes: the mask 0x18 in the upper part of c.
    check("shfl.sync.idx.b32 %d, %t, 2, 0x181f, -1;", |t| {
        t / 8 * 8 + 2
    });
    check(
        "shfl.sync.down.b32 %d|%p0, %t, 2, 0x1807, -1;\nselp.u32 %d, %d, 99, %p0;",
        |t| {
            if t % 8 + 2 < 8 { t + 2 } else { 99 }
        },
    );
}

#[test]
fn votes_and_masks() {
    check(
        "setp.lt.u32 %p0, %t, 4;\nvote.sync.ballot.b32 %d, %p0, -1;",
        |_| 0xf,
    );
    check(
        "setp.lt.u32 %p0, %t, 4;\nvote.sync.any.pred %p1, %p0, -1;\nselp.u32 %d, 1, 0, %p1;",
        |_| 1,
    );
    check(
        "setp.lt.u32 %p0, %t, 4;\nvote.sync.all.pred %p1, %p0, -1;\nselp.u32 %d, 1, 0, %p1;",
        |_| 0,
    );
    check(
        "setp.lt.u32 %p0, %t, 40;\nvote.sync.uni.pred %p1, !%p0, -1;\nselp.u32 %d, 1, 0, %p1;",
        |_| 1,
    );
    check(
        "mov.b32 %d, 0;\nsetp.lt.u32 %p0, %t, 8;\n@%p0 activemask.b32 %d;",
        |t| {
            if t < 8 { 0xff } else { 0 }
        },
    );
    check("elect.sync %r1|%p0, -1;\nselp.u32 %d, 1, 0, %p0;", |t| {
        u32::from(t == 0)
    });
    check("mov.u32 %d, %lanemask_lt;", |t| (1 << t) - 1);
    check(
        "shr.u32 %r1, %t, 3;\nmatch.any.sync.b32 %d, %r1, -1;",
        |t| 0xff << (t / 8 * 8),
    );
}

#[test]
fn reductions() {
    check("redux.sync.add.u32 %d, %t, -1;", |_| 496);
    check("neg.s32 %r1, %t;\nredux.sync.min.s32 %d, %r1, -1;", |_| {
        (-31i32) as u32
    });
    check("redux.sync.xor.b32 %d, %t, -1;", |_| 0);
    let found = lanes(
        "setp.eq.u32 %p0, %t, 50;\nbar.red.popc.u32 %d, 0, !%p0;\nbar.red.or.pred %p1, 0, %p0;\n@%p1 add.u32 %d, %d, 100;",
        64,
    );
    assert_eq!(found, vec![163; 64]);
}

#[test]
fn atomics() {
    let found = lanes(
        "setp.eq.u32 %p0, %t, 0;\n@%p0 st.shared.b32 [total], 0;\nbar.sync 0;\natom.shared.add.u32 %r1, [total], %t;\nred.shared.max.s32 [total], -5;\nbar.sync 0;\nld.shared.b32 %d, [total];",
        64,
    );
    assert_eq!(found, vec![2016; 64]);
    check(
        "setp.eq.u32 %p0, %t, 0;\n@%p0 st.shared.b32 [total], 3;\nbar.sync 0;\natom.shared.inc.u32 %d, [total], 5;",
        |t| (t + 3) % 6,
    );
    check(
        "setp.eq.u32 %p0, %t, 0;\n@%p0 st.shared.b32 [total], 0;\nbar.sync 0;\natom.shared.cas.b32 %d, [total], %t, 7;",
        |t| if t == 0 { 0 } else { 7 },
    );
}

/// Loops of different lengths, an early exit and a jump table: every lane gets its own result.
#[test]
fn divergence() {
    check(
        "mov.u32 %d, 0;\nmov.u32 %r1, 0;\nLOOP:\nsetp.ge.u32 %p0, %r1, %t;\n@%p0 bra DONE;\nadd.u32 %r1, %r1, 1;\nand.b32 %r2, %r1, 1;\nsetp.eq.u32 %p1, %r2, 0;\n@%p1 bra LOOP;\nadd.u32 %d, %d, %r1;\nbra LOOP;\nDONE:",
        |t| (0..=t).filter(|i| i % 2 == 1).sum(),
    );
    check(
        "and.b32 %r1, %t, 3;\nLIST: .branchtargets A, B, C, A;\nbrx.idx %r1, LIST;\nA:\nmov.u32 %d, 10;\nbra DONE;\nB:\nmov.u32 %d, 20;\nC:\nmov.u32 %d, 30;\nDONE:\nadd.u32 %d, %d, 1;",
        |t| [11, 31, 31, 11][t as usize % 4],
    );
}
