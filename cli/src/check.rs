//! `baton check`: is this a recurrence, of which class, and what is derived from it?

mod sizes;

use crate::choices::{Choices, Origins, load};
use crate::context::Context;
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::shape::Shape;
use crate::source::{Source, port};
use baton_codegen::Compiler;
use baton_codegen::target::Native;
use baton_ir::diag::Diagnostic;
use baton_ir::recurrence::{Facts, Port, Recurrence};
use serde_json::{Value, json};

/// Check a recurrence: every error at once, or its class and its kernels
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton check mamba2\n  baton check my.rec --json\n  baton check gla --shape K=256,V=512\n\n\
    Exit code 0 when the recurrence is well-formed, 1 when it is not, 2 when --require asks for more. With --json the output is\n\
    {\"recurrence\", \"class\", \"kernels\", ...} or \
    {\"diagnostics\": [{\"code\", \"message\", \"line\", \"column\", \"length\", ...}]}."
)]
pub struct Check {
    /// A file, - for the standard input, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME")]
    place: String,

    /// Sizes by name: of dims, to see what a GPU does with them (64 for those not given), and with T and H those of a
    /// run, as `baton bench` takes them, to see its plan on the CPU and where that comes from
    #[arg(long, value_name = "B=1,T=2048,H=80,K=64,..")]
    shape: Option<Shape>,

    /// The dtype of matrices on a GPU
    #[arg(long, value_enum, default_value = "bf16", requires = "shape")]
    dtype: Dtype,

    /// Whose choices plans are made by
    #[arg(long, value_enum, default_value = "own")]
    choices: Choices,

    /// Targets that must have kernels, at the sizes given: without them the exit code is 2
    #[arg(long, value_enum, value_delimiter = ',', value_name = "cpu,gpu")]
    require: Vec<Required>,
}

/// A target that kernels are asked for.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Required {
    Cpu,
    Gpu,
}

impl Check {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let source = Source::find(&self.place)?;
        let (recurrence, facts) = source.verify()?;
        let is_run = |shape: &&Shape| ["T", "H"].iter().any(|name| shape.get(name).is_some());
        let plan = match self.shape.as_ref().filter(is_run) {
            Some(shape) => {
                let (sizes, run) = shape.run(&recurrence)?;
                let compiler =
                    Compiler::of_any(&recurrence, &sizes).map_err(|list| source.failure(list))?;
                let load = load(&compiler, run);
                Some(Origins::new(&self.choices.store()?, &compiler, load, None))
            }
            None => None,
        };
        let (kernels, note) = kernels(&recurrence);
        let class = facts.class().name();
        let gpu = sizes::lines(&recurrence, self.shape.as_ref(), self.dtype)?;
        self.required(&recurrence, &kernels, note.as_deref())?;
        let value = || {
            json!({
                "recurrence": recurrence.name,
                "class": class,
                "dims": recurrence.dims,
                "inputs": ports(&recurrence, &recurrence.inputs),
                "params": ports(&recurrence, &recurrence.params),
                "states": states(&recurrence, &facts),
                "outputs": ports(&recurrence, &recurrence.outputs),
                "kernels": kernels,
                "gpu": gpu,
                "note": note,
                "plan": plan.as_ref().map(Origins::data),
            })
        };
        let text = || {
            let mut text = format!("{}: class {class}\n", recurrence.name);
            for (title, list) in [
                ("inputs", &recurrence.inputs),
                ("params", &recurrence.params),
                ("states", &recurrence.states),
                ("outputs", &recurrence.outputs),
            ] {
                let list: Vec<_> = list.iter().map(|p| port(&recurrence, p)).collect();
                if !list.is_empty() {
                    text.push_str(&format!("  {title:<8} {}\n", list.join(", ")));
                }
            }
            if recurrence.states.len() > 1 {
                let classes = recurrence.states.iter().zip(&facts.transitions);
                let classes =
                    classes.map(|(state, t)| format!("{} {}", state.name, t.class.name()));
                let classes: Vec<_> = classes.collect();
                text.push_str(&format!("  classes  {}\n", classes.join(", ")));
            }
            let names = match kernels.is_empty() {
                true => "none".to_string(),
                false => kernels.join("\n           "),
            };
            text.push_str(&format!("  kernels  {names}\n"));
            if !gpu.is_empty() {
                text.push_str(&format!("  gpu      {}\n", gpu.join("\n           ")));
            }
            if let Some(plan) = &plan {
                text.push_str(&format!("  plan     {}\n", plan.text()));
            }
            if let Some(note) = &note {
                text.push_str(&format!("  note     {note}\n"));
            }
            text
        };
        context.output.result(value, text)
    }
}

impl Check {
    /// Fails where a required target has no kernels.
    fn required(
        &self,
        recurrence: &Recurrence,
        kernels: &[String],
        note: Option<&str>,
    ) -> Result<(), Failure> {
        for target in &self.require {
            let (name, why) = match target {
                Required::Cpu => {
                    let none = kernels.is_empty();
                    ("cpu", none.then(|| note.unwrap_or("none").to_string()))
                }
                Required::Gpu => {
                    let none = sizes::none(recurrence, self.shape.as_ref(), self.dtype)?;
                    ("gpu", none)
                }
            };
            if let Some(why) = why {
                let of = &recurrence.name;
                return Err(Failure::new(format!(
                    "--require {name} given, and `{of}` has no kernels there: {why}"
                )));
            }
        }
        Ok(())
    }
}

/// What is said of a recurrence without a chunked form.
const STEPS: &str = "no chunked form: runs step by step on the CPU, and on no GPU";

/// What is said of a recurrence without kernels.
const INTERPRETED: &str = "it runs on the interpreter only (`baton run --device interpreter`)";

/// The names of the kernels, and what is to be said of them.
fn kernels(recurrence: &Recurrence) -> (Vec<String>, Option<String>) {
    // Names do not depend on sizes; any will do.
    let sizes = vec![16; recurrence.dims.len()];
    match Compiler::of_any(recurrence, &sizes) {
        Ok(compiler) => {
            let name = |phase| compiler.program(phase, 16).name.clone();
            let why = Compiler::new(recurrence, &sizes).err();
            let note = why.map(|why| format!("{STEPS}; {}", messages(&why)));
            (compiler.phases(&Native).map(name).collect(), note)
        }
        Err(diagnostics) => {
            let note = format!("none: {}; {INTERPRETED}", messages(&diagnostics));
            (vec![], Some(note))
        }
    }
}

/// Reasons, one after another.
fn messages(diagnostics: &[Diagnostic]) -> String {
    let all = diagnostics.iter().map(|d| d.message.as_str());
    all.collect::<Vec<_>>().join("; ")
}

/// The states, each with its class and, where its facts cannot hold it, the reason.
fn states(recurrence: &Recurrence, facts: &Facts) -> Vec<Value> {
    let mut states = ports(recurrence, &recurrence.states);
    for (state, transition) in states.iter_mut().zip(&facts.transitions) {
        state["class"] = json!(transition.class.name());
        state["reads"] = json!(transition.reads.len());
        if let Some(obstacle) = transition.obstacle {
            state["obstacle"] = json!(obstacle.reason(recurrence));
        }
    }
    states
}

fn ports(recurrence: &Recurrence, ports: &[Port]) -> Vec<Value> {
    let entry = |port: &Port| {
        let dims: Vec<_> = (port.shape.iter())
            .map(|dim| &recurrence.dims[dim.index()])
            .collect();
        json!({ "name": port.name, "dims": dims, "per_group": port.per_group })
    };
    ports.iter().map(entry).collect()
}
