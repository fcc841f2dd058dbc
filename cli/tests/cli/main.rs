//! The command line as another program sees it: exit codes, what is printed, files.
//!
//! Every test starts the binary; none calls into it.

mod bench;
mod eval;
mod gpu;
mod logits;
mod pages;
mod program;
mod run;
mod tasks;
mod text;
mod train;
mod tune;
