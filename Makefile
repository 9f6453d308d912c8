# Every target sets up what it needs; a second call skips what is done.
PYTHON ?= python3
SEEDS ?= 1
INSTALLED := .venv/.installed

.PHONY: setup quickstart test test-slow lint sheets clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed, got " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,quickstart]'
	touch $@

quickstart: setup
	.venv/bin/python train_scripts/quickstart.py --seeds $(SEEDS)

test: setup
	.venv/bin/python -m pytest -n 2 -m 'not slow'

test-slow: setup
	.venv/bin/python -m pytest -n 2

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

sheets: setup
	.venv/bin/python -m processing.corpora.sheets --output outputs/sheets

clean:
	rm -rf .venv outputs
