"""The regression gate: ratios of one run beside those of a stored baseline.

A number is a ratio, so that it says the same on a slow day: how many times ours a peer takes, and ours times the machine's peak
of multiply-adds, measured in the same process, where there is no peer. What is slower than TOLERANCE and outside of both
runs' rounds is a regression (exit 1). Nothing is compared, and the exit is 2, where a check is red: a section or a peer of the
baseline is missing, ours has no error or too large a one where it is a recurrence by itself, or sections are of different
programs.
"""

import json

from sections import SECTIONS

TOLERANCE = 1.15
# The bound of f32 gradients (codegen/src/target/arithmetic.rs), which `baton bench --check` holds each tensor to.
LARGEST_ERROR = 1e-5


def ratios(results):
    """Name to [least, middle, most], larger where ours is quicker."""
    found = {}
    for name, section in results["sections"].items():
        for row in section["rows"]:
            for phase, times in row.get("phases", {}).items():
                key = f"{name}: {row['case']}, {phase}"
                if "over_ours" in times:
                    found[f"{key}, {row['peer']} over ours"] = times["over_ours"]
                elif "peak_gflops" in row and phase != "compile":
                    rates = sorted(1e3 / (time * row["peak_gflops"]) for time in times["rounds_ms"])
                    found[f"{key}, ours over the peak"] = [rates[0], rates[len(rates) // 2], rates[-1]]
    return {key: [float(f"{value:.4g}") for value in values] for key, values in found.items()}


def red(results, baseline):
    """Why nothing may be said."""
    programs = {section["baton"] for section in results["sections"].values()}
    if len(programs) != 1:
        yield f"sections were measured with {len(programs)} programs, expected one: `make bench BENCH=--again` measures all with one"
    for name, section in results["sections"].items():
        for row in section["rows"]:
            own = name in SECTIONS and row["peer"] == "Baton" and "missing" not in row
            if own and row["checked_error"] is None:
                yield f"{name}: {row['case']}: ours was not compared with the f64 interpreter"
            elif own and not row["checked_error"] <= LARGEST_ERROR:
                yield f"{name}: {row['case']}: ours is wrong by {row['checked_error']:.1e}, allowed {LARGEST_ERROR:.0e}"
    for key in baseline.keys() - ratios(results).keys():
        yield f"not measured, but in the baseline: {key}"


def take(file, baseline):
    results = json.loads(file.read_text())
    reasons = list(red(results, {}))
    for reason in reasons:
        print(f"gate: refused: {reason}")
    if not reasons:
        lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in ratios(results).items())
        baseline.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    return 2 if reasons else 0


def compare(file, baseline):
    if not file.exists() or not baseline.exists():
        print(f"gate: refused: {file.name if not file.exists() else baseline.name} is not there")
        return 2
    results, before = json.loads(file.read_text()), json.loads(baseline.read_text())
    reasons = sorted(red(results, before))
    for reason in reasons:
        print(f"gate: refused: {reason}")
    if reasons:
        return 2
    now, slower = ratios(results), 0
    for key, (least, middle, _) in before.items():
        _, ours, most = now[key]
        if ours * TOLERANCE < middle and most < least:
            slower += 1
            print(f"gate: slower: {key}: {ours:.3g}, {middle:.3g} before")
    print(f"gate: {len(before)} ratios, {slower} slower by more than {TOLERANCE:g} and outside of the rounds of both runs")
    return 1 if slower else 0
