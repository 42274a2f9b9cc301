# Every target sets up what it needs first; a second run finds all of it there and loses no time.
# Settings: PYTHON=/path/to/python3 to choose one, ARGS="..." for what a target hands on.

PY := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help demo test test-stock-kernel setup check lint format-check types format bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 19

demo: ## bring up the lab two-lans, prove it, show it, take it down
	@tools/setup demo
	@tools/demo

test: ## run the tests (as root: as root and as an ordinary user); ARGS="-k nat -n auto" goes to pytest
	@tools/setup test
	@tools/test $(ARGS)

test-stock-kernel: ## run the tests that the kernel matters to in Debian's own, emulated; ARGS="..." goes to pytest
	@tools/setup stock-kernel
	@tools/test-stock-kernel $(ARGS)

setup: ## set up all that working on wanlab needs, and nothing more
	@tools/setup test

check: lint format-check types ## everything that looks at the code without running it

lint: ## ruff's rules
	@tools/setup dev
	$(PY) -m ruff check .

format-check: ## is the code formatted?
	@tools/setup dev
	$(PY) -m ruff format --check .

types: ## mypy, strict
	@tools/setup dev
	$(PY) -m mypy

format: ## format the code and sort its imports
	@tools/setup dev
	$(PY) -m ruff check --select I --fix .
	$(PY) -m ruff format .

bench: ## measure; ARGS="..." goes to the benchmarks
	@tools/setup test
	$(PY) -m benchmarks $(ARGS)

clean: ## remove what these targets made, .venv included
	rm -rf .venv .stock-kernel .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
