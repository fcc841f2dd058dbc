#!/usr/bin/env bash
# The Python package: `wheel` builds it, `test` builds it and runs its tests in a new environment below target/.
# PYTHON makes the environments; where it has PyTorch, its packages are lent to the tests, else those of
# PyTorch are skipped and counted. PROFILE is cargo's (release), CARGO_TARGET_DIR where it builds.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
place=$PWD/target/python

wheel() {
    if [ ! -x "$place/maturin/bin/maturin" ]; then
        "$python" -m venv "$place/maturin"
        "$place/maturin/bin/pip" install --quiet --disable-pip-version-check maturin==1.16.0
    fi
    rm -rf "$place/wheels"
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$place/build} "$place/maturin/bin/maturin" build --locked \
        --profile "${PROFILE:-release}" --manifest-path python/Cargo.toml --out "$place/wheels"
}

tests() {
    "$python" -m venv --clear "$place/venv"
    local inside="$place/venv/bin/python" packages='import sysconfig; print(sysconfig.get_path("purelib"))'
    "$inside" -m pip install --quiet --disable-pip-version-check numpy==2.2.6 pytest==9.0.2 "$place"/wheels/*.whl
    if "$python" -c 'import torch' 2>/dev/null; then
        "$python" -c "$packages" >"$("$inside" -c "$packages")/lent.pth"
    else
        echo "$python has no PyTorch: the tests of baton.torch are skipped." >&2
    fi
    "$inside" -m pytest -q -p no:cacheprovider python/tests "$@"
}

case ${1:-} in
wheel) wheel ;;
test)
    shift
    wheel
    tests "$@"
    ;;
*)
    echo "usage: scripts/python.sh wheel | test [PYTEST OPTIONS]; given: ${1:-nothing}" >&2
    exit 2
    ;;
esac
