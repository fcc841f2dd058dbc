//! What every device checks before it touches memory: one place, one wording.
//!
//! [`bind`] finds B, T, H, G and the number of sequences from the tensors given and compares
//! every shape with them. The first tensor that has a symbol decides its size; a later one that
//! disagrees is the one reported. After a successful `bind` every view lies inside its memory and
//! every product of sizes fits in `usize`.

use crate::{Call, Error, Tensor, View};
use baton_ir::recurrence::{Port, Recurrence};

/// The sizes that a run brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// B
    pub batch: usize,
    /// T
    pub time: usize,
    /// H
    pub heads: usize,
    /// G; H where no input is per group. Divides H.
    pub groups: usize,
    /// S: B, or the number of packed sequences. The leading size of a state.
    pub sequences: usize,
}

impl Extent {
    /// B, T and H: what an output's layout begins with.
    pub fn steps(&self) -> [usize; 3] {
        [self.batch, self.time, self.heads]
    }
}

/// Checks the arguments of a run against the recurrence and against each other.
pub fn bind<T: Copy>(
    recurrence: &Recurrence,
    sizes: &[usize],
    call: &Call<'_, T>,
) -> Result<Extent, Error> {
    self::sizes(recurrence, sizes)?;
    count("inputs", call.inputs.len(), &recurrence.inputs)?;
    count("params", call.params.len(), &recurrence.params)?;
    count("states", call.states.len(), &recurrence.states)?;
    let mut binding = Binding {
        recurrence,
        sizes,
        known: [None; 4],
        sequences: call.cu_seqlens.map(|ends| ends.len().saturating_sub(1)),
    };
    for (port, view) in recurrence.inputs.iter().zip(&call.inputs) {
        binding.check(&Kind::sequence(port), &port.name, port, view)?;
    }
    for (port, view) in recurrence.params.iter().zip(&call.params) {
        binding.check(&[Symbol::Heads], &port.name, port, view)?;
    }
    if let Some(ends) = call.cu_seqlens {
        binding.packed(ends)?;
    }
    for (port, view) in recurrence.states.iter().zip(&call.states) {
        if let Some(view) = view {
            binding.check(&Kind::STATE, &port.name, port, view)?;
        }
    }
    let extent = binding.extent()?;
    // What a run returns must be addressable too.
    for port in &recurrence.outputs {
        volume(
            &port.name,
            &shape(sizes, port, &[extent.batch, extent.time, extent.heads]),
        )?;
    }
    for port in &recurrence.states {
        volume(
            &port.name,
            &shape(sizes, port, &[extent.sequences, extent.heads]),
        )?;
    }
    Ok(extent)
}

