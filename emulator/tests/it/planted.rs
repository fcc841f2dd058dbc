//! Planted bugs: each row is a kernel that is right, and one change that makes it wrong in a known way.
//!
//! `//!` marks the line that must be found.

use baton_emulator::{Kind, Launch, Memory, Module, Report};

use crate::support::{HEADER, assert_clean, block};

struct Plant {
    kind: Kind,
    body: &'static str,
    from: &'static str,
    to: &'static str,
    thread: u32,
}

/// 64 threads; `%i` and `%o` point to a thread's word of the input and of the in-out buffer, `%y` to its word
/// of the output, `%s` to its word of shared memory.
const PRELUDE: &str = "\
.reg .b16 %h<4>;
.reg .b32 %r<40>, %t, %s, %lane, %l;
.reg .b64 %i, %o, %y, %x<4>;
.reg .f32 %f<20>;
.reg .pred %p<4>;
.shared .align 16 .b8 tile[2048];
.local .align 16 .b8 own[16];
ld.param.u64 %i, [in];
ld.param.u64 %o, [both];
ld.param.u64 %y, [out];
mov.u32 %t, %tid.x;
mov.u32 %lane, %laneid;
mul.wide.u32 %x0, %t, 4;
add.s64 %i, %i, %x0;
add.s64 %o, %o, %x0;
add.s64 %y, %y, %x0;
mov.u32 %s, tile;
shl.b32 %r0, %t, 2;
add.s32 %s, %s, %r0;
mov.u32 %l, own;
";

fn text(body: &str) -> String {
    format!(
        "{HEADER}.visible .entry k(.param .u64 in, .param .u64 both, .param .u64 out)\n{{\n{PRELUDE}{body}\nret;\n}}\n"
    )
}

fn run(text: &str, blocks: u32, seed: u64) -> Report {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut memory = Memory::new();
    let bytes: Vec<u8> = (0..64u32).flat_map(u32::to_le_bytes).collect();
    let buffers = [
        memory.input(&bytes),
        memory.in_out(&bytes),
        memory.output(256),
    ];
    let launch = Launch {
        grid: [blocks, 1, 1],
        schedule_seed: seed,
        budget: 100_000,
        ..block(64, buffers.map(|b| memory.address(b).into()).to_vec())
    };
    let kernel = module.kernel("k").expect("a kernel");
    kernel.launch(&launch, &mut memory).expect("a launch")
}

/// The right kernel is clean and the wrong one is found, under every schedule.
fn check(plants: &[Plant]) {
    check_grid(plants, 1);
}

fn check_grid(plants: &[Plant], blocks: u32) {
    for plant in plants {
        let right = text(plant.body);
        assert!(plant.body.contains(plant.from), "{}", plant.from);
        let wrong = text(&plant.body.replace(plant.from, plant.to));
        let marked = wrong.lines().position(|line| line.contains("//!"));
        let line = marked.expect("a marked line") as u32 + 1;
        for seed in 0..4 {
            if plant.from != plant.to {
                assert_clean(&run(&right, blocks, seed));
            }
            let report = run(&wrong, blocks, seed);
            let found = report.findings.iter().find(|f| f.kind == plant.kind);
            let found = found.unwrap_or_else(|| {
                panic!(
                    "no {:?} among {:?} of\n{wrong}",
                    plant.kind, report.findings
                )
            });
            // Of a race either access may come second; the finding names both.
            let race = matches!(plant.kind, Kind::Race | Kind::BlockRace);
            let named = race && found.message.contains(&format!("in line {line},"));
            assert!(
                found.line == line || named,
                "line {line}: {found} of\n{wrong}"
            );
            assert_eq!(found.kernel, "k");
            if seed == 0 {
                assert_eq!(found.thread, [plant.thread, 0, 0], "{found} of\n{wrong}");
            }
        }
    }
}

#[test]
fn addresses() {
    check(&[
        Plant {
            kind: Kind::OutOfBounds,
            body: "ld.global.u32 %r1, [%i]; //!\nst.global.u32 [%y], %r1;",
            from: "[%i]",
            to: "[%i+252]",
            thread: 1,
        },
        Plant {
            kind: Kind::OutOfBounds,
            body: "st.shared.u32 [%s+1792], %t; //!",
            from: "1792",
            to: "1800",
            thread: 62,
        },
        Plant {
            kind: Kind::OutOfBounds,
            body: "st.local.u32 [%l+12], %t; //!",
            from: "12",
            to: "16",
            thread: 0,
        },
        Plant {
            kind: Kind::OutOfBounds,
            body: "ld.param.u64 %x1, [in+16]; //!",
            from: "16",
            to: "24",
            thread: 0,
        },
        Plant {
            kind: Kind::Misaligned,
            body: "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p0, %r1, 0;\n@%p0 ld.global.v2.u32 {%r1, %r2}, [%i]; //!",
            from: "@%p0",
            to: "",
            thread: 1,
        },
        Plant {
            kind: Kind::Misaligned,
            body: "st.shared.b16 [%s+2], 0; //!",
            from: "+2",
            to: "+1",
            thread: 0,
        },
        Plant {
            kind: Kind::ReadOnly,
            body: "st.global.u32 [%o], %t; //!",
            from: "[%o]",
            to: "[%i]",
            thread: 0,
        },
    ]);
}

