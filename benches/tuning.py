"""Makes what is shipped of a tuning, and its page, from benches/results/tuning.json.

    baton tune --shapes kernels-generated/shapes.txt --into benches/results/tuning.json
    python3 benches/tuning.py

writes kernels-generated/choices.json (each entry without the candidates that lost) and benches/results/tuning.md.
"""

import json
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benches/results/tuning.json"
SHIPPED = ROOT / "kernels-generated/choices.json"
PAGE = ROOT / "benches/results/tuning.md"
SHAPES = ROOT / "kernels-generated/shapes.txt"


def words(choice):
    form = "heads as rows" if choice["across"] else f"chunks of {choice['chunk']}" if choice["chunk"] > 1 else "single steps"
    parts = [form, f"{choice['heads']} head{'s' if choice['heads'] > 1 else ''} a task"]
    if choice["segments"] > 1:
        parts.append(f"{choice['segments']} segments")
    if choice["window"] > 1:
        parts.append(f"states every {choice['window']}")
    return ", ".join(parts)


def key(entry):
    return entry["recurrence"], tuple(entry["run"][:3]), tuple(sorted(entry["sizes"].items()))


def asked():
    """What shapes.txt asks for, as `key` says it."""
    for line in SHAPES.read_text().splitlines():
        if line and not line.startswith("#"):
            name, shape = line.split()
            given = {dim: int(size) for dim, size in (pair.split("=") for pair in shape.split(","))}
            run = given.pop("B", 1), given.pop("T"), given.pop("H")
            yield name, run, tuple(sorted(given.items()))


def main():
    entries = json.loads(RESULTS.read_text())["entries"]
    lines = [json.dumps({**entry, "tried": []}) for entry in entries]
    SHIPPED.write_text('{"entries": [\n' + ",\n".join(lines) + "\n]}\n")
    PAGE.write_text(page(entries))


def page(entries):
    first = entries[0]
    faster = [entry for entry in entries if entry["choice"]]
    correlations = [entry["rank_correlation"] for entry in entries if entry["rank_correlation"] is not None]
    rejected = [(entry, tried) for entry in entries for tried in entry["tried"] if tried.get("rejected")]
    text = f"""# Tuned against default

Every built-in recurrence at three shapes, on {first['threads']} threads of {first['machine']} ({first['target'].split()[-1]}), f32. A time is that of a run forward
that keeps what its backward needs, and that backward: the median of a race in turns. The ratio is that of tuned to the rules' plan within a round, with
the interval that its median lies in (19 in 20); where nothing was faster beyond the noise and 2 %, the rules' plan stays. Every candidate
passed the gate against the f64 truth, or is listed below. Other programs of low priority ran beside part of this measurement: ratios are of one round,
times in milliseconds are not to be compared across rows.

- {len(faster)} of {len(entries)} shapes have a plan that is faster than the rules'; its ratio is {median(e['ratio'][1] for e in faster):.2f} in the median, {min(e['ratio'][1] for e in faster):.2f} at best.
- A tuning takes {median(e['seconds'] for e in entries):.0f} s in the median, {max(e['seconds'] for e in entries):.0f} s at most, {sum(e['seconds'] for e in entries) / 60:.0f} minutes for all.
- The cost model's rank correlation with the first times of what was run: {median(correlations):.2f} in the median, {sorted(correlations)[len(correlations) // 10]:.2f} and less in a tenth of the shapes.
- {len(rejected)} candidates were rejected.

`make choices` measures it; the raw results are [tuning.json](tuning.json), and what is shipped of them `kernels-generated/choices.json`.

| recurrence | B, T, H, G | rules ms | tuned ms | ratio | plan | model's rank correlation |
|---|---|--:|--:|---|---|--:|
"""
    for entry in entries:
        sizes = " ".join(f"{name} {size}" for name, size in entry["sizes"].items())
        run = ", ".join(map(str, entry["run"]))
        rules, tuned = entry["default"]["median"], entry["tuned"]["median"]
        low, middle, high = entry["ratio"]
        choice, correlation = entry["choice"], entry["rank_correlation"]
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})" if choice else "the rules' plan"
        plan = words(choice or entry["tried"][0]["choice"])
        correlation = "-" if correlation is None else f"{correlation:.2f}"
        text += f"| `{entry['recurrence']}` {sizes} | {run} | {rules:.2f} | {tuned:.2f} | {ratio} | {plan} | {correlation} |\n"
    missing = [shape for shape in asked() if shape not in [key(entry) for entry in entries]]
    for name, (batch, time, heads), sizes in missing:
        text += f"\nNot tuned: `{name}` {dict(sizes)}, B {batch}, T {time}, H {heads} (docs/tuning.md, \"The gate\").\n"
    for entry, tried in rejected:
        text += f"\nRejected: `{entry['recurrence']}`, {words(tried['choice'])}: {tried['rejected']}\n"
    return text


if __name__ == "__main__":
    main()