/// Checks the gradients that arrive at a backward run; absent ones are zero.
pub fn arriving<T: Copy>(
    recurrence: &Recurrence,
    sizes: &[usize],
    extent: Extent,
    d_outputs: &[Option<View<'_, T>>],
    d_states: &[Option<View<'_, T>>],
) -> Result<(), Error> {
    count("gradients of outputs", d_outputs.len(), &recurrence.outputs)?;
    count("gradients of states", d_states.len(), &recurrence.states)?;
    let mut binding = Binding {
        recurrence,
        sizes,
        known: [
            Some(extent.batch),
            Some(extent.time),
            Some(extent.heads),
            Some(extent.groups),
        ],
        sequences: Some(extent.sequences),
    };
    for (port, view) in recurrence.outputs.iter().zip(d_outputs) {
        if let Some(view) = view {
            binding.check(
                &Kind::sequence(port),
                &format!("d_{}", port.name),
                port,
                view,
            )?;
        }
    }
    for (port, view) in recurrence.states.iter().zip(d_states) {
        if let Some(view) = view {
            binding.check(&Kind::STATE, &format!("d_{}", port.name), port, view)?;
        }
    }
    Ok(())
}

/// Checks a single step: T = 1, no packing, and every state given in place. The states of the
/// call itself must be absent.
pub fn step<T: Copy>(
    recurrence: &Recurrence,
    sizes: &[usize],
    call: &Call<'_, T>,
    states: &[Tensor<T>],
) -> Result<Extent, Error> {
    count("states", states.len(), &recurrence.states)?;
    if call.cu_seqlens.is_some() || call.states.iter().any(Option::is_some) {
        return Err(Error::Argument(
            "a step takes neither cu_seqlens nor states in its call: its states are updated in \
             place"
                .into(),
        ));
    }
    let whole = Call {
        inputs: call.inputs.clone(),
        params: call.params.clone(),
        states: states.iter().map(|state| Some(state.view())).collect(),
        cu_seqlens: None,
    };
    let extent = bind(recurrence, sizes, &whole)?;
    match extent.time {
        1 => Ok(extent),
        time => Err(Error::Argument(format!(
            "a step takes inputs with T=1, given T={time}"
        ))),
    }
}

/// The sizes of the dims as the tensors given have them. A tensor of another rank than its port has is refused here,
/// where no size is known yet to compare it by.
pub fn infer_sizes<T: Copy>(
    recurrence: &Recurrence,
    call: &Call<'_, T>,
) -> Result<Vec<usize>, Error> {
    count("inputs", call.inputs.len(), &recurrence.inputs)?;
    count("params", call.params.len(), &recurrence.params)?;
    count("states", call.states.len(), &recurrence.states)?;
    let inputs = recurrence.inputs.iter().zip(call.inputs.iter().map(Some));
    let params = recurrence.params.iter().zip(call.params.iter().map(Some));
    let states = recurrence
        .states
        .iter()
        .zip(call.states.iter().map(Option::as_ref));
    let sequences = if call.cu_seqlens.is_some() { "S" } else { "B" };
    let steps = |port: &Port| vec!["B", "T", if port.per_group { "G" } else { "H" }];
    let ports = (inputs.map(|(port, view)| (steps(port), port, view)))
        .chain(params.map(|(port, view)| (vec!["H"], port, view)))
        .chain(states.map(|(port, view)| (vec![sequences, "H"], port, view)));
    let mut sizes = vec![None; recurrence.dims.len()];
    for (outer, port, view) in ports {
        let Some(view) = view else { continue };
        if view.shape.len() != outer.len() + port.shape.len() {
            let inner = port.shape.iter();
            let inner = inner.map(|dim| recurrence.dims[dim.index()].as_str());
            let parts: Vec<&str> = outer.into_iter().chain(inner).collect();
            return Err(Error::Shape {
                tensor: port.name.clone(),
                given: view.shape.clone(),
                expected: format!("[{}]", parts.join(", ")),
            });
        }
        for (dim, &size) in port.shape.iter().zip(&view.shape[outer.len()..]) {
            sizes[dim.index()].get_or_insert(size);
        }
    }
    let named = sizes.into_iter().zip(&recurrence.dims).map(|(size, name)| {
        size.ok_or_else(|| {
            Error::Argument(format!(
                "the size of dimension `{name}` follows from no tensor given: give one that has it"
            ))
        })
    });
    named.collect()
}

/// Numbers of a dim, at most: tiles of such columns and states of two such dims are counted in 32 bits.
const MOST: usize = 1 << 24;

/// Checks that there is a size of at least one for each dim, and that no state has too many numbers.
pub fn sizes(recurrence: &Recurrence, sizes: &[usize]) -> Result<(), Error> {
    if sizes.len() != recurrence.dims.len() {
        return Err(Error::Argument(format!(
            "{} sizes given, expected one for each of [{}]",
            sizes.len(),
            recurrence.dims.join(", ")
        )));
    }
    let mut dims = recurrence.dims.iter().zip(sizes);
    if let Some((name, size)) = dims.find(|&(_, &size)| size == 0 || size > MOST) {
        return Err(Error::Argument(format!(
            "dimension `{name}` has size {size}, expected at least 1 and at most {MOST}"
        )));
    }
    for port in &recurrence.states {
        let numbers: usize = port.shape.iter().map(|dim| sizes[dim.index()]).product();
        if numbers > i32::MAX as usize {
            return Err(Error::Argument(format!(
                "state `{}` has {numbers} numbers, expected at most {}",
                port.name,
                i32::MAX
            )));
        }
    }
    Ok(())
}

/// A dimension outside of one head at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Batch,
    Time,
    Heads,
    Groups,
    Sequences,
}

/// The outer dimensions of the kinds of tensors.
struct Kind;

impl Kind {
    const STATE: [Symbol; 2] = [Symbol::Sequences, Symbol::Heads];

    fn sequence(port: &Port) -> [Symbol; 3] {
        let heads = if port.per_group {
            Symbol::Groups
        } else {
            Symbol::Heads
        };
        [Symbol::Batch, Symbol::Time, heads]
    }
}

struct Binding<'a> {
    recurrence: &'a Recurrence,
    sizes: &'a [usize],
    /// B, T, H and G as far as known.
    known: [Option<usize>; 4],
    /// S, where it is not B.
    sequences: Option<usize>,
}

