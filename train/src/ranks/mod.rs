//! Processes that train one model together.
//!
//! [`Group`] is what is asked of a message-passing library; what ranks do with it is written here once, so that no
//! result depends on the library. Sums run in the order of ranks, each rank adding its terms one after another to
//! what the ranks below left: a step of several ranks has the bits of one process that runs all parts. The chain goes
//! tensor by tensor, so ranks add different tensors at the same time. A library's own reduction would choose an order
//! by the number of ranks and the size of the message.
//!
//! Every rank holds all weights, moments and carried states, so any of them can write a checkpoint, and the next run
//! may have another number of ranks.

use crate::Error;
use crate::initial_state::sequences;
use crate::models::{HostState, HostStates, Parameter};
use baton_runtime::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::rc::Rc;
use std::sync::OnceLock;

mod alone;
mod answers;
mod clock;
mod cost;
mod group;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(any(feature = "nccl", test))]
mod nccl;
mod neighbours;
mod units;

pub use alone::Alone;
pub use answers::{Pass, answers};
pub use clock::Slow;
pub(crate) use clock::{Clocked, Work};
pub use cost::{Cost, H100, Machine, Seconds};
pub use group::Group;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
#[cfg(feature = "nccl")]
pub use nccl::nccl;
pub(crate) use neighbours::Neighbours;
pub(crate) use units::Units;

/// The ranks that were started together with this process, or the process alone.
///
/// A build without MPI refuses to be one of several, and so does one whose MPI is not the launcher's: each would do the
/// whole work and write the same files.
pub fn start() -> Result<Rc<dyn Group>, Error> {
    match launched() {
        0 | 1 => Ok(Rc::new(Alone)),
        #[cfg(feature = "mpi")]
        ranks => {
            let group = Mpi::start()?;
            joined(ranks, group.size())?;
            Ok(Rc::new(group))
        }
        #[cfg(not(feature = "mpi"))]
        ranks => Err(Error::Config(format!(
            "{ranks} ranks were started by MPI, expected one: this build does not know MPI, and each rank would \
             run everything and write the same files. Build with `--features mpi` (scripts/mpi.sh installs what it needs)"
        ))),
    }
}

/// Refuses a rank of several that found no other, as one does that another MPI's launcher started.
#[cfg(any(feature = "mpi", test))]
fn joined(started: usize, found: usize) -> Result<(), Error> {
    if found > 1 || started < 2 {
        return Ok(());
    }
    Err(Error::Config(format!(
        "{started} ranks were started and this one found no other, expected the launcher of the MPI that this program \
         was built with: each rank would run everything and write the same files"
    )))
}

/// How many ranks a launcher of MPI programs says that it started; 0 without one.
pub fn launched() -> usize {
    size(|name| std::env::var(name).ok())
}

/// [`launched`] by what the environment says under a name. Slurm's own launcher says with PMIx which rank it is and not of how
/// many, which are then the tasks of its step.
fn size(said: impl Fn(&str) -> Option<String>) -> usize {
    let number = |name: &&str| said(name)?.parse::<usize>().ok();
    let known = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"];
    let tasks = ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];
    let of_step = || said("PMIX_RANK").and_then(|_| tasks.iter().find_map(number));
    let known = known.iter().filter_map(number).max();
    known.or_else(of_step).unwrap_or(0)
}

/// Which of the ranks on this machine it is, as the launcher says; 0 without one.
pub fn number_on_this_machine() -> usize {
    let known = [
        "OMPI_COMM_WORLD_LOCAL_RANK",
        "MPI_LOCALRANKID",
        "SLURM_LOCALID",
    ];
    let mut said = known.iter().filter_map(|name| std::env::var(name).ok());
    said.find_map(|number| number.parse().ok()).unwrap_or(0)
}

/// How many of the ranks share this machine, as the launcher says; 1 without one.
pub fn on_this_machine() -> usize {
    beside(|name| std::env::var(name).ok())
}

