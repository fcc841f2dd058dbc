//! `baton train`: a language model from fresh weights.

use crate::context::Context;
use crate::cost;
use crate::failure::Failure;
use crate::model::Model;
use crate::options::Options;
use crate::place::{Run, vocabulary};
use crate::stop::{self, Stop};
use baton_config::{self as config, Beginning, Said};
use baton_config::{BlockConfig, TrainConfig};
use baton_data::tokenizer::Tokenizer;
use baton_train::ranks::{Cost, H100};
use baton_train::runs::{self, Ended};
use baton_train::trainer::BEST;
use baton_weights::origin::{self, Origin, Other};
use baton_weights::pretrained;
use serde_json::json;

/// Train a language model on a text or a task
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton train --text book.txt --folder runs/small\n  \
    baton train --folder runs/gla --block gla --steps 2000 --schedule wsd\n  \
    baton train --folder runs/my --block my.rec --dim K=16 --port k:conv=4,act=silu,norm=l2\n  \
    baton train --folder runs/copy --task copying:max=20 --length 128\n  \
    baton train --preset mamba2-130m --set model.block.state_size=64 --print-config > my.toml\n  \
    baton train --config my.toml --seed 2 --data tokens --folder runs/130m --eval-every 1000\n  \
    baton train --change --steps 3000 --rate 1e-3 --folder runs/small\n\n\
    Without --text, the novels by Jane Austen that come with the program are read. Run again\n\
    with the same arguments, it resumes at the last checkpoint, to the bit; a folder of another\n\
    configuration is refused, and --change goes on by another one. The folder holds checkpoint.safetensors and metrics.jsonl. Stopped by\n\
    Ctrl-C or SIGTERM it ends after its step with a checkpoint; another one a second later ends it at once."
)]
pub struct Train {
    #[command(flatten)]
    place: Run,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    options: Options,
    /// Go on with the run of the folder as it is but for what is given, which may be more steps, another rate,
    /// schedule, optimiser, batch, length, initial state or seed, and is recorded
    #[arg(long)]
    change: bool,
}

impl Train {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let stop = self.place.stop()?;
        let mut said = Vec::from_iter(self.model.preset()?);
        said.extend(self.options.said(self.model.said()?)?);
        if self.change {
            return self.changed(context, said, &stop);
        }
        let laid = config::lay(&Beginning::Fresh, said)?;
        let own_vocabulary = laid.says("model.vocab_size");
        let mut config = laid.config.clone();
        let given = self.place.given(false)?;
        if self.options.prints() {
            if let Some(origin) = given.filter(|_| !own_vocabulary) {
                config.model.vocab_size = origin.open(&Tokenizer::Bytes)?.train.vocab_size();
            }
            return print(context, &self.options, &config, &self.model.comment());
        }
        self.place.settle(&mut config, |key| laid.says(key));
        let origin = match given {
            Some(origin) => origin,
            None if self.place.reset_documents => {
                return Err(Failure::new(
                    "--reset-documents given without --text or --data, expected one of them",
                ));
            }
            None => Origin::Novels,
        };
        let group = context.ranks()?;
        let (device, opened, mut kept) = (self.place).open(&*group, &origin, &Tokenizer::Bytes)?;
        kept.push(vocabulary(self.place.data.as_deref())?);
        if !own_vocabulary {
            config.model.vocab_size = opened.train.vocab_size();
        }
        if let BlockConfig::Recurrence(block) = &config.model.block
            && !self.place.quiet
            && group.rank() == 0
        {
            context.output.note(&block.to_string());
        }
        let group = self.place.linked(group, device.as_ref())?;
        let place = self
            .place
            .place("train", &stop, origin, opened.held_out, kept, group)?;
        let ended = runs::train(&config, opened.train.as_ref(), &place, device.as_ref())?;
        finish(context, &ended, &stop)
    }

    /// Goes on with the folder's run, changed by what is said.
    fn changed(&self, context: &Context, said: Vec<Said>, stop: &Stop) -> Result<(), Failure> {
        let folder = self.place.folder();
        let stored = pretrained::read(folder)?;
        let Some((config, _)) = stored.run else {
            return Err(Failure::new(format!(
                "--change given with {}, which is no run's folder: expected one that was trained in",
                folder.display()
            )));
        };
        let config = config::lay(&Beginning::Same(config), said)?.config;
        if self.options.prints() {
            return print(context, &self.options, &config, "");
        }
        let tokenizer = Tokenizer::of(folder)?;
        let given = self.place.given(tokenizer.path().is_some())?;
        let other = Other::Refused("`baton post-train --other-data` goes on with another");
        let origin = origin::after(stored.data.as_ref(), given, other, &tokenizer)?;
        let origin = self.place.reading(origin)?;
        let group = context.ranks()?;
        let (device, opened, kept) = self.place.open(&*group, &origin, &tokenizer)?;
        let group = self.place.linked(group, device.as_ref())?;
        let place = self
            .place
            .place("train", stop, origin, opened.held_out, kept, group)?;
        let ended = runs::change(&config, opened.train.as_ref(), &place, device.as_ref())?;
        finish(context, &ended, stop)
    }
}

