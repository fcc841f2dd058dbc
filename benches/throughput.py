"""Turns the files of one run of throughput.sh into throughput.json and throughput.md.

A figure is the median over the steps of all rounds, the first WARM_UP steps of each round left out, with the
median of each round beside it, so that a machine that drifts shows.
"""

import json
import platform
import statistics
import sys
from pathlib import Path

WARM_UP = 2

work, out = map(Path, sys.argv[1:])
config = json.loads((work / "config.json").read_text())
tokens = config["batch_size"] * config["train_length"] * config["parts"]


def record(peer, rounds, **more):
    rounds = [seconds[WARM_UP:] for seconds in rounds]
    median = statistics.median(sum(rounds, []))
    return {
        "peer": peer,
        "median_ms": 1e3 * median,
        "tokens_per_second": tokens / median,
        "rounds_ms": [1e3 * statistics.median(seconds) for seconds in rounds],
        **more,
    }


def ours():
    rounds = []
    for folder in sorted(work.glob("ours-*")):
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        clock = [0.0] + [line["seconds"] for line in lines]
        rounds.append([after - before for before, after in zip(clock, clock[1:])])
    return record("Baton", rounds)


def peer(kind):
    runs = [json.loads(path.read_text()) for path in sorted(work.glob(f"{kind}-*.json"))]
    last = runs[-1]
    rounds = [run["seconds"] for run in runs]
    return record(last["peer"], rounds, **{key: last[key] for key in ("parameters", "chunk", "checked_error")})


def cpu():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


records = [ours(), peer("returned"), peer("kept")]
result = {"machine": cpu(), "config": config, "tokens_per_step": tokens, "records": records}
(out / "throughput.json").write_text(json.dumps(result, indent=1) + "\n")

model = config["model"]
lines = [
    f"Training step of Mamba-2, {records[1]['parameters'] / 1e6:.2f} M parameters (hidden {model['hidden_size']}, "
    f"{model['num_hidden_layers']} layers), batch {config['batch_size']} x {config['train_length']}, f32, AdamW, "
    f"on {result['machine']}.",
    "",
    "| | tokens/s | median ms | rounds, ms | ours over it |",
    "|---|--:|--:|---|--:|",
]
for r in records:
    name = "**Baton**" if r is records[0] else f"{r['peer']}, chunk {r['chunk']}"
    low, high = min(r["rounds_ms"]), max(r["rounds_ms"])
    times = "" if r is records[0] else f"{records[0]['tokens_per_second'] / r['tokens_per_second']:.2f}"
    lines.append(f"| {name} | {r['tokens_per_second']:.0f} | {r['median_ms']:.1f} | {low:.1f} to {high:.1f} | {times} |")
text = "\n".join(lines) + "\n"
(out / "throughput.md").write_text(text)
print(text, end="")
