//! Memory of a streaming evaluation, counted by the allocator: it does not grow with the length.
//!
//! A binary of its own, since every allocation of the process is counted.

use baton_config::{BlockConfig, Mamba2Config, ModelConfig};
use baton_runtime::device::cpu::Cpu;
use baton_train::eval::perplexity::{Options, by_position};
use baton_train::models::LanguageModel;
use baton_train::ranks::Alone;
use burn::module::Module;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), SeqCst) + layout.size();
        PEAK.fetch_max(live, SeqCst);
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The most that was live at once while `run` ran, beyond what was before.
fn peak(run: impl FnOnce()) -> usize {
    let before = LIVE.load(SeqCst);
    PEAK.store(before, SeqCst);
    run();
    PEAK.load(SeqCst) - before
}

#[test]
fn memory_does_not_grow_with_the_length() {
    let config = ModelConfig {
        vocab_size: 256,
        hidden_size: 16,
        num_hidden_layers: 2,
        layer_norm_epsilon: 1e-5,
        tie_word_embeddings: true,
        intermediate_size: None,
        output_logit_soft_cap: None,
        block: BlockConfig::Mamba2(Mamba2Config {
            head_dim: 8,
            state_size: 8,
            ..Mamba2Config::default()
        }),
    };
    let cpu = Cpu::new(Some(1)).expect("threads start");
    let model = LanguageModel::new(&config, &cpu, 1)
        .expect("a model")
        .valid();
    let text: Vec<u8> = (0..65_537u32).map(|i| (i * 31 % 251) as u8).collect();
    let mut heard = 0;
    let mut run = |length| {
        let options = Options::new(64, length, 1);
        let mut each = |tokens| heard += tokens;
        by_position(&model, &text[..], &options, None, &Alone, &mut each).expect("it runs");
    };
    run(1024);
    let (short, long) = (peak(|| run(1024)), peak(|| run(65_536)));
    assert_eq!(heard, 2 * 1024 + 65_536);
    assert!(
        short > 256 * 256 * 4,
        "a segment's logits are counted: {short}"
    );
    assert!(
        long < short + short / 20,
        "{long} bytes for 65536 tokens, {short} for 1024"
    );
}
