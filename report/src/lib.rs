//! Reports: what a folder of runs holds, as figures, tables and one page.
//!
//! [`Experiment`] reads a folder (metrics, measurements, `run.json` where a plan made it) and sorts
//! runs into families (what is compared within) and arms (what is compared), replicates of an arm
//! side by side. Figures and tables are made from that alone, and a page from these. What is read are files: of the
//! program that trained and measured this crate knows their form and nothing else.

#![deny(missing_docs)]

mod collect;
mod figures;
mod found;
mod page;
pub mod plot;
mod tables;
#[cfg(test)]
mod tests;

pub use collect::{Arm, Experiment, Family, Run, Trained, Weights};
pub use figures::{Shown, figures};
pub use page::page;
pub use tables::{Table, tables};
