//! The command line as another program sees it: exit codes, what is printed, files.
//!
//! Every test starts the binary; none calls into it.

mod bench;
mod best;
mod block;
mod checkpoints;
mod config;
mod data;
mod demo;
mod eval;
mod events;
mod finite;
mod generate;
mod gpu;
#[cfg(feature = "mlir")]
mod kit;
mod logits;
mod long;
mod origin;
mod outputs;
mod pages;
mod program;
mod prompts;
#[cfg(feature = "mpi")]
mod ranks;
mod retrieval;
mod run;
mod stop;
mod tasks;
mod text;
mod train;
mod tune;
mod wrong;
