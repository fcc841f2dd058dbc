//! What a step of several ranks sends, by its configuration alone, beside what other ways to cut a sequence send.
//!
//! Bytes are counted as `neighbours.rs` and `Sum` send them, which a test holds; weights are counted without biases and
//! norms. Times are of a machine that is said ([`Machine`]), and nobody has measured them there.

use super::Units;
use crate::Error;
use crate::eval::remembered;
use baton_config::{BlockConfig, ModelConfig, TrainConfig};
use serde::Serialize;

/// What a rank in the middle sends in a step, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Ranks in all.
    pub ranks: usize,
    /// Those that share the sequences of one part.
    pub cut: usize,
    /// Segments that each of these runs.
    pub segments: usize,
    /// Gradients, down the chain of ranks; as many come back to all.
    pub gradients: f64,
    /// States to the rank after; none where no sequence is cut.
    pub states: f64,
    /// Gradients in them, to the rank before.
    pub state_gradients: f64,
    /// Messages for the states of a layer, and for their gradients.
    pub messages: [usize; 2],
    /// Turns of a rank at work and in all, of which the others are the filling and emptying of a chain of ranks.
    pub turns: [usize; 2],
    /// What the same cut would send by heads, whatever is read and made exchanged before and after each recurrence, in two
    /// bytes an element.
    pub all_to_all: f64,
    /// What ring attention would send in a transformer of this width, keys and values of all heads in two bytes an element.
    pub ring: f64,
    /// Operations on numbers of a rank.
    pub operations: f64,
}

/// A rank's GPU and its share of the network.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Operations a second that training reaches.
    pub operations: f64,
    /// Bytes a second to another machine.
    pub bytes: f64,
    /// Seconds of a message of no length.
    pub latency: f64,
}

/// An H100 at 40 % of its 989 TFLOP/s in bf16, on a network of 400 Gbit/s for each GPU.
pub const H100: Machine = Machine {
    operations: 0.4 * 989e12,
    bytes: 50e9,
    latency: 20e-6,
};

/// Of the time of a layer at work, which is run forward twice and backward for as long as both: what a rank waits for of the one
/// before it, and after it, before it can work too. Of a rank's first segments that is all; of its last one, forward, the
/// recurrence, taken as a quarter of a layer, and backward what follows the second run.
fn turn(segments: usize) -> f64 {
    let last = 0.25 * 0.25 + 0.5;
    (segments as f64 - 1.0 + last) / segments as f64
}

/// Seconds of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Seconds {
    /// At work.
    pub work: f64,
    /// Waiting for the first states and at the end for others.
    pub turns: f64,
    /// States on their way.
    pub states: f64,
    /// Gradients down the chain and back.
    pub gradients: f64,
}

impl Seconds {
    /// The share of the time that is work.
    pub fn efficiency(&self) -> f64 {
        self.work / (self.work + self.turns + self.states + self.gradients)
    }
}

impl Cost {
    /// Of a step on so many ranks; refuses what these cannot share.
    pub fn of(config: &TrainConfig, ranks: usize) -> Result<Self, Error> {
        Units::check(ranks, config.parts, config.segments)?;
        let (model, rows) = (&config.model, config.batch_size);
        if model.hybrid().is_some() && config.segments > 1 {
            return Err(Error::Config(
                "segments of a hybrid model given, expected none: its layers hand on more than the stream".into(),
            ));
        }
        let cut = (ranks / config.parts).max(1);
        let layers = model.num_hidden_layers;
        let weights = model.about_weights();
        let own = config.parts as f64 * (rows * config.train_length) as f64 / ranks as f64;
        // The second run of each layer, where layers are run by themselves.
        let runs = if config.segments > 1 || config.recompute {
            8.0
        } else {
            6.0
        };
        let mut cost = Cost {
            ranks,
            cut,
            segments: config.segments / cut,
            gradients: if ranks > 1 { 4.0 * weights } else { 0.0 },
            states: 0.0,
            state_gradients: 0.0,
            messages: [0; 2],
            turns: [layers, layers],
            all_to_all: 0.0,
            ring: 0.0,
            operations: runs * weights * own,
        };
        if cut > 1 {
            let sizes = model.state_sizes();
            let first = &sizes[0];
            let conv = remembered(model, 0);
            // RWKV-7's convolution is the step before, and its feed-forward reads another.
            let mixed =
                matches!(model.block, BlockConfig::Rwkv7(_)) && model.intermediate_size.is_some();
            let (convs, shifts) = (usize::from(conv > 0), usize::from(mixed));
            // How long a header is, then how many states, and the shape of each: rows, heads and dims, or three of a convolution.
            let dims = first.iter().map(|size| 2 + size.len()).sum::<usize>();
            let header = |messages: usize, convs: usize| 2 * messages + dims + 4 * convs;
            let groups = 1 + convs + shifts;
            let elements: usize = first
                .iter()
                .map(|size| size.iter().product::<usize>())
                .sum();
            let sent = |header: usize| (4 * layers * (header + rows * (elements + conv))) as f64;
            cost.messages = [
                2 * groups + first.len() + convs + shifts,
                2 + first.len() + convs,
            ];
            cost.states = sent(header(groups, convs + shifts));
            cost.state_gradients = sent(header(1, convs));
            cost.turns[1] = layers + cut - 1;
            let others = (cut - 1) as f64;
            let passes = 2.0 * 2.0 * layers as f64;
            cost.all_to_all = passes * own * exchanged(model) * others / cut as f64;
            // Forward keys and values; backward these again and their gradients.
            let pairs = 2.0 * (1.0 + 2.0) * 2.0 * layers as f64;
            cost.ring = pairs * own * model.hidden_size as f64 * others;
        }
        Ok(cost)
    }

