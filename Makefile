# Everything here works on a machine with Python 3.11 and nothing else prepared: no root, no container, no model hub.
# ARGS is passed on:  make test ARGS="-k citations -x"     ENGINE=gpu make setup picks vLLM's GPU build.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-slow bench lint format lock clean

BIN := .venv/bin
ARGS ?=

# Nothing in tests or demo may reach for a model hub or report usage.
export HF_HUB_OFFLINE := 1
export RAY_USAGE_STATS_ENABLED := 0
export TOKENIZERS_PARALLELISM := false
export VLLM_NO_USAGE_STATS := 1

COVERAGE := --cov --cov-report=term

help: ## Print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-10s %s\n", $$1, $$2 }'

setup: ## Make .venv from pinned versions; returns at once when it is current
	@deploy/setup/setup.sh

demo: setup ## Index, train, publish, serve and compare four specialists
	@$(BIN)/graftwork demo $(ARGS)

test: setup lint ## Lint, then every test but the slow ones and the benchmarks (some 20 minutes on 2 cores)
	$(BIN)/pytest -m "not slow and not bench" $(COVERAGE) $(ARGS)

test-fast: setup ## The tests that need no cluster (a minute or two)
	$(BIN)/pytest -m "not stack and not slow and not bench" $(ARGS)

test-slow: setup ## The tests that start clusters and engines of their own
	$(BIN)/pytest -m slow $(ARGS)

bench: setup ## The benchmarks
	$(BIN)/pytest -m bench $(ARGS)

lint: setup ## ruff, mypy and the order of imports between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup ## Write deploy/setup/constraints-cpu.txt from what is installed
	$(BIN)/python deploy/setup/lock.py cpu

clean: ## Remove caches and reports; .venv and ~/.graftwork stay
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis .coverage .coverage.* htmlcov build dist *.egg-info
	find indexer train serve deploy tests -name __pycache__ -type d -prune -exec rm -rf {} +
