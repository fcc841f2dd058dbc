"""The published operators of retrieval as a section: ours in a program of its own (retrieval/examples/operators.rs), beside PyTorch.

A case is an operator at its authors' sizes: C chunks, H heads of keys with G of queries each, D numbers, S positions with a key, N chunks
chosen, W numbers of a landmark. Both sides are given the same numbers by the same rule, and both are compared with one loop in float64.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gate import LARGEST_ERROR
from machine import Failed, last_line
from sections import KEPT, Case, Section

ROOT = Path(__file__).resolve().parents[1]
LETTERS = "CHGDSNW"
GCA = {"C": 32, "H": 12, "G": 1, "D": 64, "S": 63, "N": 8, "W": 768}
HSA = {"C": 32, "H": 1, "G": 16, "D": 64, "S": 64, "N": 8, "W": 1024}

SECTIONS = {
    "retrieval": Section(
        "Attention to chosen chunks",
        "Grouped cross attention as DRT's model of 128 M has it and hierarchical sparse attention as RAMba's of 370 M, on 2048 positions: "
        "choice, weights and attention, and the gradients of all that they read. PyTorch's way is the one without kernels of one's own, which "
        "gathers what was chosen.",
        tuple(Case(form, tuple(sizes.items()), threads) for form, sizes in (("gca", GCA), ("hsa", HSA)) for threads in (1, 2)),
        ("Baton", "torch", "torch, memory kept"),
        rounds=3,
        seconds=2.0,
    ),
}


class Chunks:
    """The runs of one section; the first run of a case writes what it found, which is compared."""

    def __init__(self, machine, section):
        self.machine, self.section, self.checked = machine, section, {}
        print("bench: cargo builds the operators", file=sys.stderr)
        command = ("cargo", "build", "--release", "--package", "baton-retrieval", "--features", "avx512", "--example", "operators")
        built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        self.failure = last_line(built.stderr) if built.returncode else None
        self.program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "release/examples/operators")

    def run(self, case, peer, round_):
        if self.failure:
            raise Failed(self.failure)
        why = self.machine.missing("torch")
        if why:
            raise Failed(f"PyTorch, which ours is compared by, is {why}" if peer == "Baton" else why)
        sizes = ",".join(str(case.size(letter)) for letter in LETTERS)
        arguments = (case.recurrence, sizes, str(case.threads), str(self.section.seconds))
        if peer != "Baton":
            kept = KEPT.items() if peer.endswith(", memory kept") else ()
            done = self.machine.run("torch_retrieval.py", arguments, kept)
            return done, done.json()
        if case not in self.checked:
            self.checked[case] = self.error(arguments)
        done = self.machine.run(str(self.program), arguments, KEPT.items())
        return done, {**done.json(), "checked_error": self.checked[case]}

    def error(self, arguments):
        """How far ours is from the definition."""
        with tempfile.TemporaryDirectory() as folder:
            found = str(Path(folder, "found"))
            self.machine.run(str(self.program), (*arguments[:3], "0", found))
            error = self.machine.run("torch_retrieval.py", (*arguments, "truth", found)).json()["checked_error"]
        if not error <= LARGEST_ERROR:
            raise Failed(f"wrong by {error:.3g} of the largest number, allowed {LARGEST_ERROR:.3g}")
        return error
