# Two targets do everything from a fresh clone: `make train` and `make test`. `make help` lists the others.

PYTHON ?= python3
TORCH ?= torch==2.13.0
GAME ?= lost_key
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
TRL_VENV := .venv-trl
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet
HINT := || { echo "pip could not install it; see whether this machine reaches a package index, then run make again" >&2; exit 1; }
OPENENV_VENV := .venv-openenv
PAGES_VENV := .venv-pages
VERL ?= verl==0.9.1
VERL_VENV := .venv-verl
VERL_PIP := $(VERL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --quiet

# Two busy threads on two shared cores can be a hundred times slower than one. A run by itself takes the cores that are free.
FREE_THREADS := $(if $(OMP_NUM_THREADS),,env -u OMP_NUM_THREADS)
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help train game test check format test-slow test-real test-trl test-verl test-openenv test-pages docs fuzz bench real-input learn-real example clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

train: $(VENV)/.installed ## Install, then train the embedded default (a simulation; minutes on a CPU)
	$(FREE_THREADS) $(BIN)/workflow-r1 train $(ARGS)

game: $(VENV)/.installed ## Make a small policy for a task of examples/ and train it, on a CPU (GAME=word_problems)
	$(BIN)/workflow-r1 warmstart examples/$(GAME).toml --output runs/$(subst _,-,$(GAME))-start
	$(BIN)/workflow-r1 train examples/$(GAME).toml $(ARGS)

test: check ## Install, then the quick gate: format, lint, types, import contracts, tests
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 -m "not slow and not data and not server" $(ARGS)

check: $(VENV)/.installed-dev ## Format, lint, types and import contracts only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python scripts/format_pages.py --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## Rewrite the files as `make check` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python scripts/format_pages.py

test-slow: $(VENV)/.installed-dev ## The tests that take minutes
	$(BIN)/python -m pytest -q -m "slow and not data and not server" $(ARGS)

test-trl: $(TRL_VENV)/.installed ## The engine for TRL, in a virtual environment of its own (.venv-trl)
	$(TRL_VENV)/bin/python -m pytest -q tests/engines/trl $(ARGS)

test-openenv: $(OPENENV_VENV)/.installed ## Tasks behind OpenEnv servers, against its real package, in a virtual environment of its own (.venv-openenv)
	$(OPENENV_VENV)/bin/python -m pytest -q -W default tests/tasks/openenv $(ARGS)

test-pages: $(PAGES_VENV)/.installed ## The viewer's pages in a real Chromium ($$CHROMIUM, or on the path), with Playwright in a virtual environment of its own (.venv-pages)
	program="$$(CHROMIUM="$(CHROMIUM)" scripts/find_chromium.sh)" && CHROMIUM="$$program" $(PAGES_VENV)/bin/python -m pytest -q -W default tests/viewing/browser $(ARGS)

test-real: $(VENV)/.installed-dev ## The tests that need files or servers of your own (CONTRIBUTING.md)
	$(BIN)/python -m pytest -q -m "data or server" $(ARGS)

test-verl: $(VERL_VENV)/.installed ## The engine for verl, in a virtual environment of its own (.venv-verl): a whole run on a CPU among its tests
	$(VERL_VENV)/bin/python -m pytest -q -W default tests/engines/verl $(ARGS)

docs: $(VENV)/.installed-docs ## The documentation site, in build/site; a warning stops it
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/site
	@echo "open build/site/index.html"

fuzz: $(VENV)/.installed-dev ## Ten minutes of hostile texts for all that reads text from outside (ARGS="--minutes 60")
	$(BIN)/python scripts/fuzz/run.py $(ARGS)

bench: $(VENV)/.installed ## Throughput of sampler, update and LLM client, as ratios to their limits (ARGS=--small)
	$(BIN)/python benchmarks/ratios.py $(ARGS)

real-input: $(VENV)/.installed ## A real model, real questions, a real LLM server: warm start, then three steps (WORKFLOW_R1_DATA)
	$(BIN)/python scripts/real_input/run.py $(ARGS)

learn-real: $(VENV)/.installed ## A real model learns real questions, two hours: ARGS="--arm gsspo|gspo|grpo|sft --seed N --steps N"
	$(BIN)/python scripts/real_input/learn.py $(ARGS)

example: $(VENV)/.installed ## The whole path in one file, one step
	$(BIN)/python examples/whole_path.py

clean: ## Remove the virtual environment and every cache
	rm -rf $(VENV) $(TRL_VENV) $(VERL_VENV) $(OPENENV_VENV) $(PAGES_VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build/site

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1)' || { \
	  echo "expected Python 3.11 or newer, found: $$($(PYTHON) --version 2>&1). Choose one, e.g. make PYTHON=python3.12 test" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch comes first, by its exact version: resolved from a range among the others it may be a build of several gigabytes.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing the tested versions into $(VENV); the first time this downloads some hundred megabytes"
	$(PIP) "$(TORCH)" $(HINT)
	$(PIP) -c constraints.txt -e ".[train,serve]" $(HINT)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.installed
	$(PIP) -c constraints.txt -e ".[train,serve,dev]" $(HINT)
	@touch $@

$(VENV)/.installed-docs: pyproject.toml constraints.txt $(VENV)/.installed-dev
	$(PIP) -c constraints.txt -e ".[train,dev,docs]"
	@touch $@

# verl wants a transformers of its own, and none of it belongs into the main environment.
$(VERL_VENV)/.installed: requirements/verl.txt pyproject.toml
	@echo "installing verl and what it needs into $(VERL_VENV); the first time this downloads some hundred megabytes"
	$(PYTHON) -m venv $(VERL_VENV)
	$(VERL_PIP) "$(TORCH)"
	$(VERL_PIP) -r requirements/verl.txt
	$(VERL_PIP) --no-deps "$(VERL)"
	$(VERL_PIP) -e .
	@touch $@

$(TRL_VENV)/.installed: pyproject.toml constraints.txt requirements/trl.txt
	@echo "installing TRL and what it needs into $(TRL_VENV)"
	$(PYTHON) -m venv $(TRL_VENV)
	$(TRL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --quiet "$(TORCH)"
	$(TRL_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --quiet -c constraints.txt -r requirements/trl.txt -e .
	@touch $@

$(OPENENV_VENV)/.installed: pyproject.toml constraints.txt requirements/openenv.txt
	@echo "installing OpenEnv and what it needs into $(OPENENV_VENV)"
	$(PYTHON) -m venv $(OPENENV_VENV)
	$(OPENENV_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --quiet "$(TORCH)"
	$(OPENENV_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --quiet -r requirements/openenv.txt -e ".[train]"
	@touch $@

$(PAGES_VENV)/.installed: pyproject.toml requirements/pages.txt
	@echo "installing Playwright and what it needs into $(PAGES_VENV)"
	$(PYTHON) -m venv $(PAGES_VENV)
	$(PAGES_VENV)/bin/python -m pip --disable-pip-version-check install --quiet --quiet -r requirements/pages.txt -e ".[serve]"
	@touch $@