#[test]
fn unwritten_values() {
    check(&[
        Plant {
            kind: Kind::Unwritten,
            body: "mov.u32 %r1, 1;\nadd.u32 %r2, %r1, 1; //!",
            from: "mov.u32 %r1",
            to: "mov.u32 %r3",
            thread: 0,
        },
        Plant {
            kind: Kind::Unwritten,
            body: "st.shared.u32 [%s], %t;\nld.shared.u32 %r1, [%s];\nadd.u32 %r2, %r1, 1; //!",
            from: "[%s], %t",
            to: "[%s+1024], %t",
            thread: 0,
        },
        Plant {
            kind: Kind::Unwritten,
            body: "st.global.u32 [%y], %t;\nld.global.u32 %r1, [%y];\nst.global.u32 [%o], %r1; //!",
            from: "st.global.u32 [%y], %t;",
            to: "",
            thread: 0,
        },
        Plant {
            kind: Kind::Unwritten,
            body: "setp.lt.u32 %p1, %t, 100;\nmov.u32 %r1, 3;\n@%p1 mov.u32 %r1, 5;\n@%p1 add.u32 %r1, %r1, 1; //!",
            from: "setp.lt.u32 %p1, %t, 100;\nmov.u32 %r1, 3;\n@%p1 mov.u32 %r1, 5;",
            to: "setp.gt.u32 %p1, %t, 9;\nsetp.gt.u32 %p2, %t, 40;\n@%p2 mov.u32 %r1, 5;",
            thread: 10,
        },
        Plant {
            kind: Kind::Unwritten,
            body: "setp.lt.u32 %p1, %t, 5;\n@%p1 bra END; //!\nEND:",
            from: "@%p1",
            to: "@%p2",
            thread: 0,
        },
        Plant {
            kind: Kind::Unwritten,
            body: "st.local.u16 [%l+2], 0;\nst.local.u16 [%l], 0;\nld.local.u32 %r1, [%l];\nadd.u32 %r1, %r1, 1; //!",
            from: "st.local.u16 [%l], 0;",
            to: "",
            thread: 0,
        },
    ]);
}

/// Padding that nothing wrote may be copied through registers, shared memory and asynchronous copies.
#[test]
fn unwritten_padding_may_be_moved() {
    let body = "ld.shared.v2.u32 {%r1, %r2}, [tile];
mov.u32 %r3, %r2;
st.local.v2.u32 [%l], {%r1, %r3};
mov.b32 {%h0, %h1}, %r3;
shl.b32 %r4, %t, 4;
mov.u32 %r5, tile;
add.s32 %r4, %r4, %r5;
st.shared.u16 [%r4+1024], %h0;";
    assert_clean(&run(&text(body), 1, 0));
}

#[test]
fn races_within_a_block() {
    let exchange = "st.shared.u32 [%s], %t;\nbar.sync 0;\nxor.b32 %r1, %r0, 128;\nmov.u32 %r2, tile;\nadd.s32 %r2, %r2, %r1;\nld.shared.u32 %r3, [%r2]; //!\nbar.sync 0;\nst.shared.u32 [%s], %r3;";
    let twice = "ld.shared.u32 %r3, [tile];\nbar.sync 0;\nsetp.eq.u32 %p0, %t, 33;\n@%p0 st.shared.u32 [tile], %t; //!";
    let neighbours = "st.shared.u32 [%s], %t;\nbar.warp.sync 0xffffffff;\nxor.b32 %r1, %r0, 4;\nmov.u32 %r2, tile;\nadd.s32 %r2, %r2, %r1;\nld.shared.u32 %r3, [%r2]; //!";
    check(&[
        Plant {
            kind: Kind::Race,
            body: exchange,
            from: "bar.sync 0;\nxor",
            to: "xor",
            thread: 32,
        },
        Plant {
            kind: Kind::Race,
            body: twice,
            from: "bar.sync 0;",
            to: "",
            thread: 33,
        },
        Plant {
            kind: Kind::Race,
            body: neighbours,
            from: "bar.warp.sync 0xffffffff;",
            to: "",
            thread: 0,
        },
        Plant {
            kind: Kind::Race,
            body: "st.shared.u32 [%s], %t; //!",
            from: "[%s]",
            to: "[tile]",
            thread: 1,
        },
        Plant {
            kind: Kind::Race,
            body: "st.global.u32 [%o], %t;\nbar.sync 0;\nxor.b32 %r1, %r0, 128;\nld.param.u64 %x1, [both];\ncvt.u64.u32 %x2, %r1;\nadd.s64 %x1, %x1, %x2;\nld.global.u32 %r2, [%x1]; //!",
            from: "bar.sync 0;",
            to: "",
            thread: 32,
        },
        Plant {
            kind: Kind::Race,
            body: "st.shared.u32 [%s], 0;\nbar.sync 0;\natom.shared.add.u32 %r1, [tile], 1; //!",
            from: "bar.sync 0;",
            to: "",
            thread: 1,
        },
    ]);
}

