//! `baton generate`: text from a checkpoint, as it is made.

use crate::chunks::Chunks;
use crate::context::Context;
use crate::device;
use crate::eval::parts;
use crate::failure::Failure;
use crate::input;
use crate::numbers;
use crate::output;
use crate::stop::Stop;
use baton_data::files::Target;
use baton_data::{given, gzip};
use baton_train::eval::{Subject, progress};
use baton_train::generate::{self, Begun, Made, Options, Place, Sampling};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Prompts of fewer tokens are read without a bar.
const LONG: usize = 1 << 14;

/// Go on with a text
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  baton generate --checkpoint runs/small --prompt 'It is a truth' --temperature 0.8 --top-p 0.95\n  \
    baton generate --checkpoint mamba2-130m --prompt-file book.txt --tokens 500 --state-out today.safetensors\n  \
    baton generate --checkpoint mamba2-130m --state-in today.safetensors --tokens 500\n\n\
    Prints what is new as it is made. The state is all that a text needs to go on, whatever its length, and a\n\
    text that is gone on with has the bits of one that was never interrupted (docs/generation.md)."
)]
pub struct Generate {
    /// A run's folder, a checkpoint file, or the folder of a published checkpoint
    #[arg(long)]
    checkpoint: PathBuf,
    /// A text to go on with; given several times, a sequence for each. A vocabulary that begins texts with a token
    /// of its own begins prompts with it, but for --state-in
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Vec<String>,
    /// A file of such a text; - is the standard input
    #[arg(long, value_name = "F")]
    prompt_file: Vec<PathBuf>,
    /// The most tokens of a sequence
    #[arg(long, default_value_t = 256)]
    tokens: usize,
    /// What logits are divided by; 0 takes the likeliest token each time
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Draw from so many of the likeliest tokens; 0 is all of them
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Draw from the fewest of the likeliest that have this probability together
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Draw from those that have this share of the likeliest one's probability
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// How much less likely a token is that was there
    #[arg(long, default_value_t = 1.0)]
    repetition_penalty: f64,
    /// Seed of the draws; sequence i (from 0) draws by seed + i
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A text that ends a sequence before it; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// A token that ends a sequence, beside those that the checkpoint names (generation_config.json, config.json)
    #[arg(long, value_name = "ID")]
    stop_token: Vec<u32>,
    /// Go on past the tokens that the checkpoint names as an end
    #[arg(long)]
    ignore_end: bool,
    /// Sequences for each prompt
    #[arg(long, default_value = "1", value_parser = numbers::count())]
    sequences: usize,
    /// The states to begin from, as --state-out or `baton eval logits --states` writes them; zero when absent
    #[arg(long, value_name = "S.safetensors")]
    state_in: Option<PathBuf>,
    /// Write the states to go on from
    #[arg(long, value_name = "S.safetensors")]
    state_out: Option<PathBuf>,
    #[command(flatten)]
    chunks: Chunks,
    /// Threads; every core when absent
    #[arg(long, value_parser = device::threads())]
    threads: Option<usize>,
    /// Show neither progress nor speed
    #[arg(long)]
    quiet: bool,
}

impl Generate {
    pub fn run(self, context: &Context) -> Result<(), Failure> {
        let options = self.options();
        options.sampling.check()?;
        let sampling = &options.sampling;
        let drawn = sampling.top_k > 0 || sampling.top_p < 1.0 || sampling.min_p > 0.0;
        if drawn && sampling.temperature == 0.0 {
            return Err(Failure::new(
                "--top-k, --top-p or --min-p given at temperature 0, which takes the likeliest token: expected \
                 --temperature too, as --temperature 1",
            ));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Failure::new("an empty --stop given, expected a text"));
        }
        let target = self.state_out.as_deref().map(|path| self.target(path));
        let (target, stop) = (target.transpose()?, Stop::of_run(false)?);
        let device = device::device(device::Name::Cpu, self.threads)?;
        let subject = Subject::open(&self.checkpoint, device.as_ref())?;
        context
            .output
            .notes_of(&subject.tokenizer, subject.config.vocab_size);
        let subject = self.chunks.put(subject)?;
        let ends = self.ends(&subject)?;
        let options = Options { ends, ..options };
        let prompts = self.prompts(&subject)?;
        let read: usize = prompts.iter().map(Vec::len).sum();
        let started = Instant::now();
        let begun = self.begin(&subject, prompts)?;
        let reading = started.elapsed().as_secs_f64();
        // Before there was a token to end after, a signal ends the program.
        stop.begin(false);

