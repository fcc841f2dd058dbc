"""The criterion benches of this crate (benches/benches) as a section: their medians, read from criterion's own files."""

import json
import os
import subprocess
import sys
from pathlib import Path

from machine import Failed, last_line
from sections import Section, case

ROOT = Path(__file__).resolve().parents[1]
SHORT = ("--noplot", "--warm-up-time", "0.3", "--measurement-time", "1")

SECTIONS = {
    "criterion": Section(
        "Stages and calls in process",
        "What `cargo bench` measures within one process: stages of the compiler, kernels, decode steps, a call's own cost and a training step. Microseconds.",
        tuple(case(target) for target in ("compile", "kernels", "decode", "launch", "train")),
        rounds=1,
        phases=(),
    ),
}


class Criterion:
    """Runs one bench target for a case."""

    def __init__(self, machine):
        self.machine = machine
        self.folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "criterion")
        print("bench: cargo builds the benches", file=sys.stderr)
        built = subprocess.run(["cargo", "bench", "--package", "baton-benches", "--no-run"], cwd=ROOT, capture_output=True, text=True)
        self.failure = last_line(built.stderr) if built.returncode else None

    def run(self, case, peer, round_):
        if self.failure:
            raise Failed(self.failure)
        marker = self.folder / "begun"
        self.folder.mkdir(parents=True, exist_ok=True)
        marker.touch()
        arguments = ("bench", "--package", "baton-benches", "--bench", case.recurrence, "--", *SHORT)
        done = self.machine.run("cargo", arguments)
        phases = {}
        for path in sorted(self.folder.glob("**/new/estimates.json"), key=lambda path: path.stat().st_mtime):
            if path.stat().st_mtime >= marker.stat().st_mtime:
                name = json.loads((path.parent / "benchmark.json").read_text())["full_id"]
                phases[name] = {"median_ms": json.loads(path.read_text())["median"]["point_estimate"] * 1e-6}
        if not phases:
            raise Failed(f"`cargo bench --bench {case.recurrence}` left no estimates")
        return done, {"checked_error": None, "cold_start_ms": None, "phases": phases}
