"""Checks a recurrence's kernels through the program: a run on the GPU against its step interpreter in f64.

For what has no reference of its own (reference.py): `baton run` gives outputs, states and every gradient on both
devices, from the same file of inputs, rounded to the dtype of storage beforehand. No torch is needed, and the same
check runs on the emulator. Where kernels are refused on the device, so is the check.
"""

import json
import math
import random
import struct
import subprocess
import tempfile
from array import array
from pathlib import Path

CHECKED = (2, 67, 2)  # B, T (odd: the last chunk is ragged), H
# Inputs that are not any number: logs of decays, rates, keys of length one (their last rows).
LOG_DECAYS, RATES, UNIT = {"g", "w", "log_decay"}, {"beta", "beta0", "beta1"}, {"k", "k0", "k1", "p", "a"}


def bf16(x):
    """The nearest bf16, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    return struct.unpack("<f", struct.pack("<I", (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000))[0]


def f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


ROUND = {"bf16": bf16, "f16": f16, "f32": lambda x: struct.unpack("<f", struct.pack("<f", x))[0]}


def draw(name, shape, wide, rng):
    """Numbers of the size that a model has; `wide` is the length of a row."""
    count = math.prod(shape)
    if name in LOG_DECAYS:
        return [-0.2 * math.log1p(math.exp(rng.gauss(0, 1))) for _ in range(count)]
    if name in RATES:
        return [rng.random() for _ in range(count)]
    numbers = [rng.gauss(0, 0.5) for _ in range(count)]
    if name in UNIT:
        for at in range(0, count, wide):
            norm = math.sqrt(sum(x * x for x in numbers[at:at + wide])) or 1.0
            numbers[at:at + wide] = [x / norm for x in numbers[at:at + wide]]
    return numbers


def inputs(declared, sizes, dtype, seed):
    """Name to (shape, numbers) of everything that a run with gradients is given."""
    batch, steps, heads = CHECKED
    rng, given = random.Random(seed), {}
    rows = {"inputs": (batch, steps, heads), "params": (heads,), "states": (batch, heads)}
    for kind, outer in rows.items():
        for port in declared[kind]:
            inner = [sizes[dim] for dim in port["dims"]]
            groups = 1 if port.get("per_group") else heads
            shape = [*outer[:-1], groups, *inner] if kind == "inputs" else [*outer, *inner]
            numbers = draw(port["name"], shape, math.prod(inner), rng)
            if port["name"] == "b" and "a" in given:  # a transition of low rank removes what its key holds
                numbers = [-rng.random() * x for x in given["a"][1]]
            matrix = kind == "inputs" and inner
            given[port["name"]] = (shape, [ROUND[dtype if matrix else "f32"](x) for x in numbers])
    for port, outer in [(p, rows["inputs"]) for p in declared["outputs"]] + [(p, rows["states"]) for p in declared["states"]]:
        inner = [sizes[dim] for dim in port["dims"]]
        shape = [*outer, *inner]
        exact = ROUND[dtype if inner and outer is rows["inputs"] else "f32"]
        given["d_" + port["name"]] = (shape, [exact(rng.gauss(0, 0.5)) for _ in range(math.prod(shape))])
    return given


def write(path, tensors):
    header, data = {}, bytearray()
    for name, (shape, numbers) in tensors.items():
        start = len(data)
        data += array("f", numbers).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, len(data)]}
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def read(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    found = {}
    for name, info in header.items():
        start, end = (8 + size + offset for offset in info["data_offsets"])
        found[name] = array({"F32": "f", "F64": "d"}[info["dtype"]], data[start:end])
    return found


def relative(found, truth):
    off = math.sqrt(sum((a - b) ** 2 for a, b in zip(found, truth)))
    return off / max(math.sqrt(sum(b * b for b in truth)), 1e-30) if len(found) == len(truth) else math.inf


def check(baton, device, name, dtype, sizes, seed=1):
    """Relative errors of all results of a recurrence's kernels: (of outputs and states, of gradients)."""
    declared = json.loads(subprocess.run([baton, "check", name, "--json"], check=True, capture_output=True, text=True).stdout)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder, "in.safetensors")
        write(given, inputs(declared, sizes, dtype, seed))

        def run(device, *more):
            out = Path(folder, device + ".safetensors")
            done = subprocess.run([baton, "run", name, "--inputs", given, "--output", out, "--grad", "--device", device, *more],
                                  capture_output=True, text=True)
            if done.returncode:
                raise ValueError(done.stderr.strip() or f"`baton run --device {device}` ended with {done.returncode}")
            return read(out)

        truth, found = run("interpreter"), run(device, "--dtype", dtype)
    errors = {tensor: relative(found[tensor], truth[tensor]) for tensor in truth}
    forward = {tensor: error for tensor, error in errors.items() if not tensor.startswith("d_")}
    return forward, {tensor: error for tensor, error in errors.items() if tensor.startswith("d_")}
