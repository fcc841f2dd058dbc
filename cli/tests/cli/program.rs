//! Starting `baton`, folders to do it in, and tensors to give it.

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run of the program left.
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The one line of JSON on the standard output.
    pub fn json(&self) -> Value {
        let mut lines = self.stdout.lines();
        let value = serde_json::from_str(lines.next().expect("a line of output")).expect("JSON");
        assert_eq!(lines.next(), None, "one line only");
        value
    }
}

/// Runs `baton` and waits.
pub fn baton<S: AsRef<str>>(arguments: &[S]) -> Finished {
    let output = Command::new(env!("CARGO_BIN_EXE_baton"))
        .args(arguments.iter().map(|argument| argument.as_ref()))
        // No choices of whoever runs the tests.
        .env(
            "XDG_DATA_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/nobody"),
        )
        .output()
        .expect("baton starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Finished {
        code: output.status.code().expect("baton exits by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A folder that goes away with its owner.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty folder; `name` is that of the test.
    pub fn new(name: &str) -> Folder {
        let unique = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(unique);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    /// The path of a file in it.
    pub fn path(&self, file: &str) -> String {
        let path = self.0.join(file);
        path.to_str().expect("UTF-8").into()
    }

    /// Writes a text file and gives its path.
    pub fn write(&self, file: &str, text: &str) -> String {
        std::fs::write(self.path(file), text).expect("written");
        self.path(file)
    }

    /// The names of its files, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("readable");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("readable")
                    .file_name()
                    .into_string()
                    .expect("UTF-8")
            })
            .collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tensors by name: type, shape, elements (which f64 holds exactly).
pub type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<f64>)>;

/// Writes a safetensors file.
pub fn save(path: &str, tensors: &Tensors) {
    let bytes: Vec<Vec<u8>> = (tensors.values())
        .map(|(dtype, _, data)| {
            let element = |x: &f64| match dtype {
                Dtype::F32 => (*x as f32).to_le_bytes().to_vec(),
                Dtype::F64 => x.to_le_bytes().to_vec(),
                Dtype::I32 => (*x as i32).to_le_bytes().to_vec(),
                Dtype::I64 => (*x as i64).to_le_bytes().to_vec(),
                other => panic!("no test writes {other:?}"),
            };
            data.iter().flat_map(element).collect()
        })
        .collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, (dtype, shape, _)), bytes)| {
            (
                name,
                TensorView::new(*dtype, shape.clone(), bytes).expect("shape and data agree"),
            )
        });
    std::fs::write(path, serialize(views, None).expect("serialised")).expect("written");
}

/// Reads a safetensors file of floats and whole numbers.
pub fn load(path: &str) -> Tensors {
    let bytes = std::fs::read(path).expect("readable");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensor = |view: TensorView<'_>| {
        let data = match view.dtype() {
            Dtype::F32 => (view.data().chunks_exact(4))
                .map(|b| f32::from_le_bytes(b.try_into().expect("four bytes")).into())
                .collect(),
            Dtype::F64 => (view.data().chunks_exact(8))
                .map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes")))
                .collect(),
            Dtype::I64 => (view.data().chunks_exact(8))
                .map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as f64)
                .collect(),
            other => panic!("baton never writes {other:?}"),
        };
        (view.dtype(), view.shape().to_vec(), data)
    };
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, tensor(view)))
        .collect()
}
