//! `baton check`: is this a recurrence, of which class, and what is derived from it?

use crate::Context;
use crate::failure::Failure;
use crate::source::{Source, port};
use baton_codegen::Compiler;
use baton_ir::recurrence::{Port, Recurrence};
use serde_json::{Value, json};

/// Check a recurrence: every error at once, or its class and its kernels
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton check mamba2\n  baton check my.rec --json\n\n\
    Exit code 0 when the recurrence is well-formed, 1 when it is not. With --json the output is\n\
    {\"recurrence\", \"class\", \"kernels\", ...} or \
    {\"diagnostics\": [{\"code\", \"message\", \"line\", \"column\", \"length\", ...}]}."
)]
pub struct Check {
    /// A file, or the name of a built-in recurrence
    #[arg(value_name = "FILE|NAME")]
    place: String,
}

impl Check {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let (recurrence, facts) = Source::find(&self.place)?.verify()?;
        let kernels = kernels(&recurrence);
        let class = facts.class.name();
        let value = || {
            let (names, note) = match &kernels {
                Ok(names) => (names.clone(), Value::Null),
                Err(note) => (vec![], json!(note)),
            };
            json!({
                "recurrence": recurrence.name,
                "class": class,
                "dims": recurrence.dims,
                "inputs": ports(&recurrence, &recurrence.inputs),
                "params": ports(&recurrence, &recurrence.params),
                "states": ports(&recurrence, &recurrence.states),
                "outputs": ports(&recurrence, &recurrence.outputs),
                "kernels": names,
                "note": note,
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
            match &kernels {
                Ok(names) => {
                    text.push_str(&format!("  kernels  {}\n", names.join("\n           ")))
                }
                Err(note) => text.push_str(&format!("  kernels  none: {note}\n")),
            }
            text
        };
        context.output.result(value, text);
        Ok(())
    }
}

/// The names of the kernels, or why there are none.
fn kernels(recurrence: &Recurrence) -> Result<Vec<String>, String> {
    // Names do not depend on sizes; any will do.
    let sizes = vec![16; recurrence.dims.len()];
    match Compiler::new(recurrence, &sizes) {
        Ok(compiler) => {
            let names = |phase| compiler.program(phase, 16).name;
            Ok(compiler.phases().map(names).collect())
        }
        Err(diagnostics) => {
            let notes: Vec<_> = (diagnostics.iter())
                .map(|d| match &d.remedy {
                    Some(remedy) => format!("{}; {remedy}", d.message),
                    None => d.message.clone(),
                })
                .collect();
            Err(notes.join("; "))
        }
    }
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
