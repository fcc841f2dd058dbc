# Two commands: `make demo` shows what Baton is for, `make test` runs everything that CI runs.

CARGO ?= cargo
# Where the demo writes; pass DEMO="--text FILE" (or --help) to choose.
DEMO ?=

.PHONY: demo test lint fuzz check-cuda bench cuda-tools kernels choices wheel test-python docs package

demo:
	$(CARGO) build --release --package baton-cli
	$(CARGO) run --release --quiet --package baton-cli -- demo --kept checkpoints/mamba2-64 --folder target/demo $(DEMO)

# The documents' examples first, then everything else; nextest where it is installed. The kernels for
# GPUs are tested under the emulator where MLIR can be had, and runs of several ranks where MPI can; scripts/mlir.sh and
# scripts/mpi.sh install them or say why not.
# Tests that need a GPU itself are counted, and run where there is one. The Python package is tested with numpy alone; make
# test-python does so with PyTorch too, which is some 6 GB.
test:
	$(CARGO) fmt --all --check
	features="--features baton-cli/parquet $$(scripts/mlir.sh) $$(scripts/mpi.sh)" && \
	$(CARGO) test --workspace $$features --doc && \
	scripts/python.sh door && \
	if $(CARGO) nextest --version >/dev/null 2>&1; \
	then if [ -e /dev/nvidiactl ]; then ignored="--run-ignored all"; \
	else $(CARGO) nextest list --workspace $$features --run-ignored only --message-format oneline | wc -l | \
	sed 's/$$/ tests wait for an NVIDIA GPU: skipped/'; fi; \
	$(CARGO) nextest run --workspace $$features $$ignored --no-fail-fast; \
	else $(CARGO) test --workspace $$features --lib --bins --tests; fi

# The Python package as a wheel in target/python/wheels, and its tests; what they need is installed below target/.
wheel:
	scripts/python.sh wheel

test-python:
	scripts/python.sh test

# The pages as a book in target/book and rustdoc of every crate in target/doc, either without a warning.
docs:
	scripts/docs.sh

# What a registry would be given, in target/package: listed, packed and not built. Tests hold what is in it (tests/it/packages.rs).
package:
	$(CARGO) package --workspace --exclude baton-tests --exclude baton-benches --exclude own-crate --no-verify

# Readers of everything that is given, on inputs changed at random: so many bytes for each of them.
BYTES ?= 10000000
SEED ?= 1
fuzz:
	BATON_FUZZ_BYTES=$(BYTES) BATON_FUZZ_SEED=$(SEED) $(CARGO) test --package baton-tests --test it -- --nocapture fuzz::
	BATON_FUZZ_BYTES=$(BYTES) BATON_FUZZ_SEED=$(SEED) $(CARGO) test --package baton-weights --test fuzz -- --nocapture

lint:
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

# Training on Burn's CUDA device, compiled and not linked; needs neither a GPU nor a toolkit. cubecl's build
# scripts fetch a build of LLVM (cubecl compiles its kernels with it) unless they take this for docs.rs:
# checking needs none, a program does.
check-cuda:
	DOCS_RS=1 $(CARGO) check --package baton-cli --features train-cuda --target-dir target/cuda-check

# The benchmark page and README's tables: ours and the peers in turns (installs the peers, about 6 GB, below target/). Sections by
# name: BENCH="ssd training"; what this very program was measured in is left as it is but for BENCH=--again; BENCH=--gate compares with
# the stored baseline (benches/bench.py --help).
BENCH ?=
bench:
	$(CARGO) build --release --package baton-cli
	python3 benches/bench.py $(BENCH)

# NVIDIA's assembler and disassembler, for `baton inspect`; they need no GPU.
cuda-tools:
	[ -e target/cuda/nvidia/cu13/bin/ptxas ] || python3 -m pip install --quiet --target target/cuda nvidia-cuda-nvcc==13.5.37 nvidia-cuda-nvdisasm==13.5.37

# Makes the shipped kernels anew, those that changed; needs LLVM and MLIR 22. Then `make test` and commit them.
kernels: cuda-tools
	$(CARGO) build --release --package baton-cli --features mlir
	$(CARGO) run --release --quiet --package baton-cli --features mlir -- emit --shipped -o kernels-generated

# Measures the shipped choices of plans anew, those whose programs have changed; takes what was begun up where it was.
choices:
	$(CARGO) build --release --package baton-cli
	$(CARGO) run --release --quiet --package baton-cli -- tune --shapes kernels-generated/shapes.txt --into benches/results/tuning.json
	python3 benches/tuning.py