/// [`on_this_machine`] by what the environment says under a name. What Slurm was asked for an allocation is still said in a step
/// that has fewer tasks.
fn beside(said: impl Fn(&str) -> Option<String>) -> usize {
    let known = [
        "OMPI_COMM_WORLD_LOCAL_SIZE",
        "MPI_LOCALNRANKS",
        "SLURM_STEP_TASKS_PER_NODE",
        "SLURM_NTASKS_PER_NODE",
        "SLURM_TASKS_PER_NODE",
    ];
    let mut sizes = known.iter().filter_map(|name| said(name));
    sizes.find_map(|size| most(&size)).unwrap_or(1).max(1)
}

/// The most tasks of a machine in a scheduler's list: `4`, or `4(x2),3` for two machines with four and one with three.
/// Which of them this is it does not say, so a machine may be taken to have more of them than it has.
fn most(tasks: &str) -> Option<usize> {
    let counts = tasks
        .split(',')
        .map(|part| part.split('(').next()?.trim().parse().ok());
    counts.collect::<Option<Vec<usize>>>()?.into_iter().max()
}

/// What `work` makes of each of `0..count`, in order: a rank does some of them and has all.
///
/// What is done at once does not depend on the number of ranks, so neither do bits. A rank that fails has to end the
/// others, which wait for it ([`Group::abort`]).
pub fn spread<T: Serialize + DeserializeOwned>(
    group: &dyn Group,
    count: usize,
    mut work: impl FnMut(usize) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let own = (group.rank()..count).step_by(group.size());
    let own = own.map(&mut work).collect::<Result<Vec<T>, Error>>()?;
    if group.size() == 1 {
        return Ok(own);
    }
    let mut all = exchange(group, own)?;
    let in_turn = (0..count).map(|i| all[i % group.size()].next());
    let complete: Option<Vec<T>> = in_turn.collect();
    Ok(complete.ok_or_else(differ)?)
}

/// What every rank has a list of, by rank. Numbers keep their bits.
fn exchange<T: Serialize + DeserializeOwned>(
    group: &dyn Group,
    own: Vec<T>,
) -> Result<Vec<std::vec::IntoIter<T>>, baton_data::Error> {
    let mut bytes = Vec::new();
    ciborium::into_writer(&own, &mut bytes).map_err(|_| differ())?;
    let read = |bytes: &Vec<u8>| ciborium::from_reader::<Vec<T>, _>(&bytes[..]);
    let all = group.gather(&bytes);
    let all = all
        .iter()
        .map(|bytes| Ok(read(bytes).map_err(|_| differ())?.into_iter()));
    all.collect()
}

/// Ranks that do not say what others expect of them.
fn differ() -> baton_data::Error {
    baton_data::Error::Config(
        "ranks that were asked different things given, expected the same command and files on each"
            .into(),
    )
}

/// Refuses ranks that would not compute the same run: `own` says everything that decides it. Where one differs,
/// `differs` says how, from the first rank's text and its own.
pub(crate) fn alike(
    group: &dyn Group,
    own: &str,
    differs: impl Fn(&str, &str) -> Option<String>,
) -> Result<(), Error> {
    let all = group.gather(own.as_bytes());
    let text = |rank: usize| String::from_utf8_lossy(&all[rank]).into_owned();
    for rank in 1..all.len() {
        if let Some(difference) = differs(&text(0), &text(rank)) {
            return Err(Error::Config(format!(
                "rank {rank} runs something else than rank 0: {difference}"
            )));
        }
    }
    Ok(())
}

/// What tells this program from another: its version, and the size and checksum of its file.
pub(crate) fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let version = env!("CARGO_PKG_VERSION");
        let file = std::env::current_exe().and_then(std::fs::read);
        file.map_or(version.to_string(), |file| {
            let sum = crc32c::crc32c(&file);
            format!("{version}, {} bytes, {sum:08x}", file.len())
        })
    })
}

/// Whether it holds for any rank.
pub(crate) fn any(group: &dyn Group, own: bool) -> bool {
    group.size() > 1 && group.gather(&[u8::from(own)]).contains(&vec![1]) || own
}

