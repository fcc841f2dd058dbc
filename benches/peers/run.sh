#!/usr/bin/env bash
# Installs the CPU peers of a recurrence, measures them one after another, writes one JSON list.
#
# Everything installed goes below one cache folder (BATON_PEERS_CACHE, or `peers` in cargo's target folder):
# a virtual environment, ggml's sources and build, temporary files (pip keeps no cache). No root is needed;
# cmake and ninja come from pip. Versions are pinned here, so that a figure names its peer.
#
# Peers run strictly in turn, never two at once. A command given with --beside runs before the first, between
# any two and after the last, so that a machine that drifts shows in its repeated figures.
set -euo pipefail

LLAMA_CPP_PYTHON=0.3.36
TORCH=2.15.0
CMAKE=4.4.4
NINJA=1.13.2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BATON_PEERS_CACHE:-${CARGO_TARGET_DIR:-$here/../../target}/peers}

usage() {
    cat <<'TEXT'
run.sh --json OUT [options]     measure the CPU peers of a recurrence; print a table, write OUT

  --beside 'COMMAND'   run COMMAND before, between and after the peers; it prints a JSON object or list
  --shape SHAPE        repeatable; default 1,2048,80,64,128,1 and 4,1024,8,64,64,1
                       B,T,H,P,N,G       SSD; with P = 1 Mamba-1's scan, which ggml alone has
                       B,T,H,K,V,head    the gated delta rule
                       B,T,H,K,V,key     the same with a decay for each key (KDA), which ggml alone has
  --threads N          default 2
  --seconds S          measuring time per figure, at least 7 repetitions; default 5
  --chunk Q            chunk length of the PyTorch peers; default 64
  --peers LIST         of ggml,torch,torch-kept; default all three, in this order
  --install-only       prepare the cache folder and stop

Example: run.sh --json peers.json --beside 'cargo run --release -q -p baton-benches'
TEXT
}

fail() {
    echo "run.sh: $1" >&2
    exit 1
}

json='' beside='' threads=2 seconds=5 chunk=64 peers=ggml,torch,torch-kept install_only=no shapes=()
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --install-only) install_only=yes; shift; continue ;;
        --json | --beside | --shape | --threads | --seconds | --chunk | --peers) ;;
        *) fail "unknown option '$1'; --help lists them" ;;
    esac
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
        --json) json=$2 ;;
        --beside) beside=$2 ;;
        --shape) shapes+=("$2") ;;
        --threads) threads=$2 ;;
        --seconds) seconds=$2 ;;
        --chunk) chunk=$2 ;;
        --peers) peers=$2 ;;
    esac
    shift 2
