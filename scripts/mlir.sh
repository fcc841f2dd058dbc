#!/usr/bin/env bash
# Makes sure of LLVM and MLIR 22 where that can be done: installs them as root on Debian and Ubuntu.
# Prints the cargo features that tests then run with; what is left out is said on the error output.
set -euo pipefail

prefix=${MLIR_SYS_220_PREFIX:-/usr/lib/llvm-22}
packages="libmlir-22-dev mlir-22-tools llvm-22-dev libclang-22-dev libpolly-22-dev zlib1g-dev libzstd-dev libxml2-dev"

present() { [ -e "$prefix/include/mlir-c/IR.h" ] && [ -e "$prefix/lib/libPolly.a" ]; }

if ! present && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    {
        apt-get update && apt-get install --yes --no-install-recommends $packages
    } >&2 || true
fi
if present; then
    make --no-print-directory cuda-tools >&2 ||
        echo "NVIDIA's assembler could not be installed: the tests of machine code are left out." >&2
    echo "--features baton-cli/mlir,baton-tests/mlir"
else
    echo "LLVM and MLIR 22 are not in $prefix: only the shipped GPU kernels are tested." >&2
    echo "To test what makes them: apt-get install $packages" >&2
fi
