//! The command line: one file a verb, all of them thin.
//!
//! A verb reads its arguments, calls the rooms it needs and writes one result to the standard
//! output: text for people, one line of JSON with `--json`. Everything that fails is one
//! [`Failure`], printed here and nowhere else. Exit codes: 0 done, 1 the text of a recurrence is
//! wrong, 2 anything else, a result that could not be written among it; a run that was stopped ends
//! by its signal, which a shell shows as 129 (SIGHUP), 130 (SIGINT) or 143 (SIGTERM).
//!
//! A new verb is its file, its `mod` line and its line in [`Verb`].

mod archive;
mod bench;
mod check;
mod choices;
mod chunks;
mod complete;
mod context;
mod convert;
mod cost;
mod demo;
mod derive;
mod device;
mod emit;
mod eval;
mod failure;
mod generate;
mod gpu;
mod input;
mod inspect;
mod memory;
mod model;
mod numbers;
mod options;
mod output;
mod parallel;
mod place;
mod post_train;
mod print;
mod ranks;
mod report;
mod reproduce;
mod run;
mod schedule;
mod scheduled;
mod shape;
mod source;
mod stop;
mod tokenize;
mod tools;
mod train;
mod tune;

use baton_data::given;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use context::Context;
use failure::Failure;
use output::Output;
use std::cell::OnceCell;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Instant;

/// The version, what is built in beside the default, and the commit where the build names one
/// (`BATON_COMMIT` in its environment).
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let features = [
        (cfg!(feature = "mlir"), "mlir"),
        (cfg!(feature = "train-cuda"), "train-cuda"),
        (cfg!(feature = "tokenizers"), "tokenizers"),
        (cfg!(feature = "parquet"), "parquet"),
        (cfg!(feature = "avx512"), "avx512"),
        (cfg!(feature = "mpi"), "mpi"),
        (cfg!(feature = "nccl"), "nccl"),
    ];
    let built = features.iter().filter(|(on, _)| *on).map(|&(_, name)| name);
    let features: Vec<_> = built.collect();
    let commit = option_env!("BATON_COMMIT").map(|commit| format!(", commit {commit}"));
    format!(
        "{} ({}{})",
        env!("CARGO_PKG_VERSION"),
        match features.is_empty() {
            true => "no features".into(),
            false => format!("features {}", features.join(", ")),
        },
        commit.unwrap_or_default()
    )
});

/// Baton: a compiler for linear recurrences, and a runtime that trains them to run long.
#[derive(Parser)]
#[command(name = "baton", version = VERSION.as_str(), disable_version_flag = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 the text of a recurrence is wrong, 2 anything else. A run that was stopped\n\
    ends by its signal: a shell shows 130 after Ctrl-C (SIGINT), 143 after SIGTERM, 129 after SIGHUP."
)]
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

impl Verb {
    /// Whether several ranks do it together.
    fn is_shared(&self) -> bool {
        matches!(
            self,
            Verb::Train(_) | Verb::PostTrain(_) | Verb::Eval(_) | Verb::Reproduce(_)
        )
    }

    /// Whether it is a training, or several.
    fn trains(&self) -> bool {
        matches!(
            self,
            Verb::Train(_) | Verb::PostTrain(_) | Verb::Reproduce(_)
        )
    }
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
    Generate(generate::Generate),
    Convert(convert::Convert),
    Report(report::Report),
    Reproduce(reproduce::Reproduce),
    Demo(demo::Demo),
    Completions(complete::Completions),
    Man(complete::Man),
}

/// The arguments. What looks like a negative number is the value of the option before it, which says what it takes, and
/// no option.
fn parsed() -> Result<Arguments, clap::Error> {
    fn numbers(command: Command) -> Command {
        let command = command.mut_args(|arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true),
            false => arg,
        });
        command.mut_subcommands(numbers)
    }
    Arguments::from_arg_matches(&numbers(Arguments::command()).try_get_matches()?)
}

/// Whether arguments that are wrong ask for JSON.
fn asks_for_json() -> bool {
    let mut options = std::env::args_os().skip(1).take_while(|word| word != "--");
    options.any(|word| word == "--json")
}

fn main() -> ExitCode {
    let started = Instant::now();
    baton_runtime::memory::keep();
    stop::outgrow();
    let arguments = match parsed() {
        Ok(arguments) => arguments,
        Err(told) => return output::told(&told, asks_for_json()),
    };
    memory::in_json(arguments.json);
    memory::of_training(arguments.verb.trains());
    let output = Output {
        json: arguments.json,
    };
    let context = Context {
        started,
        output,
        command: Arguments::command,
        ranks: OnceCell::new(),
    };
    let known = match arguments.verb.is_shared() {
        true => Ok(()),
        false => ranks::alone(),
    };
    match known.and_then(|()| arguments.verb.run(&context)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            if let (Some(ranks), false) = (context.ranks.get(), failure.is_stop()) {
                // The others wait for this one.
                if ranks.size() > 1 {
                    ranks.abort();
                }
            }
            failure.code()
        }
    }
}
