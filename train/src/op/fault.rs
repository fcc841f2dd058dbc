//! Errors of a backward run, which Burn's graph has no way to return.
//!
//! A step of the graph gives gradients and nothing else, but a kernel may fail in one (a GPU's
//! memory ends in the backward, where it is needed most). What failed is then noted here, its
//! gradients are absent, and [`backward`], the only way that this crate runs a graph, returns the
//! first error in place of gradients. Burn runs a graph's steps on the thread that asks for them,
//! so the note is the thread's own and no other run sees it.

use super::node::Gradients;
use super::value::Home;
use crate::Error;
use burn::Tensor;
use std::cell::RefCell;

thread_local! {
    static FIRST: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// The gradients of `loss` in everything that it was made of, or why a kernel could not say.
pub fn backward(loss: &Tensor<1>) -> Result<burn::tensor::Gradients, Error> {
    FIRST.take();
    let gradients = loss.backward();
    match FIRST.take() {
        Some(error) => Err(error),
        None => Ok(gradients),
    }
}

/// What a pullback found for its `inputs`; where it failed all are absent and the error is noted.
pub(super) fn noted<B: Home>(found: Result<Gradients<B>, Error>, inputs: usize) -> Gradients<B> {
    found.unwrap_or_else(|error| {
        FIRST.with_borrow_mut(|first| {
            first.get_or_insert(error);
        });
        std::iter::repeat_with(|| None).take(inputs).collect()
    })
}
