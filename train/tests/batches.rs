//! Packed rows are their documents run apart; recomputed gradients have the bits of kept ones and
//! take less memory.

use baton_config::{
    BlockConfig, BlockText, DeltaConfig, Mamba1Config, Mamba2Config, MlstmConfig, ModelConfig,
    Rwkv7Config,
};
use baton_runtime::device::cpu::Cpu;
use baton_runtime::{Device, Tensor};
use baton_train::models::segments::{self, Segment};
use baton_train::models::{HostStates, LanguageModel, LayerState, Pass, Passed, Whole, update};
use baton_train::op::{Packing, weighted_cross_entropy};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts the bytes that are held, and the most that were.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// One test at a time: the counters are the process's.
static ALONE: Mutex<()> = Mutex::new(());

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn blocks() -> [BlockConfig; 9] {
    let mamba2 = BlockConfig::Mamba2(Mamba2Config {
        head_dim: 8,
        state_size: 16,
        n_groups: 2,
        a_init_range: [0.02, 0.3],
        ..Mamba2Config::default()
    });
    let of = |text: &str, ports: &[(&str, &str)]| {
        let mut text = BlockText::new(text);
        text.num_heads = Some(2);
        text.ports = ports
            .iter()
            .map(|(port, line)| (port.to_string(), line.to_string()))
            .collect();
        BlockConfig::Recurrence(text.settle(32).unwrap())
    };
    // States of three shapes, two convolutions of other widths, one of them with a projection to itself.
    let convolved = [("q", "conv=2,act=silu"), ("v", "bias,conv=4")];
    let delta = DeltaConfig {
        num_heads: 2,
        num_v_heads: Some(4),
        head_dim: 8,
        value_dim: 4,
        conv_kernel: 4,
        allow_neg_eigval: true,
        sigmoid_gate: false,
        initializer_range: 0.2,
    };
    let kda = DeltaConfig {
        num_v_heads: None,
        sigmoid_gate: true,
        conv_kernel: 3,
        ..delta.clone()
    };
    let mlstm = MlstmConfig {
        num_heads: 2,
        key_dim: 4,
        value_dim: 8,
        gate_soft_cap: 15.0,
    };
    let rwkv7 = Rwkv7Config {
        head_dim: 8,
        decay_rank: 3,
        rate_rank: 4,
        value_rank: 5,
        gate_rank: 6,
        fuse_norm: true,
        norm_bias: true,
    };
    let mamba1 = Mamba1Config {
        state_size: 4,
        mixer_rms_eps: Some(1e-6),
        use_bias: true,
        ..Mamba1Config::default()
    };
    [
        mamba2,
        of("gla", &[]),
        of("mlstm", &convolved),
        of("gated_delta_net", &[]),
        BlockConfig::Mamba1(mamba1),
        BlockConfig::GatedDeltaNet(delta),
        BlockConfig::Kda(kda),
        BlockConfig::Mlstm(mlstm),
        BlockConfig::Rwkv7(rwkv7),
    ]
}

fn model(block: BlockConfig, layers: usize) -> (LanguageModel, ModelConfig) {
    let config = ModelConfig {
        vocab_size: 48,
        hidden_size: 32,
        num_hidden_layers: layers,
        layer_norm_epsilon: 1e-5,
        tie_word_embeddings: true,
        intermediate_size: match block {
            BlockConfig::Mamba1(_) | BlockConfig::Mamba2(_) => None,
            _ => Some(24),
        },
        output_logit_soft_cap: matches!(block, BlockConfig::Mlstm(_)).then_some(2.0),
        block,
    };
    let device: &dyn Device = &Cpu::new(Some(2)).unwrap();
    let model = LanguageModel::new(&config, device, 5).unwrap();
    // What begins as zeros would hide what is behind it.
    let mut drawn = numbers(1 << 16, 1000).into_iter().cycle();
    let model = update(model, &mut |_, mut weight| {
        if weight.data.iter().all(|x| *x == 0.0) {
            let some = weight.data.iter_mut().zip(&mut drawn);
            some.for_each(|(x, n)| *x = n as f32 / 2500.0 - 0.2);
        }
        weight
    });
    (model, config)
}

/// Reproducible numbers in 0 .. n.
fn numbers(count: usize, n: u32) -> Vec<u32> {
    let mut x = 88_172_645_463_325_252u64;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 33) as u32 % n
    };
    (0..count).map(|_| next()).collect()
}

