#!/usr/bin/env python3
"""Checks and times a folder of kernels (PTX and manifest.json) on this machine's GPU.

    python3 kit.py KERNELS [--baton PATH] [-o OUT]

Writes OUT.json and OUT.md. Without a GPU, or without torch, the page says "not measured" and
holds what is known without one. README.md in this folder describes manifest and method.
"""

import argparse
import gzip
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers
import reference
import shapes
import through
from launch import WIDTH, Driver, Refused, layout, pack, parameters, table

REPETITIONS, WARM_UP = 100, 10
# Kernels of runs in segments are for the runtime: the kit launches whole sequences.
PHASES = ("forward", "keep", "entering", "backward")
CHECKED = (2, 197, 4, 2)  # B, T (odd: the last chunk is ragged), H, G
# Relative errors (norms) of outputs and states, and of gradients.
TOLERANCE = {"bf16": (5e-3, 1e-2), "f16": (5e-3, 1e-2), "f32": (1e-5, 1e-5), "tf32": (1e-3, 1e-3)}


def tolerance(kernel):
    tf32 = kernel["dtype"] == "f32" and kernel.get("products") == "tf32"
    forward, gradient = TOLERANCE["tf32" if tf32 else kernel["dtype"]]
    return gradient if kernel["phase"] == "backward" else forward


def ptx(folder, kernel):
    """The text of a kernel, whose file may be compressed."""
    text = (folder / kernel["file"]).read_bytes()
    return gzip.decompress(text) if text[:2] == b"\x1f\x8b" else text