/// Warp 0 hands a word to warp 1 through barrier 1, and gets leave to overwrite it through barrier 2.
#[test]
fn named_barriers_order_their_members() {
    let ring = "mov.u32 %r9, 0;
setp.lt.u32 %p0, %t, 32;
@%p0 bra PRODUCER;
CONSUMER:
bar.sync 1, 64;
ld.shared.u32 %r1, [%s+-128];
bar.arrive 2, 64;
add.u32 %r9, %r9, 1;
setp.lt.u32 %p1, %r9, 3;
@%p1 bra CONSUMER;
bra DONE;
PRODUCER:
st.shared.u32 [%s], %t; //!
bar.arrive 1, 64;
bar.sync 2, 64;
add.u32 %r9, %r9, 1;
setp.lt.u32 %p1, %r9, 3;
@%p1 bra PRODUCER;
DONE:";
    check(&[Plant {
        kind: Kind::Race,
        body: ring,
        from: "ld.shared.u32 %r1, [%s+-128];\nbar.arrive 2, 64;",
        to: "bar.arrive 2, 64;\nld.shared.u32 %r1, [%s+-128];",
        thread: 0,
    }]);
}

#[test]
fn races_between_blocks() {
    check_grid(
        &[
            Plant {
                kind: Kind::BlockRace,
                body: "mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p0, %r1, 0;\n@%p0 st.global.u32 [%o], %t; //!",
                from: "@%p0",
                to: "",
                thread: 0,
            },
            Plant {
                kind: Kind::BlockRace,
                body: "atom.global.add.u32 %r1, [%o], 1; //!",
                from: "atom.global.add.u32 %r1, [%o], 1;",
                to: "ld.global.u32 %r1, [%o];\nst.global.u32 [%o], 1;",
                thread: 0,
            },
        ],
        2,
    );
}

#[test]
fn barriers() {
    check(&[
        Plant {
            kind: Kind::DivergentBarrier,
            body: "setp.lt.u32 %p0, %lane, 16;\nbar.sync 0; //!",
            from: "bar.sync",
            to: "@%p0 bar.sync",
            thread: 0,
        },
        Plant {
            kind: Kind::DivergentBarrier,
            body: "setp.gt.u32 %p0, %lane, 3;\nmov.u32 %r1, 0;\n@%p0 bra SKIP;\nmov.u32 %r1, 1;\nSKIP:\nbar.sync 0; //!",
            from: "SKIP:\nbar.sync 0; //!",
            to: "bar.sync 0; //!\nSKIP:",
            thread: 0,
        },
        Plant {
            kind: Kind::MismatchedBarrier,
            body: "mov.u32 %r1, %warpid;\nmov.u32 %r2, 1;\nbar.sync %r2; //!",
            from: "bar.sync %r2",
            to: "bar.sync %r1",
            thread: 0,
        },
        Plant {
            kind: Kind::MismatchedBarrier,
            body: "mov.u32 %r1, %warpid;\nshl.b32 %r1, %r1, 5;\nadd.u32 %r1, %r1, 32;\nmov.u32 %r2, 64;\nbar.sync 1, %r2; //!",
            from: "mov.u32 %r2, 64;",
            to: "add.u32 %r2, %r1, 64;",
            thread: 32,
        },
        Plant {
            kind: Kind::MismatchedBarrier,
            body: "setp.lt.u32 %p0, %t, 32;\n@%p0 bar.arrive 3, 64;\n@!%p0 bar.sync 3, 64; //!",
            from: "@%p0 bar.arrive 3, 64;",
            to: "",
            thread: 32,
        },
    ]);
}

