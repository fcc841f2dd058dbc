#!/usr/bin/env python3
"""Two builds of the program on the same shapes, in turns: a Markdown table of how long the second takes beside the first.

    benches/builds.py OLD NEW [--rounds 3] [--write]

OLD and NEW are programs (`target/release/baton` of two commits), as COMMIT=PROGRAM. A round runs both on every shape, the old one first; times are
medians of the rounds' medians, the ratio is the median of the rounds' own ratios. A step is one token from given states, in
microseconds; forward and backward are milliseconds. `--write` puts the table into benches/results/builds.md, in place of one of the same pair.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path
from statistics import median

from machine import described

THREADS = 2
WIDE = "T=2048,H=16,K=128,V=128"
SHAPES = (
    ("mamba2", "T=2048,H=80,N=128,P=64"),
    ("mamba2", "B=8,T=256,H=8,N=64,P=32"),
    ("mamba2", "T=16384,H=4,N=64,P=64"),
    ("linear_attention", WIDE),
    ("retnet", WIDE),
    ("simple_gla", WIDE),
    ("gla", WIDE),
    ("hgrn2", WIDE),
    ("rwkv6", "T=2048,H=16,K=64,V=64"),
)
PHASES = {"forward": "ms", "backward": "ms", "step": "us"}
RESULT = Path(__file__).resolve().parent / "results/builds.md"


def times(program, recurrence, shape):
    """Milliseconds of each phase; a step by itself, as often as its length asks for."""
    def bench(shape, repetitions):
        command = [program, "bench", recurrence, "--shape", shape, "--threads", str(THREADS)]
        done = subprocess.run([*command, "--repetitions", str(repetitions), "--json"], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    long, step = bench(shape, 9), bench(",".join(["T=1", *(size for size in shape.split(",") if size[0] != "T")]), 301)
    return {phase: (step if phase == "step" else long)[phase]["median_ms"] for phase in PHASES}


def table(old, new, rounds):
    heads = [f"{phase}, {unit}" for phase, unit in PHASES.items()]
    lines = ["| recurrence | shape | " + " | ".join(heads) + " |", "|---|---|" + "--:|" * len(heads)]
    for recurrence, shape in SHAPES:
        before, after = [], []
        for _ in range(rounds):
            before.append(times(old, recurrence, shape))
            after.append(times(new, recurrence, shape))
        cells = []
        for phase, unit in PHASES.items():
            scale = 1e3 if unit == "us" else 1
            was, now = (scale * median(one[phase] for one in all) for all in (before, after))
            ratio = median(b[phase] / a[phase] for a, b in zip(before, after))
            cells.append(f"{was:.4g} to {now:.4g} ({ratio:.2f})")
        lines.append(f"| `{recurrence}` | {shape} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    (before, old), (after, new) = (one.split("=", 1) for one in (given.old, given.new))
    lines = table(old, new, given.rounds)
    if given.write:
        machine = described()
        words = (
            f"The programs of {before} and {after} in turns, {given.rounds} rounds, {THREADS} threads of {machine['cores']} "
            f"cores of {machine['cpu']}; in brackets how many times the old time the new one is (`benches/builds.py`)."
        )
        heading = f"## {before} and {after}"
        parts = re.split(r"^(?=## )", RESULT.read_text(), flags=re.M)
        kept = [part for part in parts if not part.startswith(f"{heading}\n")]
        RESULT.write_text("".join([*kept, "\n".join(["", heading, "", words, "", *lines, ""])]))


if __name__ == "__main__":
    main()
