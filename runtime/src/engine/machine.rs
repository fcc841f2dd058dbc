//! What the engine asks of a device: kernels, memory, launches, sums and chains.

use super::call::Strided;
use super::cut::{Cut, Range};
use super::shapes::Shapes;
use crate::device::check::Extent;
use crate::{Error, Tensor, View};
use baton_codegen::schedule::{Load, Plan};
use baton_codegen::target::Storage;
use baton_codegen::{self as codegen, Phase};
use baton_ir::recurrence::{Port, Side};
use baton_ir::tile::{CarryRole, Role, TileProgram};
use std::collections::HashMap;
use std::sync::Arc;

/// A kernel as the engine sees it.
pub(crate) trait Signed {
    /// Its signature: ports and carries.
    fn program(&self) -> &TileProgram;
}

/// The kernels of a recurrence on one device.
pub(crate) trait Kernels: Send + Sync {
    /// What they compute.
    fn shapes(&self) -> &Shapes;

    /// How a load is cut, in chunks of `chunk` steps where that is said: by shapes alone.
    fn plan(&self, load: Load, chunk: Option<usize>) -> Plan;

    /// Refuses a run that is too large for a launch.
    fn admits(&self, _extent: &Extent) -> Result<(), Error> {
        Ok(())
    }

    /// The chunk of a single step.
    fn step_chunk(&self) -> usize;

    /// Whether a phase leaves anything; one that does not has no kernel.
    fn leaves(&self, phase: Phase) -> bool;

    /// What a segment does to a state.
    fn summary(&self, state: usize) -> codegen::Summary;

    /// The kernel of a phase for runs that are cut so.
    fn kernel(&self, phase: Phase, cut: &Cut) -> Result<Arc<dyn Signed>, Error>;

    /// How many parts of a gradient that a group shares its backward writes; none where it writes the whole.
    fn parts(&self, cut: &Cut) -> Option<usize>;

    /// The dtype of a role's memory, as its kernels read or write it.
    fn storage(&self, role: Role, port: &Port) -> Storage;
}

/// What enters and what leaves each carry, f32 `[ranges, H, dims...]`; null enters as zero. Both may be the same
/// memory only where a [`HostMachine`] gave that leave.
pub(crate) type Carries = HashMap<CarryRole, [u64; 2]>;

/// One kernel over a table of ranges.
pub(crate) struct Launch<'a> {
    pub phase: Phase,
    pub cut: &'a Cut,
    pub table: &'a [Range],
    /// Where ports are. Of pace Task the first stride goes from range to range of the table, of pace Chunk the
    /// second from chunk to chunk.
    pub ports: &'a HashMap<Role, Strided>,
    pub carries: &'a Carries,
}

/// A sum over parts, entry by entry, in their order.
pub(crate) struct Sum<'a> {
    /// Rows, steps, columns, numbers of an entry, parts. Without parts the sum is zero.
    pub sizes: [usize; 5],
    /// Where the first part is, in f32, and its strides in bytes by row, step, column and part.
    pub from: u64,
    pub strides: [i64; 4],
    /// Which row of the parts each row of the sum takes; the same when absent.
    pub rows: Option<&'a [i64]>,
    pub to: Strided,
    /// The dtype of the sum.
    pub storage: Storage,
    /// Whether parts are many: a machine that adds in f64 at no price does.
    pub many: bool,
}

/// What each segment does to any state that enters it, beside what it adds: `S' = M S + own`.
#[derive(Clone, Copy)]
pub(crate) enum Summary {
    /// `M` is `exp(L)`, entry by entry: log decays by head, row and column, f32 `[ranges, H, n]`; null where there
    /// are none. Its own transpose, so gradients are chained alike.
    Diagonal([u64; 3]),
    /// `M` is a matrix, f32 `[ranges, H, n, n]`: `M S` over the rows, n of them; over the columns `S M`. Gradients are
    /// chained by its transpose.
    Dense(Side, u64),
}

/// The borders of the segments of each sequence, for one state: `own` of each segment becomes what
/// arrives at it, `S[i + 1] = M[i] S[i] + own[i]`, or the same from the last segment to the first.
pub(crate) struct Chain<'a> {
    /// First segment and number of segments of each sequence.
    pub sequences: &'a [[i64; 2]],
    /// H, and rows and columns of the state.
    pub heads: usize,
    pub dims: [usize; 2],
    /// What arrives at each sequence, or null.
    pub outer: u64,
    /// What each segment adds.
    pub own: u64,
    pub summary: Summary,
    pub reverse: bool,
}

/// The memory of one run, and who works on it in the order of the calls.
pub(crate) trait Machine {
    /// Memory of `bytes` that nothing has written; it lives as long as the run.
    fn room(&mut self, bytes: usize) -> Result<u64, Error>;

    /// Memory of `bytes` of zeros.
    fn zeros(&mut self, bytes: usize) -> Result<u64, Error>;

    /// Memory of `count` identities, f32 `[n, n]`.
    fn identities(&mut self, count: usize, n: usize) -> Result<u64, Error>;

    /// Whether kernels add to the gradients of params, from zero, however often a range is run; else each run of
    /// a range writes a part of its own.
    fn adds(&self) -> bool;

    /// Runs a kernel over ranges.
    fn launch(&mut self, launch: &Launch<'_>) -> Result<(), Error>;

    /// Adds parts, or moves rows.
    fn sum(&mut self, sum: &Sum<'_>) -> Result<(), Error>;

    /// Chains segments.
    fn chain(&mut self, chain: &Chain<'_>) -> Result<(), Error>;
}

/// A machine that takes tensors of the host and gives them back.
pub(crate) trait HostMachine: Machine {
    /// The numbers of a view in memory of the machine, of which the last `inner` dims lie side by side; bytes
    /// from index to index of the others.
    fn lend(
        &mut self,
        view: &View<'_>,
        inner: usize,
        storage: Storage,
    ) -> Result<(u64, Vec<i64>), Error>;

    /// A tensor whose memory kernels update, where memory of the host is the machine's.
    fn in_place(&mut self, _tensor: &mut Tensor) -> Option<u64> {
        None
    }

    /// What is at an address that [`room`](Machine::room) gave, after everything before.
    fn take(&mut self, address: u64, shape: Vec<usize>, storage: Storage) -> Result<Tensor, Error>;
}

/// `count` identities `[n, n]`.
pub(crate) fn identities(count: usize, n: usize) -> Vec<f32> {
    let entry = |at: usize| f32::from(u8::from(at / n % n == at % n));
    (0..count * n * n).map(entry).collect()
}

/// The gradient of an output that nothing depends on: one entry of zeros, for every step and head.
pub(crate) fn nothing(
    kernels: &dyn Kernels,
    machine: &mut dyn Machine,
    port: &Port,
    role: Role,
) -> Result<Strided, Error> {
    let bytes = kernels.storage(role, port).bytes() as usize;
    Ok(Strided {
        address: machine.zeros(kernels.shapes().entries(port) * bytes)?,
        strides: [0; 3],
    })
}
