# kinlink: `make demo` runs it, `make test` tests it; both install what they need into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

SCALE ?= town
UV_VERSION := 0.13.9
UV := $(shell command -v uv || echo .tools/uv/bin/uv)
BIN := .venv/bin
PY := PYTHONPATH=services:. $(BIN)/python
SOURCES := services tests bench examples tools

.PHONY: help demo services test test-slow check fix proto docs bench-evaluate bench-families bench-audit bench-rekey bench-release bench-releases bench-linkage clean

help: ## Show this list.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: .venv/ready ## Run everything on a synthetic municipality (SCALE=town or copenhagen).
	@$(PY) -m examples.demo --scale $(SCALE)

services: .venv/ready ## Start the demo's services again, with its data, to try commands against.
	@$(PY) -m examples.stack .demo/$(SCALE)/stack

test: .venv/ready ## Run the tests.
	@$(BIN)/pytest -m "not slow"

test-slow: .venv/ready ## Run the long tests: kills at random points, city scale.
	@$(BIN)/pytest -m slow

check: .venv/ready ## Check style, types, contracts, imports and generated files; writes nothing.
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy
	@cd proto && ../$(BIN)/buf lint && ../$(BIN)/buf format --diff --exit-code
	@$(BIN)/buf breaking proto --against proto/released.binpb
	@$(PY) tools/gen_proto.py --check
	@$(PY) tools/gen_docs.py --check
	@$(PY) tools/gen_spec.py --check
	@$(BIN)/pytest -q tests/architecture/test_imports.py

fix: .venv/ready ## Format, and write generated code and docs anew.
	@$(BIN)/ruff check --fix $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)
	@cd proto && ../$(BIN)/buf format -w
	@$(PY) tools/gen_proto.py
	@$(PY) tools/gen_docs.py
	@$(PY) tools/gen_spec.py

bench-evaluate: .venv/ready ## Service and client throughput against raw libsodium.
	@$(PY) -m bench.evaluate
	@$(PY) -m bench.client

bench-families: .venv/ready ## Families and spending against hand-written DuckDB SQL, city scale.
	@$(PY) -m bench.families

bench-rekey: .venv/ready ## 700,000 stored pseudonyms to the next key version, against raw libsodium.
	@$(PY) -m bench.rekey

bench-audit: .venv/ready ## Evaluate with the audit log against without it (growth to ten million: python -m bench.audit_growth).
	@$(PY) -m bench.audit

bench-releases: .venv/ready ## The same year released twelve times while 1 % of the families change a month.
	@$(PY) -m bench.releases

bench-release: .venv/ready ## Hide and prove a table of 1,144 cells, and one of 10,000.
	@$(PY) -m bench.release

bench-linkage: .venv/ready ## FEBRL 1-3: encoded linkage beside Splink, recordlinkage and clkhash (own files: python -m bench.linkage --help).
	@$(PY) -m bench.linkage

clean: ## Remove what the targets above made.
	rm -rf .venv .tools .demo demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/ready: pyproject.toml uv.lock tools/bootstrap.sh
	@UV="$(UV)" UV_VERSION="$(UV_VERSION)" bash tools/bootstrap.sh
	@touch $@
