#!/usr/bin/env bash
# The Python package: `wheel` builds it, `plain` builds it and tests it in a fresh environment below target/ that has numpy
# alone, `test` does so and tests it again in one with PyTorch and transformers, which is kept between runs (some 6 GB, as
# PyTorch comes), and `door` is `plain` for `make test`: of the build that the suite has made, and where no Python can make
# environments it says so and leaves the package out. PYTHON makes the environments. PROFILE is cargo's (release),
# CARGO_TARGET_DIR where it builds; with ZIG=1 it is linked by zig against an old C library (manylinux2014), else by the system's linker, and the wheel's name says for which.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
place=$PWD/target/python
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

NUMPY=2.2.6
PYTEST=9.0.2
WITH_TORCH="torch==2.15.0 transformers==5.23.0 accelerate==1.15.0 matplotlib==3.11.2 einops==0.8.2 setuptools==84.2.1 wheel==0.48.0"
# For their signatures and references alone: without what they would ask for, and without compiling anything.
REFERENCES="fla-core==0.6.0 mamba-ssm==2.3.2.post1"

builder() {
    [ -x "$place/maturin/bin/maturin" ] || { "$python" -m venv "$place/maturin" && "$place/maturin/bin/pip" install --quiet maturin==1.16.0; }
}

wheel() {
    local zig=()
    builder
    if [ -n "${ZIG:-}" ]; then
        "$place/maturin/bin/pip" install --quiet ziglang==0.17.0
        zig=(--zig --compatibility manylinux2014)
    fi
    rm -rf "$place/wheels"
    # zig is found as a module of the Python that comes first.
    PATH=$place/maturin/bin:$PATH CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$place/build} maturin build --locked \
        --profile "${PROFILE:-release}" --manifest-path python/Cargo.toml --out "$place/wheels" ${zig[@]+"${zig[@]}"}
    local size
    size=$(du -m "$place"/wheels/*.whl | cut -f 1)
    if [ "${PROFILE:-release}" = release ] && [ "$size" -ge 40 ]; then
        echo "the wheel has $size MB, expected less than 40" >&2
        exit 1
    fi
}

bare() {
    "$python" -m venv --clear "$place/plain" && "$place/plain/bin/pip" install --quiet "numpy==$NUMPY" "pytest==$PYTEST"
}

tested() {
    "$place/plain/bin/pip" install --quiet "$place"/wheels/*.whl
    "$place/plain/bin/python" -m pytest -q -p no:cacheprovider python/tests "$@"
}

plain() {
    bare
    tested "$@"
}

with_torch() {
    [ -x "$place/venv/bin/python" ] || "$python" -m venv "$place/venv"
    # shellcheck disable=SC2086
    "$place/venv/bin/pip" install --quiet "numpy==$NUMPY" "pytest==$PYTEST" $WITH_TORCH
    if [ "$(uname)" = Linux ]; then
        # shellcheck disable=SC2086
        MAMBA_SKIP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE \
            "$place/venv/bin/pip" install --quiet --no-deps --no-build-isolation $REFERENCES
    fi
    "$place/venv/bin/pip" install --quiet --force-reinstall --no-deps "$place"/wheels/*.whl
    "$place/venv/bin/python" -m pytest -q -p no:cacheprovider python/tests "$@"
}

# The suite's own target and profile, so that what both stand on is compiled once.
door() {
    if ! { "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' && builder && bare; } 2>/dev/null; then
        echo "the Python package is left out: it needs a Python of 3.10 or later that makes environments (python3-venv), and PyPI"
        return
    fi
    PROFILE=dev CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
    wheel
    BATON_CHECKED=1 tested "$@"
}

case ${1:-} in
wheel) wheel ;;
door)
    shift
    door "$@"
    ;;
plain)
    shift
    wheel
    plain "$@"
    ;;
test)
    shift
    wheel
    plain "$@"
    with_torch "$@"
    ;;
*)
    echo "usage: scripts/python.sh wheel | door [PYTEST OPTIONS] | plain [PYTEST OPTIONS] | test [PYTEST OPTIONS]; given: ${1:-nothing}" >&2
    exit 2
    ;;
esac
