#!/usr/bin/env bash
# Measures Baton and its CPU peers in one run and writes the table that the README shows.
#
# Ours runs before, between and after the peers (`--beside`), so a machine that drifts shows. Needs the
# release binary (`make table` builds it) and an otherwise idle machine.
set -euo pipefail
cd "$(dirname "$0")/.."
out=benches/results
mkdir -p "$out"
baton=${BATON:-${CARGO_TARGET_DIR:-target}/release/baton}
benches/peers/run.sh --shape 1,2048,80,64,128,1 --threads 2 --seconds "${SECONDS_EACH:-5}" \
    --json "$out/cpu-ssd.json" \
    --beside "$baton bench mamba2 --shape B=1,T=2048,H=80,P=64,N=128,G=1 --threads 2 --repetitions 25 --json"
python3 benches/table.py "$out/cpu-ssd.json" >"$out/cpu-ssd.md"
cat "$out/cpu-ssd.md"
