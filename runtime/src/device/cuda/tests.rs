use super::*;
use crate::device::gpu::Storage;

#[test]
fn a_machine_without_driver_is_told_so() {
    // A number that no machine has: an error with and without a driver, never a panic.
    let Err(Error::Unsupported { device, reason }) =
        Cuda::new(4096, Schedule::sm_80(Storage::Bf16))
    else {
        panic!("GPU 4096 was found");
    };
    assert_eq!(device, "cuda");
    let told = ["libcuda.so.1", "driver", "no GPU 4096"];
    assert!(told.iter().any(|what| reason.contains(what)), "{reason}");
}

#[test]
fn a_target_runs_on_what_it_was_made_for() {
    assert_eq!(target("sm_80", (8, 0)), Ok(()));
    assert_eq!(target("sm_80", (9, 0)), Ok(()));
    assert_eq!(target("sm_80", (12, 0)), Ok(()));
    assert_eq!(target("sm_90a", (9, 0)), Ok(()));
    assert!(target("sm_90a", (10, 0)).is_err());
    assert!(target("sm_80", (7, 5)).unwrap_err().contains("7.5"));
    assert!(target("gfx90", (9, 0)).unwrap_err().contains("gfx90"));
}
