# make demo: set up, then simulate a study, run it, compare what was planted with what was found, and name the report.
# make test: set up, then run the tests.
PYTHON ?= python3
CORES ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup demo test test-all test-faults test-slurm sbom audit tiny lint clean
.DEFAULT_GOAL := setup

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@echo "== setting up $(VENV): a few minutes the first time"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PlastiMap needs Python 3.11 or newer; say which with: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	@$(PYTHON) -m venv $(VENV)
	@echo "== installing the packages of constraints.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@echo "== compiling bytecode"
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib src > /dev/null || true
	@echo "== compiling numerical kernels"
	@$(BIN)/python -m plastimap.warm
	@touch $@
	@echo "== ready"

demo: $(READY)
	@$(BIN)/plastimap demo demo --cores $(CORES)

test: $(READY)
	$(BIN)/python -m pytest -n $(CORES)

test-all: $(READY)
	$(BIN)/python -m pytest -n $(CORES) -m "slow or not slow"

# A table: fault, what happened, data intact.
test-faults: $(READY)
	$(BIN)/python -m pytest -m slow -s tests/faults

# A SLURM of this machine's own; skipped, with the reason, without root or Debian's packages.
test-slurm: $(READY)
	$(BIN)/python -m pytest -m slow -s -rs tests/slurm

# What the program is made of (CycloneDX), and what is known against it: that needs PyPI itself, not a mirror of it, and
# fails where a package could not be asked about. The tools have a place of their own: the lock is not theirs.
SUPPLY := $(VENV)/supply

$(SUPPLY): pyproject.toml
	@$(PYTHON) -m venv $@
	@$@/bin/python -m pip install --quiet --disable-pip-version-check "cyclonedx-bom>=5" "pip-audit>=2.7"
	@touch $@

sbom: $(SUPPLY)
	$(SUPPLY)/bin/cyclonedx-py requirements requirements.lock --output-format JSON --output-file sbom.json

audit: $(SUPPLY)
	$(SUPPLY)/bin/pip-audit --strict --require-hashes --requirement requirements.lock

tiny: $(READY)
	$(BIN)/python -m pytest -m slow -k "not chunks" tests/workflow/test_tiny_study.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/pyright
	$(BIN)/codespell

clean:
	rm -rf demo build dist
