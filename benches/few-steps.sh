#!/usr/bin/env bash
# What a call with a few steps costs (a prompt's end, a draft that is verified): forward on 1 to 16 steps from given
# states beside single decode steps, one thread, a member of every class. Writes benches/results/cpu-few-steps.{jsonl,md}.
# Build first: cargo build --release --package baton-cli
set -euo pipefail
cd "$(dirname "$0")/.."
baton=${BATON:-target/release/baton}
out=${1:-benches/results/cpu-few-steps}
: > "$out.jsonl.new"
while read -r name shape; do
    for steps in 1 2 4 8 16; do
        "$baton" bench "$name" --shape "T=$steps,$shape" --threads 1 --repetitions 41 --json >> "$out.jsonl.new"
    done
done <<'RUNS'
mamba2 H=64,N=128,P=64
gla H=16,K=128,V=128
gated_delta_net H=16,K=128,V=128
kda H=16,K=128,V=128
mlstm H=8,K=64,V=64
mamba1 H=1536,N=16
rg_lru H=2560
RUNS
mv "$out.jsonl.new" "$out.jsonl"
python3 - "$out" <<'PAGE'
import json, sys
out = sys.argv[1]
runs = [json.loads(line) for line in open(out + ".jsonl")]
lines = [
    "# A few steps at a time", "",
    f"Microseconds of a forward run on so many steps, and how many single decode steps that is; one thread of {runs[0]['machine']['cpu']} ({runs[0]['machine']['peak_instructions']}), f32, medians,",
    "by `benches/few-steps.sh`. A single step is bound by moving the state in and out once; steps in one call move it once for all.", "",
    "| member | one step | T = 1 | 2 | 4 | 8 | 16 |", "|---|--:|--:|--:|--:|--:|--:|"]
names = list(dict.fromkeys(run["recurrence"] for run in runs))
for name in names:
    own = [run for run in runs if run["recurrence"] == name]
    step = sorted(run["step"]["median_ms"] for run in own)[len(own) // 2]
    cells = [f"{1e3 * run['forward']['median_ms']:.0f} ({run['forward']['median_ms'] / step:.1f})" for run in own]
    lines.append(f"| `{name}` | {1e3 * step:.0f} | " + " | ".join(cells) + " |")
open(out + ".md", "w").write("\n".join(lines) + "\n")
PAGE
