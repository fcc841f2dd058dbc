//! A task over several ranks: each answers some of the calls, and all have every answer.
//!
//! A task is a loop that asks and scores, so it is run twice. First every rank answers its own calls and says anything
//! to the others; then all run it again on what all have said. The loop knows nothing of ranks, what is asked at once
//! is the same on any number of them, and so are the bits. Trials are made twice, which is little beside reading them.

use super::{Group, differ, exchange};
use baton_data::Error;
use baton_tasks::predict::Predict;
use baton_tasks::{Ask, Trial};
use serde::{Deserialize, Serialize};
use std::vec::IntoIter;

/// Which of the two times it is; on one rank both at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    /// A model reads: progress is worth showing.
    pub reads: bool,
    /// Answers are those of the model.
    pub counts: bool,
}

/// What a call was answered.
#[derive(Serialize, Deserialize)]
enum Answer {
    Tokens(Vec<Vec<u32>>),
    Likelihoods(Vec<f64>),
}

/// What `run` comes to when the ranks answer for `model` together; it asks the same things each time.
pub fn answers<T>(
    group: &dyn Group,
    model: &mut dyn Predict,
    mut run: impl FnMut(&mut dyn Predict, Pass) -> Result<T, Error>,
) -> Result<T, Error> {
    let pass = |reads, counts| Pass { reads, counts };
    if group.size() == 1 {
        return run(model, pass(true, true));
    }
    let (mut own, mut strange) = (Vec::new(), Vec::new());
    run(
        &mut Asked {
            group,
            model,
            calls: 0,
            own: &mut own,
            strange: &mut strange,
        },
        pass(true, false),
    )?;
    let mut heard = Heard {
        calls: 0,
        answers: exchange(group, own)?,
        strange: exchange(group, strange)?,
    };
    run(&mut heard, pass(false, true))
}

/// The first time.
struct Asked<'a> {
    group: &'a dyn Group,
    model: &'a mut dyn Predict,
    calls: usize,
    own: &'a mut Vec<Answer>,
    strange: &'a mut Vec<usize>,
}

impl Asked<'_> {
    fn is_own(&mut self) -> bool {
        self.calls += 1;
        (self.calls - 1) % self.group.size() == self.group.rank()
    }
}

