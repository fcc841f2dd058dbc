//! Every published class but Mamba-2 (models/tests.rs): its own values, its files, and a training of its block.

mod files;
mod training;
mod values;

use baton_runtime::Tensor;
use baton_runtime::device::cpu::Cpu;
use baton_train::eval::logits::Named;
use safetensors::{Dtype, SafeTensors};
use std::fs;
use std::path::{Path, PathBuf};

/// A class, the recurrence's states in its values, and the inputs that convolutions remember.
type Class = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

const CLASSES: [Class; 6] = [
    ("mamba1_hf", &["ssm"], &["conv"]),
    ("falcon_mamba_hf", &["ssm"], &["conv"]),
    (
        "gated_deltanet_fla",
        &["S"],
        &["conv_q", "conv_k", "conv_v"],
    ),
    ("gla_fla", &["S"], &[]),
    ("xlstm_hf", &["C", "n", "m"], &[]),
    ("rwkv7_fla", &["S"], &["shift", "ffn_shift"]),
];

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    folder.join(name)
}

fn device() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

/// The values of a class.
struct Values {
    bytes: Vec<u8>,
}

impl Values {
    fn of(class: &str) -> Self {
        let path = golden(&format!("{class}_golden.safetensors"));
        let bytes = fs::read(path).unwrap();
        Values { bytes }
    }

    fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        file.names().into_iter().map(str::to_string).collect()
    }

    fn tensor(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap();
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let numbers = view.data().chunks_exact(4);
        Tensor {
            shape: view.shape().to_vec(),
            data: numbers
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        }
    }

    fn ids(&self) -> (Vec<u32>, [usize; 2]) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor("input_ids").unwrap();
        let ids = view.data().chunks_exact(8).map(|b| b[0] as u32).collect();
        (ids, view.shape().to_vec().try_into().unwrap())
    }

    /// The Gaussian states that a run begins from, under the names that files have.
    fn first(&self, states: &[&str], layers: usize) -> Named {
        let one = |state: &str, layer: usize| match states.len() {
            1 => format!("rand_h0.{layer}"),
            _ => format!("rand_h0.{state}.{layer}"),
        };
        let all = states.iter().flat_map(|state| {
            (0..layers).map(move |layer| (format!("{state}.{layer}"), one(state, layer)))
        });
        all.map(|(name, stored)| (name, self.tensor(&stored)))
            .collect()
    }

    /// The name of what arrives at a Gaussian state.
    fn gradient(&self, states: &[&str], state: &str, layer: usize) -> Tensor {
        self.tensor(&match states.len() {
            1 => format!("rand_h0.grad.{layer}"),
            _ => format!("rand_h0.grad.{state}.{layer}"),
        })
    }
}

fn largest(t: &Tensor) -> f64 {
    t.data.iter().fold(0.0, |most, x| x.abs().max(most)) as f64
}

/// The largest difference.
fn apart(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.shape, want.shape);
    let pairs = got.data.iter().zip(&want.data);
    let far = pairs.map(|(x, y)| (*x as f64 - *y as f64).abs());
    far.fold(
        0.0,
        |most, far| if far.is_nan() { far } else { far.max(most) },
    )
}

/// A folder of a test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let folder = format!("baton-published-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Scratch(folder)
    }

    /// A copy of a golden folder in it.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.0.join(name);
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(golden(name)).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
        }
        to
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