/// Prints a whole configuration, as TOML with `comment` before it, or what a step by it costs, as the options have it.
pub fn print(
    context: &Context,
    options: &Options,
    config: &TrainConfig,
    comment: &str,
) -> Result<(), Failure> {
    if let Some(ranks) = options.print_cost {
        let cost = Cost::of(config, ranks)?;
        let seconds = cost.on(&H100);
        let found = json!({ "cost": cost, "h100": seconds });
        return context
            .output
            .result(|| found, || cost::shown(config, &cost, &seconds));
    }
    if context.output.json {
        return context.output.result(|| config::whole(config), String::new);
    }
    let text = format!("{comment}{}", config::toml(config)?);
    context.output.result(|| json!(null), || text)
}

/// Says what a run ended with; one that was stopped ends the program as the signal would have.
pub fn finish(context: &Context, ended: &Ended, stop: &Stop) -> Result<(), Failure> {
    let group = context.ranks()?;
    // Any rank may be the one that heard it.
    let heard = group.gather(&stop.signal().to_le_bytes()).into_iter();
    let heard = heard.filter_map(|signal| Some(i32::from_le_bytes(signal.try_into().ok()?)));
    let signal = heard.max().unwrap_or_default();
    if group.rank() > 0 {
        return Ok(());
    }
    let progress = &ended.progress;
    if ended.stopped() {
        let step = progress.step;
        context.output.result(
            || json!(ended),
            || {
                let (name, steps) = (stop::name(signal), ended.steps);
                let place = match ended.checkpoint.exists() {
                    true => format!(", which {} holds", ended.checkpoint.display()),
                    false => String::new(),
                };
                format!(
                    "stopped by {name} after step {step} of {steps}{place}: the same command goes on from \
                     there\n"
                )
            },
        )?;
        return Err(Failure::Stopped(signal));
    }
    context.output.result(
        || json!(ended),
        || {
            let loss = ended
                .loss
                .map_or("no step was left".into(), |loss| format!("loss {loss:.4}"));
            let skipped = match progress.skipped {
                0 => String::new(),
                n => format!(" ({n} not finite and not taken)"),
            };
            let early = if ended.early { " (held-out text was not better predicted any more)" } else { "" };
            let best = progress.best.map_or(String::new(), |best| {
                format!("held out: best loss {:.4} after {} steps, {BEST}\n", best.loss, best.step)
            });
            format!(
                "{}\n{loss} after {} steps{skipped}{early}, {} tokens in all, {:.0} s in all\n{best}{}\n",
                ended.data,
                progress.step,
                progress.tokens,
                progress.seconds,
                ended.checkpoint.display()
            )
        },
    )
}
