//! Where a run is kept, what it reads, what it runs on and what is looked at: the options of both verbs that train,
//! none of which decides what it computes but the data.

use crate::choices::{self, Choices};
use crate::device;
use crate::failure::Failure;
use crate::gpu::Dtype;
use crate::numbers;
use crate::ranks::{self, Link};
use crate::stop::Stop;
use baton_config::TrainConfig;
use baton_data::tokenizer::{self, Tokenizer};
use baton_data::{Corpus, files};
use baton_runtime::Device;
use baton_train::ranks::Group;
use baton_train::runs::{Kept, Place, newest};
use baton_train::trainer::{Beside, HeldOut};
use baton_tune::Store;
use baton_weights::head::Head;
use baton_weights::origin::{Opened, Origin};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

/// What every run is given.
#[derive(clap::Args)]
pub struct Run {
    /// Where the run is kept
    #[arg(long, required_unless_present_any = ["print_config", "print_cost"])]
    folder: Option<PathBuf>,
    /// A text to train on, or a folder of them; the last 15 % are held out
    #[arg(long)]
    text: Option<PathBuf>,
    /// The field that holds the text, of JSONL, JSON and parquet
    #[arg(long, value_name = "NAME", requires = "text", conflicts_with = "task")]
    field: Option<String>,
    /// A folder that `baton tokenize` wrote, to train on instead
    #[arg(long, conflicts_with_all = ["text", "task"])]
    pub data: Option<PathBuf>,
    /// Begin every document at a zero state, also inside of a sequence
    #[arg(long, conflicts_with = "task")]
    pub reset_documents: bool,
    /// A task to train on instead, `name` or `name:key=value,..` (docs/tasks.md); --text is what it
    /// hides answers in
    #[arg(long)]
    task: Option<String>,
    /// Steps between checkpoints; 0 for none by steps
    #[arg(long, default_value_t = 500)]
    checkpoint_every: u64,
    /// Minutes after which a checkpoint is due however many steps were done
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = numbers::time)]
    checkpoint_minutes: f64,
    /// Threads; every core, or a rank's share of them, when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Where it trains; cuda needs a build with --features train-cuda
    #[arg(long, value_enum, default_value = "cpu")]
    device: device::Name,
    /// What carries gradients and states between several ranks, which decides no bit
    #[arg(long, value_enum, default_value = "mpi")]
    link: Link,
    /// The dtype of the recurrence's matrices on a GPU; everything else is f32 in any case
    #[arg(long, value_enum)]
    dtype: Option<Dtype>,
    /// Whose choices the CPU's plans are made by; a run keeps those that it began with (docs/tuning.md)
    #[arg(long, value_enum, default_value = "shipped")]
    choices: Choices,
    /// Steps between looks at held-out text, within and past the training length; the best checkpoint is kept as
    /// best.safetensors
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    eval_every: Option<u64>,
    /// Tokens of each sequence that is looked at, over the training length
    #[arg(long, default_value_t = 4, requires = "eval_every", value_parser = clap::value_parser!(u16).range(1..))]
    eval_times: u16,
    /// Sequences that are looked at
    #[arg(long, default_value_t = 8, requires = "eval_every", value_parser = clap::value_parser!(u16).range(1..))]
    eval_sequences: u16,
    /// End the run after so many looks without a better one
    #[arg(long, value_name = "LOOKS", requires = "eval_every", value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
    /// Write the metrics as metrics.csv too
    #[arg(long)]
    csv: bool,
    /// Write the metrics as a file of events for TensorBoard too
    #[arg(long)]
    tensorboard: bool,
    /// Show no progress
    #[arg(long)]
    pub quiet: bool,
}

/// Refuses a file in place of a folder.
pub fn no_file(option: &str, folder: &Path) -> Result<(), Failure> {
    match folder.exists() && !folder.is_dir() {
        true => Err(Failure::new(format!(
            "{option} {} given, which is a file: expected a folder, or a new one",
            folder.display()
        ))),
        false => Ok(()),
    }
}

/// The vocabulary in `from`, of which a run's tokens are, as the run keeps it; there is none where they are bytes.
pub fn vocabulary(from: Option<&Path>) -> Result<Kept, Failure> {
    let file = from.map(|from| from.join(tokenizer::FILE));
    let file = file.filter(|file| file.is_file());
    Ok(Kept {
        name: tokenizer::FILE,
        contents: file.map(|file| files::read(&file)).transpose()?,
    })
}

/// What a run trains on, what it reads, and what it is to keep.
pub type Begun = (Box<dyn Device>, Opened, Vec<Kept>);

impl Run {
    /// What hears signals, from before anything is read; a file in place of the folder is refused then too.
    pub fn stop(&self) -> Result<Stop, Failure> {
        no_file("--folder", self.folder())?;
        Stop::of_run(!self.quiet)
    }

