#!/usr/bin/env python3
"""What decays that leave f32's normal numbers within a chunk cost beside the drawn ones: a Markdown table.

    benches/subnormal.py COMMIT=PROGRAM [COMMIT=PROGRAM ..] [--write]

Each program (`target/release/baton`) runs each recurrence forward and backward on inputs that `baton bench` draws, and on the same but for decays that are
the same number everywhere; milliseconds, medians of five runs. Mamba-2's are those of the strongest head that it begins with: A = -16 and a step of
0.1. `--write` puts the table into benches/results/subnormal.md.
"""

import argparse
import json
import struct
import subprocess
import tempfile
from math import log
from pathlib import Path

from machine import described

THREADS = 2
T, H = 2048, 16
WIDE = f"T={T},H={H},K=128,V=128"
NARROW = f"T={T},H={H},K=64,V=64"
STEP = [1, T, H]
MAMBA2 = {"a_log": ([80], log(16)), "dt": ([1, T, 80], 0.0), "dt_bias": ([80], -2.252)}
CASES = (
    ("mamba2", f"T={T},H=80,N=128,P=64", MAMBA2, 1.6),
    ("simple_gla", WIDE, {"g": (STEP, -1.5)}, 1.5),
    ("gated_delta_net", WIDE, {"g": (STEP, -1.5)}, 1.5),
    ("gla", WIDE, {"g": ([*STEP, 128], -6.0)}, 6.0),
    ("kda", WIDE, {"g": ([*STEP, 128], -6.0)}, 6.0),
    ("rwkv6", NARROW, {"w": ([*STEP, 64], -6.0)}, 6.0),
)
RESULT = Path(__file__).resolve().parent / "results/subnormal.md"


def write(path, tensors):
    """A safetensors file of tensors that are one number each."""
    head, body = {}, b""
    for name, (shape, value) in tensors.items():
        count = 1
        for size in shape:
            count *= size
        numbers = struct.pack("<f", value) * count
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(numbers)]}
        body += numbers
    head = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)


def times(program, recurrence, shape, inputs):
    command = [program, "bench", recurrence, "--shape", shape, "--threads", str(THREADS), "--repetitions", "5", "--json"]
    if inputs:
        command += ["--inputs", str(inputs)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [found[phase]["median_ms"] for phase in ("forward", "backward")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    programs = [one.split("=", 1) for one in given.programs]
    heads = ["recurrence", "shape", "decay a step", *(f"{commit}, forward and backward, ms" for commit, _ in programs)]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|--:|" + "--:|" * len(programs)]
    with tempfile.TemporaryDirectory() as folder:
        strong = Path(folder) / "strong.safetensors"
        for recurrence, shape, tensors, rate in CASES:
            write(strong, tensors)
            for named, inputs in (("drawn", None), (f"exp(-{rate})", strong)):
                cells = (times(program, recurrence, shape, inputs) for _, program in programs)
                cells = " | ".join(f"{forward:.1f}, {backward:.1f}" for forward, backward in cells)
                lines.append(f"| `{recurrence}` | {shape} | {named} | {cells} |")
                print(lines[-1], flush=True)
    if given.write:
        machine = described()
        words = f"{THREADS} threads of {machine['cores']} cores of {machine['cpu']}, medians of five runs (`benches/subnormal.py`)."
        RESULT.write_text("\n".join(["# Strong decays", "", words, "", *lines, ""]))


if __name__ == "__main__":
    main()
