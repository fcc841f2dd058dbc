//! Checkpoints: entering states kept once for each window of chunks, and rebuilt within it.
//!
//! A window is run forward again just before its backward, into memory of the task's own, so the
//! memory of a backward is that of the checkpoints and one window for each thread.

use super::bound::Bound;
use super::kernel::CpuKernel;
use super::run::Run;
use super::task::{Place, Places, Task, call, copy_heads};
use crate::Error;
use baton_codegen::Phase;
use baton_ir::tile::{CarryRole, Role};

/// A launch whose entering states, and on request states, are the task's own.
struct Windowed<'a> {
    bound: &'a Bound,
    entering: &'a [Place],
    states: &'a [Place],
}

impl Places for Windowed<'_> {
    fn port(&self, role: Role) -> (Place, bool) {
        match role {
            Role::Entering(i) => (self.entering[i as usize], true),
            role => self.bound.port(role),
        }
    }

    fn carry(&self, role: CarryRole) -> (Place, bool) {
        match role {
            CarryRole::State(i) if !self.states.is_empty() => (self.states[i as usize], true),
            role => self.bound.carry(role),
        }
    }
}

impl CpuKernel {
    /// Forward window by window; the states that enter each go to `kept`.
    pub fn forward_windows(
        &self,
        run: &Run,
        bound: &Bound,
        outputs: bool,
        kept: Option<&[Place]>,
    ) -> Result<(), Error> {
        let phase = if outputs {
            Phase::Forward
        } else {
            Phase::Entering
        };
        let artifact = self.artifact(phase, run.plan.chunk)?;
        self.each(&run.sequence_tasks(), |scratch, task| {
            let mut buffers = self.own_buffers(task, run.plan.window);
            let entering = self.own_places(&mut buffers, task);
            for window in run.window_tasks(task) {
                for (i, to) in kept.unwrap_or_default().iter().enumerate() {
                    let (from, _) = bound.carry(CarryRole::State(i as u32));
                    copy_heads(&window, (&from, false), (to, false));
                }
                let places = Windowed {
                    bound,
                    entering: &entering,
                    states: &[],
                };
                call(&artifact, &window, &places, scratch);
            }
        });
        Ok(())
    }

    /// Backward window by window, each rebuilt from its checkpoint in `kept`.
    pub fn backward_windows(&self, run: &Run, bound: &Bound, kept: &[Place]) -> Result<(), Error> {
        let rebuild = self.artifact(Phase::Entering, run.plan.chunk)?;
        let artifact = self.artifact(Phase::Backward, run.plan.chunk)?;
        self.each(&run.sequence_tasks(), |scratch, task| {
            let mut buffers = self.own_buffers(task, run.plan.window);
            let mut states = self.own_buffers(task, 1);
            let entering = self.own_places(&mut buffers, task);
            let states = self.own_places(&mut states, task);
            for window in run.window_tasks(task).into_iter().rev() {
                for (from, to) in kept.iter().zip(&states) {
                    copy_heads(&window, (from, false), (to, true));
                }
                let places = Windowed {
                    bound,
                    entering: &entering,
                    states: &states,
                };
                call(&rebuild, &window, &places, scratch);
                call(&artifact, &window, &places, scratch);
            }
        });
        Ok(())
    }

    fn own_buffers(&self, task: &Task, count: usize) -> Vec<Vec<f32>> {
        let states = self.recurrence().states.iter();
        states
            .map(|port| vec![0.0; count * task.heads * self.entries(port)])
            .collect()
    }

    fn own_places(&self, buffers: &mut [Vec<f32>], task: &Task) -> Vec<Place> {
        let ports = self.recurrence().states.iter().zip(buffers);
        ports
            .map(|(port, buffer)| Place::own(buffer.as_mut_ptr(), task.heads, self.entries(port)))
            .collect()
    }
}