/// A state for each of `batch` sequences, convolution included where the block has one.
fn states(model: &LanguageModel, batch: usize) -> HostStates {
    let ids = numbers(batch * 9, 48);
    let (_, states) = model.forward(&ids, [batch, 9], None).unwrap();
    states.iter().map(LayerState::to_host).collect()
}

fn row(states: &HostStates, row: usize) -> HostStates {
    let take = |t: &Tensor| {
        let each: usize = t.shape[1..].iter().product();
        Tensor {
            shape: [&[1], &t.shape[1..]].concat(),
            data: t.data[row * each..(row + 1) * each].to_vec(),
        }
    };
    let mut taken = states.clone();
    for layer in &mut taken {
        layer.recurrence = layer.recurrence.iter().map(take).collect();
        layer.conv = layer.conv.as_ref().map(take);
    }
    taken
}

/// The run, and the logits that its loss saw.
fn run(
    model: &LanguageModel,
    ids: &[u32],
    targets: &[u32],
    shape: [usize; 2],
    states: Option<HostStates>,
    packing: Option<&Packing>,
    recompute: bool,
) -> (Passed, Vec<f32>) {
    let states = states.map(|s| s.into_iter().map(LayerState::from_host).collect());
    let pass = Pass {
        ids,
        shape,
        states,
        packing,
        noise: None,
    };
    let mut seen = Vec::new();
    let passed = pass.run(model, recompute, |logits| {
        let value = baton_train::op::Value::new(logits.clone())?;
        seen = value.to_host().data;
        weighted_cross_entropy(logits, targets.to_vec(), None, 24.0)
    });
    (passed.unwrap(), seen)
}

fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    let scale = b.iter().fold(1e-3f32, |m, x| m.max(x.abs()));
    let far = a
        .iter()
        .zip(b)
        .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(
        far <= tolerance * scale,
        "{what}: {far} apart, scale {scale}"
    );
}

#[test]
fn a_packed_row_is_its_documents_apart() {
    let _alone = ALONE.lock();
    for block in blocks() {
        let (model, _) = model(block, 2);
        let (ids, targets) = (numbers(24, 48), numbers(25, 48)[1..].to_vec());
        let first = states(&model, 2);
        // Row 0 goes on from its state and begins a document at 5; row 1 begins one at once.
        let starts = [5, 12, 13];
        let packing = Packing::new([2, 12], &starts).unwrap();
        for recompute in [false, true] {
            let (packed, logits) = run(
                &model,
                &ids,
                &targets,
                [2, 12],
                Some(first.clone()),
                Some(&packing),
                recompute,
            );
            let mut loss = 0.0;
            let mut sum: Vec<(String, Vec<f32>)> = Vec::new();
            let mut apart = Vec::new();
            for (from, to) in [(0, 5), (5, 12), (12, 13), (13, 24)] {
                let before = (from == 0).then(|| row(&first, 0));
                let (ids, targets) = (&ids[from..to], &targets[from..to]);
                let shape = [1, to - from];
                let (one, logits) = run(&model, ids, targets, shape, before, None, false);
                apart.extend(logits);
                loss += one.loss;
                for (i, gradient) in one.gradients.into_iter().enumerate() {
                    match sum.get_mut(i) {
                        None => sum.push((gradient.name, gradient.value.data)),
                        Some((_, sum)) => sum
                            .iter_mut()
                            .zip(gradient.value.data)
                            .for_each(|(sum, g)| *sum += g),
                    }
                }
                if let 12 | 24 = to {
                    let ended = row(
                        &packed.finals.iter().map(LayerState::to_host).collect(),
                        to / 12 - 1,
                    );
                    for (a, b) in ended.iter().zip(&one.finals) {
                        let b = b.to_host();
                        assert_eq!(a.recurrence.len(), b.recurrence.len());
                        for (a, b) in a.recurrence.iter().zip(&b.recurrence) {
                            close("state", &a.data, &b.data, 1e-5);
                        }
                        assert_eq!(a.conv.is_some(), b.conv.is_some());
                        for (a, b) in a.conv.iter().zip(&b.conv) {
                            close("convolution", &a.data, &b.data, 1e-5);
                        }
                    }
                }
            }
            close("logits", &logits, &apart, 1e-5);
            assert!((packed.loss - loss).abs() < 1e-5);
            for (packed, (name, apart)) in packed.gradients.iter().zip(&sum) {
                assert_eq!(&packed.name, name);
                close(name, &packed.value.data, apart, 2e-5);
            }
        }
    }
}

