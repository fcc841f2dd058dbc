//! The emulator against PTX that it had no part in writing.

mod collectives;
mod fragments;
mod instructions;
mod llvm;
mod nvrtc;
mod planted;
mod refusals;
mod support;
