//! NVIDIA's assembler and disassembler, which need no GPU.

use crate::failure::Failure;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The SASS mnemonics that are counted, and what they are.
pub const COUNTED: [(&str, &str); 8] = [
    ("HMMA", "tensor-core products"),
    ("LDGSTS", "asynchronous copies"),
    ("LDSM", "matrix loads"),
    ("LDG.E.128", "16-byte global loads"),
    ("STG.E.128", "16-byte global stores"),
    ("LDL", "local loads"),
    ("STL", "local stores"),
    ("BAR.SYNC", "barriers"),
];

/// Where they are.
pub struct Tools {
    ptxas: PathBuf,
    nvdisasm: PathBuf,
}

/// A kernel after assembly.
pub struct Assembled {
    nvdisasm: PathBuf,
    folder: Scratch,
    /// What ptxas said of it.
    said: String,
}

/// A folder that nobody had before, and that goes away with its owner.
struct Scratch(PathBuf);

impl Tools {
    /// Looks in the folder that BATON_CUDA_BIN names, in target/cuda, and on the path.
    pub fn find() -> Result<Self, Failure> {
        let tool = |name: &str| {
            let named = std::env::var_os("BATON_CUDA_BIN").map(PathBuf::from);
            let ours = Some(PathBuf::from("target/cuda/nvidia/cu13/bin"));
            let path = std::env::var_os("PATH").unwrap_or_default();
            let places = named
                .into_iter()
                .chain(ours)
                .chain(std::env::split_paths(&path));
            let found = places
                .map(|place| place.join(name))
                .find(|file| file.exists());
            found.ok_or_else(|| {
                Failure::new(format!(
                    "`{name}` not found in BATON_CUDA_BIN, target/cuda or on the path; \
                     `make cuda-tools` installs it"
                ))
            })
        };
        Ok(Self {
            ptxas: tool("ptxas")?,
            nvdisasm: tool("nvdisasm")?,
        })
    }

    /// Assembles PTX for a GPU.
    pub fn assemble(&self, ptx: &str, chip: &str) -> Result<Assembled, Failure> {
        let folder = Scratch::new()?;
        let input = folder.0.join("kernel.ptx");
        std::fs::write(&input, ptx).map_err(|why| cannot(&input, &why))?;
        let arch = format!("-arch={chip}");
        let said = call(
            &self.ptxas,
            &[
                Path::new(&arch),
                Path::new("-v"),
                &input,
                Path::new("-o"),
                &folder.cubin(),
            ],
        )?;
        Ok(Assembled {
            nvdisasm: self.nvdisasm.clone(),
            folder,
            said,
        })
    }
}

impl Assembled {
    /// The machine code as text.
    pub fn sass(&self) -> Result<String, Failure> {
        call(&self.nvdisasm, &[Path::new("-c"), &self.folder.cubin()])
    }

    /// The same with encodings, which hold what the assembler tells the hardware.
    pub fn encoded(&self) -> Result<String, Failure> {
        call(
            &self.nvdisasm,
            &[Path::new("-c"), Path::new("-hex"), &self.folder.cubin()],
        )
    }

    /// How many lines of the machine code hold each mnemonic.
    pub fn instructions(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let sass = self.sass()?;
        let count = |(mnemonic, _): (&str, _)| {
            let lines = sass.lines().filter(|line| line.contains(mnemonic));
            (mnemonic.to_string(), lines.count() as u64)
        };
        Ok(COUNTED.map(count).into())
    }

    /// Registers of a thread.
    pub fn registers(&self) -> u64 {
        self.number(" registers")
    }

    /// Bytes that a thread stores to local memory for lack of registers.
    pub fn spill_bytes(&self) -> u64 {
        self.number(" bytes spill stores")
    }

    /// The number before `word` in what ptxas said.
    fn number(&self, word: &str) -> u64 {
        let before = self
            .said
            .split(word)
            .next()
            .filter(|text| text.len() < self.said.len());
        let last = before.and_then(|text| text.split_whitespace().last());
        last.and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

impl Scratch {
    fn new() -> Result<Self, Failure> {
        // Who cannot guess the name has no folder there; one that is there is somebody else's and is not taken.
        let number = RandomState::new().build_hasher().finish();
        let name = format!("baton-{}-{number:016x}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).map_err(|why| cannot(&folder, &why))?;
        Ok(Scratch(folder))
    }

    /// What the assembler writes.
    fn cubin(&self) -> PathBuf {
        self.0.join("kernel.cubin")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn cannot(path: &Path, why: &io::Error) -> Failure {
    Failure::new(format!("cannot use `{}`: {why}", path.display()))
}

fn call(program: &Path, arguments: &[&Path]) -> Result<String, Failure> {
    let name = program.display();
    let done = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|why| Failure::new(format!("cannot run `{name}`: {why}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match done.status.success() {
        true => Ok(text(&done.stdout) + &text(&done.stderr)),
        false => Err(Failure::new(format!(
            "`{name}` refused: {}",
            text(&done.stderr).trim()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders of this process that are there.
    fn folders() -> usize {
        let own = format!("baton-{}-", std::process::id());
        let all = std::fs::read_dir(std::env::temp_dir()).unwrap();
        let names = all.flatten().map(|entry| entry.file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(&own))
            .count()
    }

    #[test]
    fn no_folder_stays_where_the_assembler_refuses_or_is_done() {
        let tools = |ptxas: &str| Tools {
            ptxas: ptxas.into(),
            nvdisasm: "true".into(),
        };
        assert!(tools("false").assemble("", "sm_90a").is_err());
        assert_eq!(folders(), 0);
        let made = tools("true").assemble("", "sm_90a").expect("assembled");
        assert_eq!(folders(), 1);
        drop(made);
        assert_eq!(folders(), 0);
    }
}
