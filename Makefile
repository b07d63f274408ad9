# PixelLift: `make run` serves it, `make test` checks everything. Both bring what they need into .venv.
# Variables: HOST, PORT, DATA_DIR and all other settings (docs/operating.md); PYTHON chooses the interpreter,
# PIP_ARGS is handed to pip, for example PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu".

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := pixellift accounts gallery transforms ganworks
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Waiting threads of torch sleep instead of spinning: on a shared core that is ten times faster.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help run full test lint bench chaos models models-smoke screenshots clean

help:
	@echo "make run          serve PixelLift at http://127.0.0.1:8000 (HOST, PORT and DATA_DIR change that)"
	@echo "make full         the same in full mode: several processes over PostgreSQL and Redis (DATABASE_URL, REDIS_URL)"
	@echo "make test         all checks and tests, with the browser's (needs PostgreSQL, Redis and Chromium)"
	@echo "make lint         style, types, import contracts, templates"
	@echo "make bench        measure how fast it is, and print a table"
	@echo "make chaos        break its parts and overload it, at full size (half an hour; PostgreSQL, Redis), and print a table"
	@echo "make models       train the starters anew, into data/trained (hours; goes on where it was stopped)"
	@echo "make models-smoke prove in two minutes that training works"
	@echo "make screenshots  take the pictures of the documentation again"
	@echo "make clean        remove the environment and caches; never the data"

run: $(VENV)/installed
	@exec $(BIN)/python manage.py serve

# The services of this machine, unless others are named. The database is made if it is missing.
full: export DATABASE_URL ?= postgresql://postgres@localhost:5432/pixellift
full: export REDIS_URL ?= redis://localhost:6379/0
full: $(VENV)/installed
	@exec $(BIN)/python manage.py full

test: $(VENV)/installed-dev
	@exec tests/run

lint: $(VENV)/installed-dev
	@exec tests/run lint

bench: $(VENV)/installed-dev
	@exec $(BIN)/python -m bench

chaos: $(VENV)/installed-dev
	@CHAOS_SIZE=full exec tests/run chaos

models: $(VENV)/installed
	@exec tools/train_starters

models-smoke: $(VENV)/installed
	@exec $(BIN)/python -m ganworks.training.smoke

screenshots: $(VENV)/installed-dev
	@exec $(BIN)/python -m tests.browser.screenshots

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "PixelLift needs Python 3.11 or newer: name one with PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: install python3-venv."; exit 1; }

# Stamps: a second start looks at two files and installs nothing.
$(VENV)/installed: requirements.txt | $(BIN)/python
	@echo "Installing what PixelLift needs into $(VENV) (about 1.4 GB, a minute or more) ..."
	@$(BIN)/python -m pip install -q $(PIP_ARGS) -r requirements.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt $(VENV)/installed
	@$(BIN)/python -m pip install -q $(PIP_ARGS) -r requirements-dev.txt
	@touch $@
