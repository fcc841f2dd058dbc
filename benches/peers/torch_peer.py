"""What the PyTorch peers of this folder share: the clock, the check, and the records.

A peer is a `Problem` with its `FORMS`. One process measures one form on one shape:

    torch_X.py SHAPE THREADS SECONDS FORM[+compiled]

A time counts only if the result was right: on a small shape outputs, the last state and the gradients of all inputs are
compared with float64 autograd through the recurrence, on the measured one the first and last head, over its first
LOOKED_AT steps. `checked_error` is the largest deviation over the largest reference magnitude of the same array; above
TOLERANCE the program fails and prints no time.

Timed: forward without a graph (what inference pays); backward alone, for all inputs with a cotangent for the output, over
a graph built outside the clock. `+compiled` passes the form through `torch.compile` first. The cold start is from BENCH_BEGUN
(seconds since 1970, which the caller sets) to the first forward and backward, compiling included.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Callable

import torch

TOLERANCE = 1e-4
WARM_UP = 1
LEAST_REPETITIONS = 3
MOST_REPETITIONS = 1000
LOOKED_AT = 4096


@dataclass
class Problem:
    """A recurrence: how it is called, the numbers it is given, and its definition, one token at a time."""

    letters: str
    small: tuple
    data: Callable  # (shape, zero_state) -> inputs, the last of them the first state
    recurrence: Callable  # (*inputs) -> output, last state
    heads: Callable  # (inputs, heads) -> the inputs of some heads
    forms: dict  # name -> (prepare(inputs) outside the clock, run(*prepared))
    backward: tuple = ()  # forms without a backward


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


def cotangent(output):
    return torch.randn(output.shape, generator=torch.Generator().manual_seed(7))


def small_error(problem, prepare, run):
    """Outputs and gradients on the small shape."""
    inputs = problem.data(problem.small, zero_state=False)
    single = [tensor.clone().requires_grad_() for tensor in inputs]
    double = [tensor.double().requires_grad_() for tensor in inputs]
    got, want = run(*prepare(single)), problem.recurrence(*double)
    arriving = cotangent(want[0])
    pairs = list(zip(got, want))
    pairs += zip(torch.autograd.grad(got[0], single, arriving), torch.autograd.grad(want[0], double, arriving.double()))
    return max(relative(mine, truth.detach()) for mine, truth in pairs)


@torch.no_grad()
def measured_error(problem, inputs, prepare, run):
    """The first and last head of the measured shape, as far as LOOKED_AT."""
    *steps, first = inputs
    got, last = run(*prepare(inputs))
    time_steps, heads = got.shape[1:3]
    few = min(LOOKED_AT, time_steps)
    steps = [tensor[:, :few] if tensor.dim() > 1 and tensor.shape[1] == time_steps else tensor for tensor in steps]
    pick = [0, heads - 1]
    chosen = problem.heads([*steps, first], pick)
    truth = problem.recurrence(*(tensor.double() for tensor in chosen))
    error = relative(got[:, :few, pick], truth[0])
    return max(error, relative(last[:, pick], truth[1])) if few == time_steps else error


def main(problem):
    try:
        shape = tuple(int(size) for size in sys.argv[1].split(","))
        threads, seconds = int(sys.argv[2]), float(sys.argv[3])
        name, *compiled = sys.argv[4].split("+")
        prepare, run = problem.forms[name]
        valid = len(shape) == len(problem.small) and min(*shape, threads) >= 1 and seconds > 0
    except (IndexError, ValueError, KeyError):
        valid = False
    if not valid:
        sys.exit(f"expected {problem.letters} THREADS SECONDS FORM, FORM of {', '.join(problem.forms)}, with +compiled or not")
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    called = torch.compile(run, dynamic=False) if compiled else run
    inputs = problem.data(shape, zero_state=True)
    prepared = prepare(inputs)
    differentiable = name not in problem.backward

    def forward(_):
        with torch.no_grad():
            return called(*prepared)

    leaves = [tensor.clone().requires_grad_() for tensor in prepared[:-1]]
    arriving = cotangent(forward(None)[0])
    phases = {"forward": (lambda: None, forward)}
    if differentiable:
        graph = lambda: called(*leaves, prepared[-1])[0]
        backward = lambda output: torch.autograd.grad(output, leaves, arriving)
        phases["backward"] = (graph, backward)
        backward(graph())
    cold = 1e3 * (time.time() - float(os.environ.get("BENCH_BEGUN", "nan")))
    # The small shape is another program for torch.compile, so the form itself is what it judges.
    error = small_error(problem, prepare, run) if differentiable else 0.0
    error = max(error, measured_error(problem, inputs, prepare, called))
    if not error <= TOLERANCE:
        sys.exit(f"wrong by {error:.3g} of the largest number, allowed {TOLERANCE:.3g}")
    found = {}
    for phase, (ready, call) in phases.items():
        times = timed(ready, call, seconds)
        low, middle, high = (round(times.quantile(share).item(), 4) for share in (0.1, 0.5, 0.9))
        found[phase] = {"median_ms": middle, "p10_ms": low, "p90_ms": high, "repetitions": len(times)}
    version = f"torch {torch.__version__}"
    print(json.dumps({"version": version, "cold_start_ms": cold, "checked_error": error, "phases": found}))
