//! Ranks on the command line: who prepares a folder, who speaks.
//!
//! The first rank prepares what others then find; it alone writes and prints. What fails on one ends all (`main.rs`).

use crate::failure::Failure;
use baton_data::shards::Reader;
use baton_data::tokenizer::Tokenizer;
use baton_runtime::device::cuda::Cuda;
use baton_runtime::{Device, Error};
use baton_train::ranks::{Group, launched, number_on_this_machine, on_this_machine};
use baton_weights::origin::{Opened, Origin};
use std::rc::Rc;
use std::thread::available_parallelism;

/// What `work` gives, done by the first rank before any other begins with it.
pub fn in_turn<T>(
    group: &dyn Group,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    if group.rank() > 0 {
        group.gather(&[]);
    }
    let done = work()?;
    if group.rank() == 0 {
        group.gather(&[]);
    }
    Ok(done)
}

/// Data as one of the ranks opens it, which share out what is read through.
pub fn open(group: &dyn Group, data: &Origin, tokenizer: &Tokenizer) -> Result<Opened, Failure> {
    let reader = Reader {
        number: group.rank(),
        count: group.size(),
    };
    Ok(data.open_as(reader, tokenizer)?)
}

/// Refuses several ranks for what one process does.
pub fn alone() -> Result<(), Failure> {
    match launched() {
        0 | 1 => Ok(()),
        count => Err(Failure::new(format!(
            "{count} ranks were started, expected one: `train`, `post-train`, `reproduce` and `eval` (but for `eval \
             logits`) share their work, and everything else would be done {count} times"
        ))),
    }
}

/// What carries long messages between ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Link {
    /// The MPI that started them
    Mpi,
    /// NCCL, from GPU to GPU; needs a build with --features nccl
    Nccl,
}

/// The ranks, linked as asked; `device` is this one's.
pub fn linked(
    group: Rc<dyn Group>,
    link: Link,
    device: &dyn Device,
) -> Result<Rc<dyn Group>, Failure> {
    let gpu = match (link, device.gpu()) {
        (Link::Mpi, _) => return Ok(group),
        (Link::Nccl, Some(gpu)) => gpu,
        (Link::Nccl, None) => {
            return Err(Failure::new(format!(
                "--link nccl given with --device {}, expected --device cuda: NCCL carries from GPU to GPU",
                device.name()
            )));
        }
    };
    by_nccl(group, gpu)
}

#[cfg(feature = "nccl")]
fn by_nccl(group: Rc<dyn Group>, gpu: usize) -> Result<Rc<dyn Group>, Failure> {
    Ok(baton_train::ranks::nccl(group, gpu)?)
}

#[cfg(not(feature = "nccl"))]
fn by_nccl(_: Rc<dyn Group>, gpu: usize) -> Result<Rc<dyn Group>, Failure> {
    Err(Failure::new(format!(
        "--link nccl given for GPU {gpu}, expected mpi: this program was built without NCCL. Build it with `cargo build \
         --release -p baton-cli --features train-cuda,nccl`"
    )))
}

/// The number of the GPU of this rank, which are dealt to those of a machine in turn; the first one without others.
pub fn gpu() -> Result<usize, Error> {
    match launched() {
        0 | 1 => Ok(0),
        _ => Ok(number_on_this_machine() % Cuda::count()?.max(1)),
    }
}

/// Threads where none are asked for: every core, or this rank's share of those of the machine.
pub fn threads(asked: Option<usize>) -> Option<usize> {
    asked.or_else(|| match launched() {
        0 | 1 => None,
        _ => {
            let own = available_parallelism().map_or(1, usize::from);
            Some(share(own, online(), on_this_machine()))
        }
    })
}

/// The share of one of so many ranks, which may run on `own` of a machine's `all` cores: a launcher that binds ranks has dealt out
/// the cores once.
fn share(own: usize, all: usize, ranks: usize) -> usize {
    let dealt = if own < all { all } else { own };
    (dealt / ranks).clamp(1, own)
}

/// The cores of the machine, whoever may run on them.
fn online() -> usize {
    // Safe: it asks for a number.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    usize::try_from(count).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn cores_are_dealt_out_once() {
        // Not bound, bound to a core, bound to a socket that four of the eight share.
        assert_eq!(super::share(64, 64, 8), 8);
        assert_eq!(super::share(1, 64, 2), 1);
        assert_eq!(super::share(32, 64, 8), 8);
        assert_eq!(super::share(2, 2, 4), 1);
    }
}
