# make quickstart   a report with pictures, in a few minutes
# make test         the tests (at most 12 minutes on 2 cores); make test-all adds the slow ones
# Real images are read from $MEDJAX_DATA where it is set; tests that need them skip without.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-all clean

# Installed again only when what is asked for has changed.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

.venv: $(VENV)/installed

quickstart: $(VENV)/installed
	$(BIN)/python -m experiments.quickstart --workdir=runs/quickstart

test: $(VENV)/installed
	$(BIN)/python -m pytest -m "not slow" --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=15

test-all: $(VENV)/installed
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=15

clean:
	rm -rf $(VENV) build *.egg-info
