#!/usr/bin/env python3
"""The benchmark page: measures sections, ours and the peers in turns, and writes what was found (`make bench`).

    benches/bench.py [SECTION ..] [--minutes N] [--again] [--try]   measures; all sections when none is named
    benches/bench.py --page                      the page, its figure and README's tables again, from what is there
    benches/bench.py --gate | --baseline         compares with, or becomes, benches/results/baseline.json (gate.py)

A round runs every program of a case once, ours first, never two at a time; ratios are taken within a round, so that a slow
moment of the machine falls on both sides. A program is a process of its own: its cold start and the most memory that it
had are its own too. Results go to benches/results/bench.json section by section; a section that this very program was
measured in is not measured again unless `--again` says so, and after `--minutes` no other section begins. `--try` runs
everything once on small shapes, into target/bench-try.

Nothing is reported of what was not right: our kernels are held to the f64 interpreter by `baton bench --check`, and where that fails
everything ends; a peer that is wrong is listed as missing, with its error. Whole models are compared with ours (models.py). BATON names the program, BATON_PEERS_CACHE the folder
of the peers.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import chunks
import criterion
import gate
import models
import page
from chunks import Chunks
from criterion import Criterion
from machine import Failed, Machine, described
from models import Models
from operations import Operations
from sections import SECTIONS, small

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benches/results"
ALL = {**SECTIONS, **models.SECTIONS, **chunks.SECTIONS, **criterion.SECTIONS}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(ALL))
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--try", dest="tried", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--gate", action="store_true")
    parser.add_argument("--baseline", action="store_true")
    given = parser.parse_args()
    unknown = [name for name in given.sections if name not in ALL]
    if unknown:
        parser.error(f"section {', '.join(unknown)} given, expected some of {', '.join(ALL)}")
    return given


def stamp(machine, section):
    """What a measurement is of: the program, the section and the peers' sources."""
    parts = [digest_of(machine.baton).encode(), repr(section).encode()]
    parts += [path.read_bytes() for path in sorted((ROOT / "benches/peers").glob("**/*")) if path.suffix in (".c", ".h", ".py", ".sh", ".rs")]
    return digest(b"".join(hashlib.sha256(part).digest() for part in parts))


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def digest_of(path):
    """Read piece by piece: a process begins with the memory that this one ever had, and the program is large."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


class Rows:
    """What was found of each case and peer, round by round."""

    def __init__(self):
        self.found, self.missing, self.others, self.loads = {}, {}, [], []

    def add(self, case, peer, done, record):
        self.found.setdefault((case, peer), []).append({**record, "peak_mib": done.peak_mib})
        self.others.append(done.others)
        self.loads.append(os.getloadavg()[0])

    def rows(self):
        """A row for each case and peer, in the order of their first round."""
        for (case, peer), rounds in self.found.items():
            own = self.found.get((case, "Baton"), [])
            phases = {}
            for phase in rounds[0]["phases"]:
                times = [one["phases"][phase]["median_ms"] for one in rounds]
                phases[phase] = {"median_ms": median(times), "rounds_ms": times}
                share = [one["phases"][phase].get("peak_share") for one in rounds]
                if None not in share:
                    phases[phase]["peak_share"] = median(share)
                if peer != "Baton":
                    ratios = sorted(their / mine["phases"][phase]["median_ms"] for their, mine in zip(times, own))
                    phases[phase]["over_ours"] = [ratios[0], median(ratios), ratios[-1]]
            row = {"case": case.name, "recurrence": case.recurrence, "sizes": dict(case.sizes), "threads": case.threads}
            errors = [one["checked_error"] for one in rounds]
            row |= {"peer": peer, "version": rounds[0].get("version") or version(), "checked_error": None if None in errors else max(errors)}
            cold = [one["cold_start_ms"] for one in rounds]
            row |= {"cold_start_ms": None if None in cold else median(cold)}
            row |= {"peak_mib": min(one["peak_mib"] for one in rounds), "phases": phases}
            if "peak_gflops" in rounds[0]:
                row["peak_gflops"] = max(one["peak_gflops"] for one in rounds)
            yield row
        for (case, peer), why in self.missing.items():
            yield {"case": case.name, "recurrence": case.recurrence, "sizes": dict(case.sizes), "threads": case.threads,
                   "peer": peer, "missing": why}


def version():
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    lines = (ROOT / "Cargo.toml").read_text().splitlines()
    number = next(line.split('"')[1] for line in lines if line.startswith("version"))
    return f"baton {number} ({said.stdout.strip() or 'no commit'})"


def measure(name, section, machine, folder):
    """The rows of a section: every case with every peer, round by round."""
    if name in criterion.SECTIONS:
        door = Criterion(machine)
    elif name in chunks.SECTIONS:
        door = Chunks(machine, section)
    else:
        door = Operations(machine, section) if name in SECTIONS else Models(machine, section, folder)
    rows = Rows()
    for round_ in range(section.rounds):
        for case in section.cases:
            for peer in section.peers:
                if (case, peer) in rows.missing:
                    continue
                print(f"bench: {name}, round {round_ + 1} of {section.rounds}, {case.name}: {peer}", file=sys.stderr)
                try:
                    rows.add(case, peer, *door.run(case, peer, round_))
                except Failed as why:
                    if peer == "Baton":
                        sys.exit(f"bench: nothing is reported, as ours failed on {case.name}: {why}")
                    rows.missing[case, peer] = str(why)
    return rows


def main():
    given = arguments()
    folder = ROOT / "target/bench-try" if given.tried else RESULTS
    file = folder / "bench.json"
    if given.gate or given.baseline:
        sys.exit((gate.compare if given.gate else gate.take)(file, RESULTS / "baseline.json"))
    if not given.page:
        folder.mkdir(parents=True, exist_ok=True)
        results = json.loads(file.read_text()) if file.exists() else {"sections": {}}
        measured(given, file, results)
    page.write(file, folder, None if given.tried else ROOT / "README.md", ALL)


def measured(given, file, results):
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    machine = Machine(os.environ.get("BATON", Path(target, "release/baton")))
    if not Path(machine.baton).exists():
        sys.exit(f"bench: no program at {machine.baton}; `cargo build --release --package baton-cli` makes it, or BATON names another")
    begun = time.time()
    for name in given.sections or ALL:
        section = small(ALL[name]) if given.tried else ALL[name]
        if results["sections"].get(name, {}).get("program") == stamp(machine, section) and not given.again:
            print(f"bench: {name} is there for this program", file=sys.stderr)
            continue
        if time.time() - begun > 60 * given.minutes:
            print(f"bench: {name} is not begun after {given.minutes:g} minutes", file=sys.stderr)
            continue
        at = time.time()
        with tempfile.TemporaryDirectory() as work:
            rows = measure(name, section, machine, work)
        results["machine"] = described()
        results["sections"][name] = {
            "program": stamp(machine, section),
            "baton": digest_of(machine.baton),
            "version": version(),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "seconds": round(time.time() - at),
            "rounds": section.rounds,
            "others": [median(rows.others), max(rows.others)],
            "load": [median(rows.loads), max(rows.loads)],
            "rows": list(rows.rows()),
        }
        page.save(file, results)


if __name__ == "__main__":
    main()
