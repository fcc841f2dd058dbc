"""Puts what benches/results/retrieval holds into docs/retrieval.md, each table between its two marks

    <!-- table: TITLE -->
    <!-- end -->

so that no number of them is typed by hand, and joins each arm's measurements for the report's figure:

    page.py RUNS        from RUNS/ARM/seedN each training's losses, means of 20 steps, go beside the measurements,
                        RUNS/report/passkeys/ARM/seedN/passkey.json is for `baton report`, and docs/retrieval.svg is drawn

Trials of a length are counted together over depths and seeds; intervals are Wilson's, of 95 %.
"""

import json
import re
import sys
from math import exp, sqrt
from pathlib import Path

from figure import figure

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches/results/retrieval"
ARMS = {
    "drt": "DRT",
    "ramba": "RAMba",
    "ramba-zero": "RAMba, no states passed",
    "window": "window",
    "mamba2": "Mamba-2",
    "mamba2-passing": "Mamba-2, states passed",
}
Z = 1.959964


TRAININGS = ("words", "keys", "choice", "exact", "far", "farther")
STEPS = 20


def curves(runs):
    """Losses of every training that is there, thinned, into its folder of results; what is there of others stays."""
    for seed in sorted(runs.glob("*/seed*")):
        folder = RESULTS / seed.parent.name / seed.name
        file = folder / "training.json"
        found = json.loads(file.read_text()) if file.exists() else {}
        for name in TRAININGS:
            metrics = seed / name / "metrics.jsonl"
            if not metrics.exists():
                continue
            steps = [json.loads(line) for line in metrics.read_text().splitlines()]
            parts = [steps[at : at + STEPS] for at in range(0, len(steps), STEPS)]
            found[name] = {
                "steps": len(steps),
                "tokens": steps[-1]["tokens"],
                "seconds": round(steps[-1]["seconds"], 1),
                "loss": [round(sum(step["loss"] for step in part) / len(part), 4) for part in parts],
            }
        if found:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found) + "\n")


def wilson(right, count):
    share, z2 = right / count, Z * Z / count
    middle, half = share + z2 / 2, Z * sqrt(share * (1 - share) / count + z2 / (4 * count))
    return (max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2)))


def cells(arm):
    """For each seed the cells of all its measurements."""
    for seed in sorted((RESULTS / arm).glob("seed*")):
        files = [json.loads(path.read_text()) for path in sorted(seed.glob("passkey-*.json"))]
        if files:
            yield seed.name, files, [cell for file in files for cell in file["result"]["grids"][0]["cells"]]


def counted(all_cells, score):
    """By length: right answers, trials."""
    found = {}
    for cell in all_cells:
        right, count = found.get(cell["length"], (0, 0))
        own = round(cell["scores"][score]["mean"] * cell["trials"])
        found[cell["length"]] = (right + own, count + cell["trials"])
    return found


def rows(score):
    """What was counted of every model that was asked, and where there are several seeds of each."""
    for arm, name in ARMS.items():
        seeds = {seed: own for seed, _, own in cells(arm)}
        if seeds:
            yield name, counted([cell for own in seeds.values() for cell in own], score)
        if len(seeds) > 1:
            for seed, own in seeds.items():
                yield f"{name}, {seed.replace('seed', 'seed ')}", counted(own, score)


def short(length):
    for unit, name in ((1 << 20, "M"), (1 << 10, "K")):
        if length >= 0.98 * unit:
            return f"{round(length / unit)}{name}"
    return str(length)


def table(score):
    arms = list(rows(score))
    lengths = sorted({length for _, found in arms for length in found})
    lines = ["| model | " + " | ".join(map(short, lengths)) + " |", "|---|" + "--:|" * len(lengths)]
    for name, found in arms:
        row = []
        for length in lengths:
            if length not in found:
                row.append("")
                continue
            right, count = found[length]
            low, high = wilson(right, count)
            row.append(f"{100 * right / count:.0f} ({100 * low:.0f} to {100 * high:.0f}; {count})")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def read_on():
    """For each model its perplexity by position, the mean loss of all seeds: last position of a bucket to loss and seeds."""
    for arm, name in ARMS.items():
        files = [json.loads(path.read_text()) for path in sorted((RESULTS / arm).glob("seed*/perplexity.json"))]
        if files:
            places = files[0]["result"]["positions"]
            losses = [file["result"]["loss"] for file in files]
            yield name, {place: sum(each) / len(files) for place, *each in zip(places, *losses)}, len(files)


def positions():
    """Perplexity by position; buckets are named by the last of them."""
    arms = list(read_on())
    lengths = sorted({place for _, found, _ in arms for place in found})[4::2]
    lines = ["| model (seeds) | " + " | ".join(map(short, lengths)) + " |", "|---|" + "--:|" * len(lengths)]
    for name, found, seeds in arms:
        row = [f"{exp(found[place]):.2f}" if place in found else "" for place in lengths]
        lines.append(f"| {name} ({seeds}) | " + " | ".join(row) + " |")
    return "\n".join(lines)


def drawn():
    """Both claims side by side: reading on, and finding."""
    panels = []
    reading = {name: [(place, *3 * (exp(loss),)) for place, loss in found.items() if place > 32] for name, found, _ in read_on()}
    if reading:
        worst = max(point[1] for points in reading.values() for point in points)
        marks = list(range(0, min(30, int(worst) + 2) + 1, 5 if worst > 12 else 2))
        panels.append(("perplexity of a byte of an unseen novel, by position (trained at 213)", marks, reading))
    finding = {}
    for name, found in rows(0):
        if name in ARMS.values():
            percent = lambda right, count: (100 * share for share in (right / count, *wilson(right, count)))
            finding[name] = [(length, *percent(*found[length])) for length in sorted(found)]
    panels.append(("first tokens of keys found, %, by the length of the text", [0, 25, 50, 75, 100], finding))
    return figure(panels, short)


def trainings(arm, seed):
    """What each training of one model read, and the losses of its first and last steps."""
    found = json.loads((RESULTS / arm / seed / "training.json").read_text())
    lines = ["| training | steps | tokens so far, M | seconds so far | loss, first 20 steps | last 20 |", "|---|--:|--:|--:|--:|--:|"]
    for name, one in found.items():
        numbers = (one["steps"], f"{one['tokens'] / 1e6:.1f}", f"{one['seconds']:.0f}", f"{one['loss'][0]:.2f}", f"{one['loss'][-1]:.2f}")
        lines.append(f"| `{name}` | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(lines)


def main():
    runs = Path(sys.argv[1])
    curves(runs)
    page = ROOT / "docs/retrieval.md"
    tables = {"first tokens": table(0), "whole keys": table(1), "positions": positions(), "trainings": trainings("drt", "seed1")}

    def fill(found):
        if found[1] not in tables:
            sys.exit(f"no table `{found[1]}`, expected one of {sorted(tables)}")
        return f"<!-- table: {found[1]} -->\n{tables[found[1]]}\n<!-- end -->"

    page.write_text(re.sub(r"<!-- table: (.+?) -->\n.*?<!-- end -->", fill, page.read_text(), flags=re.S))
    (ROOT / "docs/retrieval.svg").write_text(drawn())
    for arm in ARMS:
        for seed, files, all_cells in cells(arm):
            joined = files[0]
            joined["result"]["grids"] = [joined["result"]["grids"][0] | {"cells": all_cells}]
            folder = runs / "report/passkeys" / arm / seed
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "passkey.json").write_text(json.dumps(joined))


if __name__ == "__main__":
    main()
