use super::*;
use baton_codegen::target::Storage;

#[test]
fn a_machine_without_driver_is_told_so() {
    // A number that no machine has: an error with and without a driver, never a panic.
    let Err(Error::Unsupported { device, reason }) = Cuda::new(4096, Gpu::sm_80(Storage::Bf16))
    else {
        panic!("GPU 4096 was found");
    };
    assert_eq!(device, "cuda");
    let told = ["libcuda.so.1", "driver", "no GPU 4096"];
    assert!(told.iter().any(|what| reason.contains(what)), "{reason}");
}

#[test]
fn a_target_runs_on_what_it_was_made_for() {
    assert_eq!(runs_on("sm_80", (8, 0)), Ok(()));
    assert_eq!(runs_on("sm_80", (9, 0)), Ok(()));
    assert_eq!(runs_on("sm_80", (12, 0)), Ok(()));
    assert_eq!(runs_on("sm_90a", (9, 0)), Ok(()));
    assert!(runs_on("sm_90a", (10, 0)).is_err());
    assert!(runs_on("sm_80", (7, 5)).unwrap_err().contains("7.5"));
    assert!(runs_on("gfx90", (9, 0)).unwrap_err().contains("gfx90"));
}