/// The numbers of all ranks, in their order.
pub(crate) fn numbers(group: &dyn Group, own: Vec<f32>) -> Vec<f32> {
    if group.size() == 1 {
        return own;
    }
    let bytes: Vec<u8> = own.iter().flat_map(|x| x.to_le_bytes()).collect();
    let all = group.gather(&bytes);
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    (all.iter().flat_map(|own| own.chunks_exact(4)).map(number)).collect()
}

/// The states that `work` comes to for each of `count` parts, in order: a rank runs some of them and has all.
pub(crate) fn spread_states(
    group: &dyn Group,
    count: usize,
    mut work: impl FnMut(usize) -> Result<HostStates, Error>,
) -> Result<HostStates, Error> {
    type Plain = (Vec<usize>, Vec<f32>);
    let plain = |state: Tensor| (state.shape, state.data);
    let parts = spread(group, count, |part| {
        let layers = work(part)?.into_iter().map(|layer| {
            let recurrence = layer.recurrence.into_iter().map(plain);
            (recurrence.collect(), layer.conv.map(plain))
        });
        Ok(layers.collect::<Vec<(Vec<Plain>, Option<Plain>)>>())
    });
    let tensor = |(shape, data)| Tensor { shape, data };
    let parts = parts?.into_iter().map(|layers| {
        let layers = layers.into_iter().map(|(recurrence, conv)| HostState {
            recurrence: recurrence.into_iter().map(tensor).collect(),
            conv: conv.map(tensor),
            memory: None,
        });
        layers.collect()
    });
    Ok(sequences::join(parts.collect()))
}

/// The states of all `rows`, in the order of ranks; a rank has those of as many as its tensors hold.
pub(crate) fn states(group: &dyn Group, mut own: HostStates, rows: usize) -> HostStates {
    if group.size() == 1 {
        return own;
    }
    for layer in &mut own {
        for state in layer.recurrence.iter_mut().chain(&mut layer.conv) {
            state.data = numbers(group, std::mem::take(&mut state.data));
            state.shape[0] = rows;
        }
    }
    own
}

/// A sum of gradients over parts and their segments, those of all ranks in order.
pub(crate) struct Sum<'g> {
    group: &'g dyn Group,
    /// The first rank adds as it goes, as nothing comes before its parts.
    terms: Vec<Vec<Parameter>>,
}

impl<'g> Sum<'g> {
    pub fn new(group: &'g dyn Group) -> Self {
        let terms = Vec::new();
        Sum { group, terms }
    }

    /// The gradients of this rank's next part.
    pub fn add(&mut self, part: Vec<Parameter>) {
        match self.terms.first_mut() {
            Some(sum) if self.group.rank() == 0 => {
                for (sum, more) in sum.iter_mut().zip(part) {
                    add(&mut sum.value.data, &more.value.data);
                }
            }
            _ => self.terms.push(part),
        }
    }

    /// The sum, on every rank.
    pub fn finish(self) -> Vec<Parameter> {
        let (rank, size) = (self.group.rank(), self.group.size());
        let mut terms = self.terms.into_iter();
        let mut sum = terms.next().unwrap_or_default();
        let rest: Vec<Vec<Parameter>> = terms.collect();
        for (i, Parameter { value, .. }) in sum.iter_mut().enumerate() {
            if rank > 0 {
                let mut below = vec![0.0; value.data.len()];
                self.group.receive(rank - 1, &mut below);
                add(&mut below, &value.data);
                for part in &rest {
                    add(&mut below, &part[i].value.data);
                }
                value.data = below;
            }
            if rank + 1 < size {
                self.group.send(rank + 1, &value.data);
            }
        }
        if size > 1 {
            for Parameter { value, .. } in &mut sum {
                self.group.broadcast(size - 1, &mut value.data);
            }
        }
        sum
    }
}

fn add(sum: &mut [f32], more: &[f32]) {
    let pairs = sum.iter_mut().zip(more);
    pairs.for_each(|(sum, more)| *sum += more);
}

#[cfg(test)]
pub(crate) mod tests;
