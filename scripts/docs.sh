#!/usr/bin/env bash
# The documentation: the pages as a book in target/book (its contents: docs/conf.py), rustdoc of every crate in target/doc.
# Whatever either warns of is an error. What makes the book is installed below target/; PYTHON makes its environment.
set -euo pipefail
cd "$(dirname "$0")/.."

place=$PWD/target/docs
if [ ! -x "$place/bin/sphinx-build" ]; then
    "${PYTHON:-python3}" -m venv "$place"
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$place/bin/pip" install --quiet sphinx==9.0.4 myst-parser==5.2.0 furo==2025.12.19
fi
rm -rf target/book
"$place/bin/sphinx-build" -q -W --keep-going -b html -d target/doctrees -c docs . target/book
cp target/book/README.html target/book/index.html

# Head comments link to private rooms too, for who reads the sources: there is no page of those.
# shellcheck disable=SC2046
RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" ${CARGO:-cargo} doc --workspace --no-deps --features baton-cli/parquet $(scripts/mlir.sh) $(scripts/mpi.sh)
echo "target/book/index.html target/doc/baton/index.html"
