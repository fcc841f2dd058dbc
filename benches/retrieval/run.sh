#!/usr/bin/env bash
# The experiment of docs/retrieval.md, from seed to table: trains DRT, RAMba and Mamba-2 with and without passed states, and a window on
# passkeys in novels, asks all of them from a thousand tokens on, and writes the page's tables and figure. Stop it and begin it again
# at any time: a run goes on where it was, a measurement that is there is not made again.
#
#     benches/retrieval/run.sh [ARM ..]        drt, ramba, ramba-zero, window, mamba2, mamba2-passing; all of them
#     SEEDS="1 2 3" THREADS=1 benches/retrieval/run.sh drt
#     WORDS=1 benches/retrieval/run.sh                          the training on words alone, and how each reads on
set -euo pipefail
cd "$(dirname "$0")/../.."

own=benches/retrieval
runs=target/retrieval
results=benches/results/retrieval
kept=checkpoints/drt
seeds=${SEEDS:-1}
threads=${THREADS:-$(nproc)}

if [ -z "${BATON:-}" ]; then
    cargo build --release --package baton-cli
    BATON=${CARGO_TARGET_DIR:-target}/release/baton
fi
mkdir -p "$runs/text"
novels=$(find data/novels -name '*.txt.gz' ! -name emma.txt.gz | sort)
zcat $novels >"$runs/text/train.txt"
zcat data/novels/emma.txt.gz >"$runs/text/held-out.txt"
train=$runs/text/train.txt
unseen=$runs/text/held-out.txt

# How a model that was trained on words reads on: the unseen novel, four pieces of 1024 times its training length.
read_on() { # MODEL RESULTS
    [ -e "$2/perplexity.json" ] && return
    mkdir -p "$2"
    "$BATON" eval perplexity --checkpoint "$1" --text "$unseen" --whole --length 218112 --sequences 4 --batch 4 --segment 4096 \
        --threads "$threads" --output "$2/perplexity.json"
}

steps() { # FOLDER
    cat "$1/metrics.jsonl" 2>/dev/null | wc -l
}

# Whether the last hundred steps of a run lost at most 1.2 on average, where one that found nothing loses 5.545.
found() { # FOLDER
    tail -n 100 "$1/metrics.jsonl" |
        python3 -c 'import json, sys; sys.exit(sum(json.loads(line)["loss"] for line in sys.stdin) > 120)'
}

# Six trainings of one model, each from the one before: novels with keys of 16 tokens in them, all tokens asked; keys of 32
# tokens alone, 4000 steps and then a thousand at a time until they are found, at most 8000; and where they were, keys of 5
# among more chunks than are chosen; keys of 10, for exactness; keys of 5 among 64 chunks, and among 259.
learn() { # FOLDER CONFIG STATES LATER SEED
    local task=token-passkey:gap=64,key done
    local common=(--text "$train" --initial-state "$3" --seed "$5" --threads "$threads" --checkpoint-every 100)
    "$BATON" train --config "$own/$2.json" --task "$task=16,loss=all" --folder "$1/words" "${common[@]}"
    read_on "$1/words" "$results/${1#"$runs/"}"
    [ -z "${WORDS:-}" ] || return 0
    until done=$(steps "$1/keys"); ((done >= 4000 && done % 1000 == 0)) && { ((done >= 8000)) || found "$1/keys"; }; do
        if ((done < 4000)); then
            "$BATON" post-train --from "$1/words" --task "$task=32" --folder "$1/keys" "${common[@]}" \
                --length 229 --batch 16 --steps 4000 --rate 1e-3 --schedule constant --warmup 50
        else
            "$BATON" train --change --folder "$1/keys" --steps $((1000 * (done / 1000 + 1))) --threads "$threads" --checkpoint-every 100
        fi
    done
    found "$1/keys" || return 0
    "$BATON" post-train --from "$1/keys" --task "$task=5" --folder "$1/choice" "${common[@]}" \
        --length 1021 --batch 4 --steps 600 --rate 1e-3 --schedule linear --warmup 20
    common[3]=$4
    "$BATON" post-train --from "$1/choice" --task "$task=10" --folder "$1/exact" "${common[@]}" \
        --length 396 --batch 16 --steps 600 --rate 1e-3 --schedule linear --warmup 20
    "$BATON" post-train --from "$1/exact" --task "$task=5" --folder "$1/far" "${common[@]}" \
        --length 4045 --batch 2 --steps 200 --rate 3e-4 --schedule linear --warmup 10
    "$BATON" post-train --from "$1/far" --task "$task=5" --folder "$1/farther" "${common[@]}" \
        --length 16330 --batch 1 --steps 200 --rate 3e-4 --schedule linear --warmup 10
}

# Keys at ten depths, so at ten places within a chunk: TRIALS of each.
ask() { # MODEL RESULTS NAME LENGTHS DEPTHS TRIALS BATCH
    [ -e "$2/passkey-$3.json" ] && return
    mkdir -p "$2"
    "$BATON" eval passkey --checkpoint "$1" --task token-passkey:key=5,gap=64 --haystack "$unseen" --lengths "$4" --depths "$5" \
        --trials "$6" --batch "$7" --segment 4096 --threads "$threads" "${@:8}" --output "$2/passkey-$3.json"
}

passing=state_passing:p_zero=0.1
deep=0.05,0.15,0.25,0.35,0.45,0.55,0.65,0.75,0.85,0.95
[ $# -gt 0 ] || set -- drt ramba ramba-zero window mamba2 mamba2-passing
for arm in "$@"; do
    case $arm in
        mamba2-passing) config=mamba2 states=$passing later=$passing ;;
        ramba) config=$arm states=zero later=$passing ;;
        ramba-zero) config=ramba states=zero later=zero ;;
        *) config=$arm states=zero later=zero ;;
    esac
    for seed in $seeds; do
        folder=$runs/$arm/seed$seed
        learn "$folder" "$config" "$states" "$later" "$seed"
        [ -z "${WORDS:-}" ] || continue
        if [ ! -e "$folder/farther" ]; then
            ask "$folder/keys" "$results/$arm/seed$seed" near 265,1021,16330 "$deep" 4 4
            continue
        fi
        ask "$folder/farther" "$results/$arm/seed$seed" near 1021,16330 "$deep" 10 4
        ask "$folder/farther" "$results/$arm/seed$seed" 256k 262093 "$deep" 2 1
        ask "$folder/farther" "$results/$arm/seed$seed" 1m 1048522 "$deep" 1 1
        [ "$arm" = drt ] || continue
        ask "$folder/farther" "$results/$arm/seed$seed" 4m 4194301 0.05,0.5,0.95 1 1
        far=$results/$arm/seed$seed/demo-16m.json
        [ -e "$far" ] || "$BATON" demo --retrieval --kept "$folder/farther" --length 16777216 --chunks-memory 256 --chunks-bf16 \
            --threads "$threads" --json >"$runs/far.json"
        [ -e "$far" ] || mv "$runs/far.json" "$far"
    done
done

python3 "$own/page.py" "$runs"
"$BATON" report "$runs/report" --output "$runs/report.html" --figures "$runs/figures"

if [ -e "$runs/drt/seed1/farther/checkpoint.safetensors" ]; then
    rm -rf "${kept:?}"
    "$BATON" convert --from "$runs/drt/seed1/farther/checkpoint.safetensors" --to "$kept" --layout baton --dtype bf16
fi
echo "page: docs/retrieval.md, figures: $runs/report.html, model: $kept"
