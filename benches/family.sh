#!/usr/bin/env bash
# Times a member of every class on this machine's CPU, one thread: a line of JSON each (`baton bench`), with the
# machine's own peak measured beside it; then three members between runs of their peers (benches/peers, PEERS= for none).
# Build first: cargo build --release --package baton-cli
set -euo pipefail
cd "$(dirname "$0")/.."
baton=${BATON:-target/release/baton}
out=${1:-benches/results/cpu-family.jsonl}
: > "$out.new"
while read -r name shape; do
    echo "$name $shape" >&2
    "$baton" bench "$name" --shape "B=1,$shape" --threads 1 --json >> "$out.new"
done <<'RUNS'
mamba2 T=2048,H=16,P=64,N=128
gla T=2048,H=16,K=128,V=128
delta_net T=2048,H=16,K=128,V=128
gated_delta_net T=2048,H=16,K=128,V=128
kda T=2048,H=16,K=128,V=128
rwkv7 T=2048,H=16,K=64,V=64
mlstm T=2048,H=8,K=64,V=64
mlstm_sigmoid T=2048,H=8,K=64,V=64
mamba3 T=2048,H=16,R=64,V=64
mamba1 T=2048,H=1536,N=16
longhorn T=2048,H=1536,N=16
rg_lru T=2048,H=2560
min_gru T=2048,H=1536
RUNS
mv "$out.new" "$out"
[ -n "${PEERS-ggml,torch,torch-kept}" ] || exit 0
while read -r name shape peers_shape; do
    benches/peers/run.sh --json "${out%.jsonl}-$name.json" --threads 1 --seconds 3 --peers "${PEERS-ggml,torch,torch-kept}" \
        --shape "$peers_shape" --beside "$baton bench $name --shape B=1,$shape --threads 1 --json"
done <<'RUNS'
mamba1 T=2048,H=1536,N=16 1,2048,1536,1,16,1
gated_delta_net T=2048,H=16,K=128,V=128 1,2048,16,128,128,head
kda T=2048,H=16,K=128,V=128 1,2048,16,128,128,key
RUNS
