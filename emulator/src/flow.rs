//! Where divergent paths meet again: the immediate post-dominator of every branch.

use crate::op::{NOWHERE, Op, Step};

/// Writes the reconvergence of all branches.
pub(crate) fn reconverge(steps: &mut [Step]) {
    let starts = block_starts(steps);
    let index = |position: u32| starts.partition_point(|&start| start <= position) - 1;
    let exit = starts.len();
    let mut successors: Vec<Vec<usize>> = vec![];
    for (block, &start) in starts.iter().enumerate() {
        let end = starts.get(block + 1).map_or(steps.len(), |&e| e as usize);
        debug_assert!((start as usize) < end);
        let last = &steps[end - 1];
        let mut next = vec![];
        match &last.op {
            Op::Branch { target, .. } => next.push(index(*target)),
            Op::BranchIndex { targets, .. } => next.extend(targets.iter().map(|&t| index(t))),
            Op::Exit | Op::Trap => next.push(exit),
            _ => {}
        }
        let falls = last.guard.is_some() || next.is_empty();
        if falls {
            next.push(block + 1);
        }
        successors.push(next);
    }
    let dominators = post_dominators(&successors);
    for (block, dominator) in dominators[..exit].iter().enumerate() {
        let end = starts.get(block + 1).map_or(steps.len(), |&e| e as usize);
        let meeting = match *dominator {
            Some(meeting) if meeting < exit => starts[meeting],
            _ => NOWHERE,
        };
        match &mut steps[end - 1].op {
            Op::Branch { reconverge, .. } | Op::BranchIndex { reconverge, .. } => {
                *reconverge = meeting;
            }
            _ => {}
        }
    }
}

/// Positions at which basic blocks begin, sorted.
fn block_starts(steps: &[Step]) -> Vec<u32> {
    let mut starts = vec![0];
    for (position, step) in steps.iter().enumerate() {
        let targets: &[u32] = match &step.op {
            Op::Branch { target, .. } => std::slice::from_ref(target),
            Op::BranchIndex { targets, .. } => targets,
            Op::Exit | Op::Trap => &[],
            _ => continue,
        };
        starts.extend(targets);
        starts.push(position as u32 + 1);
    }
    starts.sort_unstable();
    starts.dedup();
    starts.retain(|&start| (start as usize) < steps.len());
    starts
}

/// Immediate post-dominators by the iterative algorithm on the reversed graph; the exit is the last number.
fn post_dominators(successors: &[Vec<usize>]) -> Vec<Option<usize>> {
    let exit = successors.len();
    let mut predecessors = vec![vec![]; exit + 1];
    for (block, next) in successors.iter().enumerate() {
        for &to in next {
            predecessors[to].push(block);
        }
    }
    let order = reverse_postorder(&predecessors, exit);
    let mut rank = vec![usize::MAX; exit + 1];
    for (place, &block) in order.iter().enumerate() {
        rank[block] = place;
    }
    let mut dominator: Vec<Option<usize>> = vec![None; exit + 1];
    dominator[exit] = Some(exit);
    let mut changed = true;
    while changed {
        changed = false;
        for &block in order.iter().skip(1) {
            let mut meeting: Option<usize> = None;
            for &next in &successors[block] {
                if dominator[next].is_none() {
                    continue;
                }
                meeting = Some(match meeting {
                    None => next,
                    Some(other) => meet(&dominator, &rank, other, next),
                });
            }
            if meeting.is_some() && dominator[block] != meeting {
                dominator[block] = meeting;
                changed = true;
            }
        }
    }
    dominator
}

fn meet(dominator: &[Option<usize>], rank: &[usize], a: usize, b: usize) -> usize {
    let (mut a, mut b) = (a, b);
    while a != b {
        let deeper = if rank[a] > rank[b] { &mut a } else { &mut b };
        match dominator[*deeper] {
            Some(up) => *deeper = up,
            None => return a.max(b),
        }
    }
    a
}

fn reverse_postorder(edges: &[Vec<usize>], root: usize) -> Vec<usize> {
    let mut order = vec![];
    let mut seen = vec![false; edges.len()];
    let mut stack = vec![(root, 0)];
    seen[root] = true;
    while let Some((block, at)) = stack.pop() {
        match edges[block].get(at) {
            Some(&next) => {
                stack.push((block, at + 1));
                if !seen[next] {
                    seen[next] = true;
                    stack.push((next, 0));
                }
            }
            None => order.push(block),
        }
    }
    order.reverse();
    order
}