    /// The data that was given, if any was; `documents` reads a text as those of tokens.
    pub fn given(&self, documents: bool) -> Result<Option<Origin>, Failure> {
        let whole = |path: &Path| {
            let found = path.canonicalize();
            found.map_err(|why| Failure::new(format!("{}: {why}", path.display())))
        };
        let reset = self.reset_documents;
        Ok(match (&self.task, &self.data, &self.text) {
            (Some(task), _, haystack) => Some(Origin::Task {
                task: task.clone(),
                haystack: haystack.as_deref().map(whole).transpose()?,
            }),
            (None, Some(path), _) => Some(Origin::Shards {
                path: whole(path)?,
                reset,
            }),
            (None, None, Some(path)) => Some(Origin::Text {
                path: whole(path)?,
                documents: documents || reset || path.is_dir() || self.field.is_some(),
                reset,
                field: self.field.clone(),
            }),
            (None, None, None) => None,
        })
    }

    /// What is read, each of its documents from a zero state where that was asked for.
    pub fn reading(&self, origin: Origin) -> Result<Origin, Failure> {
        match self.reset_documents {
            true => Ok(origin.reset()?),
            false => Ok(origin),
        }
    }

    /// Where the run is kept; somewhere where it is not kept at all.
    pub fn folder(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new("."))
    }

    /// Takes what follows from other options, where nobody `says` it, from the run that is in the folder: it may have been
    /// changed on the way (`--change`).
    pub fn settle(&self, config: &mut TrainConfig, says: impl Fn(&str) -> bool) {
        let stored = newest(self.folder()).and_then(|path| Head::read(&path).ok());
        if let Some(stored) = stored.filter(|_| !says("schedule.warmup")) {
            config.schedule.warmup = stored.config.schedule.warmup;
        }
    }

    /// Whose choices its plans are made by: the first rank's, which keeps them when the run begins. None but a CPU has
    /// any.
    fn chosen(&self, group: &dyn Group) -> Result<(Option<Store>, Option<Kept>), Failure> {
        if !matches!(
            (self.device, self.dtype),
            (device::Name::Cpu, None | Some(Dtype::F32))
        ) {
            return Ok((None, None));
        }
        let own = match group.rank() {
            0 => Some(choices::of_run(self.folder(), self.choices)?),
            _ => None,
        };
        let text = own.as_ref().map(|(store, _)| store.print());
        let first = group
            .gather(text.unwrap_or_default().as_bytes())
            .swap_remove(0);
        Ok(match own {
            Some((store, kept)) => (Some(store), kept),
            None => {
                let text = String::from_utf8_lossy(&first);
                let name = Path::new("the choices of the first rank");
                (Some(Store::empty().with_text(name, &text)?), None)
            }
        })
    }

    /// Where it trains, by these choices on a CPU.
    fn device(&self, choices: Option<Store>) -> Result<Box<dyn Device>, Failure> {
        if self.device == device::Name::Cuda && !cfg!(feature = "train-cuda") {
            return Err(Failure::new(
                "--device cuda given, expected another: this program was built without training on a \
                 GPU. Build it with `cargo build --release -p baton-cli --features train-cuda`",
            ));
        }
        let threads = ranks::threads(self.threads);
        Ok(match choices {
            Some(store) => choices::cpu(Arc::new(store), threads)?,
            None => device::chosen(self.device, self.dtype, threads)?,
        })
    }

    /// What it trains on and what it reads, which the first rank opens before the others, and what the run is to keep.
    pub fn open(
        &self,
        group: &dyn Group,
        data: &Origin,
        tokenizer: &Tokenizer,
    ) -> Result<Begun, Failure> {
        let (choices, kept) = self.chosen(group)?;
        let (device, opened) = ranks::in_turn(group, || {
            Ok((self.device(choices)?, ranks::open(group, data, tokenizer)?))
        })?;
        Ok((device, opened, Vec::from_iter(kept)))
    }

    /// The ranks, linked as asked; `device` is this one's.
    pub fn linked(
        &self,
        group: Rc<dyn Group>,
        device: &dyn Device,
    ) -> Result<Rc<dyn Group>, Failure> {
        ranks::linked(group, self.link, device)
    }

    /// Where the run is kept and what is looked at, as the library asks for it.
    pub fn place(
        &self,
        title: &str,
        stop: &Stop,
        origin: Origin,
        held_out: Option<Corpus>,
        kept: Vec<Kept>,
        group: Rc<dyn Group>,
    ) -> Result<Place, Failure> {
        let held_out = match (self.eval_every, held_out) {
            (None, _) => None,
            (Some(every), Some(text)) => Some(HeldOut {
                text: Arc::new(text),
                every,
                times: self.eval_times.into(),
                sequences: self.eval_sequences.into(),
                patience: self.patience,
            }),
            (Some(_), None) => {
                return Err(Failure::new(format!(
                    "--eval-every given with {}, of which nothing is held out: expected a text, or tokens with \
                     held-out shards",
                    origin.name()
                )));
            }
        };
        stop.begin(group.rank() == 0);
        Ok(Place {
            folder: self.folder().to_path_buf(),
            checkpoint_every: self.checkpoint_every,
            checkpoint_minutes: Some(self.checkpoint_minutes),
            title: (!self.quiet).then(|| title.to_string()),
            device: device::words(self.device, ranks::threads(self.threads)),
            origin: Some(origin),
            stop: Some(stop.asked.clone()),
            held_out,
            beside: Beside {
                csv: self.csv,
                tensorboard: self.tensorboard,
            },
            kept,
            group,
        })
    }
}
