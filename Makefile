# Every target creates the environment it needs; Python 3.11, make and a package index are enough.
PYTHON ?= python3
BIN := .venv/bin
KEEP ?=
# Run modules in two processes, each with its own servers: tests wait more than they compute. In this order the long ones begin first.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder
TESTS ?= tests
UPGRADE ?=
TAG ?=
# Tests and benchmarks start hundreds of processes: with compiled modules, which some machines don't keep, each starts in half the time.
unexport PYTHONDONTWRITEBYTECODE
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: help setup setup-tools setup-dev demo test test-all test-unit test-compat coverage image image-test lint types links changelog \
	bench bench-copies bench-commands bench-memory bench-fleet docs screenshots lock release-notes clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: .venv/.demo ## Create .venv with only the project and the demo's servers

setup-tools: .venv/.dev ## Create .venv with every development tool, and install nothing outside it

# The stamp records which of the project's extras .venv has, and from which lock.
.venv/.%: pyproject.toml requirements.lock
	@$(PYTHON) .ci/bootstrap.py .venv -e '.[$*]'
	@touch $@

setup-dev: setup-tools ## Create .venv and install what tests and benchmarks need
	@.ci/install-postgresql
	@.ci/install-pgbouncer
	@.ci/install-age
	@.ci/install-chromium
	@.ci/install-prometheus

demo: setup ## Back up, drill and prune a sample database, on its own servers (KEEP=1 leaves the UI up)
	@$(BIN)/pg-roundtrip demo $(if $(KEEP),--keep)

test: setup-dev lint types ## Run everything: lint, types, unit and integration tests on real servers
	@$(BIN)/python -m pytest $(IN_TWO) -m "not long"

test-all: setup-dev lint types ## Run everything, including the long tests: every step killed, soak (SOAK_MINUTES shortens it), many plans
	@EXAMPLES=random $(BIN)/python -m pytest $(IN_TWO)

test-unit: setup-tools ## Run the tests that need no server
	@$(BIN)/python -m pytest tests/unit

test-compat: setup-tools ## Run the round trip on the server of TEST_DATABASE_URL and the storage of S3_ENDPOINT, S3_BUCKET and its keys
	@$(BIN)/python -m pytest tests/compat

coverage: setup-dev ## Run everything but the long tests, and report line and branch coverage; TESTS=tests/unit for a part
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest $(IN_TWO) -m "not long" $(TESTS)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage json -q -o .coverage.json
	@$(BIN)/coverage report --skip-covered
	@$(BIN)/python .ci/coverage_gate.py .coverage.json

image: ## Build the container image (needs a Docker engine)
	@docker build -t pg-roundtrip --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) .

image-test: setup-tools ## Build the container image, run the compose file, and test both (needs a Docker engine)
	@$(BIN)/python -m pytest -s tests/image

lint: setup-tools ## Lint Python, documents, shell, Dockerfiles, workflows and configuration files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/rumdl check --quiet .
	@$(BIN)/codespell --dictionary=- --dictionary=docs/words.txt
	@$(BIN)/towncrier build --draft --version next >/dev/null 2>&1 || { echo "ERROR: docs/changes: see $(BIN)/towncrier build --draft"; exit 1; }
	@find . -name '*Dockerfile' -not -path './.*' -exec $(BIN)/hadolint {} +
	@grep -rlIE '^#!/bin/(ba)?sh' .ci tests flows tasks blocks | xargs $(BIN)/shellcheck
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/check-jsonschema -q --builtin-schema vendor.compose-spec docker-compose.yml
	@$(BIN)/zizmor -q --offline --no-progress .github

types: setup-tools ## Check the types
	@$(BIN)/mypy

links: setup-tools ## Check every URL in the documents (needs internet access)
	@$(BIN)/python -m tests.links

bench: setup-dev ## Measure against the shell pipeline on a database of about 1 GB
	@$(BIN)/python -m tests.bench

bench-copies: setup-dev ## Measure what a second place and encryption add to a backup of such a database
	@$(BIN)/python -m tests.bench --only "level 6" --runs 5

bench-commands: setup-dev ## Measure what commands cost on a small database, next to the shell pipeline
	@$(BIN)/python -m tests.bench.commands

bench-fleet: setup-dev ## Measure 200 plans on four workers and one Prefect server, for half an hour
	@$(BIN)/python -m tests.bench.fleet

bench-memory: setup-dev ## Measure what the service needs during a backup and a drill of such a database, and what single commands cost
	@$(BIN)/python -m tests.bench.memory

docs: setup-tools ## Write the generated parts of the documents: tables of settings and providers, .env.example
	@$(BIN)/python -m tests.generated

screenshots: setup-dev ## Take the pictures of the Prefect UI in docs/images again
	@$(BIN)/python -m tests.screenshots

lock: ## Resolve the dependencies again; UPGRADE=1 upgrades all of them
	@$(PYTHON) .ci/bootstrap.py .venv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--all-extras $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock

changelog: setup-tools ## Move the changes in docs/changes into CHANGELOG.md, under the version in pyproject.toml
	@$(BIN)/towncrier build --yes --version $(VERSION)

release-notes: ## Print the release notes from CHANGELOG.md, TAG=v1.2.3; fails if the tag is not the version in pyproject.toml
	@$(PYTHON) .ci/release_notes.py "$(TAG)"

clean: ## Remove everything that these targets create
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .bench .image-test .coverage .coverage.*
