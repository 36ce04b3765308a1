# `make repro` runs the main job, `make test` the tests; each makes .venv first. `make help` lists the rest.

PYTHON ?= python3
# What users need, and what developers need beside it.
STAMP := .venv/.installed
DEV := .venv/.installed-dev
# It installs in half of pip's time.
UV := uv==0.13.9
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*##.*/\1/p' $(firstword $(MAKEFILE_LIST)))
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

install: $(STAMP) ## .venv, with the command `relabel` and all that it needs

repro: $(STAMP) ## the main job: real MNIST, from labels to proof; PRESET=digits: another data set, in a folder of its own
ifdef PRESET
	@python -m tasks preset "$(PRESET)" --into ".cache/presets/$(PRESET)" $(foreach value,$(SET),--set "$(value)")
	@cd ".cache/presets/$(PRESET)" && python -m flows.clean_labels --summary
else
	@python -m flows.clean_labels --summary
endif

flow: repro ## the same as `make repro`

first-look: ## the same in half a minute of training, on scikit-learn's digits: `make repro PRESET=digits`
	@$(MAKE) --no-print-directory repro PRESET=digits

test: $(DEV) ## ruff, mypy and pytest
	ruff check .
	ruff format --check .
	mypy
	pytest

test-endurance: $(DEV) ## tests that kill processes and clusters in the middle of their work, and all random cases (minutes)
	pytest -m endurance
	ALL_EXAMPLES=1 pytest -m hypothesis

check: $(DEV) ## one quick look before a commit: ruff, mypy and the tests that take no training
	ruff check .
	ruff format --check .
	mypy
	pytest -q -m "not slow and not endurance"

accept: $(STAMP) ## the acceptance figures on real MNIST over 3 seeds, as a table (most of an hour on 2 cores)
	@python -m benchmarks.accept

bench: $(DEV) ## time and accuracy beside the cleanlab tutorial's recipe, in one run, as a table
	@python -m benchmarks.baseline

bench-gpu: $(STAMP) ## the eight trainings of MNIST in one process: seconds, accuracy, equal bits; for a GPU (a minute there)
	@python -m benchmarks.gpu

bench-prune: $(DEV) ## finding issues: time and memory beside cleanlab's, up to 1.28 million x 1,000 (an hour, 12 GB of disk)
	@python -m benchmarks.prune

bench-data: $(STAMP) ## tables, tweets and photographs by the flow: time, memory, F1 (files in inputs/examples; minutes)
	@python -m benchmarks.data

bench-filters: $(STAMP) ## every filter and score on all arrays with truth that can be had, as a table (half an hour, then minutes)
	@python -m benchmarks.filters

bench-doors: $(STAMP) ## the flow beside dvc repro on MNIST, cold and with nothing to do (most of an hour)
	@python -m benchmarks.doors

results: $(DEV) ## the tables of docs/results.md; TABLES="tweets coreset": some of them (hours on 2 cores)
	@python -m benchmarks.results $(TABLES)

bench-scale: $(DEV) ## what a stage costs before it does anything, measured (docs/scale.md; some minutes)
	@python -m benchmarks.scale

full-disk: $(STAMP) ## disks that fill up and permissions that are missing: sentences, and recovery (root, an hour)
	@python -m benchmarks.full_disk

fuzz: $(STAMP) ## damaged and odd inputs for every reader: each is refused in a sentence, or read right
	@python -m benchmarks.fuzz

bench-stopping: $(STAMP) ## whether the bounds of wrong labels left hold for simulated reviewers who stop (half an hour)
	@python -m benchmarks.stopping

bench-review: $(DEV) ## how soon the review page is there, and decisions a minute, in a real browser (a minute)
	@python -m benchmarks.review

review: $(STAMP) ## the page on which a person decides about suspect labels, at http://127.0.0.1:8765
	@python -m review

bench-self-tests: $(STAMP) ## do self-tests and gate say the truth: 743 runs of strong and weak models, with truth (an hour, then minutes)
	@python -m benchmarks.self_tests

bench-importance: $(STAMP) ## which scores find wrong labels on MNIST, and what coresets are worth (half an hour)
	@python -m benchmarks.importance

bench-unlabeled: $(STAMP) ## what rows without a label are worth, by method and number of labels, on MNIST (hours)
	@python -m benchmarks.unlabeled

chaos: $(STAMP) ## kill -9 at random moments, 50 times; each recovery must end with the same bytes (an hour)
	@python -m benchmarks.chaos

docs: $(STAMP) ## the manual as a site, in docs/_build/index.html
	python -m pip install --quiet --no-deps --require-hashes -r docs/requirements.lock
	python -m sphinx -W --keep-going -q -b html docs docs/_build

links: docs ## whether what the manual links to on the network still answers (needs one)
	python -m sphinx -q -b linkcheck docs docs/_build/links

coverage: $(DEV) ## the tests with the share of lines and branches that they run
	pytest --cov --cov-report=term:skip-covered

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links
lock: $(DEV) ## requirements*.lock anew from pyproject.toml
	python -m pip install --quiet $(UV)
	$(LOCK) --extra dask pyproject.toml -o requirements.lock
	$(LOCK) --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(LOCK) -c requirements.lock docs/requirements.in -o docs/requirements.lock

clean: ## remove .venv (data, models and DVC's cache stay)
	rm -rf .venv

# $(1) lists every package with its hashes, so there is nothing to resolve. A package index that is set for pip alone
# is one that uv does not ask: then pip does it.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Relabel needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	{ .venv/bin/python -m pip install --quiet $(UV) && .venv/bin/python -m uv pip install --quiet \
	  --python .venv/bin/python --compile-bytecode --no-deps --require-hashes -r $(1); } \
	  || .venv/bin/python -m pip install --quiet --no-deps --require-hashes -r $(1)
	@printf '#!/bin/sh\nexec "%s/.venv/bin/python" -P "%s/flows/relabel.py" "$$@"\n' "$(CURDIR)" "$(CURDIR)" \
	  > .venv/bin/relabel && chmod +x .venv/bin/relabel
endef

$(STAMP): requirements.lock
	$(call install,requirements.lock)
	@touch $@

# What developers need holds what users need.
$(DEV): requirements.lock requirements-dev.lock
	$(call install,requirements-dev.lock)
	@touch $(STAMP) $@
