//! The way of one warp through a kernel.
//!
//! Lanes that part are run by their lowest address first, as reconvergence does it; a branch that nothing is known of is
//! gone both ways by all lanes, as if each side had some. Two exceptions keep this from being wrong by much: a
//! branch around a call is taken, as calls are the slow ways of divisions, and a loop whose end is not known is the
//! loop over chunks if it is the longest, and else is gone through once, which is said.

use crate::Error;
use crate::known::{ALL, Known};
use crate::sass::{Instruction, Listing, Operand};
use crate::shared;
use crate::unit::{Unit, Work};

/// Instructions after which a warp is taken not to end.
const MOST: usize = 1 << 20;

/// One instruction that is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its index in the listing.
    pub index: usize,
    /// Lanes that act; an instruction of none is issued and does nothing.
    pub lanes: u32,
    /// Passes through shared memory.
    pub passes: u32,
}

/// What a warp executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// In order.
    pub steps: Vec<Step>,
    /// Where in them each round of the longest loop ends.
    pub rounds: Vec<usize>,
    /// Addresses of loops that were gone through once as nothing is known of them.
    pub once: Vec<u32>,
}

/// Lanes that wait at an instruction.
struct Waiting {
    at: usize,
    lanes: u32,
}

impl Walk {
    /// Of warp `warp` with so many rounds of the longest loop.
    pub fn new(listing: &Listing, work: &[Work], warp: u32, rounds: usize) -> Result<Walk, Error> {
        let code = &listing.code[..];
        let longest = longest_loop(code);
        let mut walk = Walk {
            steps: vec![],
            rounds: vec![],
            once: vec![],
        };
        let mut known = Known::new(warp);
        let mut waiting: Vec<Waiting> = vec![];
        let (mut at, mut active) = (0, ALL);
        loop {
            waiting.retain(|other| {
                if other.at == at {
                    active |= other.lanes;
                }
                other.at != at
            });
            let Some(instruction) = code.get(at) else {
                return Ok(walk);
            };
            if walk.steps.len() >= MOST {
                return Err(Error::Endless {
                    address: instruction.address,
                });
            }
            let acting = known.acting(instruction, active);
            let lanes = acting.unwrap_or(active);
            walk.steps.push(Step {
                index: at,
                lanes,
                passes: passes(&known, instruction, &work[at], lanes),
            });
            let jumping = match (instruction.base(), instruction.target()) {
                ("EXIT", _) => {
                    let leaving = acting.unwrap_or(0);
                    active &= !leaving;
                    if active == 0 {
                        let Some(next) = lowest(&mut waiting) else {
                            return Ok(walk);
                        };
                        (at, active) = (next.at, next.lanes);
                        continue;
                    }
                    0
                }
                (_, Some(target)) if Some(at) == longest => {
                    walk.rounds.push(walk.steps.len());
                    let again = walk.rounds.len() < rounds;
                    if again {
                        at = target;
                        continue;
                    }
                    0
                }
                (_, Some(target)) => {
                    match taken(&known, instruction, active) {
                        Some(lanes) => lanes,
                        None if target <= at => {
                            if !walk.once.contains(&code[target].address) {
                                walk.once.push(code[target].address);
                            }
                            0
                        }
                        None if slow_way(&code[at + 1..target]) => active,
                        None => {
                            // Both ways: they meet where the jump goes, or behind it.
                            waiting.push(Waiting {
                                at: target,
                                lanes: active,
                            });
                            0
                        }
                    }
                }
                _ => {
                    known.step(instruction, acting, active);
                    0
                }
            };
            let target = instruction.target().unwrap_or(at + 1);
            let staying = active & !jumping;
            match (jumping, staying) {
                (0, _) => at += 1,
                (_, 0) => match waiting.iter().map(|other| other.at).min() {
                    Some(first) if first < target => {
                        waiting.push(Waiting {
                            at: target,
                            lanes: active,
                        });
                        let next = lowest(&mut waiting).expect("one waits");
                        (at, active) = (next.at, next.lanes);
                    }
                    _ => at = target,
                },
                (_, _) if target > at => {
                    waiting.push(Waiting {
                        at: target,
                        lanes: jumping,
                    });
                    (at, active) = (at + 1, staying);
                }
                // Some go round again; the others wait behind the loop.
                (_, _) => {
                    waiting.push(Waiting {
                        at: at + 1,
                        lanes: staying,
                    });
                    (at, active) = (target, jumping);
                }
            }
        }
    }
}

/// Takes the lanes that wait at the lowest address.
fn lowest(waiting: &mut Vec<Waiting>) -> Option<Waiting> {
    let first = (0..waiting.len()).min_by_key(|&i| waiting[i].at)?;
    let Waiting { at, mut lanes } = waiting.swap_remove(first);
    waiting.retain(|other| {
        if other.at == at {
            lanes |= other.lanes;
        }
        other.at != at
    });
    Some(Waiting { at, lanes })
}

/// The lanes that a branch takes; none where that is not known.
fn taken(known: &Known, branch: &Instruction, active: u32) -> Option<u32> {
    let mut lanes = active;
    let guards = branch.operands.iter().filter_map(|operand| match operand {
        Operand::Predicate(guard) => Some(*guard),
        _ => None,
    });
    let mut unknown = false;
    for guard in branch.guard.into_iter().chain(guards) {
        match known.truth(guard).among(active) {
            Some(truth) => lanes &= truth,
            None => unknown = true,
        }
    }
    (!unknown || lanes == 0).then_some(lanes)
}

