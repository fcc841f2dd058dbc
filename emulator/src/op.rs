//! The decoded program: what a warp executes, with registers as slots and labels as positions.

use crate::lanes::{Map1, Map2, Map3};
use crate::number::Conversion;
use crate::types::Space;

/// A register, an immediate or a special register: one row of 32 lanes in a warp's register file.
pub(crate) type Slot = u32;

/// A position that no path reaches: the reconvergence of paths that only meet in their exits.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One decoded instruction. A PTX instruction may become several; the first of them carries its kind.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub op: Op,
    /// The guard's slot, and whether it is negated.
    pub guard: Option<(Slot, bool)>,
    pub line: u32,
    /// Index of the mnemonic it is counted under.
    pub kind: Option<u16>,
}

/// The addresses of an access: a slot and a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub space: Space,
    pub base: Slot,
    pub offset: i64,
}

/// A load or store of up to four elements.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub address: Address,
    pub slots: Vec<Slot>,
    /// Bytes of one element.
    pub bytes: u32,
    /// For loads: extend the sign, up to this many bits.
    pub sign_to: Option<u32>,
    /// Volatile, relaxed, acquire, release and atomic accesses do not race with each other.
    pub strong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOp {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareSwap,
    Increment,
    Decrement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// What a barrier does besides waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierKind {
    Sync,
    Arrive,
    /// The number of threads whose predicate holds, or whether all or any does.
    Popc,
    And,
    Or,
}

/// Operand type of a matrix product, with its shape by the depth k.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F16,
    Bf16,
    Tf32,
}

/// How far an approximate instruction may be off, by the manual.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// Relative to the result.
    Relative(f64),
    Absolute(f64),
    /// Relative to the result, or absolute where the result is below one.
    Either(f64),
}

/// The type whose bits an approximation's result has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Result {
    F32,
    FlushedF32,
    F64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Map1 {
        f: Map1,
        d: Slot,
        a: Slot,
    },
    Map2 {
        f: Map2,
        d: Slot,
        a: Slot,
        b: Slot,
    },
    Map3 {
        f: Map3,
        d: Slot,
        a: Slot,
        b: Slot,
        c: Slot,
    },
    /// Follows an approximate instruction: moves its result within the documented error, on request.
    Perturb {
        d: Slot,
        a: Slot,
        bound: Bound,
        result: Result,
    },
    /// `cvt` where no faster function is written for it.
    Convert {
        conversion: Conversion,
        d: Slot,
        a: Slot,
    },
    Move {
        d: Slot,
        a: Slot,
    },
    Select {
        d: Slot,
        a: Slot,
        b: Slot,
        p: Slot,
    },
    /// Parts of so many bits, low part first.
    Pack {
        d: Slot,
        parts: Vec<Slot>,
        bits: u32,
    },
    Unpack {
        parts: Vec<Slot>,
        a: Slot,
        bits: u32,
    },
    Load(Access),
    Store(Access),
    Atomic {
        address: Address,
        op: AtomicOp,
        ty: crate::types::Type,
        d: Option<Slot>,
        b: Slot,
        c: Option<Slot>,
    },
    Branch {
        target: u32,
        reconverge: u32,
    },
    BranchIndex {
        targets: Vec<u32>,
        index: Slot,
        reconverge: u32,
    },
    Exit,
    Trap,
    Nothing,
    Clock {
        d: Slot,
        bits: u32,
    },
    Barrier {
        kind: BarrierKind,
        id: Slot,
        count: Option<Slot>,
        d: Option<Slot>,
        p: Option<Slot>,
        negated: bool,
    },
    WarpSync {
        mask: Slot,
    },
    Shuffle {
        mode: Shuffle,
        d: Slot,
        p: Option<Slot>,
        a: Slot,
        b: Slot,
        c: Slot,
        mask: Slot,
    },
    Vote {
        mode: Vote,
        d: Slot,
        p: Slot,
        negated: bool,
        mask: Slot,
    },
    ActiveMask {
        d: Slot,
    },
    Elect {
        d: Slot,
        p: Slot,
        mask: Slot,
    },
    Reduce {
        op: AtomicOp,
        signed: bool,
        d: Slot,
        a: Slot,
        mask: Slot,
    },
    Match {
        all: bool,
        d: Slot,
        p: Option<Slot>,
        a: Slot,
        mask: Slot,
    },
    CopyAsync {
        to: Address,
        from: Address,
        bytes: u32,
        /// Bytes read; the rest is zero.
        size: Option<Slot>,
        ignore: Option<Slot>,
    },
    Commit,
    /// Wait until at most so many groups are in flight; none: for all copies, committed or not.
    Wait {
        groups: Option<u32>,
    },
    LoadMatrix {
        slots: Vec<Slot>,
        transposed: bool,
        address: Address,
    },
    StoreMatrix {
        slots: Vec<Slot>,
        transposed: bool,
        address: Address,
    },
    TransposeMatrix {
        d: Slot,
        a: Slot,
    },
    Product {
        element: Element,
        depth: u32,
        d: [Slot; 4],
        a: Vec<Slot>,
        b: Vec<Slot>,
        c: [Slot; 4],
    },
}

/// What a special register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    Thread(usize),
    BlockSize(usize),
    Block(usize),
    GridSize(usize),
    Lane,
    Warp,
    Warps,
    LaneMask(LaneMask),
    DynamicShared,
    TotalShared,
    Zero,
    One,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LaneMask {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Special {
    /// The special register of a name.
    pub fn named(name: &str) -> Option<Special> {
        let axis = |rest: &str| match rest {
            ".x" => Some(0),
            ".y" => Some(1),
            ".z" => Some(2),
            _ => None,
        };
        let families = [
            ("%tid", Special::Thread as fn(usize) -> Special),
            ("%ntid", Special::BlockSize),
            ("%ctaid", Special::Block),
            ("%nctaid", Special::GridSize),
        ];
        for (prefix, make) in families {
            if let Some(axis) = name.strip_prefix(prefix).and_then(axis) {
                return Some(make(axis));
            }
        }
        Some(match name {
            "%laneid" => Special::Lane,
            "%warpid" => Special::Warp,
            "%nwarpid" => Special::Warps,
            "%lanemask_eq" => Special::LaneMask(LaneMask::Equal),
            "%lanemask_lt" => Special::LaneMask(LaneMask::Less),
            "%lanemask_le" => Special::LaneMask(LaneMask::LessEqual),
            "%lanemask_gt" => Special::LaneMask(LaneMask::Greater),
            "%lanemask_ge" => Special::LaneMask(LaneMask::GreaterEqual),
            "%dynamic_smem_size" => Special::DynamicShared,
            "%total_smem_size" => Special::TotalShared,
            "%smid" | "%gridid" => Special::Zero,
            "%nsmid" => Special::One,
            _ => return None,
        })
    }
}
