//! Runs on memory that a caller has on the device: addresses in, nothing copied, nothing waited for.
//!
//! Everything about an argument that can be seen from the host is checked here, with one error that
//! names it; whether an address is good memory is the caller's promise. The runs are those of
//! [`run`](super::run) on whatever [`Machine`] the addresses are of, so the emulator runs them too.

use super::call::{Arguments, Strided, Wanted};
use super::cut::Cut;
use super::machine::{Kernels, Machine, nothing};
use super::plan::{self, kept_bytes};
use super::run::Engine;
use crate::Error;
use crate::device::check::Extent;
use crate::device::raw::{DeviceBackward, DeviceCall, DeviceForward, DeviceTensor};
use baton_codegen::target::{Storage, grain};
use baton_ir::recurrence::Port;
use baton_ir::tile::Role;

/// Where parts of what is kept begin: at multiples of this.
const ALIGNMENT: usize = 256;

/// The dtype of a role in the caller's memory.
pub(crate) fn dtype(kernels: &dyn Kernels, role: Role) -> Option<Storage> {
    let recurrence = &kernels.shapes().recurrence;
    let (ports, i) = match role {
        Role::Input(i) | Role::DInput(i) => (&recurrence.inputs, i),
        Role::Param(i) | Role::DParam(i) => (&recurrence.params, i),
        Role::Output(i) | Role::DOutput(i) => (&recurrence.outputs, i),
        Role::Entering(_) => return None,
    };
    let port = ports.get(i as usize)?;
    let role = match role {
        Role::DInput(i) => Role::Input(i),
        role => role,
    };
    Some(kernels.storage(role, port))
}

/// Bytes that a forward run of a call keeps, in one piece.
pub(crate) fn kept(kernels: &dyn Kernels, call: &DeviceCall<'_>) -> Result<usize, Error> {
    let cut = cut(kernels, call)?;
    Ok(pieces(kernels, &cut, 0).1)
}

/// The address of each state's part of what is kept, and the bytes of all.
fn pieces(kernels: &dyn Kernels, cut: &Cut, base: u64) -> (Vec<u64>, usize) {
    let mut end = 0;
    let piece = |bytes: usize| {
        let at = base + end as u64;
        end += bytes.next_multiple_of(ALIGNMENT);
        at
    };
    let all = kept_bytes(kernels, cut).into_iter().map(piece).collect();
    (all, end)
}

pub(crate) fn forward(
    kernels: &dyn Kernels,
    machine: &mut dyn Machine,
    call: &DeviceCall<'_>,
    to: &DeviceForward,
) -> Result<(), Error> {
    let cut = cut(kernels, call)?;
    let given = arguments(kernels, call)?;
    let outputs = &kernels.shapes().recurrence.outputs;
    let outputs = tensors(kernels, "output", outputs, &to.outputs, Role::Output)?;
    states(kernels, "state out", &to.states, false)?;
    if to.states.iter().any(|state| call.states.contains(state)) {
        let why = "a state out lies where a state in lies, expected memory of its own";
        return Err(Error::Argument(why.into()));
    }
    let kept = block(kernels, &cut, to.kept)?;
    let engine = Engine::new(kernels, machine, &cut, given);
    engine.forward(&outputs, &to.states, kept.as_deref())
}

pub(crate) fn backward(
    kernels: &dyn Kernels,
    machine: &mut dyn Machine,
    call: &DeviceCall<'_>,
    with: &DeviceBackward,
) -> Result<(), Error> {
    let recurrence = &kernels.shapes().recurrence;
    let cut = cut(kernels, call)?;
    let given = arguments(kernels, call)?;
    count(
        "gradient of output",
        with.d_outputs.len(),
        &recurrence.outputs,
    )?;
    let mut d_outputs = vec![];
    for (i, (port, tensor)) in recurrence.outputs.iter().zip(&with.d_outputs).enumerate() {
        let role = Role::DOutput(i as u32);
        d_outputs.push(match tensor.address {
            0 => nothing(kernels, machine, port, role)?,
            _ => tensor_of(kernels, "gradient of output", port, tensor, role)?,
        });
    }
    states(kernels, "gradient of state out", &with.d_states_out, true)?;
    states(kernels, "gradient of state in", &with.d_states_in, false)?;
    let inputs = &recurrence.inputs;
    let inputs = tensors(
        kernels,
        "gradient of input",
        inputs,
        &with.d_inputs,
        Role::DInput,
    )?;
    let params = &recurrence.params;
    let params = tensors(
        kernels,
        "gradient of param",
        params,
        &with.d_params,
        Role::DParam,
    )?;
    let kept = block(kernels, &cut, with.kept)?;
    let ports = recurrence.inputs.iter().zip((0..).map(Role::Input));
    let dtypes = ports.map(|(port, role)| kernels.storage(role, port));
    let dtypes = dtypes.collect();
    let wanted = Wanted {
        inputs,
        dtypes,
        params,
        states: with.d_states_in.clone(),
    };
    let engine = Engine::new(kernels, machine, &cut, given);
    engine.backward(&d_outputs, &with.d_states_out, kept.as_deref(), &wanted)
}

