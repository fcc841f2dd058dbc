//! `--chunks-memory` and what goes with it: where a model that retrieves keeps the chunks of what it reads.

use crate::failure::Failure;
use baton_train::demo::retrieval::Keeping;
use baton_train::eval::Subject;
use std::path::PathBuf;

/// Where chunks are kept.
#[derive(Clone, clap::Args)]
pub struct Chunks {
    /// MB of chunks' keys and values in memory, for a model that retrieves; what is beyond goes to a file
    #[arg(long, value_name = "MB")]
    chunks_memory: Option<u64>,
    /// The folder of that file, which has no name and is gone with the program; that of temporary files when absent
    #[arg(long, value_name = "FOLDER")]
    chunks_folder: Option<PathBuf>,
    /// Keep chunks' keys and values as bf16
    #[arg(long)]
    chunks_bf16: bool,
}

impl Chunks {
    /// As a store takes it.
    pub fn keeping(&self) -> Keeping {
        let folder = self.chunks_folder.clone();
        Keeping {
            memory: self
                .chunks_memory
                .map_or(u64::MAX, |mb| mb.saturating_mul(1_000_000)),
            folder: Some(folder.unwrap_or_else(std::env::temp_dir)),
            half: self.chunks_bf16,
        }
    }

    /// Has a model keep its chunks so; what is said to one that has none is refused.
    pub fn put(&self, mut subject: Subject) -> Result<Subject, Failure> {
        let given = [
            ("--chunks-memory", self.chunks_memory.is_some()),
            ("--chunks-folder", self.chunks_folder.is_some()),
            ("--chunks-bf16", self.chunks_bf16),
        ];
        let cuts = subject.config.hybrid().and_then(|hybrid| hybrid.chunking());
        if let Some((option, _)) = given.iter().find(|(_, given)| *given && cuts.is_none()) {
            return Err(Failure::new(format!(
                "{option} given for a model of {}, which keeps no chunks; expected one that retrieves",
                subject.config.block.name()
            )));
        }
        subject.model = subject.model.keep(&self.keeping());
        Ok(subject)
    }
}
