#!/usr/bin/env bash
# Training throughput on the CPU, ours beside transformers' Mamba2ForCausalLM under PyTorch, in one run.
#
# Same model (throughput.config.json, 1.86 M parameters), batch, threads, f32 and AdamW; a step is forward,
# backward, clipping and update. The peer loads the very weights that ours wrote, and a figure counts only if
# both give the same logits for them. The two take turns, round by round, so a machine that drifts shows.
# PyTorch comes twice, as peers/README.md says: with freed memory returned to the kernel, and kept.
#
# Needs the release binary (`make throughput` builds it), an otherwise idle machine, and what peers/run.sh needs.
set -euo pipefail
cd "$(dirname "$0")/.."

TRANSFORMERS=5.23.0
NUMPY=2.4.6
rounds=${ROUNDS:-5} steps=${STEPS:-12} threads=${THREADS:-2}

cache=${BATON_PEERS_CACHE:-${CARGO_TARGET_DIR:-target}/peers}
baton=${BATON:-${CARGO_TARGET_DIR:-target}/release/baton}
out=${OUT:-benches/results}
BATON_PEERS_CACHE=$cache benches/peers/run.sh --install-only --peers torch
cache=$(cd "$cache" && pwd)
python=$cache/venv/bin/python
export TMPDIR=$cache/tmp PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
"$python" -c 'import transformers, numpy' 2>/dev/null ||
    "$python" -m pip install --quiet "transformers==$TRANSFORMERS" "numpy==$NUMPY"

work=$(mktemp -d "$cache/tmp/throughput.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
prepare() { "$python" benches/peers/transformers_mamba2.py prepare "$work" benches/throughput.config.json "$@"; }

prepare "$steps"
ours() { # FOLDER
    "$baton" train --config "$work/config.json" --text "$work/text.bin" --folder "$1" --threads "$threads" --quiet --json
}
ours "$work/first" >/dev/null
"$baton" convert --from "$work/first" --to "$work/model" --layout hugging-face --json >/dev/null
"$baton" eval logits --checkpoint "$work/model" --inputs "$work/ids.safetensors" --output "$work/logits.safetensors" \
    --threads "$threads" --json >/dev/null
peer() { # NAME RESULT
    "$python" benches/peers/transformers_mamba2.py run "$work" "$threads" "$steps" "$1" >"$2"
}
for round in $(seq "$rounds"); do
    echo "throughput.sh: round $round of $rounds" >&2
    ours "$work/ours-$round" >/dev/null
    peer 'memory returned' "$work/returned-$round.json"
    MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 peer 'memory kept' "$work/kept-$round.json"
done
"$python" benches/throughput.py "$work" "$out"