class Gpu:
    """torch for memory and time, the driver for launches, on torch's current stream."""

    def __init__(self):
        import torch

        if not torch.cuda.is_available():
            raise Refused("torch finds no GPU")
        self.torch, self.device = torch, "cuda"
        torch.zeros(1, device="cuda")  # makes the context that the driver's calls go to
        self.driver = Driver()
        self.dtypes = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
        self.flushed = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")

    def empty(self, kernel, port, shape):
        size, _ = layout(kernel, port, *shape)
        return self.torch.full(size, float("nan"), dtype=self.dtypes[port["dtype"]], device=self.device)

    def wait(self):
        self.torch.cuda.synchronize()

    def launcher(self, kernel, function, shape, tensors, carries):
        """A function that launches; it keeps alive what it launches on."""
        batch, steps, heads, _ = shape
        rows = self.torch.tensor(table(batch, steps, kernel["chunk"]), device="cuda")
        addresses = {role: x.data_ptr() for role, x in tensors.items()}
        pairs = {
            role: [x.data_ptr() if x is not None else 0 for x in both]
            for role, both in carries.items()
        }
        packed = pack(parameters(kernel, rows.data_ptr(), shape, addresses, pairs))

        def launch(kept=(rows, tensors, carries)):
            stream = self.torch.cuda.current_stream().cuda_stream
            self.driver.launch(kernel, function, (heads // kernel["heads"], batch), packed, stream)

        return launch

    def time(self, run):
        """Milliseconds of `run` with a cold L2: median, 10th and 90th percentile."""
        torch, taken = self.torch, []
        for repetition in range(WARM_UP + REPETITIONS):
            self.flushed.zero_()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            if repetition >= WARM_UP:
                taken.append(start.elapsed_time(end))
        taken.sort()
        return {"median": taken[len(taken) // 2], "p10": taken[len(taken) // 10],
                "p90": taken[len(taken) * 9 // 10], "repetitions": len(taken)}

    def copy_rate(self):
        source = self.torch.empty(1 << 30, dtype=self.torch.uint8, device="cuda")
        target = self.torch.empty_like(source)
        return 2 * (1 << 30) / (self.time(lambda: target.copy_(source))["median"] * 1e-3)


def check(gpu, kernel, function):
    """Relative error of every result of one kernel against the f64 reference."""
    torch, name, chunk = gpu.torch, kernel["recurrence"], kernel["chunk"]
    declared, params_declared, state_dims, output_dims = reference.RECURRENCES[name]
    sizes = kernel["sizes"]
    batch, steps, heads, groups = CHECKED
    grouped = any(g for _, _, g in declared)
    shape = (batch, steps, heads, groups if grouped else heads)
    generator = torch.Generator(device=gpu.device).manual_seed(1)
    storage = gpu.dtypes[kernel["dtype"]]

    def draw(tensor, outer, dims, dtype):
        size = [*outer, *(sizes[d] for d in dims)]
        return reference.draw(tensor, size, generator, gpu.device).to(dtype).double()

    inputs = [
        draw(n, (batch, steps, shape[3] if g else heads), dims, storage if dims else torch.float32)
        for n, dims, g in declared
    ]
    params = [draw(n, (heads,), dims, torch.float32) for n, dims in params_declared]
    state = draw("state", (batch, heads), state_dims, torch.float32)
    wanted = [x.requires_grad_() for x in (*inputs, *params, state)]
    output, last, entering = reference.run(name, inputs, params, state, chunk)
    d_output = draw("d_output", (batch, steps, heads), output_dims, storage)
    d_last = draw("d_state", (batch, heads), state_dims, torch.float32)

    known = {"output 0": output, "entering 0": entering, "d_output 0": d_output}
    known |= {f"input {i}": x for i, x in enumerate(inputs)}
    known |= {f"param {i}": x for i, x in enumerate(params)}
    backward = kernel["phase"] == "backward"
    if backward:
        gradients = torch.autograd.grad((output * d_output).sum() + (last * d_last).sum(), wanted)
        known |= {f"d_input {i}": x for i, x in enumerate(gradients)}
        known |= {f"d_param {i}": x for i, x in enumerate(gradients[len(inputs):])}
        enters, leaves = d_last, gradients[-1]
    else:
        enters, leaves = state, last
    written = {"d_input", "d_param"} if backward else {"output", "entering"}

    tensors, results = {}, {}
    for port in kernel["ports"]:
        role, tensor = port["role"], gpu.empty(kernel, port, shape)
        tensors[role] = tensor
        if role.split()[0] in written:
            results[role] = tensor
        else:
            tensor.copy_(known[role].detach().reshape(tensor.shape))
    carries = {}
    for carry in kernel["carries"]:
        entered = enters.detach().float().contiguous()
        carries[carry["role"]] = (entered, torch.full_like(entered, float("nan")))
    gpu.launcher(kernel, function, shape, tensors, carries)()
    gpu.wait()

    def error(found, truth):
        found, truth = found.double(), truth.detach()
        if found.shape != truth.shape and found.dim() == truth.dim() and found.shape[1] == steps:
            found = found.unflatten(2, (truth.shape[2], -1)).sum(3)  # heads of a group
        elif found.dim() == truth.dim() + 1:
            found = found.sum(0)  # sequences
        difference = (found.reshape(truth.shape) - truth).norm()
        return (difference / truth.norm().clamp_min(1e-30)).item()

    errors = {role: error(found, known[role]) for role, found in results.items()}
    errors |= {role: error(left, leaves) for role, (_, left) in carries.items()}
    worst = max(e if e == e else float("inf") for e in errors.values())
    return {"errors": errors, "tolerance": tolerance(kernel), "passes": worst <= tolerance(kernel)}


def through_program(baton, device, kernels):
    """What a run of the program on the device is off by, for each recurrence, dtype and sizes without a reference
    here; what cannot be run says why."""
    found = {}
    for kernel in kernels:
        key = subject(kernel)
        if key in found or kernel["recurrence"] in reference.RECURRENCES:
            continue
        try:
            if baton is None:
                raise ValueError("no reference here: give --baton, whose step interpreter is one")
            forward, gradients = through.check(baton, device, kernel["recurrence"], kernel["dtype"], kernel["sizes"])
            found[key] = (forward, gradients)
        except (OSError, ValueError, KeyError) as why:
            found[key] = str(why)
    return found


def subject(kernel):
    return kernel["recurrence"], kernel["dtype"], tuple(sorted(kernel["sizes"].items()))


def verdict(kernel, through_it):
    """The part of a check by the program that is this kernel's."""
    if isinstance(through_it, str):
        return {"refused": through_it, "passes": False}
    errors = through_it[kernel["phase"] == "backward"]
    worst = max(e if e == e else float("inf") for e in errors.values())
    return {"errors": errors, "tolerance": tolerance(kernel), "passes": worst <= tolerance(kernel), "through": "the program"}


def timings(gpu, kernels, functions, floors, rate, until):
    """Our kernels and the peers' at every shape of shapes.SHAPES that a kernel is made for, until the time is up."""
    rows = []
    for name, (batch, heads, groups, sizes) in shapes.SHAPES.items():
        ours = [(k, f) for k, f in zip(kernels, functions)
                if f and k["recurrence"] == name and shapes.is_timed(k)]
        for steps in shapes.times(name) if ours else ():
            shape = (batch, steps, heads, groups)
            if time.monotonic() > until:
                rows.append({"left_out": name, "shape": dict(zip("BTHG", shape))})
                continue
            for kernel, function in ours:
                tensors = {p["role"]: gpu.empty(kernel, p, shape).fill_(0.01)
                           for p in kernel["ports"]}
                left = {c["role"]: (None, gpu.torch.empty((batch, heads, *c["dims"]), device="cuda"))
                        for c in kernel["carries"]}
                taken = gpu.time(gpu.launcher(kernel, function, shape, tensors, left))
                rows.append(row("baton", kernel["name"], kernel["phase"], shape, taken, floors.of(kernel, shape), rate))
            for peer, phase, run in peers.runs(gpu.torch, name, shape, sizes):
                # A peer is held to what ours of the same phase in bf16 must move.
                like = [k for k, _ in ours if (k["phase"], k["dtype"]) == (phase, "bf16")]
                least = floors.of(like[0], shape) if like else None
                rows.append(row(peer, name, phase, shape, gpu.time(run), least, rate))
    return rows


def row(by, name, phase, shape, taken, least, rate):
    floor = least and least / rate * 1e3
    return {"by": by, "kernel": name, "phase": phase, "shape": dict(zip("BTHG", shape)),
            "ms": taken, "floor_bytes": least, "floor_ms": floor,
            "percent_of_floor": floor and 100 * floor / taken["median"]}


def known(kernels, floors):
    """Bytes that runs of our bf16 kernels must move, at every shape that is timed."""
    rows = []
    for kernel in kernels:
        if not shapes.is_timed(kernel) or (kernel["dtype"], kernel["heads"]) != ("bf16", 1):
            continue
        batch, heads, groups, _ = shapes.SHAPES[kernel["recurrence"]]
        for steps in shapes.times(kernel["recurrence"]):
            shape = (batch, steps, heads, groups)
            if (least := floors.of(kernel, shape)) is not None:
                rows.append({"recurrence": kernel["recurrence"], "phase": kernel["phase"],
                             "shape": dict(zip("BTHG", shape)), "bytes": least})
    return rows


def training_pair(kernels, name):
    """A recurrence's first `keep` and `backward` of one shape and dtype: at the sizes that are timed, where there."""
    def pair(sizes):
        own = [k for k in kernels if (k["recurrence"], k["heads"]) == (name, 1) and sizes in (None, k["sizes"])]
        alike = [k for k in own if (k["sizes"], k["dtype"]) == (own[0]["sizes"], own[0]["dtype"])]
        return [k for k in alike if k["phase"] in ("keep", "backward")]

    timed = shapes.SHAPES[name][3] if name in shapes.SHAPES else None
    return pair(timed) or pair(None)


def cold_child(folder, kernels):
    """A fresh process's work: the first forward and backward of a recurrence, no torch."""
    driver, shape = Driver(), (1, 256, 4, 4)
    driver.own_context()
    for kernel in kernels:
        function, _, _ = driver.load(kernel, ptx(folder, kernel))
        sizes = {p["role"]: layout(kernel, p, *shape) for p in kernel["ports"]}
        places = {}
        for port in kernel["ports"]:
            count = WIDTH[port["dtype"]]
            for size in sizes[port["role"]][0]:
                count *= size
            places[port["role"]] = driver.allocate(count)
        carries = {}
        for carry in kernel["carries"]:
            count = 4 * shape[0] * shape[2]
            for size in carry["dims"]:
                count *= size
            carries[carry["role"]] = (0, driver.allocate(count))
        rows = b"".join(w.to_bytes(8, "little") for w in table(*shape[:2], kernel["chunk"]))
        words = parameters(kernel, driver.allocate(len(rows), rows), shape, places, carries)
        driver.launch(kernel, function, (shape[2] // kernel["heads"], shape[0]), pack(words))
    driver.call("cuCtxSynchronize")


def cold_starts(folder, kernels):
    """Seconds of whole processes, each the median of five; peers with an empty Triton cache."""
    found = {}
    pairs = {k["recurrence"] for k in kernels if k["phase"] == "backward"}
    commands = [("baton " + r, "--cold", r) for r in sorted(pairs)]
    commands += [("peer of " + r, "--cold-peer", r) for r in sorted(pairs & shapes.SHAPES.keys())]
    for label, flag, recurrence in commands:
        taken = []
        for _ in range(5 if flag == "--cold" else 1):
            with tempfile.TemporaryDirectory() as cache:
                # The driver keeps what it made of PTX; a first start has no such cache either.
                environment = os.environ | {"TRITON_CACHE_DIR": cache, "CUDA_CACHE_DISABLE": "1"}
                start = time.perf_counter()
                done = subprocess.run([sys.executable, __file__, str(folder), flag, recurrence],
                                      env=environment, capture_output=True)
                if done.returncode == 0:
                    taken.append(time.perf_counter() - start)
        if taken:
            found[label] = sorted(taken)[len(taken) // 2]
    return found


def measure(folder, kernels, floors, minutes):
    until = time.monotonic() + 60 * minutes
    gpu = Gpu()
    name = gpu.torch.cuda.get_device_name()
    measured = gpu.copy_rate()
    rate = floors.copy_rate(name) or measured
    checks, functions = [], []
    programs = through_program(floors.baton, "cuda", kernels)
    for kernel in kernels:
        found, function = {"kernel": kernel["name"], "sizes": kernel["sizes"]}, None
        try:
            function, registers, local = gpu.driver.load(kernel, ptx(folder, kernel))
            found |= {"registers": registers, "local_bytes": local}
            if kernel["recurrence"] in reference.RECURRENCES:
                found |= check(gpu, kernel, function)
            else:
                found |= verdict(kernel, programs[subject(kernel)])
        except Refused as why:
            found |= {"refused": str(why), "passes": False}
        checks.append(found)
        functions.append(function if found.get("passes") else None)
    return {"gpu": name, "torch": gpu.torch.__version__, "copy_bytes_s": measured,
            "floor_bytes_s": rate, "checks": checks,
            "timings": timings(gpu, kernels, functions, floors, rate, until),
            "cold_start_s": cold_starts(folder, kernels)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("kernels", type=Path, help="the folder with manifest.json")
    arguments.add_argument("--baton", help="the built program, which counts what runs must move; without it no floor is given")
    arguments.add_argument("--minutes", type=float, default=10.0, help="after so many no further shape is timed; what is left out is said")
    arguments.add_argument("-o", "--output", type=Path, default=Path("gpu"))
    arguments.add_argument("--cold", metavar="RECURRENCE", help=argparse.SUPPRESS)
    arguments.add_argument("--cold-peer", metavar="RECURRENCE", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    try:
        manifest = json.loads((given.kernels / "manifest.json").read_text())
        kernels = [k for k in manifest["kernels"] if k["phase"] in PHASES]
    except (OSError, ValueError, KeyError) as why:
        sys.exit(f"kit: no manifest with kernels in `{given.kernels}`: {why}")
    if given.cold:
        return cold_child(given.kernels, training_pair(kernels, given.cold))
    if given.cold_peer:
        return peers.first(given.cold_peer)
    report = {"generator": manifest.get("generator"), "python": platform.python_version(),
              "machine": platform.machine(), "measured": True, "kernels": [{field: k[field] for field in k if field not in ("ports", "carries", "errors")} for k in kernels if shapes.is_timed(k)]}
    if given.baton:
        said = subprocess.run([given.baton, "--version"], capture_output=True, text=True)
        report["baton"] = said.stdout.strip()
    floors = shapes.Floors(given.baton, given.kernels)
    report["floors"] = known(kernels, floors)
    try:
        report |= measure(given.kernels, kernels, floors, given.minutes)
    except (Refused, ImportError) as why:
        report |= {"measured": False, "why": str(why)}
    from page import page

    given.output.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    given.output.with_suffix(".md").write_text(page(report))
    failed = [c["kernel"] for c in report.get("checks", []) if not c.get("passes")]
    if failed:
        sys.exit(f"kit: {len(failed)} kernels fail or are not checked: {', '.join(failed)}")
    print("measured" if report["measured"] else f"not measured: {report['why']}")


if __name__ == "__main__":
    main()
