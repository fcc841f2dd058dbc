# Two commands: `make demo` shows what Baton is for, `make test` runs everything that CI runs.

CARGO ?= cargo
# Where the demo writes; pass DEMO="--text FILE" (or --help) to choose.
DEMO ?=

.PHONY: demo test lint bench table

demo:
	$(CARGO) build --release --package baton
	$(CARGO) run --release --quiet --package baton -- demo --folder target/demo $(DEMO)

# The documents' examples first, then everything else; nextest where it is installed.
test:
	$(CARGO) fmt --all --check
	$(CARGO) test --workspace --doc
	if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run --workspace --no-fail-fast; \
	else $(CARGO) test --workspace --lib --bins --tests; fi

lint:
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

bench:
	$(CARGO) bench --package baton-benches

# The README's table: ours and the peers in one run (installs the peers, about 6 GB, below target/).
table:
	$(CARGO) build --release --package baton
	benches/table.sh
