//! The layouts, and what all of them have names for.

/// The configuration of every layout.
pub(super) const CONFIG: &str = "config.json";
/// What `model_type` says in Baton's own.
pub(super) const BATON: &str = "baton";
/// Names that only Hugging Face's layout and only the authors' have.
pub(super) const EMBEDDING: [&str; 2] = ["backbone.embeddings.weight", "backbone.embedding.weight"];
pub(super) const HEAD: &str = "lm_head.weight";
/// How a checkpoint lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As transformers writes a class of models that a block here has.
    HuggingFace,
    /// As mamba_ssm writes `MambaLMHeadModel`.
    Authors,
    /// A model of any block: its configuration as the trainer has it, and the weights.
    Baton,
}