    /// How long a step would take where nothing that is sent is hidden by work.
    pub fn on(&self, machine: &Machine) -> Seconds {
        let Machine {
            operations,
            bytes,
            latency,
        } = *machine;
        let work = self.operations / operations;
        let [own, all] = self.turns.map(|turns| turns as f64);
        Seconds {
            work,
            turns: work * (all / own - 1.0) * turn(self.segments),
            // A message of each turn is waited for, in both directions.
            states: match self.cut {
                1 => 0.0,
                _ => {
                    let messages = self.messages.iter().sum::<usize>() as f64;
                    let both = self.states + self.state_gradients;
                    both * all / own / bytes + all * messages * latency
                }
            },
            gradients: match self.ranks {
                1 => 0.0,
                ranks => 2.0 * (self.gradients / bytes + ranks as f64 * latency),
            },
        }
    }
}

/// Elements of a token that a layer's recurrence reads and makes.
fn exchanged(model: &ModelConfig) -> f64 {
    let hidden = model.hidden_size;
    let elements = match &model.block {
        BlockConfig::Mamba1(block) => 3 * block.intermediate(hidden) + 2 * block.state_size,
        BlockConfig::Mamba2(block) => {
            2 * block.intermediate(hidden)
                + 2 * block.n_groups * block.state_size
                + block.num_heads(hidden)
        }
        BlockConfig::GatedDeltaNet(block) => {
            2 * block.keys() + 2 * block.values() + 2 * block.value_heads()
        }
        BlockConfig::Kda(block) => 3 * block.keys() + 2 * block.values() + block.value_heads(),
        BlockConfig::Mlstm(block) => 2 * block.num_heads * (block.key_dim + block.value_dim + 1),
        BlockConfig::Rwkv7(_) => 7 * hidden,
        BlockConfig::Recurrence(block) => {
            let recurrence = block.recurrence();
            let ports = recurrence.inputs.iter();
            let read = ports.map(|port| block.input_sizes(port).iter().product::<usize>());
            let made = recurrence
                .outputs
                .iter()
                .map(|output| block.head_sizes(output));
            read.sum::<usize>()
                + made
                    .map(|sizes| sizes.iter().product::<usize>())
                    .sum::<usize>()
        }
        BlockConfig::Hybrid(_) => 0,
    };
    elements as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_config::{Beginning, Said, lay};
    use serde_json::{Value, json};

    /// A model by what is said of it, on sequences of a million tokens, one in each of `parts`.
    fn config(preset: Option<&str>, model: &Value, parts: usize) -> TrainConfig {
        let run = json!({"model": model, "train_length": 1 << 20, "batch_size": 1, "parts": parts, "segments": 64 / parts});
        let said = preset.map(|name| Said::preset(name).unwrap());
        let said = said.into_iter().chain([Said::part("it", run)]);
        lay(&Beginning::Fresh, said.collect()).unwrap().config
    }

    /// The table of docs/scale.md: 64 ranks, 8 sequences over 8 ranks each and one over all.
    fn table() -> String {
        let delta = json!({"vocab_size": 32000, "hidden_size": 2048, "num_hidden_layers": 21, "intermediate_size": 5632,
            "tie_word_embeddings": false,
            "block": {"type": "gated_delta_net", "num_heads": 6, "head_dim": 256, "value_dim": 512}});
        let rwkv = json!({"vocab_size": 65536, "hidden_size": 2048, "num_hidden_layers": 24, "intermediate_size": 8192,
            "tie_word_embeddings": false, "block": {"type": "rwkv7", "head_dim": 64, "decay_rank": 96, "rate_rank": 96,
            "value_rank": 64, "gate_rank": 256}});
        let presets = [
            "mamba-1.4b",
            "mamba2-130m",
            "mamba2-370m",
            "mamba2-780m",
            "mamba2-1.3b",
            "mamba2-2.7b",
            "gla-340m",
            "gla-1.3b",
        ];
        let presets = presets.map(|name| (name, Some(name), json!({})));
        let others = [
            ("Gated DeltaNet 1.3B", None, delta),
            ("RWKV-7 1.5B", None, rwkv),
        ];
        let rows = presets
            .into_iter()
            .chain(others)
            .map(|(name, preset, model)| {
                let cut = config(preset, &model, 8);
                let [eight, all] =
                    [&cut, &config(preset, &model, 1)].map(|c| Cost::of(c, 64).unwrap());
                let at_work = |cost: &Cost| format!("{:.0} %", 100.0 * cost.on(&H100).efficiency());
                let layers = cut.model.num_hidden_layers as f64;
                format!(
                    "| {name} | {:.2} MB | {:.1} GB | {:.0} MB | {:.0} GB | {:.0} GB | {} | {} |\n",
                    eight.states / layers / 1e6,
                    eight.gradients / 1e9,
                    eight.states / 1e6,
                    eight.all_to_all / 1e9,
                    eight.ring / 1e9,
                    at_work(&eight),
                    at_work(&all)
                )
            });
        let head = "| model | a layer's states | gradients | states | by heads | by rings | at work, 8 x 8 | at work, 1 x 64 |\n\
            |---|---|---|---|---|---|---|---|\n";
        rows.fold(head.into(), |table, row| table + &row)
    }

    #[test]
    fn the_page_has_the_table_that_configurations_give() {
        let page = include_str!("../../../docs/scale.md");
        let table = table();
        assert!(page.contains(&table), "docs/scale.md lacks\n{table}");
    }

    #[test]
    fn what_nobody_shares_costs_nothing() {
        let mut one = config(Some("mamba2-130m"), &json!({}), 1);
        one.segments = 1;
        let cost = Cost::of(&one, 1).unwrap();
        assert_eq!(
            (cost.gradients, cost.states, cost.turns),
            (0.0, 0.0, [24, 24])
        );
        assert_eq!(cost.on(&H100).efficiency(), 1.0);
        // Six operations for a weight and token, eight where layers are run again.
        let operations = one.model.about_weights() * (1u64 << 20) as f64;
        assert_eq!(cost.operations, 6.0 * operations);
        one.segments = 2;
        let cost = Cost::of(&one, 2).unwrap();
        assert_eq!((cost.operations, cost.turns), (4.0 * operations, [24, 25]));
        // A rank after waits for all but the last segment of the one before it.
        let waits = |cost: &Cost| cost.on(&H100).turns / cost.on(&H100).work * 24.0;
        assert!((waits(&cost) - 9.0 / 16.0).abs() < 1e-9);
        one.segments = 8;
        let cost = Cost::of(&one, 2).unwrap();
        assert!((waits(&cost) - (3.0 + 9.0 / 16.0) / 4.0).abs() < 1e-9);
        assert!(Cost::of(&one, 3).is_err() && Cost::of(&one, 0).is_err());
    }

    /// States do not grow with the length, and what others exchange does; a rank more is a turn more.
    #[test]
    fn states_do_not_grow_with_the_length() {
        let mut run = config(Some("gla-340m"), &json!({}), 8);
        let long = Cost::of(&run, 64).unwrap();
        run.train_length /= 4;
        let short = Cost::of(&run, 64).unwrap();
        assert_eq!((long.states, long.messages), (short.states, [3, 3]));
        assert_eq!(
            (long.all_to_all, long.ring),
            (4.0 * short.all_to_all, 4.0 * short.ring)
        );
        assert_eq!(long.turns, [24, 31]);
        // Keys of half the width, values and outputs of all of it, decays as keys, in two bytes, forward and back.
        let elements = 2.0 * 24.0 * (1u64 << 17) as f64 * (3 * 512 + 2 * 1024) as f64;
        assert_eq!(long.all_to_all, elements * 2.0 * 7.0 / 8.0);
        run.batch_size = 2;
        let two = Cost::of(&run, 64).unwrap().states;
        assert!(two > 1.99 * long.states && two < 2.0 * long.states);
    }
}
