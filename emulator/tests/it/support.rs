//! Small kernels around what a test is about.

use baton_emulator::{Finding, Kind, Launch, Memory, Module, Parameter, Report};

pub const HEADER: &str = ".version 8.0\n.target sm_90\n.address_size 64\n";

/// Numbers as bytes.
pub fn bytes<T: Copy, const N: usize>(values: &[T], le: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&v| le(v)).collect()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    let chunks = bytes.chunks_exact(4);
    chunks
        .map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
        .collect()
}

pub fn words(bytes: &[u8]) -> Vec<u32> {
    let chunks = bytes.chunks_exact(4);
    chunks
        .map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]))
        .collect()
}

/// Runs the only kernel of a text.
pub fn run(text: &str, launch: &Launch, memory: &mut Memory) -> Report {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let kernel = module.kernels().next().expect("a kernel");
    kernel
        .launch(launch, memory)
        .unwrap_or_else(|error| panic!("{error}"))
}

pub fn assert_clean(report: &Report) {
    let findings: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// A launch of one block.
pub fn block(threads: u32, parameters: Vec<Parameter>) -> Launch {
    Launch {
        block: [threads, 1, 1],
        parameters,
        ..Launch::default()
    }
}

/// The kinds of findings, by line.
pub fn kinds(report: &Report) -> Vec<Kind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}