impl Predict for Asked<'_> {
    fn forced(
        &mut self,
        trials: &[Trial],
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Error> {
        if self.is_own() {
            let said = self.model.forced(trials, each)?;
            self.own.push(Answer::Tokens(said.clone()));
            return Ok(said);
        }
        let places = |trial: &Trial| match &trial.ask {
            Ask::Forced(asked) => vec![0; asked.len()],
            Ask::Greedy { .. } => Vec::new(),
        };
        Ok(trials.iter().map(places).collect())
    }

    fn greedy(
        &mut self,
        prompts: &[&[u32]],
        count: usize,
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Error> {
        if self.is_own() {
            let said = self.model.greedy(prompts, count, each)?;
            self.own.push(Answer::Tokens(said.clone()));
            return Ok(said);
        }
        Ok(vec![Vec::new(); prompts.len()])
    }

    fn likelihood(
        &mut self,
        rows: &[(&[u32], usize)],
        each: &mut dyn FnMut(f64),
    ) -> Result<Vec<f64>, Error> {
        if self.is_own() {
            let said = self.model.likelihood(rows, each)?;
            self.own.push(Answer::Likelihoods(said.clone()));
            return Ok(said);
        }
        Ok(vec![0.0; rows.len()])
    }

    fn not_finite(&mut self) -> usize {
        let strange = self.model.not_finite();
        self.strange.push(strange);
        strange
    }
}

/// The second time.
struct Heard {
    calls: usize,
    answers: Vec<IntoIter<Answer>>,
    strange: Vec<IntoIter<usize>>,
}

impl Heard {
    fn next(&mut self) -> Option<Answer> {
        let rank = self.calls % self.answers.len();
        self.calls += 1;
        self.answers[rank].next()
    }

    fn tokens(&mut self) -> Result<Vec<Vec<u32>>, Error> {
        match self.next() {
            Some(Answer::Tokens(said)) => Ok(said),
            _ => Err(differ()),
        }
    }
}

impl Predict for Heard {
    fn forced(&mut self, _: &[Trial], _: &mut dyn FnMut(f64)) -> Result<Vec<Vec<u32>>, Error> {
        self.tokens()
    }

    fn greedy(
        &mut self,
        _: &[&[u32]],
        _: usize,
        _: &mut dyn FnMut(f64),
    ) -> Result<Vec<Vec<u32>>, Error> {
        self.tokens()
    }

    fn likelihood(
        &mut self,
        _: &[(&[u32], usize)],
        _: &mut dyn FnMut(f64),
    ) -> Result<Vec<f64>, Error> {
        match self.next() {
            Some(Answer::Likelihoods(said)) => Ok(said),
            _ => Err(differ()),
        }
    }

    fn not_finite(&mut self) -> usize {
        self.strange.iter_mut().filter_map(Iterator::next).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::together;
    use super::super::{Alone, spread};
    use super::*;
    use baton_tasks::grid::run_where_possible;
    use baton_tasks::predict::Rule;
    use baton_tasks::{Material, Plan, TaskConfig};

    /// A rule that says right things now and then, and finds every third call strange.
    struct Sometimes {
        rule: Rule<fn(&[u32]) -> u32>,
        strange: usize,
    }

    impl Predict for Sometimes {
        fn forced(
            &mut self,
            trials: &[Trial],
            each: &mut dyn FnMut(f64),
        ) -> Result<Vec<Vec<u32>>, Error> {
            self.strange += trials.iter().filter(|t| t.tokens.len() % 3 == 0).count();
            self.rule.forced(trials, each)
        }

        fn greedy(
            &mut self,
            prompts: &[&[u32]],
            count: usize,
            each: &mut dyn FnMut(f64),
        ) -> Result<Vec<Vec<u32>>, Error> {
            self.strange += 1;
            self.rule.greedy(prompts, count, each)
        }

        fn likelihood(
            &mut self,
            rows: &[(&[u32], usize)],
            each: &mut dyn FnMut(f64),
        ) -> Result<Vec<f64>, Error> {
            self.rule.likelihood(rows, each)
        }

        fn not_finite(&mut self) -> usize {
            std::mem::take(&mut self.strange)
        }
    }

    fn next(read: &[u32]) -> u32 {
        read.iter().fold(7, |all, &x| (all * 31 + x) % 26) + u32::from(b'a')
    }

    /// All that is found, and how many samples were heard.
    fn asked(group: &dyn Group, task: &str) -> (String, usize) {
        let task: TaskConfig = task.parse().unwrap();
        let material = Material::bytes(None);
        let task = task.build(&material).unwrap();
        let plan = Plan {
            lengths: vec![1, 620, 900, 777],
            depths: vec![0.2, 0.8],
            trials: 7,
            batch: 3,
            seed: 5,
        };
        let mut model = Sometimes {
            rule: Rule(next),
            strange: 0,
        };
        let (mut samples, mut said) = (0, String::new());
        let grid = answers(group, &mut model, |model, pass| {
            let codec = material.codec.as_ref();
            run_where_possible(
                task.as_ref(),
                &plan,
                codec,
                model,
                &mut |_, _| {},
                &mut |sample| {
                    if pass.counts {
                        samples += 1;
                        said += &format!("{:?}", sample.said);
                    }
                },
            )
        });
        let grid = serde_json::to_string(&grid.unwrap()).unwrap();
        (grid + &said, samples)
    }

    #[test]
    fn any_number_of_ranks_hears_what_one_says() {
        for task in [
            "passkey",
            "token-passkey:markers=ids,vocabulary=40,key=2",
            "recall:pairs=3",
        ] {
            let whole = asked(&Alone, task);
            assert!(whole.1 >= 21, "{task}: {} trials", whole.1);
            assert!(whole.0.contains("not_finite"), "{task}: nothing strange");
            for size in [2, 3, 4, 11] {
                for found in together(size, |group| asked(&*group, task)) {
                    assert!(found == whole, "{task}, {size} ranks");
                }
            }
        }
    }

    #[test]
    fn shared_out_work_keeps_its_order_and_bits() {
        let made = |number: usize| vec![number as f64, f64::NAN, -0.0, f64::INFINITY, 1e-310];
        let bits = |all: Vec<Vec<f64>>| -> Vec<u64> {
            all.concat().into_iter().map(f64::to_bits).collect()
        };
        for count in [0, 1, 5, 12] {
            let whole = bits((0..count).map(made).collect());
            for size in [1, 2, 5, 7] {
                for found in together(size, |group| {
                    let mut own = 0;
                    let all = spread(&*group, count, |number| {
                        own += 1;
                        Ok(made(number))
                    });
                    assert!(own <= count.div_ceil(size));
                    bits(all.unwrap())
                }) {
                    assert_eq!(found, whole);
                }
            }
        }
    }

    #[test]
    fn ranks_that_ask_different_things_are_told_apart() {
        let found = together(2, |group| {
            let mut model = Rule(next);
            let likelihood = group.rank() == 1;
            let asked = answers(&*group, &mut model, |model, _| {
                let row = (&[1u32, 2][..], 1);
                for _ in 0..2 {
                    match likelihood {
                        true => drop(model.likelihood(&[row], &mut |_| {})?),
                        false => drop(model.greedy(&[row.0], 1, &mut |_| {})?),
                    }
                }
                Ok(())
            });
            asked.map_err(|e| e.to_string())
        });
        for found in found {
            let why = found.unwrap_err();
            assert!(why.contains("asked different things"), "{why}");
        }
    }
}
