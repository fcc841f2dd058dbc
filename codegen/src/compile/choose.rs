//! What may be chosen of a plan for the CPU, what it comes to, and what its kernels are.

use super::{Compiler, Phase};
use crate::schedule::time::{Sweep, Work};
use crate::schedule::{CHUNKS, Choice, Form, Load, Plan};
use crate::target::Native;
use baton_ir::text::tile;

impl Compiler {
    /// The load of sequences of these lengths, with H heads in G groups, on the CPU.
    pub fn load(&self, lengths: impl IntoIterator<Item = usize>, lanes: [usize; 2]) -> Load {
        let state_bytes = size_of::<f32>() * self.entries().sum::<usize>();
        Load::of(lengths, lanes, state_bytes)
    }

    /// What may be chosen for a load: what the rules choose first, then everything else.
    pub fn choices(&self, load: Load) -> Vec<Choice> {
        let usual = Choice::of(&self.plan(load, None, None), load);
        let mut found = vec![usual];
        for form in self.forms() {
            let group_heads = (load.heads / self.groups(form, load)).max(1);
            let whole = self.traits.summary.is_none();
            let all = Choice::all(&[form], load, group_heads, whole);
            found.extend(all.into_iter().filter(|choice| *choice != usual));
        }
        found
    }

    /// The plan of a choice for a load; none where there are no such programs. `keep_bytes` is the caller's, if any.
    pub fn chosen(&self, choice: &Choice, load: Load, keep_bytes: Option<usize>) -> Option<Plan> {
        let heads = (load.heads / self.groups(choice.form, load)).max(1);
        let there = self.forms().contains(&choice.form);
        there.then(|| choice.plan(load, heads, keep_bytes))
    }

    /// What a forward run that keeps what its backward needs, and that backward, come to on `threads` threads.
    pub fn work(&self, plan: &Plan, load: Load, threads: usize) -> Work {
        let form = Choice::of(plan, load).form;
        let sweeps: Vec<Sweep> = (self.sweeps(plan, load).into_iter())
            .map(|(phase, share)| Sweep {
                program: self.planned(phase, plan),
                share,
            })
            .collect();
        Work::of(&sweeps, plan, load, self.groups(form, load), threads)
    }

    /// The texts of the programs that runs of a plan's kind have, whatever their lengths: what the machine code
    /// follows from.
    pub fn texts(&self, plan: &Plan) -> String {
        let texts = self
            .phases(&Native)
            .map(|phase| tile::print(&self.planned(phase, plan)));
        texts.collect()
    }

    /// The forms that there are programs of.
    fn forms(&self) -> Vec<Form> {
        let mut forms = match self.steps {
            true => vec![Form::Steps],
            false => CHUNKS.map(Form::Chunks).to_vec(),
        };
        forms.extend(self.rows.is_some().then_some(Form::Rows));
        forms
    }

    /// Groups whose heads a task may run together: where heads are rows and share no input, all are one.
    fn groups(&self, form: Form, load: Load) -> usize {
        let share = self.recurrence.inputs.iter().any(|input| input.per_group);
        match form == Form::Rows && !share {
            true => 1,
            false => load.groups.max(1),
        }
    }

    /// The phases of a run forward and backward, and the share of its steps that each goes over.
    fn sweeps(&self, plan: &Plan, load: Load) -> Vec<(Phase, f64)> {
        let mut sweeps = match plan.window {
            1 => vec![(Phase::ForwardKeep, 1.0), (Phase::Backward, 1.0)],
            _ => vec![
                (Phase::Forward, 1.0),
                (Phase::Entering, 1.0),
                (Phase::Backward, 1.0),
            ],
        };
        if let Some(segment) = plan.segment {
            let segments = load.longest.div_ceil(segment * plan.chunk).max(1) as f64;
            let share = (segments - 1.0) / segments;
            let first = [
                Phase::Summary,
                Phase::LogDecay,
                Phase::Transition,
                Phase::BackwardState,
            ];
            sweeps.extend(first.map(|phase| (phase, share)));
        }
        sweeps.retain(|&(phase, _)| self.leaves(phase));
        sweeps
    }
}
