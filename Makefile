# rlrp_nb: the commands of the project. `make` lists them.
#
# The virtual environment lives outside the repository, one for each clone; VENV=... puts it elsewhere.
SHELL := /bin/bash
PYTHON ?= python3
export PYTHON
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/rlrp-nb
VENV ?= $(CACHE)/venv-$(firstword $(shell printf %s "$(CURDIR)" | cksum))
BIN := $(VENV)/bin
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable
CHROME ?= $(or $(firstword $(shell for name in $(BROWSERS); do command -v $$name; done)),/usr/bin/chromium)
export CHROME
# Packages and an rlrp_nb from elsewhere are not those of the environment.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz lint bench compare lab notebooks docs screenshots environment

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' "$(CURDIR)/Makefile" | expand -t 20

demo: ## explain a photograph with a real network, offline; writes out/demo.png and out/demo.html
	@.ci/environment "$(VENV)" demo
	@"$(BIN)/rlrp-nb" demo --out out

test: lint widgets/node_modules/.package-lock.json ## run every check and every test
	@test -x "$(CHROME)" || .ci/debian chromium "The tests of the page need Chromium, which is not installed"
	OMP_NUM_THREADS=1 "$(BIN)/python" -m pytest --numprocesses 2 --dist loadfile

fuzz: ## try 10,000 random networks, files, messages, pages and explanations in a row; hours
	@.ci/environment "$(VENV)" test
	HYPOTHESIS_PROFILE=fuzz nice "$(BIN)/python" -m pytest tests/fuzz

# What the tests of the scripts need; npm writes this file when it has installed everything.
widgets/node_modules/.package-lock.json: widgets/package-lock.json
	@command -v npm >/dev/null || .ci/debian npm "The tests of the scripts need Node.js 20 or newer with npm, which is not installed"
	npm ci --prefix widgets --no-audit --no-fund
	@touch $@

lint: ## check style and types
	@.ci/environment "$(VENV)" test
	"$(BIN)/ruff" check
	"$(BIN)/ruff" format --check
	"$(BIN)/mypy"

bench: ## count FLOPs and seconds of rlrp and its peers, in one table; pixel flipping beside Quantus; frame times; clicks
	@.ci/environment "$(VENV)" test
	@test -x "$(CHROME)" || .ci/debian chromium "The frame times and clicks need Chromium, which is not installed"
	"$(BIN)/python" -m benchmarks
	"$(BIN)/python" -m benchmarks.faithfulness
	"$(BIN)/python" -m benchmarks.frames
	"$(BIN)/python" -m benchmarks.clicks

compare: ## measure again which method to believe, and write docs/comparison.md; goes on where it was interrupted
	@.ci/environment "$(VENV)" test
	"$(BIN)/python" -m benchmarks.comparison

lab: ## open the notebooks in JupyterLab
	@.ci/environment "$(VENV)" lab
	@"$(BIN)/rlrp-nb" lab

notebooks: ## run the notebooks again and store what they show; prints seconds and peak memory
	@.ci/environment "$(VENV)" test
	@"$(BIN)/python" .ci/notebooks.py

docs: ## build the documentation as a site, into build/docs
	@.ci/environment "$(VENV)" docs
	"$(BIN)/python" -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/docs
	@echo "Open build/docs/index.html."

screenshots: ## take the pictures of the widgets again, in a real JupyterLab
	@.ci/environment "$(VENV)" test
	@test -x "$(CHROME)" || .ci/debian chromium "The pictures are taken in Chromium, which is not installed"
	"$(BIN)/python" docs/screenshots.py
