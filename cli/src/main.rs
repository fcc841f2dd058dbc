//! The command line: one file a verb, all of them thin.
//!
//! A verb reads its arguments, calls the rooms it needs and writes one result to the standard
//! output: text for people, one line of JSON with `--json`. Everything that fails is one
//! [`Failure`], printed here and nowhere else. Exit codes: 0 done, 1 the text of a recurrence is
//! wrong, 2 anything else.
//!
//! A new verb is its file, its `mod` line and its line in [`Verb`].

mod archive;
mod bench;
mod check;
mod choices;
mod convert;
mod demo;
mod derive;
mod device;
mod emit;
mod eval;
mod failure;
mod gpu;
mod inspect;
mod output;
mod parallel;
mod post_train;
mod print;
mod report;
mod reproduce;
mod run;
mod schedule;
mod shape;
mod source;
mod tokenize;
mod tools;
mod train;
mod tune;

use clap::{Parser, Subcommand};
use failure::Failure;
use output::Output;
use std::process::ExitCode;
use std::time::Instant;

/// Baton: a compiler for linear recurrences, and a runtime that trains them to run long.
#[derive(Parser)]
#[command(name = "baton", version, disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,

    /// Write one line of JSON, for programs
    #[arg(long, global = true)]
    json: bool,

    /// Print the version
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: (),
}

macro_rules! verbs {
    ($($variant:ident($arguments:ty),)*) => {
        #[derive(Subcommand)]
        enum Verb { $($variant($arguments),)* }

        impl Verb {
            fn run(self, context: &Context) -> Result<(), Failure> {
                match self { $(Verb::$variant(arguments) => arguments.run(context),)* }
            }
        }
    };
}

verbs! {
    Check(check::Check),
    Print(print::Print),
    Derive(derive::Derive),
    Schedule(schedule::Schedule),
    Emit(emit::Emit),
    Inspect(inspect::Inspect),
    Run(run::Run),
    Bench(bench::Bench),
    Tune(tune::Tune),
    Tokenize(tokenize::Tokenize),
    Train(train::Train),
    PostTrain(post_train::PostTrain),
    Eval(eval::Eval),
    Convert(convert::Convert),
    Report(report::Report),
    Reproduce(reproduce::Reproduce),
    Demo(demo::Demo),
}

/// What every verb is given.
struct Context {
    /// When the process started.
    started: Instant,
    /// Where results go.
    output: Output,
}

fn main() -> ExitCode {
    let started = Instant::now();
    baton_runtime::memory::keep();
    let arguments = Arguments::parse();
    let output = Output {
        json: arguments.json,
    };
    match arguments.verb.run(&Context { started, output }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            failure.code()
        }
    }
}
