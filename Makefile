# make demo: the whole pipeline on generated images, in minutes.  make test: the tests.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: demo test test-slow faults setup lint mlflow lock

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

setup: .venv/installed

.venv/installed: envs/requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --require-hashes --no-compile --requirement envs/requirements.txt
	$(BIN)/pip install --no-deps --no-build-isolation --editable .
# Ahead of the first start, on all cores. Templates of packages among the files are no Python: never mind.
	$(BIN)/python -m compileall -q -q -j 0 .venv/lib || true
	touch $@

lint: setup
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

mlflow: setup
	mlflow server --backend-store-uri sqlite:///$(CURDIR)/mlflow.db --host 127.0.0.1 --port 5000

lock:
	cd envs && uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" requirements.in -o requirements.txt
