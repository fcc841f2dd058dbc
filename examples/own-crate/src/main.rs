//! Trains the model from the zero state, goes on twice from there, from zero states and from passed ones, and
//! prints how well each predicts, by position.

mod model;

use baton::Cpu;
use baton::burn::module::Module;
use baton::config::{AdamWConfig, InitialStateConfig};
use baton::data::rng::{Purpose, Rng};
use baton::data::{Sampling, Source, Text};
use baton::train::eval::perplexity::{Options, by_position};
use baton::train::initial_state::{self, Moment};
use baton::train::models::{self, LayerState, Recurrent};
use baton::train::op::{backward, cross_entropy};
use baton::train::optimizer::AdamW;
use baton::train::ranks::Alone;
use baton::weights::checkpoint::{Checkpoint, Progress};
use model::{HEADS, LAYERS, Model, SIZES};
use std::error::Error;
use std::path::Path;

const BATCH: usize = 8;
const LENGTH: usize = 32;
const SEED: u64 = 1;

/// The model after `steps` more, each sequence beginning where the policy `initial` says.
fn train(
    mut model: Model,
    text: &Text,
    initial: &str,
    steps: u64,
    rate: f64,
) -> Result<Model, Box<dyn Error>> {
    let config: InitialStateConfig = initial.parse()?;
    let mut policy = initial_state::build(&config, LAYERS)?;
    let sampling = Sampling {
        seed: SEED,
        batch: BATCH,
        length: LENGTH,
        order: policy.order(),
    };
    let sizes = vec![vec![vec![HEADS, SIZES.K, SIZES.V]]; LAYERS];
    let mut optimizer = AdamW::new(AdamWConfig::default());
    for step in 0..steps {
        let batch = text.batch(step, &sampling)?;
        let states = policy.draw(Moment {
            step,
            batch: BATCH,
            sizes: &sizes,
            rng: Rng::at(SEED, Purpose::States, step),
        });
        let states = states.map(|all| all.into_iter().map(LayerState::from_host).collect());
        let (logits, after) = model.forward(&batch.inputs, [BATCH, LENGTH], states)?;
        let loss = cross_entropy(logits, batch.targets)?;
        let gradients = models::gradients(&model, &mut backward(&loss)?);
        let stepped = optimizer.step(model, gradients, rate, step);
        model = stepped.model;
        if stepped.taken && policy.observes() {
            policy.observe(after.iter().map(LayerState::to_host).collect());
        }
        if (step + 1).is_multiple_of(100) {
            let loss = loss.into_scalar::<f32>();
            println!("{initial}, step {}: {loss:.3} nats", step + 1);
        }
    }
    Ok(model)
}

/// Writes the weights under the names of the model's fields.
fn save(model: &Model, step: u64, path: &Path) -> Result<(), Box<dyn Error>> {
    let weights = models::parameters(model).into_iter();
    let checkpoint = Checkpoint {
        weights: weights.map(|weight| (weight.name, weight.value)).collect(),
        progress: Progress {
            step,
            ..Progress::default()
        },
        ..Checkpoint::default()
    };
    Ok(checkpoint.write(path)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("expected a text")?;
    let text = Text::cut(&path, std::fs::read(&path)?, 0.15);
    let target = Cpu::new(None)?;

    let base = train(Model::new(&target, SEED)?, &text, "zero", 300, 3e-3)?;
    let kept = Path::new("base.safetensors");
    save(&base, 300, kept)?;
    let mut columns = vec![("base", base)];
    for initial in ["zero", "state_passing:p_zero=0.1"] {
        let weights = Checkpoint::read(kept)?.weights;
        let begun = models::load(Model::new(&target, SEED)?, weights)?;
        columns.push((initial, train(begun, &text, initial, 200, 1e-3)?));
    }

    let options = Options::new(LENGTH, 32 * LENGTH, 8);
    for (name, model) in columns {
        let (model, held_out) = (model.valid(), &text.held_out[..]);
        let found = by_position(&model, held_out, &options, None, &Alone, &mut |_| {})?;
        println!("\nperplexity of {name}, up to each position");
        for (position, loss) in found.positions.iter().zip(&found.loss) {
            println!("{position:>6} {:.2}", loss.exp());
        }
    }
    Ok(())
}
