#!/usr/bin/env python3
"""A training run under everything that ends runs, for as long as is asked for.

    scripts/endure.py [MINUTES] [--baton target/release/baton] [--seed N]

Runs are begun again and again and disturbed at random moments: SIGKILL, SIGTERM, SIGINT, a reader of the output that
goes away, and a disk that is full (a small one of memory, mounted for it; left out and said where that is not allowed).
Whenever one is whole at last, its weights, moments and carried states must have the bits of a run that nothing
disturbed, nothing but its own files may lie in its folder, and every ending must have been the one that is documented.
Fails at the first thing that is not so; prints what was done, one line for each run.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

STEPS = 8000
DISK = 24 << 20
KINDS = ["SIGKILL", "SIGTERM", "SIGINT", "broken pipe", "full disk"]
# What ends after its step may be starved by others of the machine: only a process that hangs takes so many seconds.
HUNG = 600.0


def tensors(path):
    """Name to bytes, of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    at = lambda info: slice(8 + size + info["data_offsets"][0], 8 + size + info["data_offsets"][1])
    return {name: data[at(info)] for name, info in header.items()}


class Endurance:
    def __init__(self, baton, seed):
        self.baton, self.random = baton, random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(prefix="baton-endure-"))
        self.text = self.folder / "text.txt"
        words = [self.random.choice("state step chunk decay head key value gate".split()) for _ in range(20000)]
        self.text.write_text(" ".join(words))
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "baton", self.disk], capture_output=True)
        self.mounted = mounted.returncode == 0
        if not self.mounted:
            print("no disk of its own can be mounted here: full disks are left out", flush=True)
        self.done = Counter()

    def close(self):
        if self.mounted:
            subprocess.run(["umount", self.disk])
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, folder, seed):
        return [self.baton, "train", "--text", self.text, "--folder", folder, "--length", "24", "--batch", "4", "--width", "32",
                "--layers", "2", "--steps", str(STEPS), "--seed", str(seed), "--threads", "1", "--checkpoint-every", "7",
                "--initial-state", "state_passing"]

    def start(self, folder, seed):
        return subprocess.Popen(self.command(folder, seed), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def disturbed(self, folder, seed):
        """Runs once and disturbs it, if it lasts that long; whether it is done."""
        kind = self.random.choice(KINDS if self.mounted else KINDS[:-1])
        process = self.start(folder, seed)
        wait = self.random.expovariate(1 / 6.0)
        filler = self.disk / "filler"
        try:
            if kind == "broken pipe":
                time.sleep(min(wait, 1.0))
                process.stderr.close()
                process.stdout.close()
                try:
                    process.wait(timeout=wait)
                except subprocess.TimeoutExpired:
                    process.terminate()
                    process.wait(timeout=HUNG)
                said = ""
            else:
                said = self.wait(process, wait)
                if said is None:
                    if kind == "full disk":
                        self.fill(filler)
                        said = self.wait(process, 5.0)
                        filler.unlink()
                        if said is None:
                            process.kill()
                    else:
                        process.send_signal(getattr(signal, kind))
                    said = said or self.wait(process, HUNG)
        finally:
            process.kill()
            filler.unlink(missing_ok=True)
        code = process.returncode
        self.done[f"{kind}: {self.ending(kind, code, said)}"] += 1
        return code == 0

    def ending(self, kind, code, said):
        wanted = {"SIGKILL": {-9}, "SIGTERM": {-15}, "SIGINT": {-2}, "broken pipe": {2, -15}, "full disk": {2, -9}}[kind]
        if code == 0:
            return "done before"
        if code not in wanted:
            raise SystemExit(f"{kind}: ended with {code}, expected {sorted(wanted)}: {said}")
        if code == 2 and kind == "full disk" and "No space left" not in said:
            raise SystemExit(f"full disk: the error does not say it: {said}")
        return {("broken pipe", -15): "went on, then SIGTERM", ("full disk", -9): "no write was due, then SIGKILL"}.get((kind, code), "ended")

    def wait(self, process, seconds):
        """What it said, if it ends within the time."""
        try:
            _, said = process.communicate(timeout=seconds)
            return said.decode(errors="replace")[-400:] or " "
        except subprocess.TimeoutExpired:
            return None

    def fill(self, path):
        with open(path, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass

    def round(self, number):
        base = (self.disk if self.mounted else self.folder) / f"run{number}"
        whole = self.folder / f"whole{number}"
        subprocess.run(self.command(whole, number) + ["--quiet"], check=True, stdout=subprocess.DEVNULL)
        tries = 0
        while not self.disturbed(base, number):
            tries += 1
        # Once more, undisturbed: it is done, and says so.
        subprocess.run(self.command(base, number) + ["--quiet"], check=True, stdout=subprocess.DEVNULL)
        found, wanted = (tensors(run / "checkpoint.safetensors") for run in (base, whole))
        if found != wanted:
            names = [name for name in wanted if found.get(name) != wanted[name]]
            raise SystemExit(f"run {number}: other bits than undisturbed in {names}")
        left = {path.name for path in base.iterdir()} - {path.name for path in whole.iterdir()}
        if left:
            raise SystemExit(f"run {number}: files are left over: {sorted(left)}")
        shutil.rmtree(base)
        shutil.rmtree(whole)
        return tries


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("minutes", nargs="?", type=float, default=60.0)
    arguments.add_argument("--baton", default="target/release/baton")
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    # A shell has what it starts in the background ignore SIGINT, and what that starts would ignore it too until it listens.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    endurance = Endurance(os.path.abspath(given.baton), given.seed)
    begun, number = time.monotonic(), 0
    try:
        while time.monotonic() - begun < 60 * given.minutes:
            number += 1
            tries = endurance.round(number)
            minutes = (time.monotonic() - begun) / 60
            print(f"{minutes:6.1f} min  run {number}: ended {tries} times on its way, the bits of an undisturbed one", flush=True)
    finally:
        endurance.close()
    print("; ".join(f"{what} {count}" for what, count in sorted(endurance.done.items())))


if __name__ == "__main__":
    sys.exit(main())