#[test]
fn recomputed_gradients_have_the_same_bits() {
    let _alone = ALONE.lock();
    for block in blocks() {
        let (model, _) = model(block, 3);
        let (ids, targets) = (numbers(24, 48), numbers(25, 48)[1..].to_vec());
        let first = states(&model, 2);
        let go = |recompute| {
            let before = Some(first.clone());
            run(&model, &ids, &targets, [2, 12], before, None, recompute)
        };
        let ((kept, a), (again, b)) = (go(false), go(true));
        assert_eq!(a, b);
        assert_eq!(kept.loss.to_bits(), again.loss.to_bits());
        assert_eq!(kept.gradients, again.gradients);
        for (a, b) in kept.finals.iter().zip(&again.finals) {
            assert_eq!(a.to_host(), b.to_host());
        }
    }
}

#[test]
fn segments_give_the_gradients_of_the_whole() {
    let _alone = ALONE.lock();
    for block in blocks() {
        let (model, _) = model(block, 3);
        let (ids, targets) = (numbers(24, 48), numbers(25, 48)[1..].to_vec());
        let first = states(&model, 2);
        // Documents begin inside of a segment in row 0, and with one in row 1; or nowhere.
        for starts in [&[3, 18][..], &[]] {
            let packing = |shape, starts: &[usize]| {
                (!starts.is_empty()).then(|| Packing::new(shape, starts).unwrap())
            };
            let all = packing([2, 12], starts);
            let before = Some(first.clone());
            let (whole, _) = run(&model, &ids, &targets, [2, 12], before, all.as_ref(), false);
            let cut: Vec<_> = [(0, 5), (5, 6), (6, 12)]
                .map(|(from, to)| {
                    let length = to - from;
                    let columns = |of: &[u32]| [&of[from..to], &of[12 + from..12 + to]].concat();
                    let within = starts.iter().filter(|&&at| (from..to).contains(&(at % 12)));
                    let within = within.map(|at| at / 12 * length + at % 12 - from);
                    let packing = packing([2, length], &within.collect::<Vec<_>>());
                    (columns(&ids), columns(&targets), [2, length], packing)
                })
                .into();
            let segments = cut.iter().map(|(ids, targets, shape, packing)| {
                let (shape, packing) = (*shape, packing.as_ref());
                let loss = |logits| weighted_cross_entropy(logits, targets.clone(), None, 24.0);
                (
                    Segment {
                        ids,
                        shape,
                        packing,
                    },
                    loss,
                )
            });
            let before = first.iter().cloned().map(LayerState::from_host).collect();
            let found = segments::run(&model, segments.collect(), Some(before), &Whole);
            let (parts, finals) = found.unwrap();
            let loss: f32 = parts.iter().map(|(loss, _)| loss).sum();
            assert!((loss - whole.loss).abs() < 1e-5, "{loss} {}", whole.loss);
            for (i, gradient) in whole.gradients.iter().enumerate() {
                let mut sum = vec![0.0; gradient.value.data.len()];
                for (_, gradients) in &parts {
                    assert_eq!(gradients[i].name, gradient.name);
                    let terms = sum.iter_mut().zip(&gradients[i].value.data);
                    terms.for_each(|(sum, term)| *sum += term);
                }
                close(&gradient.name, &sum, &gradient.value.data, 2e-5);
            }
            for (a, b) in finals.iter().zip(&whole.finals) {
                let (a, b) = (a.to_host(), b.to_host());
                for (a, b) in a
                    .recurrence
                    .iter()
                    .chain(&a.conv)
                    .zip(b.recurrence.iter().chain(&b.conv))
                {
                    close("state", &a.data, &b.data, 1e-5);
                }
            }
        }
    }
}

#[test]
fn recomputing_takes_less_memory() {
    let _alone = ALONE.lock();
    let [block, ..] = blocks();
    let (model, _) = model(block, 8);
    let (ids, targets) = (numbers(4096, 48), numbers(4096, 48));
    let peak = |recompute| {
        let held = HELD.load(Relaxed);
        PEAK.store(held, Relaxed);
        run(&model, &ids, &targets, [8, 512], None, None, recompute);
        PEAK.load(Relaxed) - held
    };
    let (kept, again) = (peak(false), peak(true));
    assert!(2 * again < kept, "{again} bytes against {kept}");
}
