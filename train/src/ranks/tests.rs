//! Ranks as threads: sums have the bits of one process, whatever the number of ranks.

use super::*;
use baton_runtime::Tensor;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A rank that is a thread of the test.
pub(crate) struct Thread {
    rank: usize,
    to: Vec<Sender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

impl Group for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn send(&self, to: usize, numbers: &[f32]) {
        self.to[to].send(bytes(numbers)).unwrap();
    }

    fn receive(&self, from: usize, numbers: &mut [f32]) {
        let sent = self.from[from].recv().unwrap();
        assert_eq!(sent.len(), 4 * numbers.len());
        for (x, sent) in numbers.iter_mut().zip(sent.chunks_exact(4)) {
            *x = f32::from_le_bytes(sent.try_into().unwrap());
        }
    }

    fn broadcast(&self, from: usize, numbers: &mut [f32]) {
        match self.rank == from {
            true => (0..self.size())
                .filter(|&to| to != from)
                .for_each(|to| self.send(to, numbers)),
            false => self.receive(from, numbers),
        }
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.to.iter().for_each(|to| to.send(own.to_vec()).unwrap());
        self.from.iter().map(|from| from.recv().unwrap()).collect()
    }

    fn abort(&self) -> ! {
        panic!("rank {} ends all", self.rank)
    }
}

/// What each of `size` ranks comes to.
pub(crate) fn together<T: Send>(size: usize, run: impl Fn(Rc<dyn Group>) -> T + Sync) -> Vec<T> {
    let mut to: Vec<Vec<Sender<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
    let mut from: Vec<Vec<Receiver<Vec<u8>>>> = (0..size).map(|_| Vec::new()).collect();
    for to in &mut to {
        for from in &mut from {
            let (sender, receiver) = channel();
            to.push(sender);
            from.push(receiver);
        }
    }
    let ranks = to.into_iter().zip(from).enumerate();
    let ranks: Vec<Thread> = ranks
        .map(|(rank, (to, from))| Thread { rank, to, from })
        .collect();
    thread::scope(|scope| {
        let running: Vec<_> = (ranks.into_iter())
            .map(|rank| scope.spawn(|| run(Rc::new(rank))))
            .collect();
        (running.into_iter().map(|rank| rank.join().unwrap())).collect()
    })
}

/// Gradients of a part, of sizes that do not come off evenly, with roundings in every sum.
pub(super) fn part(number: usize) -> Vec<Parameter> {
    let tensor = |name: &str, len: usize| Parameter {
        name: name.into(),
        value: Tensor {
            shape: vec![len],
            data: (0..len)
                .map(|i| ((number * 31 + i * 7) as f32).sin() * 10f32.powi(number as i32 % 5))
                .collect(),
        },
    };
    vec![tensor("a", 13), tensor("none", 0), tensor("b", 1)]
}

fn bits(sum: Vec<Parameter>) -> Vec<u32> {
    (sum.iter().flat_map(|p| &p.value.data).map(|x| x.to_bits())).collect()
}

#[test]
fn sums_have_the_bits_of_one_process() {
    let sum = |group: &dyn Group| {
        let mut sum = Sum::new(group);
        let units = Units::new(group, 12, 1).unwrap();
        units.parts().for_each(|number| sum.add(part(number)));
        bits(sum.finish())
    };
    let whole = sum(&Alone);
    assert_eq!(whole.len(), 14);
    for size in [1, 2, 3, 4, 6, 12] {
        for found in together(size, |group| sum(&*group)) {
            assert_eq!(found, whole, "{size} ranks");
        }
    }
    // In another order it has other bits, or the test sees nothing.
    let mut turned = Sum::new(&Alone);
    (0..12).rev().for_each(|number| turned.add(part(number)));
    assert_ne!(bits(turned.finish()), whole);
}

#[test]
fn schedulers_lists_of_tasks_are_read() {
    let found = ["4", "4(x2)", "3,4(x2),1", "", "4(x2", "many", "2,"].map(most);
    let none = None;
    assert_eq!(
        found,
        [Some(4), Some(4), Some(4), none, Some(4), none, none]
    );
}

#[test]
fn what_differs_is_named_with_its_rank() {
    let found = together(3, |group| {
        let own = if group.rank() == 2 { "b" } else { "a" };
        let differs = |first: &str, other: &str| {
            (first != other).then(|| format!("`{other}` in place of `{first}`"))
        };
        alike(&*group, own, differs).map_err(|e| e.to_string())
    });
    let wanted = Err("rank 2 runs something else than rank 0: `b` in place of `a`".to_string());
    assert_eq!(found, vec![wanted; 3]);
}

#[test]
fn one_rank_that_asks_is_heard_by_all() {
    for asks in 0..3 {
        assert_eq!(
            together(3, |group| any(&*group, group.rank() == asks)),
            [true; 3]
        );
    }
    assert_eq!(together(2, |group| any(&*group, false)), [false; 2]);
}

#[test]
fn launchers_say_how_many_ranks_they_started() {
    let of = |pairs: &[(&str, &str)]| {
        let said = |name: &str| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        };
        super::size(said)
    };
    // A step of Slurm's with PMIx says no size; without PMIx, it is a process that MPI knows nothing of.
    let step = ("SLURM_STEP_NUM_TASKS", "8");
    assert_eq!(of(&[("PMIX_RANK", "3"), step]), 8);
    assert_eq!(of(&[("PMIX_RANK", "3"), ("SLURM_NTASKS", "4")]), 4);
    assert_eq!(of(&[step]), 0);
    // mpirun in a batch of eight tasks starts as many as it is told.
    let mpirun = ("OMPI_COMM_WORLD_SIZE", "2");
    assert_eq!(of(&[mpirun, ("PMIX_RANK", "1"), step]), 2);
    assert_eq!(of(&[]), 0);
}

#[test]
fn a_step_has_the_tasks_of_the_step() {
    let of = |pairs: &[(&str, &str)]| {
        let said = |name: &str| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        };
        super::beside(said)
    };
    // `srun -n 2` in an allocation with `--ntasks-per-node 8`.
    let asked = ("SLURM_NTASKS_PER_NODE", "8");
    assert_eq!(of(&[asked, ("SLURM_STEP_TASKS_PER_NODE", "2")]), 2);
    assert_eq!(of(&[("SLURM_STEP_TASKS_PER_NODE", "4(x2),3")]), 4);
    // mpirun in it.
    let mpirun = ("OMPI_COMM_WORLD_LOCAL_SIZE", "3");
    assert_eq!(of(&[mpirun, asked, ("SLURM_STEP_TASKS_PER_NODE", "1")]), 3);
    assert_eq!(of(&[asked]), 8);
    assert_eq!(of(&[]), 1);
}

#[test]
fn a_rank_of_several_that_finds_no_other_is_refused() {
    let said = super::joined(2, 1).expect_err("alone").to_string();
    assert!(
        said.contains("2 ranks were started and this one found no other"),
        "{said}"
    );
    assert!(super::joined(2, 2).is_ok());
}
