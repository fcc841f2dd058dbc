//! What instructions of our kernels compute of the thread's number, against the same in Rust.

use super::Known;
use crate::sass::Listing;

/// What a register holds after some instructions of warp 1.
fn after(lines: &[&str], register: u8) -> Option<Vec<u32>> {
    let text = listing(lines);
    let mut known = Known::new(1);
    for instruction in Listing::parse(&text).unwrap().code {
        let acting = known.acting(&instruction, u32::MAX);
        known.step(&instruction, acting, u32::MAX);
    }
    let value = known.register(false, register);
    (value.known == u32::MAX).then(|| value.lanes.to_vec())
}

fn listing(lines: &[&str]) -> String {
    let two = |line: &&str| format!("/*0000*/ {line} ; /* 0x0 */\n /* 0x000fe20000000000 */\n");
    lines.iter().map(two).collect()
}

fn each(f: impl Fn(u32) -> u32) -> Option<Vec<u32>> {
    Some((32..64).map(f).collect())
}

/// Instructions as they stand in our kernels, against the same in Rust.
#[test]
fn integers_follow_from_the_thread() {
    let tid = "S2R R2, SR_TID.X";
    for (line, expected) in [
        ("LOP3.LUT R0, R2, 0x1f, RZ, 0xc0, !PT", each(|t| t & 31)),
        ("LOP3.LUT R0, R2, 0x7, R2, 0x78, !PT", each(|t| t ^ (7 & t))),
        ("SHF.R.U32.HI R0, RZ, 0x5, R2", each(|t| t >> 5)),
        ("SHF.L.U32 R0, R2, 0x4, RZ", each(|t| t << 4)),
        ("IMAD.SHL.U32 R0, R2, 0x100, RZ", each(|t| t << 8)),
        ("IMAD R0, R2, 0x10, R2", each(|t| 17 * t)),
        ("IMAD.IADD R0, R2, 0x1, -R2", each(|_| 0)),
        ("IADD3 R0, R2, 0x14000, -R2", each(|_| 0x14000)),
        ("VIADD R0, R2, 0xffffffff", each(|t| t - 1)),
        ("LEA R0, R2, R2, 0x3", each(|t| 9 * t)),
        ("SGXT.U32 R0, R2, 0x3", each(|t| t & 7)),
        ("SGXT R0, R2, 0x6", each(|t| t | !63)),
        ("PRMT R0, R2, 0x6540, R2", each(|t| t | t << 8)),
        ("VIMNMX R0, R2, 0x30, PT", each(|t| t.min(48))),
        ("VIMNMX R0, R2, 0x30, !PT", each(|t| t.max(48))),
        ("VIMNMX R0, R2, R9, PT", each(|t| t)),
        ("VIMNMX R0, R2, R9, !PT", None),
        ("IMAD.WIDE.U32 R0, R2, 0x4, RZ", each(|t| 4 * t)),
        ("IMAD.HI.U32 R0, R2, 0x4, RZ", None),
        ("FADD R0, R2, R2", None),
        ("LDS R0, [R2]", None),
        ("LDG.E.128 R252, desc[UR4][R2.64]", None),
        ("IADD3 R0, R2, R9, RZ", None),
    ] {
        assert_eq!(after(&[tid, line], 0), expected, "{line}");
    }
    // What is written wide is written in every register.
    let lines = [tid, "MOV R7, 0x5", "LDSM.16.M88.4 R4, [R2]"];
    assert_eq!(after(&lines, 7), None);
}

#[test]
fn predicates_are_compared_packed_and_chosen_by() {
    let tid = "S2R R2, SR_TID.X";
    let lines = |more: &[&'static str]| [&[tid], more].concat();
    let chosen = each(|t| u32::from(t > 47));
    let select = "SEL R0, R8, RZ, P1";
    let one = "MOV R8, 0x1";
    for compare in [
        &["ISETP.GT.U32.AND P1, PT, R2, 0x2f, PT"][..],
        &[
            "ISETP.LE.U32.AND P0, PT, R2, 0x2f, PT",
            "PLOP3.LUT P1, PT, PT, PT, P0, 0x40, 0x0",
        ],
        &["LOP3.LUT P1, RZ, R2, 0x10, RZ, 0xc0, !PT"],
        &[
            "ISETP.GT.U32.AND P3, PT, R2, 0x2f, PT",
            "P2R R5, PR, RZ, 0x8",
            "ISETP.NE.AND P1, PT, R5, RZ, PT",
        ],
        &["SHF.R.U32.HI R5, RZ, 0x3, R2", "R2P PR, R5, 0x2"],
        &["ISETP.GT.U32.OR P1, PT, R2, 0x2f, !PT"],
    ] {
        let all = lines(&[compare, &[one, select]].concat());
        assert_eq!(after(&all, 0), chosen, "{compare:?}");
    }
    // Nothing is known of data, but a conjunction with false is false.
    let unknown = lines(&["ISETP.GT.AND P1, PT, R9, 0x0, PT", one, select]);
    assert_eq!(after(&unknown, 0), None);
    let never = lines(&["ISETP.GT.AND P1, PT, R9, 0x0, !PT", one, select]);
    assert_eq!(after(&never, 0), each(|_| 0));
    // A guard writes in its lanes alone.
    let guarded = lines(&[
        "ISETP.GT.U32.AND P1, PT, R2, 0x2f, PT",
        "MOV R0, RZ",
        "@P1 MOV R0, 0x1",
    ]);
    assert_eq!(after(&guarded, 0), chosen);
}
