#!/usr/bin/env bash
# Installs the CPU peers of the benchmarks, each by its name: ggml, torch, transformers, fla, rust. All when none is named.
#
# Everything goes below one cache folder (BATON_PEERS_CACHE, or `peers` in cargo's target folder): a virtual environment,
# ggml's sources and build, the Rust peers' build, temporary files (pip keeps no cache). No root is needed; cmake and
# ninja come from pip. Versions are pinned here and in rust/Cargo.toml, so that a figure names its peer. What is
# there is not installed again. The last line printed is the cache folder.
set -euo pipefail

LLAMA_CPP_PYTHON=0.3.36
TORCH=2.15.0
TRANSFORMERS=5.23.0
NUMPY=2.4.6
FLA_CORE=0.6.0
CMAKE=4.4.4
NINJA=1.13.2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${BATON_PEERS_CACHE:-${CARGO_TARGET_DIR:-$here/../../target}/peers}

fail() {
    echo "install.sh: $1" >&2
    exit 1
}

mkdir -p "$cache/tmp"
cache=$(cd "$cache" && pwd)
export TMPDIR=$cache/tmp PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
python=$cache/venv/bin/python

need() { # PACKAGE VERSION [PIP OPTION ..]
    "$python" -c 'import sys; from importlib.metadata import version; sys.exit(version(sys.argv[1]) != sys.argv[2])' \
        "$1" "$2" 2>/dev/null || "$python" -m pip install --quiet "${@:3}" "$1==$2"
}

install_ggml() {
    local ggml=$cache/llama_cpp_python-$LLAMA_CPP_PYTHON/vendor/llama.cpp/ggml build=$cache/ggml-build-$LLAMA_CPP_PYTHON
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
            -o "$cache/ggml_$program"
    done
}

install_torch() { need torch $TORCH && need numpy $NUMPY; }
install_transformers() { install_torch && need transformers $TRANSFORMERS; }
install_fla() { install_transformers && need einops 0.8.2 && need fla-core $FLA_CORE --no-deps; }
install_rust() {
    CARGO_TARGET_DIR=$cache/rust cargo build --quiet --release --locked --manifest-path "$here/rust/Cargo.toml"
}

if [ ! -x "$python" ]; then
    command -v python3 >/dev/null || fail "python3 is missing"
    python3 -m venv "$cache/venv" || fail "python3 has no venv module (Debian: python3-venv)"
fi
for peer in "${@:-ggml torch transformers fla rust}"; do
    for one in $peer; do
        case $one in
            ggml | torch | transformers | fla | rust) install_"$one" ;;
            *) fail "unknown peer '$one'; expected some of ggml, torch, transformers, fla, rust" ;;
        esac
    done
done
echo "$cache"
