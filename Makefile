# make demo: the whole pipeline on generated images, in minutes.  make test: the tests.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test test-slow faults slurm setup needed lint mlflow lock moved

demo: setup
	snakemake --cores all results/shapes_val.csv
	@unia show results/shapes_val.csv

# Most tests are programs that start: as many at a time as there are cores (see tests/conftest.py).
PYTEST := pytest --numprocesses auto --dist loadscope --durations 15

test: setup
	$(PYTEST) -m "not slow"

test-slow: setup
	$(PYTEST) -m "slow and not faults"

faults: setup
	$(PYTEST) --dist worksteal --hypothesis-profile many -rP tests/faults

# Needs root: starts and stops a Slurm on this machine, one test at a time.
slurm: setup
	pytest -rP --durations 15 tests/slurm

setup: .venv/installed

needed:
	@command -v which > /dev/null || { echo "the program \`which\` is missing, which Snakemake calls at each start: \
	install the package of that name" >&2; exit 1; }

# An environment holds its own path: where this folder was renamed, moved or copied, it is made again.
MOVED := $(shell test ! -e .venv/installed || \
  test "$$(head -n 3 $(BIN)/snakemake | grep -o '/.*/$(BIN)/')" -ef $(BIN) || echo moved)

.venv/installed: envs/requirements.txt pyproject.toml $(MOVED) | needed
	@$(PYTHON) -c 'import sys; found = sys.version_info[:2]; sys.exit(None if (3, 11) <= found <= (3, 13) else \
	  "unia needs Python 3.11 to 3.13, $(PYTHON) is %d.%d: make PYTHON=python3.12 setup, for instance" % found)'
	$(if $(MOVED),rm -rf .venv)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --require-hashes --no-compile --requirement envs/requirements.txt
	$(BIN)/pip install --no-deps --no-build-isolation --editable .
# Ahead of the first start, on all cores. Templates of packages among the files are no Python: never mind.
	$(BIN)/python -m compileall -q -q -j 0 .venv/lib || true
	touch $@

moved:
	@echo "This folder is not where .venv was made, which is made again."

lint: setup
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

mlflow: setup
	@! test -e mlflow.db || $(BIN)/python -c 'from pathlib import Path; from unia.tracking.moved import at_home; \
	  at_home(Path.cwd())'
	mlflow server --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" --host 127.0.0.1 --port 5000

lock:
	cd envs && uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" requirements.in -o requirements.txt
	sed -i.old "s/^# requirements.txt: .*/# requirements.txt: $$(git hash-object envs/requirements.txt)/" envs/conda.post-deploy.sh
	rm envs/conda.post-deploy.sh.old
