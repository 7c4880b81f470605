# Every target makes the environment it needs; a machine with Python 3.11, make and a package index is enough.
PYTHON ?= python3
BIN := .venv/bin
KEEP ?=
# Modules go to two processes, each with servers of its own: tests wait more than they compute.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help setup setup-dev demo test test-all test-unit image-test lint types bench bench-memory screenshots lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: ## Make .venv with the project, the demo's servers and nothing else
	@$(PYTHON) .ci/bootstrap.py demo

setup-dev: ## Make .venv with what tests and benchmarks need as well
	@$(PYTHON) .ci/bootstrap.py dev
	@.ci/install-postgresql
	@.ci/install-pgbouncer
	@.ci/install-chromium

demo: setup ## Back up, drill and prune a sample database, with servers of its own (KEEP=1 leaves the UI up)
	@$(BIN)/pg-roundtrip demo $(if $(KEEP),--keep)

test: setup-dev lint types ## Run everything: lint, types, unit and integration tests on real servers
	@$(PYTEST) -m "not long"

test-all: setup-dev lint types ## Run everything, and what takes long as well: every step killed, soak, many plans
	@EXAMPLES=random $(PYTEST)

test-unit: setup-dev ## Run the tests that need no server
	@$(BIN)/python -m pytest tests/unit

image-test: setup-dev ## Build the container image, run the compose file, and test both (needs a Docker engine)
	@$(BIN)/python -m pytest -s tests/image

lint: setup-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@find . -name '*Dockerfile' -not -path './.*' -exec $(BIN)/hadolint {} +

types: setup-dev
	@$(BIN)/mypy

bench: setup-dev ## Measure against the shell pipeline on a database of about 1 GB
	@$(BIN)/python -m tests.bench

bench-memory: setup-dev ## Measure what the whole service needs during a backup and a drill of such a database
	@$(BIN)/python -m tests.bench.memory

screenshots: setup-dev ## Take the pictures of the Prefect UI in docs/images anew
	@$(BIN)/python -m tests.screenshots

lock: ## Resolve the dependencies anew
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra demo --extra build pyproject.toml -o requirements.lock
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra build -c requirements.lock pyproject.toml -o requirements-image.lock
	@uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--all-extras -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## Remove what the targets above made
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .bench .image-test
