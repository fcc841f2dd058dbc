#!/usr/bin/env bash
# Makes sure of an MPI and of libclang, which its bindings are made by, where that can be done: installs OpenMPI as root on
# Debian and Ubuntu. Prints the cargo features that tests then run with; what is left out is said on the error output.
set -euo pipefail

packages="libopenmpi-dev openmpi-bin libclang-dev"

present() { command -v mpicc >/dev/null && command -v mpirun >/dev/null && compgen -G "/usr/lib/llvm-*/lib/libclang*.so*" >/dev/null; }

if ! present && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    {
        apt-get update && apt-get install --yes --no-install-recommends $packages
    } >&2 || true
fi
if present; then
    # With what carries messages by NCCL, which is looked for when a run asks for it.
    echo "--features baton-cli/nccl"
else
    echo "There is no MPI here: runs of several ranks are tested as threads only." >&2
    echo "To test them as processes: apt-get install $packages" >&2
fi