        let started = Instant::now();
        let streams = begun.len() == 1 && !context.output.json;
        let mut failed = Ok(());
        let made = generate::go_on(&subject, begun, &options, &mut |_, news| {
            if streams && failed.is_ok() {
                failed = output::stdout(news);
            }
            match failed.is_err() || stop.asked.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        let making = started.elapsed().as_secs_f64();
        if let Some(target) = &target {
            let places: Vec<Place> = made.iter().map(|made| made.place.clone()).collect();
            Place::write(&places, &subject, target)?;
        }
        failed?;
        let tokens: usize = made.iter().map(|made| made.tokens.len()).sum();
        let speed = |tokens: usize, seconds: f64| tokens as f64 / seconds.max(1e-9);
        let value = || {
            json!({
                "sequences": made.iter().map(entry).collect::<Vec<_>>(),
                "sampling": options.sampling,
                "checkpoint": subject.checkpoint.weights,
                "read": { "tokens": read, "seconds": reading, "tokens_per_second": speed(read, reading) },
                "made": { "tokens": tokens, "seconds": making, "tokens_per_second": speed(tokens, making) },
            })
        };
        match streams {
            true if output::is_terminal() && !made[0].text.ends_with(b"\n") => {
                output::stdout(b"\n")?
            }
            true => {}
            false => context.output.result(value, || shown(&made))?,
        }
        if !self.quiet {
            context.output.note(&format!(
                "read {read} tokens in {reading:.1} s ({:.0} tokens/s), made {tokens} in {making:.1} s ({:.0} tokens/s)",
                speed(read, reading),
                speed(tokens, making)
            ));
        }
        match stop.asked.load(Ordering::Relaxed) {
            true => Err(Failure::Stopped(stop.signal())),
            false => Ok(()),
        }
    }

    /// The file of the states, which is none that the model or a prompt is read from.
    fn target(&self, path: &Path) -> Result<Target, Failure> {
        let mut read = parts(&self.checkpoint);
        read.extend(self.prompt_file.iter().cloned());
        Ok(Target::new(path)?.spares(read.iter().map(PathBuf::as_path))?)
    }

    fn options(&self) -> Options {
        Options {
            sampling: Sampling {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                min_p: self.min_p,
                repetition_penalty: self.repetition_penalty,
                seed: self.seed,
            },
            tokens: self.tokens,
            ends: Vec::new(),
            stops: self.stop.clone(),
        }
    }

    /// Tokens that end a sequence.
    fn ends(&self, subject: &Subject) -> Result<Vec<u32>, Failure> {
        let vocabulary = subject.config.vocab_size;
        let mut stops = self.stop_token.iter();
        if let Some(token) = stops.find(|&&token| token as usize >= vocabulary) {
            return Err(Failure::new(format!(
                "--stop-token {token} given, expected a token of the model's vocabulary of {vocabulary}"
            )));
        }
        let named: &[u32] = match (self.ignore_end, &subject.ends) {
            (true, _) => &[],
            (false, Ok(named)) => named,
            (false, Err(why)) => {
                let remedy = "--ignore-end goes on past what the checkpoint names";
                return Err(Failure::new(format!("{why}; {remedy}")));
            }
        };
        Ok([&self.stop_token[..], named].concat())
    }

    /// All prompts in the model's tokens, as the vocabulary begins a text where they do; none is an empty one.
    fn prompts(&self, subject: &Subject) -> Result<Vec<Vec<u32>>, Failure> {
        let mut texts: Vec<Vec<u8>> = self.prompt.iter().map(|text| text.clone().into()).collect();
        for path in &self.prompt_file {
            let text = gzip::unpacked(input::bytes(path)?).and_then(given::unmarked);
            texts.push(text.map_err(|why| {
                Failure::new(format!("cannot read `{}`: {why}", input::name(path)))
            })?);
        }
        if texts.is_empty() {
            texts.push(Vec::new());
        }
        let tokens = texts.iter().map(|text| match &self.state_in {
            None => subject.tokenizer.whole(text),
            Some(_) => subject.tokenizer.encode(text),
        });
        Ok(tokens.collect::<Result<_, _>>()?)
    }

    /// Reads the prompts, each from its states.
    fn begin(&self, subject: &Subject, prompts: Vec<Vec<u32>>) -> Result<Vec<Begun>, Failure> {
        let places = match &self.state_in {
            Some(path) => Place::open(path, subject)?,
            None => vec![Place::default()],
        };
        if places.len() > 1 && prompts.len() > 1 && places.len() != prompts.len() {
            return Err(Failure::new(format!(
                "{} prompts given for the states of {} sequences, expected one prompt or as many",
                prompts.len(),
                places.len()
            )));
        }
        let count = places.len().max(prompts.len());
        let read: usize = prompts.iter().map(Vec::len).sum();
        let bar = progress((!self.quiet && read > LONG).then_some("read"), read);
        let mut each = |tokens| bar.inc(tokens as u64);
        let mut all = Vec::new();
        for i in 0..count {
            let (place, prompt) = (&places[i % places.len()], &prompts[i % prompts.len()]);
            let begun = generate::begin(subject, place.clone(), prompt, &mut each)?;
            all.extend(vec![begun; self.sequences]);
        }
        bar.finish_and_clear();
        Ok(all)
    }
}

fn entry(made: &Made) -> Value {
    json!({
        "text": String::from_utf8_lossy(&made.text),
        "tokens": made.tokens,
        "end": made.end,
    })
}

/// Several texts, one after another.
fn shown(made: &[Made]) -> String {
    let one = |(i, made): (usize, &Made)| {
        format!(
            "--- {} ---\n{}\n",
            i + 1,
            String::from_utf8_lossy(&made.text)
        )
    };
    made.iter().enumerate().map(one).collect()
}