impl Binding<'_> {
    fn size(&mut self, symbol: Symbol) -> &mut Option<usize> {
        match symbol {
            Symbol::Sequences if self.sequences.is_some() => &mut self.sequences,
            Symbol::Batch | Symbol::Sequences => &mut self.known[0],
            Symbol::Time => &mut self.known[1],
            Symbol::Heads => &mut self.known[2],
            Symbol::Groups => &mut self.known[3],
        }
    }

    fn check<T: Copy>(
        &mut self,
        outer: &[Symbol],
        name: &str,
        port: &Port,
        view: &View<'_, T>,
    ) -> Result<(), Error> {
        let fits = view.shape.len() == outer.len() + port.shape.len()
            && outer
                .iter()
                .zip(&view.shape)
                .all(|(&symbol, &given)| self.size(symbol).is_none_or(|known| known == given))
            && port
                .shape
                .iter()
                .zip(&view.shape[outer.len()..])
                .all(|(dim, &given)| self.sizes[dim.index()] == given);
        if !fits {
            return Err(Error::Shape {
                tensor: name.into(),
                given: view.shape.clone(),
                expected: self.expected(outer, port),
            });
        }
        if view.strides.len() != view.shape.len() {
            return Err(Error::Argument(format!(
                "tensor `{name}` has {} sizes and {} strides",
                view.shape.len(),
                view.strides.len()
            )));
        }
        volume(name, &view.shape)?;
        view.check(name)?;
        for (&symbol, &given) in outer.iter().zip(&view.shape) {
            *self.size(symbol) = Some(given);
        }
        Ok(())
    }

    /// `[B=2, T=64, H=8, P=64]`, without the sizes that nothing has given yet.
    fn expected(&mut self, outer: &[Symbol], port: &Port) -> String {
        let mut parts = Vec::new();
        for &symbol in outer {
            let letter = match symbol {
                Symbol::Sequences if self.sequences.is_some() => "S",
                Symbol::Batch | Symbol::Sequences => "B",
                Symbol::Time => "T",
                Symbol::Heads => "H",
                Symbol::Groups => "G",
            };
            parts.push(match *self.size(symbol) {
                Some(size) => format!("{letter}={size}"),
                None => letter.into(),
            });
        }
        for dim in &port.shape {
            let i = dim.index();
            parts.push(format!("{}={}", self.recurrence.dims[i], self.sizes[i]));
        }
        format!("[{}]", parts.join(", "))
    }

    fn packed(&self, ends: &[i64]) -> Result<(), Error> {
        let [batch, time, ..] = self.known;
        let (batch, time) = (batch.unwrap_or(0), time.unwrap_or(0));
        let bounded = ends.first() == Some(&0) && ends.last() == i64::try_from(time).ok().as_ref();
        let wrong = if ends.len() < 2 {
            format!("{} offsets", ends.len())
        } else if let Some(i) = (1..ends.len()).find(|&i| ends[i] < ends[i - 1]) {
            format!("{} after {} at position {i}", ends[i], ends[i - 1])
        } else if !bounded {
            format!("offsets from {} to {}", ends[0], ends[ends.len() - 1])
        } else if batch != 1 {
            format!("B={batch}")
        } else {
            return Ok(());
        };
        Err(Error::Argument(format!(
            "cu_seqlens has {wrong}; expected S + 1 offsets that never decrease, from 0 to \
             T={time}, and B=1"
        )))
    }

    fn extent(&self) -> Result<Extent, Error> {
        let [batch, time, heads, groups] = self.known;
        // A recurrence has inputs; where all are shared and nothing else says H, a group is a head.
        let (batch, time) = (batch.unwrap_or(0), time.unwrap_or(0));
        let heads = heads.or(groups).unwrap_or(0);
        let groups = groups.unwrap_or(heads);
        if heads == 0 || groups == 0 || heads % groups != 0 {
            let shared = self.recurrence.inputs.iter().find(|port| port.per_group);
            let shared = shared.map_or(String::new(), |port| format!(" of `{}`", port.name));
            return Err(Error::Argument(format!(
                "H={heads} heads do not fall into G={groups} groups{shared}: expected H >= 1 and \
                 G a divisor of H"
            )));
        }
        Ok(Extent {
            batch,
            time,
            heads,
            groups,
            sequences: self.sequences.unwrap_or(batch),
        })
    }
}

fn shape(sizes: &[usize], port: &Port, outer: &[usize]) -> Vec<usize> {
    let inner = port.shape.iter().map(|dim| sizes[dim.index()]);
    outer.iter().copied().chain(inner).collect()
}

/// Whether the number of entries, and of their bytes, can be counted.
fn volume(name: &str, shape: &[usize]) -> Result<(), Error> {
    let entries = shape
        .iter()
        .try_fold(8usize, |product, &size| product.checked_mul(size));
    match entries.filter(|&bytes| isize::try_from(bytes).is_ok()) {
        Some(_) => Ok(()),
        None => Err(Error::Argument(format!(
            "tensor `{name}` of shape {shape:?} has more entries than memory can hold"
        ))),
    }
}

fn count(what: &str, given: usize, ports: &[Port]) -> Result<(), Error> {
    if given == ports.len() {
        return Ok(());
    }
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    Err(Error::Argument(format!(
        "{given} {what} given, expected {}: [{}]",
        ports.len(),
        names.join(", ")
    )))
}

#[cfg(test)]
mod tests;