const COPY: &str = "shl.b32 %r1, %t, 2;
mov.u32 %r2, tile;
add.s32 %r2, %r2, %r1;
cp.async.ca.shared.global [%r2], [%i], 4;
cp.async.commit_group;
cp.async.wait_group 0;
bar.sync 0;
ld.shared.u32 %r3, [%s]; //!
cp.async.wait_all;
bar.sync 0;";

#[test]
fn asynchronous_copies() {
    let crossed = "xor.b32 %r1, %r0, 128;
mov.u32 %r2, tile;
add.s32 %r2, %r2, %r1;
cp.async.ca.shared.global [%s], [%i], 4;
cp.async.commit_group;
cp.async.wait_group 0;
bar.sync 0;
ld.shared.u32 %r3, [%r2]; //!";
    check(&[
        Plant {
            kind: Kind::AsyncNotWaited,
            body: COPY,
            from: "cp.async.wait_group 0;",
            to: "cp.async.wait_group 1;",
            thread: 0,
        },
        Plant {
            kind: Kind::AsyncNotWaited,
            body: COPY,
            from: "cp.async.commit_group;",
            to: "",
            thread: 0,
        },
        Plant {
            kind: Kind::Race,
            body: crossed,
            from: "bar.sync 0;",
            to: "",
            thread: 32,
        },
        Plant {
            kind: Kind::AsyncSource,
            body: "cp.async.ca.shared.global [%s], [%o], 4; //!\ncp.async.wait_all;\nst.global.u32 [%o], %t;",
            from: "cp.async.wait_all;\nst.global.u32 [%o], %t;",
            to: "st.global.u32 [%o], %t;\ncp.async.wait_all;",
            thread: 0,
        },
        Plant {
            kind: Kind::AsyncUnfinished,
            body: "cp.async.ca.shared.global [%s], [%i], 4;\ncp.async.commit_group;\ncp.async.wait_group 0;\nexit; //!",
            from: "wait_group 0",
            to: "wait_group 2",
            thread: 0,
        },
        Plant {
            kind: Kind::OutOfBounds,
            body: "add.s64 %x1, %i, 252;\nsetp.ne.u32 %p0, %t, 0;\nselp.u32 %r1, 0, 4, %p0;\ncp.async.ca.shared.global [%s], [%x1], 4, %r1; //!\ncp.async.wait_all;",
            from: ", %r1; //!",
            to: "; //!",
            thread: 1,
        },
    ]);
}

#[test]
fn collectives_need_their_lanes() {
    check(&[
        Plant {
            kind: Kind::InactiveLane,
            body: "setp.lt.u32 %p0, %lane, 16;\nshfl.sync.bfly.b32 %r1, %t, 16, 31, 0xffffffff; //!",
            from: "shfl",
            to: "@%p0 shfl",
            thread: 0,
        },
        Plant {
            kind: Kind::InactiveLane,
            body: "setp.lt.u32 %p0, %lane, 16;\n@%p0 shfl.sync.bfly.b32 %r1, %t, 8, 31, 0xffff; //!",
            from: "%t, 8,",
            to: "%t, 16,",
            thread: 0,
        },
        Plant {
            kind: Kind::InactiveLane,
            body: "setp.lt.u32 %p0, %lane, 16;\nvote.sync.ballot.b32 %r1, %p0, 0xffffffff; //!",
            from: "0xffffffff",
            to: "0xffff",
            thread: 16,
        },
        Plant {
            kind: Kind::InactiveLane,
            body: "setp.lt.u32 %p0, %lane, 16;\nmov.b32 %r1, 0;\nmov.b32 %f0, 0;\nmma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r1}, {%r1}, {%f0, %f0, %f0, %f0}; //!",
            from: "mma",
            to: "@%p0 mma",
            thread: 0,
        },
        Plant {
            kind: Kind::InactiveLane,
            body: "setp.lt.u32 %p0, %lane, 16;\nshl.b32 %r1, %lane, 4;\nmov.u32 %r2, tile;\nadd.u32 %r1, %r1, %r2;\nldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r3, %r4}, [%r1]; //!",
            from: "ldmatrix",
            to: "@%p0 ldmatrix",
            thread: 0,
        },
    ]);
}

#[test]
fn what_never_ends() {
    check(&[
        Plant {
            kind: Kind::Endless,
            body: "mov.u32 %r1, 0;\nAGAIN:\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p0, %r1, 10;\n@%p0 bra AGAIN;",
            from: "@%p0 bra AGAIN;",
            to: "@%p0 bra AGAIN;\nSTUCK:\nbra STUCK; //!",
            thread: 0,
        },
        Plant {
            kind: Kind::Trap,
            body: "setp.eq.u32 %p0, %t, 77;\n@%p0 trap; //!",
            from: "77",
            to: "7",
            thread: 7,
        },
    ]);
}
