//! The step before: x of the last step beside that of this one, with the state as a port.
//!
//! A convolution of two taps without weights. It is composed of Burn's operations on every device: what
//! is made of it multiplies the rows by matrices, which costs far more.

use super::composed::places;
use super::packing::Packing;
use crate::Error;
use burn::Tensor;

/// x [B, T, C] one step earlier, from the state [B, 1, C] (absent: zero), and the state out. With
/// `packing` x is [1, T, C] and each of its S sequences has a state of its own, [S, 1, C].
pub fn token_shift(
    x: Tensor<3>,
    state: Option<Tensor<3>>,
    packing: Option<&Packing>,
) -> Result<(Tensor<3>, Tensor<3>), Error> {
    let [batch, time, channels] = x.dims();
    let device = x.device();
    let count = packing.map_or(batch, |packing| packing.sequences().count());
    let zeros = || Tensor::zeros([count, 1, channels], &device.clone().without_autodiff());
    let state = state.unwrap_or_else(zeros);
    if state.dims() != [count, 1, channels] || time == 0 {
        return Err(Error::Tensor(format!(
            "a shift of x [B={batch}, T={time}, C={channels}] from a state {:?} given, expected one \
             of [{count}, 1, {channels}] and at least one step",
            state.dims()
        )));
    }
    let Some(packing) = packing else {
        if time == 1 {
            return Ok((state, x));
        }
        let last = x.clone().slice([0..batch, time - 1..time, 0..channels]);
        let earlier = x.slice([0..batch, 0..time - 1, 0..channels]);
        return Ok((Tensor::cat(vec![state, earlier], 1), last));
    };
    let ends = packing.sequences().map(|steps| steps.end - 1);
    let last = x.clone().select(1, places(ends, &device));
    let run = Tensor::cat(vec![state.reshape([1, count, channels]), x], 1);
    let rows = packing.sequences().enumerate().flat_map(|(s, steps)| {
        std::iter::once(s).chain(count + steps.start..count + steps.end - 1)
    });
    let earlier = run.select(1, places(rows, &device));
    Ok((earlier, last.reshape([count, 1, channels])))
}
