//! The emulator against PTX that it had no part in writing.

mod instructions;
mod planted;
mod support;