/// Whether what a branch goes around is the slow way of a division: some moves and a call.
fn slow_way(code: &[Instruction]) -> bool {
    let calls = code.iter().any(|i| i.base() == "CALL");
    calls && !code.iter().any(|i| matches!(i.base(), "BRA" | "BAR"))
}

/// The branch back of the longest loop. What jumps to itself fills the space behind a kernel.
fn longest_loop(code: &[Instruction]) -> Option<usize> {
    let back = |&at: &usize| code[at].target().is_some_and(|target| target < at);
    let span = |&at: &usize| code[at].target().map_or(0, |target| at - target);
    (0..code.len()).filter(back).max_by_key(span)
}

/// Passes through shared memory of the lanes that act: by their addresses where these are known.
fn passes(known: &Known, instruction: &Instruction, work: &Work, lanes: u32) -> u32 {
    if lanes == 0 || work.passes == 0 {
        return 0;
    }
    let place = instruction
        .operands
        .iter()
        .find_map(|operand| match operand {
            Operand::Memory(place) => Some(*place),
            _ => None,
        });
    match (work.unit, place) {
        (Unit::Shared, Some(place)) => match known.addresses(place, lanes) {
            Some(addresses) => shared::passes(&addresses, lanes, work),
            None => work.passes,
        },
        _ => work.passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::H100;
    use crate::unit::works;

    fn walk(lines: &str, warp: u32, rounds: usize) -> (Vec<u32>, Walk) {
        let mut text = String::new();
        let mut address = 0;
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.ends_with(':') {
                true => text += &format!("{line}\n"),
                false => {
                    text += &format!(
                        "        /*{address:04x}*/ {line} ; /* 0x0 */\n /* 0x000fe20000000000 */\n"
                    );
                    address += 16;
                }
            }
        }
        let listing = Listing::parse(&text).unwrap();
        let walk = Walk::new(&listing, &works(&listing, &H100), warp, rounds).unwrap();
        let lanes = |at: usize| {
            let steps = walk.steps.iter().filter(|step| step.index == at);
            steps.map(|step| step.lanes.count_ones()).sum()
        };
        ((0..listing.code.len()).map(lanes).collect(), walk)
    }

    /// Warps below the bound go around, others through; within a warp both sides meet again.
    #[test]
    fn lanes_part_and_meet() {
        let code = "
            S2R R2, SR_TID.X
            ISETP.GT.U32.AND P0, PT, R2, 0x2f, PT
            @P0 BRA `(.L_x_1)
            MOV R3, 0x1
            BRA `(.L_x_2)
            .L_x_1:
            MOV R3, 0x2
            .L_x_2:
            STS [R2], R3
            EXIT";
        assert_eq!(walk(code, 0, 1).0, [32, 32, 0, 32, 32, 0, 32, 32]);
        assert_eq!(walk(code, 1, 1).0, [32, 32, 16, 16, 16, 16, 32, 32]);
        assert_eq!(walk(code, 2, 1).0, [32, 32, 32, 0, 0, 32, 32, 32]);
        // Of data nothing is known: both sides.
        let unknown = code.replacen("R2, SR_TID.X", "R9, SR_TID.X", 1);
        assert_eq!(walk(&unknown, 0, 1).0, [32, 32, 32, 32, 32, 32, 32, 32]);
    }

    #[test]
    fn loops_go_round_as_often_as_is_known() {
        let code = "
            MOV R4, RZ
            .L_x_1:
            VIADD R4, R4, 0x1
            MOV R5, RZ
            .L_x_2:
            VIADD R5, R5, 0x10
            ISETP.LT.U32.AND P1, PT, R5, 0x40, PT
            @P1 BRA `(.L_x_2)
            ISETP.LT.U32.AND P0, PT, R4, R9, PT
            @P0 BRA `(.L_x_1)
            EXIT";
        let (lanes, of) = walk(code, 0, 3);
        let once = 32;
        assert_eq!(lanes[1] / once, 3);
        assert_eq!(lanes[3] / once, 12);
        assert_eq!((of.rounds.len(), &of.once[..]), (3, &[][..]));
        // An inner loop that nothing is known of is gone through once, and named.
        let (lanes, of) = walk(&code.replacen("0x40", "R8", 1), 0, 3);
        assert_eq!(lanes[3] / once, 3);
        assert_eq!(of.once, [0x30]);
        // One that never ends is refused.
        let endless = code.replacen(
            "LT.U32.AND P1, PT, R5, 0x40",
            "GE.U32.AND P1, PT, R5, RZ",
            1,
        );
        let listing = std::panic::catch_unwind(|| walk(&endless, 0, 3));
        assert!(listing.is_err());
    }

    #[test]
    fn slow_ways_are_not_taken() {
        let code = "
            FCHK P0, R0, R41
            @!P0 BRA `(.L_x_1)
            CALL.REL.NOINC `(.L_x_9)
            .L_x_1:
            EXIT
            .L_x_9:
            NOP";
        assert_eq!(walk(code, 0, 1).0[2], 0);
    }
}