done
[ ${#shapes[@]} -gt 0 ] || shapes=(1,2048,80,64,128,1 4,1024,8,64,64,1)
IFS=, read -r -a peer_list <<<"$peers"
[ ${#peer_list[@]} -gt 0 ] || fail "--peers is empty; expected some of ggml,torch,torch-kept"
for peer in "${peer_list[@]}"; do
    case $peer in
        ggml | torch | torch-kept) ;;
        *) fail "unknown peer '$peer'; expected some of ggml,torch,torch-kept" ;;
    esac
done
[ "$install_only" = yes ] || [ -n "$json" ] || fail "--json OUT is missing; --help shows an example"

mkdir -p "$cache/tmp"
cache=$(cd "$cache" && pwd)
export TMPDIR=$cache/tmp PYTHONWARNINGS="ignore:Failed to initialize NumPy" PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python=$cache/venv/bin/python
ggml=$cache/llama_cpp_python-$LLAMA_CPP_PYTHON/vendor/llama.cpp/ggml
build=$cache/ggml-build-$LLAMA_CPP_PYTHON

installed() { # PACKAGE VERSION
    "$python" -c 'import sys; from importlib.metadata import version; sys.exit(version(sys.argv[1]) != sys.argv[2])' \
        "$1" "$2" 2>/dev/null
}

need() { # PACKAGE VERSION
    installed "$1" "$2" || "$python" -m pip install --quiet "$1==$2"
}

install_ggml() {
    command -v cc >/dev/null && command -v c++ >/dev/null || fail "ggml needs a C and a C++ compiler (cc, c++)"
    need cmake $CMAKE
    need ninja $NINJA
    if [ ! -e "$ggml/CMakeLists.txt" ]; then
        "$python" -m pip download --quiet --no-deps --no-binary llama-cpp-python --dest "$cache" \
            "llama-cpp-python==$LLAMA_CPP_PYTHON"
        tar -xzf "$cache/llama_cpp_python-$LLAMA_CPP_PYTHON.tar.gz" -C "$cache"
    fi
    # The package leaves out the template of ggml's pkg-config file, which configuring ggml by itself asks for.
    [ -e "$ggml/ggml.pc.in" ] || : >"$ggml/ggml.pc.in"
    # GIT_EXE=OFF: ggml would otherwise report the commit of the repository around the cache folder as its own.
    if [ ! -e "$build/src/libggml-cpu.a" ]; then
        PATH=$cache/venv/bin:$PATH cmake -S "$ggml" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
            -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF \
            -DGIT_EXE=OFF >"$build.log" 2>&1 || fail "ggml did not configure; see $build.log"
        PATH=$cache/venv/bin:$PATH cmake --build "$build" --target ggml-cpu ggml-base >>"$build.log" 2>&1 ||
            fail "ggml did not build; see $build.log"
    fi
    local openmp=''
    ! grep -q '^OpenMP_C_FLAGS:STRING=.*openmp' "$build/CMakeCache.txt" || openmp=-fopenmp
    local program
    for program in ssm_scan gated_delta_net; do
        cc -std=c11 -O2 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror \
            -DPEER_SOURCE="\"llama-cpp-python $LLAMA_CPP_PYTHON\"" -I"$ggml/include" "$here/ggml_$program.c" \
            "$build/src/libggml-cpu.a" "$build/src/libggml-base.a" $openmp -lstdc++ -lm -lpthread -ldl \
            -o "$build/ggml_$program"
    done
}

install_torch() {
    need torch $TORCH
}

# glibc gives every block above 32 MiB back to the kernel when it is freed, and PyTorch keeps no CPU memory of
# its own: each call then pays page faults for all its intermediates. `torch-kept` is the same program with that
# turned off by glibc's documented variables. Both are reported: one is what an installation does, one what the
# arithmetic costs.
measure() { # PEER SHAPE
    local ggml_program=ssm_scan torch_program=ssd
    case $2 in
        *,head) ggml_program=gated_delta_net torch_program=delta ;;
        *,key) ggml_program=gated_delta_net torch_program='' ;;
        *,1,*,*) torch_program='' ;;
    esac
    [ "$1" = ggml ] || [ -n "$torch_program" ] || { echo '[]' && return; }
    case $1 in
        ggml) "$build/ggml_$ggml_program" "$2" "$threads" "$seconds" ;;
        torch) "$python" "$here/torch_$torch_program.py" "${2%,head}" "$threads" "$seconds" "$chunk" 'memory returned' ;;
        torch-kept)
            MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 \
                "$python" "$here/torch_$torch_program.py" "${2%,head}" "$threads" "$seconds" "$chunk" 'memory kept'
            ;;
    esac
}

if [ ! -x "$python" ]; then
    command -v python3 >/dev/null || fail "python3 is missing"
    python3 -m venv "$cache/venv" || fail "python3 has no venv module (Debian: python3-venv)"
fi
case ,$peers, in *,ggml,*) install_ggml ;; esac
case ,$peers, in *,torch*) install_torch ;; esac
[ "$install_only" = no ] || exit 0

results=$(mktemp -d "$cache/tmp/results.XXXXXX")
trap 'rm -rf "$results"' EXIT
step=0
load=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null || echo unknown)
run_beside() {
    [ -n "$beside" ] || return 0
    local output
    output=$results/$(printf %03d $step).beside.json
    bash -c "$beside" >"$output" || fail "the command beside failed: $beside"
    "$python" -m json.tool "$output" >/dev/null || fail "the command beside must print JSON and nothing else: $beside"
    step=$((step + 1))
}

run_beside
for peer in "${peer_list[@]}"; do
    for shape in "${shapes[@]}"; do
        echo "run.sh: $peer, $shape" >&2
        measure "$peer" "$shape" >"$results/$(printf %03d $step).json" || fail "$peer failed on shape $shape"
        step=$((step + 1))
    done
    run_beside
done
"$python" "$here/collect.py" "$results" "$json" "$load"
