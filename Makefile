# Every target sets up what it needs; a second call skips what is done.
PYTHON ?= python3
SEEDS ?= 1
INSTALLED := .venv/.installed

.PHONY: setup demo quickstart ablation clef-small bench test test-slow lint sheets sheets-3d clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed, got " + sys.version.split()[0] + ": make PYTHON=python3.11 ...")'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt torch
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,analysis,demo,onnx,quickstart,render]'
	touch $@

# http://127.0.0.1:7860; nothing leaves the machine.
demo: setup
	.venv/bin/python -m clef demo

quickstart: setup
	.venv/bin/python train_scripts/quickstart.py --seeds $(SEEDS)

# The paper's ablation on the synthetic corpus, three seeds: under an hour on two cores, resumable.
ablation: setup
	.venv/bin/python train_scripts/ablation.py

# Needs the face model: CLEF_ICT_FACEKIT=…/FaceXModel (ICT-FaceKit, MIT).
clef-small: setup
	.venv/bin/python train_scripts/real_faces.py train_scripts/recipes/real_faces_small.yaml

# What training, classifying, loading and CPU inference cost, each against a baseline measured beside it: half an
# hour on two cores. benchmarks/render.py and video.py need the face model besides,
# gpu_step.py a GPU.
BENCHMARKS := pretrain_step classify data_loading loss_memory cpu_inference
bench: setup
	set -e; for name in $(BENCHMARKS); do \
	  .venv/bin/python benchmarks/$$name.py --output benchmarks/results/$$name.json; \
	done

test: setup
	.venv/bin/python -m pytest -n 2 --dist worksteal -m 'not slow'

test-slow: setup
	.venv/bin/python -m pytest -n 2

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

sheets: setup
	.venv/bin/python -m processing.corpora.sheets --output outputs/sheets

sheets-3d: setup
	.venv/bin/python -m processing.corpora.ict_sheets --output outputs/sheets-3d

clean:
	rm -rf .venv outputs
