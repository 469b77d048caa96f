# Each target does its own set-up; only Python 3.11 to 3.13, make and a package index are needed.
# PYTHON=... chooses the interpreter of the virtual environments, NEWEST=... that of test-newest.

SHELL := /bin/bash
# $(call first,VERSION,NAMES): the first of these interpreters that runs and has this version.
first = $(shell for p in $(2); do \
  case "$$("$$p" -c 'import platform; print(platform.python_version())' 2>/dev/null)" in \
  ($(1).*) echo "$$p"; break;; esac; done)
PYTHON ?= $(call first,3.1[1-3],python3.11 python3.12 python3.13 python3)
NEWEST ?= $(call first,3.13,python3.13 python3)
RUN := .venv/bin/python
# $(call extra,NAME): the requirements of an extra of setup.cfg, without the package and its own.
extra = $(shell sed -n '/^$(1) =/,/^[a-z]/{s/^  \([^ ]*\).*/"\1"/p}' setup.cfg)
WORKDIR ?= runs/digits

.PHONY: help demo test test-long test-newest test-clusters faults lint format docs docs-config \
  docs-family notebook bench bench-targets bench-input audit release clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/installed  ## train GoogLeNet on handwritten digits (about two minutes on two cores)
	@"$(RUN)" -m googlenet_jax demo --workdir="$(WORKDIR)"

# Tests start a hundred processes, which should not compile the package each time.
test test-long test-newest test-clusters faults release: export PYTHONDONTWRITEBYTECODE :=

test: .venv/installed  ## the tests, three at a time: some wait for SLURM or a signal
	@"$(RUN)" -m pytest -q -n 3 --dist worksteal

test-long: .venv/installed  ## what the tests have a short form of: each family trained, resumed, exported
	@"$(RUN)" -m pytest -q -n 2 --dist worksteal -m long

test-newest: .venv-newest/installed  ## the tests on Python 3.13 with the newest jax
	@.venv-newest/bin/python -m pytest -q -n 2 --dist worksteal

test-clusters: .venv-clusters/installed  ## buckets, Kubernetes and trackers against real servers on this machine
	@.venv-clusters/bin/python -m pytest -q -n 2 --dist worksteal -m 'long or not long' \
	  tests/buckets tests/kubernetes tests/training/run/trackers

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

# Not with -q: mkdocs would then count no warning, and strict would let everything pass.
docs: .venv-docs/installed  ## the documentation as a website, in site/; fails on a dead link
	@NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build

docs-config: .venv/installed  ## write docs/config.md anew, from the code
	@"$(RUN)" -m googlenet_jax config --keys --format=markdown > docs/config.md

notebook: .venv-docs/installed  ## write examples/quickstart.ipynb anew, from quickstart.py
	@.venv-docs/bin/python -m jupytext -q --to=ipynb examples/quickstart.py

docs-family: .venv/installed  ## write docs/family.md and its pictures anew
	@"$(RUN)" -m googlenet_jax compare --document=docs/family.md --figures=docs/family

bench: .venv-bench/installed  ## training and inference against PyTorch: three networks, two batches
	@for network in '--variant=table1' '--variant=bn' '--variant=small --image_size=32'; do \
	  for batch in 1 32; do \
	    .venv-bench/bin/python benchmarks/step_time.py $$network --batch=$$batch || exit; \
	  done; \
	done

bench-targets: .venv-targets/installed  ## predicted for a TPU and a GPU, against a plain port to linen
	@.venv-targets/bin/python benchmarks/ahead/targets.py

bench-input: .venv/installed  ## the input pipeline against plain decoding
	@"$(RUN)" benchmarks/input_pipeline.py

audit: .venv-release/installed  ## look up the pinned packages in an index of advisories
	@.venv-release/bin/python tests/release/audit.py requirements.txt requirements-newest.txt

release: .venv/installed audit  ## dist/: sdist, wheel and bill of materials, and the tests against the wheel
	@rm -rf dist build
	@.venv-release/bin/python -m build -q .
	@.venv-release/bin/python -m twine check --strict dist/*
	@"$(RUN)" tests/release/check.py dist/*.whl dist/*.tar.gz
	@.venv-release/bin/python tests/release/bill.py "$(RUN)" dist/googlenet_jax.cdx.json
	@"$(RUN)" tests/release/suite.py dist/*.whl -n 3 --dist worksteal

clean:  ## remove the environments; runs stay
	rm -rf .venv .venv-newest .venv-clusters .venv-bench .venv-targets .venv-release .venv-docs

.venv/installed: requirements.txt requirements-newest.txt setup.cfg
	@$(call environment,.venv,PYTHON,3.11 to 3.13)
	@.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv-newest/installed: requirements-newest.txt setup.cfg
	@$(call environment,.venv-newest,NEWEST,3.13)
	@.venv-newest/bin/python -m pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

.venv-bench/installed: requirements.txt requirements-newest.txt setup.cfg
	@$(call environment,.venv-bench,PYTHON,3.11 to 3.13)
	@echo 'installing PyTorch ...'
	@.venv-bench/bin/python -m pip install -q --disable-pip-version-check -e '.[benchmark]'
	@touch $@

.venv-targets/installed: requirements.txt requirements-newest.txt setup.cfg
	@$(call environment,.venv-targets,PYTHON,3.11 to 3.13)
	@echo 'installing the compilers for TPUs and GPUs (gigabytes) ...'
	@.venv-targets/bin/python -m pip install -q --disable-pip-version-check -e '.[tpu,cuda]'
	@touch $@

.venv-clusters/installed: requirements.txt requirements-newest.txt setup.cfg
	@$(call environment,.venv-clusters,PYTHON,3.11 to 3.13)
	@echo 'installing storage, trackers and servers for the tests ...'
	@.venv-clusters/bin/python -m pip install -q --disable-pip-version-check \
	  -e '.[s3,gcs,mlflow,wandb,clusters]'
	@touch $@

.venv-docs/installed: setup.cfg
	@rm -rf .venv-docs
	@'$(PYTHON)' -m venv .venv-docs
	@.venv-docs/bin/python -m pip install -q --disable-pip-version-check $(call extra,docs)
	@touch $@

.venv-release/installed:
	@rm -rf .venv-release
	@'$(PYTHON)' -m venv .venv-release
	@.venv-release/bin/python -m pip install -q --disable-pip-version-check \
	  build twine pip-audit cyclonedx-bom
	@touch $@

# $(call environment,FOLDER,VARIABLE,VERSIONS): a virtual environment of the variable's Python, with
# the pins for it.
define environment
if [ -z '$($(2))' ]; then \
  echo 'no Python $(3) found; accepted: make $(2)=/path/to/python' >&2; exit 1; \
fi; \
'$($(2))' -m venv --clear $(1) && \
case "$$($(1)/bin/python -c 'import platform; print(platform.python_version())')" in \
(3.11.*) pins=requirements.txt;; (*) pins=requirements-newest.txt;; esac && \
echo "installing the pinned $$pins (a minute or two) ..." && \
$(1)/bin/python -m pip install -q --disable-pip-version-check -r $$pins
endef
