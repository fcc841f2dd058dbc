//! Predictions of small kernels, whose machine code is committed beside the text that it was assembled from.
//!
//! What is planted must be found: products that wait for each other take longer than those that do not, and twice
//! the loads of operands make a kernel of the tensor cores one of shared memory. Kernels of one kind of instruction
//! are held to what was measured of such kernels on an H100.

use baton_predict::{A100, Error, H100, Launch, Listing, Prediction, predict};
use std::path::{Path, PathBuf};
use std::process::Command;

const KERNELS: [&str; 7] = [
    "add",
    "dependent",
    "ex2",
    "independent",
    "loads",
    "mad",
    "twice",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels")
}

fn listing(name: &str) -> Listing {
    let text = std::fs::read_to_string(folder().join(format!("{name}.sass"))).unwrap();
    Listing::parse(&text).unwrap()
}

fn of(name: &str, blocks: usize, threads: usize) -> Prediction {
    let launch = Launch {
        blocks,
        threads,
        registers: 64,
        shared_bytes: 16_384,
        rounds: 1000,
        unique: None,
    };
    predict(&listing(name), &launch, &H100).unwrap()
}

/// Clocks of one instruction of a kind, of one warp.
fn clocks(name: &str, opcode: &str) -> f64 {
    let prediction = of(name, 1, 32);
    prediction.round_clocks / prediction.counts[opcode]
}

#[test]
fn products_that_wait_take_longer() {
    let (waiting, free) = (clocks("dependent", "HMMA"), clocks("independent", "HMMA"));
    // The assembler waits 24 clocks for a product; the tensor core is free after 4 / 0.63, and a loop has its end.
    assert_eq!(waiting, 24.0);
    assert!((6.3..8.0).contains(&free), "{free}");
    // Other warps fill the time: four of each scheduler take no longer than one.
    let full = of("dependent", 1, 512);
    assert_eq!(full.parts.largest().0, "tensor");
    assert!(full.round_clocks < 1.15 * of("dependent", 1, 32).round_clocks);
}

#[test]
fn twice_the_loads_are_bound_by_shared_memory() {
    // Four blocks of eight warps on each multiprocessor.
    let [once, twice] = ["loads", "twice"].map(|name| of(name, 4 * 132, 256));
    assert_eq!((once.resident, twice.resident), (4, 4));
    assert_eq!(once.parts.largest().0, "tensor");
    assert_eq!(twice.parts.largest().0, "shared");
    assert_eq!(twice.counts["LDSM"], 2.0 * once.counts["LDSM"]);
    assert_eq!(twice.counts["HMMA"], once.counts["HMMA"]);
    assert_eq!(twice.round.tensor, once.round.tensor);
    // No row is in another's way: four passes a load.
    for prediction in [&once, &twice] {
        let warps = 32.0;
        assert_eq!(
            prediction.round.passes,
            4.0 * warps * prediction.counts["LDSM"]
        );
        assert!(prediction.seconds >= prediction.parts.largest().1);
    }
    let saved = |prediction: &Prediction| {
        let most = prediction.savings.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        most.unwrap().0
    };
    assert_eq!(saved(&twice), "shared");
}

/// Clocks of an instruction of one warp at 64 of a kind that do not wait for each other, as measured on an H100 with SXM5 (a
/// public study of micro-benchmarks, CUDA 12.8): sums 1.2, integer products 2.2, exponentials 9.0.
#[test]
fn simple_kernels_take_what_was_measured() {
    for (name, opcode, measured) in [
        ("add", "FADD", 1.2),
        ("mad", "IMAD", 2.2),
        ("ex2", "MUFU", 9.0),
    ] {
        let predicted = clocks(name, opcode);
        assert!(
            (predicted / measured - 1.0).abs() < 0.2,
            "{name}: {predicted}"
        );
    }
}

/// More rounds are longer by what a round takes, and more blocks than fit take turns.
#[test]
fn time_is_that_of_rounds_and_turns() {
    let of = |blocks, rounds| {
        let launch = Launch {
            blocks,
            threads: 256,
            registers: 128,
            shared_bytes: 100_000,
            rounds,
            unique: None,
        };
        predict(&listing("loads"), &launch, &H100).unwrap()
    };
    let (short, long) = (of(132, 100), of(132, 1100));
    assert_eq!((short.resident, short.turns, of(265, 100).turns), (2, 1, 2));
    let a_thousand = (long.seconds - short.seconds) * H100.hertz / 1000.0;
    assert!((a_thousand / short.round_clocks - 1.0).abs() < 1e-9);
    assert!(of(264, 100).seconds > short.seconds);
    let twice = of(528, 100).seconds - H100.launch;
    let once = of(264, 100).seconds - H100.launch;
    assert!((twice / once - 2.0).abs() < 1e-9);
    // Fewer rounds than are run to the clock.
    assert!(of(132, 1).seconds < of(132, 3).seconds);
}

#[test]
fn what_no_multiprocessor_holds_is_refused() {
    let launch = Launch {
        blocks: 1,
        threads: 256,
        registers: 64,
        shared_bytes: 170_000,
        rounds: 1,
        unique: None,
    };
    assert!(predict(&listing("add"), &launch, &H100).is_ok());
    let refused = predict(&listing("add"), &launch, &A100).unwrap_err();
    assert!(matches!(refused, Error::Launch { .. }));
    assert!(refused.to_string().contains("170000 bytes"), "{refused}");
    let nothing = Launch {
        blocks: 0,
        ..launch
    };
    assert!(predict(&listing("add"), &nothing, &H100).is_err());
}

/// The committed machine code is what the assembler makes of the text beside it.
#[test]
fn listings_are_what_the_assembler_makes() {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cuda/nvidia/cu13/bin");
    if !tools.join("ptxas").exists() {
        eprintln!("not checked: `make cuda-tools` was not run");
        return;
    }
    for name in KERNELS {
        let cubin =
            std::env::temp_dir().join(format!("baton-predict-{}-{name}", std::process::id()));
        let text = folder().join(format!("{name}.ptx"));
        let made = Command::new(tools.join("ptxas"))
            .arg("-arch=sm_90")
            .args([text.as_os_str(), "-o".as_ref(), cubin.as_os_str()])
            .status();
        assert!(made.unwrap().success(), "{name}");
        let said = Command::new(tools.join("nvdisasm"))
            .args(["-c", "-hex"])
            .arg(&cubin)
            .output()
            .unwrap();
        std::fs::remove_file(cubin).unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(Listing::parse(&said).unwrap(), listing(name), "{name}");
    }
}
