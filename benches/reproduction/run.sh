#!/usr/bin/env bash
# The experiment of docs/reproduction.md, from seed to plots: trains and measures what plan.json names
# (hours on two cores; stop it and begin again at any time), then copies what is kept in the
# repository: results, figures, tables, and the small models that `make demo` shows.
# Arguments go to `baton reproduce`: --only mamba2-64/ does one family, --threads 1 takes one core.
set -euo pipefail
cd "$(dirname "$0")/../.."

runs=target/reproduction
results=benches/results/reproduction
figures=docs/reproduction
kept=checkpoints/mamba2-64

cargo build --release --package baton-cli
baton=${CARGO_TARGET_DIR:-target}/release/baton
"$baton" reproduce benches/reproduction/plan.json --folder "$runs" --export "$results" "$@"
"$baton" report "$results" --output "$runs/report.html" --figures "$figures"
rm -f "$figures"/*.png
python3 benches/reproduction/page.py

for arm in base zero-500-steps state-passing-500-steps; do
    run=$runs/mamba2-64/$arm/seed1
    [ -e "$run/run.json" ] || continue
    rm -rf "${kept:?}/$arm"
    mkdir -p "$kept"
    "$baton" convert --from "$run/checkpoint.safetensors" --to "$kept/$arm" --layout baton --dtype bf16
    cp "$run/run.json" "$kept/$arm/run.json"
done
echo "page: $runs/report.html, tables: $figures/tables.md, models: $kept"
