//! What the policies made of other policies share: each part has its own random numbers, sees the
//! same final states, and keeps its tensors under its own number in a checkpoint.

use super::{InitialState, Moment, Order};
use crate::Error;
use crate::models::HostStates;
use baton_runtime::Tensor;

/// The parts.
pub(super) struct Several(Vec<Box<dyn InitialState>>);

impl Several {
    pub fn new(parts: Vec<Box<dyn InitialState>>) -> Self {
        Several(parts)
    }

    /// Contiguous if a part needs it.
    pub fn order(&self) -> Order {
        let contiguous = self.0.iter().any(|part| part.order() == Order::Contiguous);
        match contiguous {
            true => Order::Contiguous,
            false => Order::Random,
        }
    }

    /// What every part draws.
    pub fn draw(&self, moment: &mut Moment<'_>) -> Vec<Option<HostStates>> {
        let mut drawn = Vec::with_capacity(self.0.len());
        for part in &self.0 {
            let rng = moment.rng.fork();
            drawn.push(part.draw(Moment { rng, ..*moment }));
        }
        drawn
    }

    pub fn fit_batches(&self) -> usize {
        let all = self.0.iter().map(|part| part.fit_batches());
        all.max().unwrap_or(0)
    }

    pub fn fit(&mut self, finals: &HostStates) {
        self.0.iter_mut().for_each(|part| part.fit(finals));
    }

    pub fn observes(&self) -> bool {
        self.0.iter().any(|part| part.observes())
    }

    pub fn observe(&mut self, finals: HostStates) {
        let observers = self.0.iter_mut().filter(|part| part.observes());
        observers.for_each(|part| part.observe(finals.clone()));
    }

    pub fn carried(&self) -> Vec<(String, Tensor)> {
        let parts = self.0.iter().enumerate().flat_map(|(i, part)| {
            let named = move |(name, tensor)| (format!("{i}.{name}"), tensor);
            part.carried().into_iter().map(named)
        });
        parts.collect()
    }

    pub fn restore(&mut self, carried: Vec<(String, Tensor)>) -> Result<(), Error> {
        let mut each: Vec<Vec<(String, Tensor)>> = vec![Vec::new(); self.0.len()];
        for (name, tensor) in carried {
            let place = name.split_once('.');
            let place = place.and_then(|(i, rest)| Some((i.parse::<usize>().ok()?, rest)));
            match place.and_then(|(i, rest)| Some((each.get_mut(i)?, rest))) {
                Some((part, rest)) => part.push((rest.to_string(), tensor)),
                None => {
                    return Err(Error::Config(format!(
                        "`{name}` is no carried state, expected PART.NAME of {} parts",
                        self.0.len()
                    )));
                }
            }
        }
        let parts = self.0.iter_mut().zip(each);
        parts
            .into_iter()
            .try_for_each(|(part, own)| part.restore(own))
    }
}

/// Passes what a policy does with final states, and what it keeps, on to its parts.
macro_rules! parts_see_and_keep {
    () => {
        fn order(&self) -> Order {
            self.parts.order()
        }

        fn fit_batches(&self) -> usize {
            self.parts.fit_batches()
        }

        fn fit(&mut self, finals: &HostStates) {
            self.parts.fit(finals);
        }

        fn observes(&self) -> bool {
            self.parts.observes()
        }

        fn observe(&mut self, finals: HostStates) {
            self.parts.observe(finals);
        }

        fn carried(&self) -> Vec<(String, Tensor)> {
            self.parts.carried()
        }

        fn restore(&mut self, carried: Vec<(String, Tensor)>) -> Result<(), Error> {
            self.parts.restore(carried)
        }
    };
}
pub(super) use parts_see_and_keep;
