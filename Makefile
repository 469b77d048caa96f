# Each target does its own set-up; only Python 3.11 or 3.12, make and a package index are needed.
# PYTHON=... chooses the interpreter of the virtual environment.

SHELL := /bin/bash
works = $(shell for p in python3.11 python3.12 python3; do \
  "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
  && echo "$$p" && break; done)
PYTHON ?= $(works)
RUN := .venv/bin/python
WORKDIR ?= runs/digits

.PHONY: help demo test faults lint format bench bench-input clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/installed  ## train GoogLeNet on handwritten digits (about two minutes on two cores)
	@"$(RUN)" -m googlenet_jax train --config=experiments/digits.py --workdir="$(WORKDIR)"

test: .venv/installed  ## the tests, two files at a time
	@"$(RUN)" -m pytest -q -n 2 --dist loadfile

faults: .venv/installed  ## attack real runs: kills, signals, damaged checkpoints, a full disk (20 minutes)
	@"$(RUN)" tests/faults/drill.py

lint: .venv/installed  ## ruff, mypy and the floors of the house
	@"$(RUN)" -m ruff check .
	@"$(RUN)" -m ruff format --check .
	@"$(RUN)" -m mypy
	@"$(RUN)" -c 'from importlinter.cli import lint_imports_command as run; run()'

format: .venv/installed  ## rewrite the files as ruff likes them
	@"$(RUN)" -m ruff check --fix .
	@"$(RUN)" -m ruff format .

bench: .venv-bench/installed  ## training and inference against PyTorch
	@.venv-bench/bin/python benchmarks/step_time.py

bench-input: .venv/installed  ## the input pipeline against plain decoding
	@"$(RUN)" benchmarks/input_pipeline.py

clean:  ## remove the environments; runs stay
	rm -rf .venv .venv-bench

.venv/installed: requirements.txt setup.cfg
	@$(call environment,.venv)
	@echo 'installing the pinned requirements (a minute or two) ...'
	@.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv-bench/installed: requirements.txt setup.cfg
	@$(call environment,.venv-bench)
	@echo 'installing the requirements and PyTorch ...'
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check -e '.[benchmark]'
	@touch $@

define environment
if [ -z '$(PYTHON)' ]; then echo 'no Python 3.11 or 3.12 found; accepted: make PYTHON=/path/to/python3.11' >&2; exit 1; fi; \
'$(PYTHON)' -m venv --clear $(1)
endef
