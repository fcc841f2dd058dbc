//! What a file of tensors says before anything runs: its names, and whether its axes are in order.

use crate::failure::Failure;
use crate::source::port;
use baton_ir::recurrence::{Port, Recurrence};
use baton_runtime::Call;

/// The name of the offsets of packed sequences.
pub const OFFSETS: &str = "cu_seqlens";

/// What a tensor is called.
pub fn plain(port: &Port) -> String {
    port.name.clone()
}

/// What its gradient is called.
pub fn gradient(port: &Port) -> String {
    format!("d_{}", port.name)
}

/// Every tensor of the file has a place in the recurrence, and nothing needed is absent.
pub fn names(recurrence: &Recurrence, given: &[String], grad: bool) -> Result<(), Failure> {
    let Recurrence {
        inputs,
        params,
        states,
        outputs,
        ..
    } = recurrence;
    let needed: Vec<String> = inputs.iter().chain(params).map(plain).collect();
    let arriving: Vec<String> = (outputs.iter().chain(states)).map(gradient).collect();
    let mut optional: Vec<String> = states.iter().map(plain).collect();
    optional.push(OFFSETS.into());
    if grad {
        optional.extend(arriving.iter().cloned());
    }
    for name in given {
        if needed.contains(name) || optional.contains(name) {
            continue;
        }
        return Err(Failure::new(if arriving.contains(name) {
            format!("tensor `{name}` is a gradient that arrives: expected only with --grad")
        } else {
            format!(
                "tensor `{name}` has no place in `{}`: expected {}, and if wanted {}",
                recurrence.name,
                needed.join(", "),
                optional.join(", ")
            )
        }));
    }
    let absent = inputs.iter().chain(params);
    let absent: Vec<&Port> = absent.filter(|port| !given.contains(&port.name)).collect();
    let join = |of: &dyn Fn(&Port) -> String| {
        let all: Vec<String> = absent.iter().map(|port| of(port)).collect();
        all.join(", ")
    };
    match absent.len() {
        0 if grad && !arriving.iter().any(|name| given.contains(name)) => {
            let arriving: Vec<String> = arriving.iter().map(|name| format!("`{name}`")).collect();
            Err(Failure::new(format!(
                "--grad given, and no gradient arrives, so every one would be zero: expected {} among the tensors",
                arriving.join(" or ")
            )))
        }
        0 => Ok(()),
        n => Err(Failure::new(format!(
            "tensor{} {} missing: expected as `{}` declares, {}",
            if n == 1 { "" } else { "s" },
            join(&|port| format!("`{}`", port.name)),
            recurrence.name,
            join(&|absent| port(recurrence, absent))
        ))),
    }
}

/// Refuses inputs whose heads stand before their steps, where a param or a state says how many heads there are.
pub fn exchanged<T: Copy>(recurrence: &Recurrence, call: &Call<'_, T>) -> Result<(), Failure> {
    let params = recurrence.params.iter().zip(&call.params);
    let params = params.map(|(port, view)| (port, view.shape.first()));
    let states = recurrence.states.iter().zip(&call.states);
    let states = states.filter_map(|(port, view)| Some((port, view.as_ref()?.shape.get(1))));
    let inputs = recurrence.inputs.iter().zip(&call.inputs);
    let own = |(port, _): &(&Port, _)| !port.per_group;
    let Some((input, view)) = inputs.clone().find(own) else {
        return Ok(());
    };
    for (port, heads) in params.chain(states).filter(|(port, _)| !port.per_group) {
        if let (Some(heads), [_, second, third, ..]) = (heads, &view.shape[..])
            && heads == second
            && second != third
        {
            return Err(Failure::new(format!(
                "tensor `{}` has shape {:?}, of which the second size is the {heads} heads of `{}`: expected \
                 [B, T, H, dims...], steps before heads",
                input.name, view.shape, port.name
            )));
        }
    }
    Ok(())
}

/// What is to be said of inputs with fewer steps than heads, where nothing else says how many heads there are.
pub fn doubtful<T: Copy>(recurrence: &Recurrence, call: &Call<'_, T>) -> Option<String> {
    let states = call.states.iter().flatten().count();
    if !call.params.is_empty() || states > 0 || call.cu_seqlens.is_some() {
        return None;
    }
    let (input, view) = recurrence.inputs.iter().zip(&call.inputs).next()?;
    let &[_, time, heads, ..] = &view.shape[..] else {
        return None;
    };
    (time < heads).then(|| {
        format!(
            "note: `{}` has shape {:?}, read as [B, T, {}, dims...]: T={time} steps of {heads}; tensors whose heads \
             stand before their steps are to be exchanged first",
            input.name,
            view.shape,
            if input.per_group { "G" } else { "H" },
        )
    })
}
