//! A killed and resumed run has the bits of one that was never killed; a checkpoint of another
//! configuration is refused; state passing sees the right states.

use super::*;
use baton_config::{
    AdamWConfig, BlockConfig, BlockText, Convolution, InitialStateConfig, Mamba2Config,
    ModelConfig, Schedule, Shape,
};
use baton_data::Text;
use baton_data::rng::{Purpose, Rng};
use baton_runtime::device::interpreter::Interpreter;
use baton_runtime::{Gradients, Kernel};
use baton_weights::checkpoint::{Best, CHECKPOINT};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn config(initial_state: InitialStateConfig) -> TrainConfig {
    TrainConfig {
        model: ModelConfig {
            vocab_size: 256,
            hidden_size: 16,
            num_hidden_layers: 2,
            layer_norm_epsilon: 1e-5,
            tie_word_embeddings: true,
            intermediate_size: None,
            output_logit_soft_cap: None,
            block: BlockConfig::Mamba2(Mamba2Config {
                head_dim: 8,
                state_size: 4,
                a_init_range: [0.02, 0.3],
                ..Mamba2Config::default()
            }),
        },
        train_length: 12,
        batch_size: 4,
        parts: 2,
        segments: 1,
        recompute: false,
        schedule: Schedule {
            shape: Shape::Cosine,
            decay: None,
            peak: 1e-2,
            warmup: 2,
            steps: 9,
            floor: 0.1,
        },
        optimizer: AdamWConfig::default(),
        initial_state,
        seed: 3,
    }
}

pub(super) fn text() -> Text {
    let words = "the state is the baton: one segment hands it to the next. ";
    Text::cut("words", words.repeat(40).into_bytes(), 0.25)
}

pub(super) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("baton-train-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    let text = text();
    let config = config(InitialStateConfig::state_passing());
    let mut whole = Trainer::new(config.clone(), &Interpreter, &text).unwrap();
    let mut losses = Vec::new();
    let quiet = RunOptions::default();
    whole
        .run(&quiet, &mut |step| losses.push(step.loss.to_bits()))
        .unwrap();

    let folder = folder("resume");
    let path = folder.join(CHECKPOINT);
    let mut first = Trainer::new(config.clone(), &Interpreter, &text).unwrap();
    for _ in 0..4 {
        first.step().unwrap();
    }
    let stopped = first.checkpoint().unwrap();
    stopped.write(&path).unwrap();
    assert_eq!(Checkpoint::read(&path).unwrap(), stopped);
    assert!(!stopped.carried.is_empty());
    drop(first);
    // A write that was killed leaves a part beside the checkpoint, never in its place.
    std::fs::write(folder.join(format!("{CHECKPOINT}.1.part")), b"half").unwrap();

    let mut second = Trainer::resume(config, &Interpreter, &text, &path).unwrap();
    let kept = RunOptions {
        folder: Some(folder.clone()),
        checkpoint_every: 3,
        ..RunOptions::default()
    };
    let mut resumed = Vec::new();
    second
        .run(&kept, &mut |step| resumed.push(step.loss.to_bits()))
        .unwrap();
    assert_eq!(resumed, losses[4..]);
    assert_eq!(second.weights(), whole.weights());
    let lines = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 5);
    std::fs::remove_dir_all(folder).unwrap();
}

