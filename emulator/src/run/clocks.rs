//! What is ordered before what within a block.
//!
//! Time goes on by one at every synchronisation. An access bears the time at which it happened; each warp
//! knows, of every other warp, up to which time that warp's accesses are ordered before its own next one.
//! Lanes of one warp are ordered with each other by block barriers and `bar.warp.sync` only: the manual
//! gives no memory ordering to `shfl.sync`, `ldmatrix` and their kin.

/// A lane of a warp.
type Thread = (usize, usize);

#[derive(Debug)]
pub(crate) struct Clocks {
    time: u32,
    warps: usize,
    /// By knowing warp, then known warp.
    known: Vec<u32>,
    /// Up to when all lanes of a warp are ordered with each other.
    together: Vec<u32>,
    /// By warp, lane and other lane: the same for pairs, after a partial `bar.warp.sync`.
    pairs: Vec<[[u32; 32]; 32]>,
}

impl Clocks {
    pub fn new(time: u32, warps: usize) -> Clocks {
        let mut clocks = Clocks {
            time,
            warps,
            known: vec![0; warps * warps],
            together: vec![0; warps],
            pairs: vec![[[0; 32]; 32]; warps],
        };
        clocks.restart();
        clocks
    }

    /// A new block: whatever was before is ordered.
    pub fn restart(&mut self) {
        self.known.fill(self.time);
        self.together.fill(self.time);
        self.time += 1;
    }

    pub fn time(&self) -> u32 {
        self.time
    }

    pub fn synchronised(&self, warp: usize) -> u32 {
        self.together[warp]
    }

    pub fn ordered(&self, before: Thread, stamp: u32, after: Thread) -> bool {
        if before == after {
            return true;
        }
        if before.0 != after.0 {
            return stamp <= self.known[after.0 * self.warps + before.0];
        }
        let warp = after.0;
        stamp <= self.together[warp] || stamp <= self.pairs[warp][after.1][before.1]
    }

    /// A warp arrives at a barrier: what it and those it knows of have done up to now.
    pub fn arrive(&mut self, warp: usize) -> Vec<u32> {
        let row = warp * self.warps..(warp + 1) * self.warps;
        let mut known = self.known[row].to_vec();
        known[warp] = self.time;
        self.time += 1;
        known
    }

    /// A warp leaves a barrier knowing what one that arrived there knew.
    pub fn learn(&mut self, warp: usize, arrival: &[u32]) {
        let row = warp * self.warps..(warp + 1) * self.warps;
        for (known, news) in self.known[row].iter_mut().zip(arrival) {
            *known = (*known).max(*news);
        }
        let own = self.known[warp * self.warps + warp];
        self.together[warp] = self.together[warp].max(own);
    }

    /// `bar.warp.sync` of all live lanes.
    pub fn synchronise(&mut self, warp: usize) {
        self.together[warp] = self.time;
        self.time += 1;
    }

    /// `bar.warp.sync` of some lanes.
    pub fn synchronise_some(&mut self, warp: usize, lanes: u32) {
        let members = || (0..32).filter(|lane| lanes >> lane & 1 == 1);
        let mut joint = [0; 32];
        for lane in members() {
            for (joint, pair) in joint.iter_mut().zip(self.pairs[warp][lane]) {
                *joint = pair.max(*joint);
            }
        }
        for lane in members() {
            joint[lane] = self.time;
        }
        for lane in members() {
            self.pairs[warp][lane] = joint;
        }
        self.time += 1;
    }
}
