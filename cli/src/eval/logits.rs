//! `baton eval logits`: logits and states of given tokens, in a file that other programs read.

use crate::archive::{Archive, pack};
use crate::context::Context;
use crate::device;
use crate::failure::Failure;
use crate::ranks;
use baton_data::files::Target;
use baton_train::eval::logits::{Named, initial, logits};
use baton_train::generate::Place;
use baton_train::pretrained::{self, Pretrained};
use serde_json::{Map, json};
use std::path::{Path, PathBuf};

const IDS: &str = "input_ids";

/// Logits of given tokens, and the states after them
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  baton eval logits --checkpoint mamba2-130m --inputs ids.safetensors \
    --output out.safetensors --states\n\n\
    The inputs hold input_ids [B, T], whole numbers of any type; the output gets logits [B, T, vocab]\n\
    and, with --states, the states after the last token, of Mamba-2:\n  \
    ssm.<layer>    [B, H, P, N]\n  \
    conv.<layer>   [B, C, W]      the last W inputs of the convolution, the current one included\n\
    The initial state has the same names and shapes; every ssm.<layer> must be there, a conv.<layer>\n\
    that is not is zero. docs/checkpoints.md has the names of other blocks."
)]
pub struct Logits {
    /// A folder of a published layout, a run's folder, or a checkpoint file
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// The tokens; - is the standard input
    #[arg(long, value_name = "IDS.safetensors")]
    inputs: PathBuf,
    /// The tensors to write; an existing file is replaced when all went well
    #[arg(long, value_name = "OUT.safetensors")]
    output: PathBuf,
    /// The states to begin from; zero when absent
    #[arg(long, value_name = "S.safetensors")]
    initial_state: Option<PathBuf>,
    /// Write the states after the last token too
    #[arg(long)]
    states: bool,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
}

impl Logits {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        ranks::alone()?;
        let read = [
            Some(&self.checkpoint),
            Some(&self.inputs),
            self.initial_state.as_ref(),
        ];
        let read = read.into_iter().flatten().map(PathBuf::as_path);
        let target = Target::new(&self.output)?.spares(read)?;
        let (ids, shape) = tokens(&self.inputs)?;
        let device = device::device(device::Name::Cpu, self.threads)?;
        let Pretrained { model, config, .. } = pretrained::open(&self.checkpoint, device.as_ref())?;
        let first = match &self.initial_state {
            Some(path) => Some(
                initial(&config, shape[0], states(path, None)?)
                    .map_err(|e| at(path, &e.to_string()))?,
            ),
            None => None,
        };
        let results = logits(&model, &config, &ids, shape, first, self.states)?;
        let results: Vec<_> = results.into_iter().collect();
        target.write(&pack(&results)?)?;
        let output = self.output.display().to_string();
        context.output.result(
            || {
                let shapes = results
                    .iter()
                    .map(|(name, t)| (name.clone(), json!(t.shape)));
                json!({ "output": output, "tensors": shapes.collect::<Map<_, _>>() })
            },
            || {
                let mut shown = format!("{output}\n");
                for (name, tensor) in &results {
                    shown.push_str(&format!("  {name:<12} {:?}\n", tensor.shape));
                }
                shown
            },
        )
    }
}

/// A failure about a file.
pub(super) fn at(path: &Path, what: &str) -> Failure {
    Failure::new(format!("{}: {what}", path.display()))
}

fn tokens(path: &Path) -> Result<(Vec<u32>, [usize; 2]), Failure> {
    let archive = Archive::read(path)?;
    let ids = archive.integers(IDS)?;
    let ids = ids.ok_or_else(|| at(path, &format!("tensor `{IDS}` is missing")))?;
    let shape = <[usize; 2]>::try_from(ids.shape).map_err(|given| {
        at(
            path,
            &format!("tensor `{IDS}` has shape {given:?}, expected [B, T]"),
        )
    })?;
    let token = |id: i64| {
        let what = format!("token {id} given in `{IDS}`, expected one of a vocabulary");
        u32::try_from(id).map_err(|_| at(path, &what))
    };
    let ids = ids.data.into_iter().map(token).collect::<Result<_, _>>()?;
    Ok((ids, shape))
}

/// Tensors of states by their names; logits, which [`Logits`] writes beside them, are none. A file that says whose they are is
/// refused to a model of other weights than those of the fingerprint `weights`, where that is known.
pub(super) fn states(path: &Path, weights: Option<&str>) -> Result<Named, Failure> {
    if path != Path::new("-") {
        Place::in_tensors(path, weights)?;
    }
    let archive = Archive::read(path)?;
    let mut all = Named::new();
    for name in archive.names().into_iter().filter(|name| name != "logits") {
        if let Some(tensor) = archive.take::<f32>(&name)? {
            all.insert(name, tensor);
        }
    }
    Ok(all)
}