/// A checkpoint keeps every number as it was: one that is read a bit beside itself would make a
/// run's own configuration another one.
#[test]
fn numbers_in_a_checkpoint_are_read_as_they_were_written() {
    let folder = folder("numbers");
    let path = folder.join(CHECKPOINT);
    let text = text();
    let run = Trainer::new(config(InitialStateConfig::Zero), &Interpreter, &text).unwrap();
    let mut rng = Rng::at(1, Purpose::Windows, 0);
    for _ in 0..100 {
        let mut checkpoint = run.checkpoint().unwrap();
        checkpoint.progress.seconds = (0..9).map(|_| rng.uniform()).sum();
        checkpoint.write(&path).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap(), checkpoint);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_configuration_and_a_damaged_file_are_refused() {
    let text = text();
    let folder = folder("refuse");
    let path = folder.join(CHECKPOINT);
    let run = Trainer::new(config(InitialStateConfig::Zero), &Interpreter, &text).unwrap();
    run.checkpoint().unwrap().write(&path).unwrap();
    let refused = |config| match Trainer::resume(config, &Interpreter, &text, &path) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    let mut other = config(InitialStateConfig::Zero);
    other.schedule.peak = f64::NAN;
    assert!(refused(other).starts_with("a peak rate of NaN"));
    let mut other = config(InitialStateConfig::Zero);
    other.batch_size = usize::MAX;
    assert!(refused(other).starts_with("batch_size 18446744073709551615"));
    let mut other = config(InitialStateConfig::Zero);
    other.schedule.peak = 2e-2;
    let error = refused(other);
    assert!(
        error.ends_with(
            "made by another configuration: `config.schedule.peak` was 0.01 there and is 0.02 now; `baton train --change` \
             goes on by another, another --folder begins anew"
        ),
        "{error}"
    );
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let error = refused(config(InitialStateConfig::Zero));
    assert!(error.contains("no checkpoint of this program"), "{error}");
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    std::fs::write(&path, flipped).unwrap();
    let error = refused(config(InitialStateConfig::Zero));
    assert!(error.contains("is not as it was written"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn passed_states_are_the_final_states_of_the_same_slot_one_step_before() {
    let text = text();
    let mut config = config(InitialStateConfig::StatePassing {
        p_zero: 0.0,
        conv: Convolution::Carried,
    });
    config.schedule.peak = 0.0;
    let mut run = Trainer::new(config.clone(), &Interpreter, &text).unwrap();
    run.step().unwrap();
    run.step().unwrap();
    let carried = run.policy.carried();
    // With a rate of 0 the weights stay: all of step 1 is its windows after those of step 0.
    let read = |index| text.batch(index, &run.sampling).unwrap().inputs;
    let shape = [config.parts * config.batch_size, config.train_length];
    let (_, first) = run.model().forward(&read(0), shape, None).unwrap();
    let (_, second) = run.model().forward(&read(1), shape, Some(first)).unwrap();
    for (layer, state) in second.iter().enumerate() {
        let find = |key: &str| {
            let name = format!("{layer}.{key}");
            let found = carried.iter().find(|(carried, _)| *carried == name);
            &found.expect("every layer is carried").1
        };
        let host = state.to_host();
        assert_eq!(find("0"), &host.recurrence[0]);
        assert_eq!(Some(find("conv")), host.conv.as_ref());
    }
}

/// Two parts of four sequences are one batch of eight: the same windows, draws and states. Sums
/// over the batch are cut in two, so weights agree to rounding and not in bits.
#[test]
fn accumulated_parts_are_one_batch() {
    let text = text();
    let run = |parts, batch_size| {
        let mut config = config(InitialStateConfig::StatePassing {
            p_zero: 0.3,
            conv: Convolution::Carried,
        });
        (config.parts, config.batch_size) = (parts, batch_size);
        let mut run = Trainer::new(config, &Interpreter, &text).unwrap();
        let losses: Vec<f32> = (0..4).map(|_| run.step().unwrap().loss).collect();
        (losses, run.policy.carried())
    };
    let ((whole, carried), (parts, also)) = (run(1, 8), run(2, 4));
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a - b).abs() < 1e-4, "{whole:?} against {parts:?}");
    }
    for ((name, a), (same, b)) in carried.iter().zip(&also) {
        assert_eq!((name, &a.shape), (same, &b.shape));
        let far = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs());
        let far = far.fold(0.0, f32::max);
        assert!(far < 1e-4, "{name} differs by {far}");
    }
}

#[test]
fn a_checkpoint_is_due_by_time() {
    let text = text();
    let folder = folder("minutes");
    let mut config = config(InitialStateConfig::Zero);
    config.schedule.steps = 4;
    let mut run = Trainer::new(config, &Interpreter, &text).unwrap();
    let options = RunOptions {
        folder: Some(folder.clone()),
        checkpoint_minutes: Some(0.0),
        ..RunOptions::default()
    };
    let mut steps = Vec::new();
    run.run(&options, &mut |_| {
        let written = Checkpoint::read(&folder.join(CHECKPOINT));
        steps.push(written.map_or(0, |checkpoint| checkpoint.progress.step));
    })
    .unwrap();
    assert_eq!(steps, [0, 1, 2, 3]);
    std::fs::remove_dir_all(folder).unwrap();
}

