//! NCCL's bookkeeping, with a wire of channels in its place that does what it was told when it must and no sooner.

use super::super::tests::together;
use super::super::{Sum, Units, tests::part};
use super::*;
use crate::models::Parameter;
use std::collections::VecDeque;

/// What was begun on a slot and may not be done yet.
enum Begun {
    Send(usize, Vec<f32>),
    Receive(usize, usize),
}

/// A stream on which everything waits until somebody needs the end of it: slots are read and written as late as a GPU may.
struct Late {
    by: Rc<dyn Group>,
    holds: usize,
    stream: VecDeque<(usize, Begun)>,
    slots: [Vec<f32>; 2],
    /// The most operations that waited at once.
    most: usize,
}

impl Late {
    fn begin(&mut self, slot: usize, begun: Begun) {
        self.done(slot);
        self.stream.push_back((slot, begun));
        self.most = self.most.max(self.stream.len());
    }

    /// Everything up to the last operation on a slot.
    fn done(&mut self, slot: usize) {
        while self.stream.iter().any(|(waits, _)| *waits == slot) {
            match self.stream.pop_front() {
                Some((_, Begun::Send(to, piece))) => self.by.send(to, &piece),
                Some((slot, Begun::Receive(from, count))) => {
                    self.slots[slot] = vec![0.0; count];
                    self.by.receive(from, &mut self.slots[slot]);
                }
                None => {}
            }
        }
    }
}

impl Wire for Late {
    fn holds(&self) -> usize {
        self.holds
    }

    fn send(&mut self, slot: usize, to: usize, piece: &[f32]) -> Result<(), String> {
        assert!(piece.len() <= self.holds);
        self.begin(slot, Begun::Send(to, piece.to_vec()));
        // Whoever receives waits for it: a stream goes on by itself.
        self.done(slot);
        Ok(())
    }

    fn receive(&mut self, slot: usize, from: usize, count: usize) -> Result<(), String> {
        assert!(count <= self.holds);
        self.begin(slot, Begun::Receive(from, count));
        Ok(())
    }

    fn broadcast(
        &mut self,
        slot: usize,
        from: usize,
        count: usize,
        own: Option<&[f32]>,
    ) -> Result<(), String> {
        match own {
            Some(own) => {
                assert_eq!((own.len(), from), (count, self.by.rank()));
                let others = (0..self.by.size()).filter(|&to| to != from);
                let others: Vec<usize> = others.collect();
                others
                    .into_iter()
                    .try_for_each(|to| self.send(slot, to, own))
            }
            None => self.receive(slot, from, count),
        }
    }

    fn take(&mut self, slot: usize, piece: &mut [f32]) -> Result<(), String> {
        self.done(slot);
        piece.copy_from_slice(&self.slots[slot]);
        Ok(())
    }
}

/// Ranks with such a wire of slots of so many elements, whose long messages are apart from the short ones.
fn linked<T: Send>(size: usize, holds: usize, run: impl Fn(&Nccl<Late>) -> T + Sync) -> Vec<T> {
    together(size, |group| {
        let wire = Late {
            by: group.clone(),
            holds,
            stream: VecDeque::new(),
            slots: [Vec::new(), Vec::new()],
            most: 0,
        };
        let wire = RefCell::new(wire);
        run(&Nccl { by: group, wire })
    })
}

fn message(number: usize, length: usize) -> Vec<f32> {
    (0..length)
        .map(|i| f32::from_bits((i * 2_654_435_761 + number) as u32 & 0x7f7f_ffff))
        .collect()
}

#[test]
fn messages_of_any_length_arrive_whole_and_in_order() {
    let holds = LONG / 2 + 3;
    let lengths = [
        0,
        1,
        LONG - 1,
        LONG,
        3 * holds - 1,
        3 * holds,
        7 * holds + 5,
        2,
    ];
    let found = linked(3, holds, |group| {
        let (rank, size) = (group.rank(), group.size());
        for (number, &length) in lengths.iter().enumerate() {
            let sent = message(number, length);
            let mut got = vec![0.5; length];
            if rank > 0 {
                group.receive(rank - 1, &mut got);
                assert!(got == sent, "{length} elements");
            }
            if rank + 1 < size {
                group.send(rank + 1, &sent);
            }
            for from in 0..size {
                let all = message(number + from, length);
                let mut numbers = match rank == from {
                    true => all.clone(),
                    false => vec![0.5; length],
                };
                group.broadcast(from, &mut numbers);
                assert!(numbers == all, "{length} elements from {from}");
            }
        }
        group.wire.borrow().most
    });
    // One piece is received while the one before is taken.
    assert_eq!(found, [2; 3]);
}

#[test]
fn sums_over_a_link_have_the_bits_of_one_process() {
    // Parts with a tensor that goes by the link beside those that do not.
    let long = |number: usize| {
        let mut all = part(number);
        all[0].value.data = message(number, LONG + 100);
        all[0].value.shape = vec![LONG + 100];
        all
    };
    let sum = |group: &dyn Group| {
        let mut sum = Sum::new(group);
        let units = Units::new(group, 4, 1).unwrap();
        units.parts().for_each(|number| sum.add(long(number)));
        let bits =
            |p: &Parameter| -> Vec<u32> { p.value.data.iter().map(|x| x.to_bits()).collect() };
        sum.finish().iter().flat_map(bits).collect::<Vec<u32>>()
    };
    let whole = sum(&super::super::Alone);
    for size in [2, 4] {
        for found in linked(size, LONG / 3, |group| sum(group)) {
            assert!(found == whole, "{size} ranks");
        }
    }
}
