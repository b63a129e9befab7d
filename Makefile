# make study   install, run the study `quickstart`, print its law table
# make study H5AD=cells.h5ad AUXILIARY=obs:cell_type   the same on your own file
# make test    install, then ruff, mypy, import-linter, pytest and `dg check defs`
# make slow    the long tests
# make bench   speed against named peers
# make ui      Dagster on http://127.0.0.1:3000, automation on

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= quickstart
PORT ?= 3000
NSL_STORAGE ?= $(CURDIR)/storage
override NSL_STORAGE := $(abspath $(NSL_STORAGE))
export NSL_STORAGE
export DAGSTER_HOME ?= $(NSL_STORAGE)/dagster

.PHONY: install study test lint slow bench ui clean

install: $(VENV)/.installed

# torch first: deepspeed's build looks for it, and only this version has a small CPU build.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps latentmi==0.1.3
	touch $@

study: install
ifdef H5AD
	$(BIN)/nsl run --h5ad '$(H5AD)' --auxiliary '$(or $(AUXILIARY),$(error name the hidden signal too: make study H5AD=$(H5AD) AUXILIARY=obs:cell_type))'
else
	$(BIN)/nsl run $(STUDY)
endif

test: install lint
	$(BIN)/python -m pytest -q -m "not slow" -n 2
	$(BIN)/nsl init --instance-only
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/dg check defs

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: install
	$(BIN)/python -m pytest -q -m slow -n 2 --dist loadscope --durations=12

bench: install
	for benchmark in benchmarks/*.py; do $(BIN)/python $$benchmark || exit 1; done

ui: install
	$(BIN)/nsl init --instance-only
	$(BIN)/dagster dev --workspace workspace.yaml --host 127.0.0.1 --port $(PORT)

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