/// One line for each kind of policy.
const POLICIES: [&str; 7] = [
    "noise:std=0.1",
    "fitted_noise:fit=2",
    "state_passing:conv=carried",
    "truncated_bptt:conv=carried",
    "0.5*state_passing + 0.3*fitted_noise + 0.2*zero",
    "fitted_noise:warmup=4,layers=1",
    "state_passing:after=2",
];

fn losses(run: &mut Trainer<'_>, steps: usize) -> Vec<u32> {
    (0..steps)
        .map(|_| run.step().unwrap().loss.to_bits())
        .collect()
}

#[test]
fn every_policy_resumes_and_recomputes_with_the_same_bits() {
    let text = text();
    let folder = folder("policies");
    let path = folder.join(CHECKPOINT);
    let zero = Trainer::new(config(InitialStateConfig::Zero), &Interpreter, &text);
    let zero = losses(&mut zero.unwrap(), 5);
    for line in POLICIES {
        let mut config = config(line.parse().unwrap());
        let mut whole = Trainer::new(config.clone(), &Interpreter, &text).unwrap();
        let bits = losses(&mut whole, 5);
        assert_ne!(bits, zero, "{line} changes nothing");

        let mut first = Trainer::new(config.clone(), &Interpreter, &text).unwrap();
        assert_eq!(losses(&mut first, 2), bits[..2], "{line}");
        first.checkpoint().unwrap().write(&path).unwrap();
        let mut second = Trainer::resume(config.clone(), &Interpreter, &text, &path).unwrap();
        assert_eq!(losses(&mut second, 3), bits[2..], "{line}");
        assert_eq!(second.weights(), whole.weights(), "{line}");
        assert_eq!(second.policy.carried(), whole.policy.carried(), "{line}");

        config.recompute = true;
        let mut again = Trainer::new(config, &Interpreter, &text).unwrap();
        assert_eq!(losses(&mut again, 5), bits, "{line}");
        assert_eq!(again.policy.carried(), whole.policy.carried(), "{line}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Whoever asks a run to end while its policy looks at the first batches need not wait for the last of them.
#[test]
fn a_fit_that_is_stopped_goes_on_where_it_was() {
    let text = text();
    let new = || {
        let config = config("fitted_noise:fit=4".parse().unwrap());
        Trainer::new(config, &Interpreter, &text).unwrap()
    };
    let mut run = new();
    let looked = std::cell::Cell::new(0);
    let third = || looked.replace(looked.get() + 1) == 2;
    run.fit(&third).unwrap();
    assert_eq!((run.fitted, run.progress.step), (2, 0));
    let mut whole = new();
    assert_eq!(losses(&mut run, 3), losses(&mut whole, 3));
    assert_eq!(run.policy.carried(), whole.policy.carried());
}

#[test]
fn a_policy_that_always_zeroes_is_the_control() {
    let text = text();
    let run = |line: &str| {
        let config = config(line.parse().unwrap());
        losses(&mut Trainer::new(config, &Interpreter, &text).unwrap(), 4)
    };
    let zero = run("zero");
    for line in [
        "noise:std=1,p_zero=1",
        "fitted_noise:p_zero=1",
        "state_passing:p_zero=1,conv=carried",
        "0*state_passing + 1*zero",
        "state_passing:after=99",
    ] {
        assert_eq!(run(line), zero, "{line}");
    }
}

/// With the weights held still, the losses of the segments are those of one long run, cut.
#[test]
fn truncated_bptt_is_the_long_run_with_the_gradient_stopped() {
    let text = text();
    let read = |line: &str| {
        let mut config = config(line.parse().unwrap());
        (config.parts, config.batch_size, config.schedule.peak) = (2, 1, 0.0);
        let mut run = Trainer::new(config, &Interpreter, &text).unwrap();
        let losses: Vec<f32> = (0..4).map(|_| run.step().unwrap().loss).collect();
        (losses, run)
    };
    let (carried, run) = read("truncated_bptt:conv=carried");
    let (long, length) = (4 * 12, 12);
    let sampling = Sampling {
        length: long,
        ..run.sampling
    };
    let batch = text.batch(0, &sampling).unwrap();
    let (logits, _) = run.model().forward(&batch.inputs, [2, long], None).unwrap();
    let each = crate::op::token_losses(logits, &batch.targets).unwrap();
    for (segment, loss) in carried.iter().enumerate() {
        let rows = each
            .chunks(long)
            .flat_map(|row| &row[segment * length..][..length]);
        let mean = rows.sum::<f32>() / (2 * length) as f32;
        assert!((loss - mean).abs() < 1e-5, "{segment}: {loss} {mean}");
    }
    let (published, _) = read("truncated_bptt");
    assert_eq!(published[0], carried[0]);
    assert!((published[1] - carried[1]).abs() > 1e-5);
}

#[test]
fn both_blocks_learn() {
    let text = text();
    let gla = BlockText {
        num_heads: Some(2),
        ..BlockText::new("gla")
    };
    let hidden = config(InitialStateConfig::Zero).model.hidden_size;
    let gla = BlockConfig::Recurrence(gla.settle(hidden).unwrap());
    for block in [config(InitialStateConfig::Zero).model.block, gla] {
        let mut config = config(InitialStateConfig::Zero);
        config.model.block = block;
        config.schedule.steps = 12;
        let device = Interpreter;
        let mut run = Trainer::new(config, &device, &text).unwrap();
        let first = run.step().unwrap().loss;
        let last = run
            .run(&RunOptions::default(), &mut |_| {})
            .unwrap()
            .unwrap();
        assert!(first > 5.0 && last < first - 0.8, "{first} to {last}");
    }
}

/// A device whose backward runs end in `then`.
struct Faulty(std::sync::Arc<Then>);

/// What becomes of a gradient.
type Then = dyn Fn(Gradients) -> Result<Gradients, baton_runtime::Error> + Send + Sync;

struct FaultyKernel(std::sync::Arc<dyn Kernel>, std::sync::Arc<Then>);

impl Device for Faulty {
    fn name(&self) -> &str {
        "faulty"
    }

    fn load(
        &self,
        recurrence: &baton_ir::recurrence::Recurrence,
        sizes: &[usize],
        options: &baton_runtime::Options,
    ) -> Result<std::sync::Arc<dyn Kernel>, baton_runtime::Error> {
        let kernel = Interpreter.load(recurrence, sizes, options)?;
        Ok(std::sync::Arc::new(FaultyKernel(kernel, self.0.clone())))
    }
}

impl Kernel for FaultyKernel {
    fn forward(
        &self,
        call: &baton_runtime::Call<'_>,
        keep: bool,
    ) -> Result<baton_runtime::Forward, baton_runtime::Error> {
        self.0.forward(call, keep)
    }

    fn backward(
        &self,
        call: &baton_runtime::Call<'_>,
        saved: Option<&baton_runtime::Saved>,
        outputs: &[Option<baton_runtime::View<'_>>],
        states: &[Option<baton_runtime::View<'_>>],
    ) -> Result<Gradients, baton_runtime::Error> {
        (self.1)(self.0.backward(call, saved, outputs, states)?)
    }

    fn step(
        &self,
        call: &baton_runtime::Call<'_>,
        states: &mut [Tensor],
    ) -> Result<Vec<Tensor>, baton_runtime::Error> {
        self.0.step(call, states)
    }
}

/// A device whose memory ends in every backward run.
fn exhausted() -> Faulty {
    let end = |_| {
        Err(baton_runtime::Error::Unsupported {
            device: "exhausted".into(),
            reason: "out of memory".into(),
        })
    };
    Faulty(std::sync::Arc::new(end))
}

/// The loss is finite and a gradient is not: the step is read and not taken, by weights, moments and
/// carried states alike, and the run goes on from there with the bits that it resumes with.
#[test]
fn a_step_that_is_not_finite_is_not_taken() {
    let text = text();
    let strange = std::sync::Arc::new(AtomicBool::new(false));
    let seen = strange.clone();
    let device = Faulty(std::sync::Arc::new(move |mut all: Gradients| {
        if seen.load(Ordering::Relaxed) {
            all.inputs[0].data[1] = f32::INFINITY;
        }
        Ok(all)
    }));
    let mut run =
        Trainer::new(config(InitialStateConfig::state_passing()), &device, &text).unwrap();
    run.step().unwrap();
    let before = run.checkpoint().unwrap();
    strange.store(true, Ordering::Relaxed);
    let report = run.step().unwrap();
    assert!(report.loss.is_finite() && !report.norm.is_finite() && report.skipped);
    let mut after = run.checkpoint().unwrap();
    assert_eq!((after.progress.step, after.progress.skipped), (2, 1));
    after.progress = before.progress.clone();
    assert_eq!(after, before);

    strange.store(false, Ordering::Relaxed);
    let folder = folder("skipped");
    let path = folder.join(CHECKPOINT);
    run.checkpoint().unwrap().write(&path).unwrap();
    let mut resumed = Trainer::resume(run.config.clone(), &device, &text, &path).unwrap();
    let next = run.step().unwrap();
    assert!(!next.skipped && next.norm.is_finite());
    assert_eq!(resumed.step().unwrap().loss, next.loss);
    assert_eq!(resumed.weights(), run.weights());

    // Where it does not end, the run does, and the checkpoint stays.
    strange.store(true, Ordering::Relaxed);
    let kept = std::fs::read(&path).unwrap();
    let options = RunOptions {
        folder: Some(folder.clone()),
        checkpoint_every: 1,
        ..RunOptions::default()
    };
    run.config.schedule.steps = 99;
    let error = run.run(&options, &mut |_| {}).unwrap_err().to_string();
    assert!(
        error.starts_with("10 steps in a row were not finite"),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), kept);

    // What is not finite is not written either, whatever brought it there.
    let mut wrong = run.checkpoint().unwrap();
    wrong.carried[0].1.data[2] = f32::NAN;
    let name = &wrong.carried[0].0;
    let expected = format!("not written: tensor `initial_state.{name}` holds NaN at element 2");
    let error = wrong.write(&path).unwrap_err().to_string();
    assert!(error.contains(&expected), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), kept);
    std::fs::remove_dir_all(folder).unwrap();
}

/// The best loss within the training length is of that length.
#[test]
fn a_change_of_the_length_forgets_the_best_loss() {
    let (text, folder) = (text(), folder("best"));
    let path = folder.join(CHECKPOINT);
    let config = config(InitialStateConfig::Zero);
    let mut run = Trainer::new(config.clone(), &Interpreter, &text).unwrap();
    run.step().unwrap();
    run.progress.best = Some(Best {
        step: 1,
        loss: 1.0,
        measure: None,
    });
    run.checkpoint().unwrap().write(&path).unwrap();
    let best = |length: usize, peak: f64| {
        let mut config = config.clone();
        (config.train_length, config.schedule.peak) = (length, peak);
        let run = Trainer::change(config, &Interpreter, &text, &path).unwrap();
        run.progress.best.is_some()
    };
    assert!(best(12, 1e-3) && !best(6, 1e-2));
    std::fs::remove_dir_all(folder).unwrap();
}

/// With weights that stand still, a step that is not taken changes nothing of what is read after it.
#[test]
fn who_reads_on_goes_on_from_a_step_that_is_not_taken() {
    let text = text();
    let read = |strange: bool| {
        let device = Faulty(std::sync::Arc::new(move |mut all: Gradients| {
            if strange {
                all.inputs[0].data[1] = f32::INFINITY;
            }
            Ok(all)
        }));
        let mut config = config("truncated_bptt:conv=carried".parse().unwrap());
        config.schedule.peak = 0.0;
        let mut run = Trainer::new(config, &device, &text).unwrap();
        let losses = losses(&mut run, 3);
        (losses, run.progress.skipped, run.policy.carried())
    };
    let (taken, left) = (read(false), read(true));
    assert_eq!((taken.1, left.1), (0, 3));
    assert_eq!((taken.0, taken.2), (left.0, left.2));
}

#[test]
fn a_backward_that_fails_is_an_error_of_the_step() {
    let text = text();
    for recompute in [false, true] {
        let mut config = config(InitialStateConfig::Zero);
        config.recompute = recompute;
        let mut run = Trainer::new(config.clone(), &exhausted(), &text).unwrap();
        let before = run.weights();
        for _ in 0..2 {
            let error = run.step().err().map(|error| error.to_string());
            let error = error.unwrap_or_default();
            assert!(error.contains("`exhausted`: out of memory"), "{error}");
        }
        assert_eq!(run.weights(), before);
        // The thread's note is gone with the error.
        Trainer::new(config, &Interpreter, &text)
            .unwrap()
            .step()
            .unwrap();
    }
}
