"""What the PyTorch peers of this folder share: the clock, the measure of an error, and the records."""

import time

import torch

TOLERANCE = 1e-4
WARM_UP = 2
LEAST_REPETITIONS = 7
MOST_REPETITIONS = 1000


def relative(got, want):
    """Largest deviation over the largest magnitude; a NaN counts as infinite."""
    error = (got.double() - want).abs().max() / want.abs().max()
    return float("inf") if error.isnan() else error.item()


def timed(prepare, run, seconds):
    """Milliseconds per call of run(prepare()), with only `run` inside the clock."""
    for _ in range(WARM_UP):
        run(prepare())
    times, start = [], time.perf_counter()
    while len(times) < LEAST_REPETITIONS or (
        len(times) < MOST_REPETITIONS and time.perf_counter() - start < seconds
    ):
        prepared = prepare()
        before = time.perf_counter()
        result = run(prepared)
        times.append((time.perf_counter() - before) * 1e3)
        del prepared, result
    return torch.tensor(times, dtype=torch.float64)


def records(name, length, shape, threads, seconds, error, phases):
    """A record a phase; `phases` has pairs of what is prepared outside the clock and what is timed."""
    for phase, (prepare, run) in phases.items():
        times = timed(prepare, run, seconds)
        yield {
            "peer": name,
            "version": f"torch {torch.__version__}, chunk {length}",
            "shape": shape,
            "threads": threads,
            "phase": phase,
            "median_ms": round(times.quantile(0.5).item(), 4),
            "min_ms": round(times.min().item(), 4),
            "p10_ms": round(times.quantile(0.1).item(), 4),
            "p90_ms": round(times.quantile(0.9).item(), 4),
            "repetitions": len(times),
            "checked_error": float(f"{error:.3g}"),
        }


def set_threads(threads):
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
