//! Runs on memory that a caller has on the device: addresses in, nothing copied, nothing waited for.
//!
//! Everything about an argument that can be seen from the host is checked here, with one error that
//! names it; whether an address is good memory is the caller's promise. The runs are those of
//! [`run`](super::run) on whatever [`Machine`] the addresses are of, so the emulator runs them too.

use super::cut::Cut;
use super::gradient::Wanted;
use super::kernel::GpuKernel;
use super::run::{Arguments, Place, Run, kept_bytes};
use super::{Machine, Storage};
use crate::Error;
use crate::device::check::Extent;
use crate::device::raw::{DeviceBackward, DeviceCall, DeviceForward, DeviceTensor};
use baton_ir::recurrence::Port;
use baton_ir::tile::Role;

/// Where parts of what is kept begin: at multiples of this.
const ALIGNMENT: usize = 256;

/// The dtype of a role in the caller's memory.
pub(crate) fn dtype(kernel: &GpuKernel, role: Role) -> Option<Storage> {
    let recurrence = kernel.recurrence();
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
    Some(kernel.storage(role, port))
}

/// Bytes that a forward run of a call keeps, in one piece.
pub(crate) fn kept(kernel: &GpuKernel, call: &DeviceCall<'_>) -> Result<usize, Error> {
    let cut = cut(kernel, call)?;
    Ok(pieces(kernel, &cut, 0).1)
}

/// The address of each state's part of what is kept, and the bytes of all.
fn pieces(kernel: &GpuKernel, cut: &Cut, base: u64) -> (Vec<u64>, usize) {
    let mut end = 0;
    let piece = |bytes: usize| {
        let at = base + end as u64;
        end += bytes.next_multiple_of(ALIGNMENT);
        at
    };
    let all = kept_bytes(kernel, cut).into_iter().map(piece).collect();
    (all, end)
}

pub(crate) fn forward(
    kernel: &GpuKernel,
    machine: &mut dyn Machine,
    call: &DeviceCall<'_>,
    to: &DeviceForward,
) -> Result<(), Error> {
    let cut = cut(kernel, call)?;
    let given = arguments(kernel, call)?;
    let outputs = &kernel.recurrence().outputs;
    let outputs = tensors(kernel, "output", outputs, &to.outputs, Role::Output)?;
    states(kernel, "state out", &to.states, false)?;
    if to.states.iter().any(|state| call.states.contains(state)) {
        let why = "a state out lies where a state in lies, expected memory of its own";
        return Err(Error::Argument(why.into()));
    }
    let kept = block(kernel, &cut, to.kept)?;
    let run = Run::new(kernel, machine, &cut, given);
    run.forward(&outputs, &to.states, kept.as_deref())
}

pub(crate) fn backward(
    kernel: &GpuKernel,
    machine: &mut dyn Machine,
    call: &DeviceCall<'_>,
    with: &DeviceBackward,
) -> Result<(), Error> {
    let recurrence = kernel.recurrence();
    let cut = cut(kernel, call)?;
    let given = arguments(kernel, call)?;
    count(
        "gradient of output",
        with.d_outputs.len(),
        &recurrence.outputs,
    )?;
    let mut d_outputs = vec![];
    for (i, (port, tensor)) in recurrence.outputs.iter().zip(&with.d_outputs).enumerate() {
        let role = Role::DOutput(i as u32);
        d_outputs.push(match tensor.address {
            0 => kernel.nothing(machine, port, kernel.storage(role, port))?,
            _ => tensor_of(kernel, "gradient of output", port, tensor, role)?,
        });
    }
    states(kernel, "gradient of state out", &with.d_states_out, true)?;
    states(kernel, "gradient of state in", &with.d_states_in, false)?;
    let inputs = &recurrence.inputs;
    let inputs = tensors(
        kernel,
        "gradient of input",
        inputs,
        &with.d_inputs,
        Role::DInput,
    )?;
    let params = &recurrence.params;
    let params = tensors(
        kernel,
        "gradient of param",
        params,
        &with.d_params,
        Role::DParam,
    )?;
    let kept = block(kernel, &cut, with.kept)?;
    let wanted = Wanted {
        inputs,
        shared: kernel.schedule.storage,
        params,
        states: with.d_states_in.clone(),
    };
    let run = Run::new(kernel, machine, &cut, given);
    run.backward(&d_outputs, &with.d_states_out, kept.as_deref(), &wanted)
}

/// The cut of a call whose sizes fit.
fn cut(kernel: &GpuKernel, call: &DeviceCall<'_>) -> Result<Cut, Error> {
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
    let recurrence = kernel.recurrence();
    let ports = recurrence.inputs.iter().chain(&recurrence.outputs);
    let entries = ports
        .chain(&recurrence.states)
        .map(|port| kernel.entries(port));
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
    Cut::new(kernel, kernel.chunk, extent, call.cu_seqlens)
}

fn arguments(kernel: &GpuKernel, call: &DeviceCall<'_>) -> Result<Arguments, Error> {
    let recurrence = kernel.recurrence();
    states(kernel, "state in", &call.states, true)?;
    Ok(Arguments {
        inputs: tensors(
            kernel,
            "input",
            &recurrence.inputs,
            &call.inputs,
            Role::Input,
        )?,
        params: tensors(
            kernel,
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
    kernel: &GpuKernel,
    what: &str,
    ports: &[Port],
    given: &[DeviceTensor],
    role: fn(u32) -> Role,
) -> Result<Vec<Place>, Error> {
    count(what, given.len(), ports)?;
    let pairs = ports.iter().zip(given).zip((0..).map(role));
    pairs
        .map(|((port, tensor), role)| tensor_of(kernel, what, port, tensor, role))
        .collect()
}

fn tensor_of(
    kernel: &GpuKernel,
    what: &str,
    port: &Port,
    tensor: &DeviceTensor,
    role: Role,
) -> Result<Place, Error> {
    let by_step = !matches!(role, Role::Param(_) | Role::DParam(_));
    let unit = match kernel.entries(port) {
        1 => 4,
        _ => 16,
    };
    let &DeviceTensor { address, strides } = tensor;
    let strides = match by_step {
        true => strides,
        false => [0, 0, strides[2]],
    };
    let aligned = strides.iter().all(|stride| stride % unit == 0);
    match address != 0 && address.is_multiple_of(16) && aligned {
        true => Ok(Place { address, strides }),
        false => Err(Error::Argument(format!(
            "{what} `{}` lies at {address:#x} with strides {strides:?} bytes, expected memory at a \
             multiple of 16 with strides of multiples of {unit}",
            port.name
        ))),
    }
}

/// Checks states or their gradients; `absent` says whether they may be null.
fn states(kernel: &GpuKernel, what: &str, given: &[u64], absent: bool) -> Result<(), Error> {
    let ports = &kernel.recurrence().states;
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
fn block(kernel: &GpuKernel, cut: &Cut, address: u64) -> Result<Option<Vec<u64>>, Error> {
    if !address.is_multiple_of(16) {
        return Err(Error::Argument(format!(
            "what is kept lies at {address:#x}, expected a multiple of 16, or 0 for nothing"
        )));
    }
    Ok((address != 0).then(|| pieces(kernel, cut, address).0))
}

#[cfg(test)]
mod tests;