/// The cut of a call whose sizes fit.
fn cut(kernels: &dyn Kernels, call: &DeviceCall<'_>) -> Result<Cut, Error> {
    let &DeviceCall {
        batch,
        time,
        heads,
        groups,
        ..
    } = call;
    if groups == 0 || heads == 0 || !heads.is_multiple_of(groups) {
        return Err(Error::Argument(format!(
            "H={heads} heads do not fall into G={groups} groups: expected H >= 1 and G a divisor of H"
        )));
    }
    let sequences = match call.cu_seqlens {
        None => batch,
        Some(ends) => {
            let ordered = ends.windows(2).all(|w| w[0] <= w[1]);
            let whole = ends.first() == Some(&0) && ends.last() == Some(&(time as i64));
            if !ordered || !whole || ends.len() < 2 || batch != 1 {
                return Err(Error::Argument(format!(
                    "cu_seqlens must rise from 0 to T={time} with B=1, given {} offsets with B={batch}",
                    ends.len()
                )));
            }
            ends.len() - 1
        }
    };
    let recurrence = &kernels.shapes().recurrence;
    let ports = recurrence.inputs.iter().chain(&recurrence.outputs);
    let entries = ports
        .chain(&recurrence.states)
        .map(|port| kernels.shapes().entries(port));
    let largest = entries.max().unwrap_or(0).max(1);
    // Room for sums of several such sizes.
    let sizes = [batch.max(sequences), time.max(1), heads, largest];
    let volume = sizes.iter().try_fold(64usize, |all, &n| all.checked_mul(n));
    if volume.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Error::Argument(format!(
            "B={batch}, T={time}, H={heads} and entries of {largest} numbers are more than memory can hold"
        )));
    }
    let extent = Extent {
        batch,
        time,
        heads,
        groups,
        sequences,
    };
    plan::cut(kernels, None, extent, call.cu_seqlens)
}

fn arguments(kernels: &dyn Kernels, call: &DeviceCall<'_>) -> Result<Arguments, Error> {
    let recurrence = &kernels.shapes().recurrence;
    states(kernels, "state in", &call.states, true)?;
    Ok(Arguments {
        inputs: tensors(
            kernels,
            "input",
            &recurrence.inputs,
            &call.inputs,
            Role::Input,
        )?,
        params: tensors(
            kernels,
            "param",
            &recurrence.params,
            &call.params,
            Role::Param,
        )?,
        states: call.states.clone(),
    })
}

fn count(what: &str, given: usize, ports: &[Port]) -> Result<(), Error> {
    match ports.len() {
        expected if given == expected => Ok(()),
        expected => Err(Error::Argument(format!(
            "{what}: {given} given, expected {expected}"
        ))),
    }
}

/// Every tensor of a kind, checked.
fn tensors(
    kernels: &dyn Kernels,
    what: &str,
    ports: &[Port],
    given: &[DeviceTensor],
    role: fn(u32) -> Role,
) -> Result<Vec<Strided>, Error> {
    count(what, given.len(), ports)?;
    let pairs = ports.iter().zip(given).zip((0..).map(role));
    pairs
        .map(|((port, tensor), role)| tensor_of(kernels, what, port, tensor, role))
        .collect()
}

fn tensor_of(
    kernels: &dyn Kernels,
    what: &str,
    port: &Port,
    tensor: &DeviceTensor,
    role: Role,
) -> Result<Strided, Error> {
    let by_step = !matches!(role, Role::Param(_) | Role::DParam(_));
    // What kernels move at once of the rows that they see.
    let row = match port.shape.len() {
        0 => 1,
        rank => kernels.shapes().strip_size(port, rank - 1) as u32,
    };
    let bytes = dtype(kernels, role).map_or(4, Storage::bytes);
    let unit = i64::from(grain(row * bytes));
    let &DeviceTensor { address, strides } = tensor;
    let strides = match by_step {
        true => strides,
        false => [0, 0, strides[2]],
    };
    let aligned = strides.iter().all(|stride| stride % unit == 0);
    match address != 0 && address.is_multiple_of(16) && aligned {
        true => Ok(Strided { address, strides }),
        false => Err(Error::Argument(format!(
            "{what} `{}` lies at {address:#x} with strides {strides:?} bytes, expected memory at a \
             multiple of 16 with strides of multiples of {unit}",
            port.name
        ))),
    }
}

/// Checks states or their gradients; `absent` says whether they may be null.
fn states(kernels: &dyn Kernels, what: &str, given: &[u64], absent: bool) -> Result<(), Error> {
    let ports = &kernels.shapes().recurrence.states;
    count(what, given.len(), ports)?;
    let wrong =
        |&(_, address): &(&Port, &u64)| !address.is_multiple_of(16) || (*address == 0 && !absent);
    match ports.iter().zip(given).find(wrong) {
        None => Ok(()),
        Some((port, address)) => Err(Error::Argument(format!(
            "{what} `{}` lies at {address:#x}, expected memory at a multiple of 16{}",
            port.name,
            if absent { ", or 0 for zeros" } else { "" }
        ))),
    }
}

/// The parts of the caller's memory for what is kept, if any is given.
fn block(kernels: &dyn Kernels, cut: &Cut, address: u64) -> Result<Option<Vec<u64>>, Error> {
    if !address.is_multiple_of(16) {
        return Err(Error::Argument(format!(
            "what is kept lies at {address:#x}, expected a multiple of 16, or 0 for nothing"
        )));
    }
    Ok((address != 0).then(|| pieces(kernels, cut, address).0))
}

#[cfg(test)]
mod tests;
