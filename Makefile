# Two commands do all the set-up: `make demo` and `make test`. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test bench clean
demo: $(VENV)/installed
	$(BIN)/tuti demo $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

bench: $(VENV)/installed-dev
	$(BIN)/python benchmarks/$(NAME).py

# torch comes first and alone, so that the pin decides which build is taken.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tuti needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m tuti.infer.tests.warm
	touch $@

clean:
	rm -rf $(VENV) build dist
