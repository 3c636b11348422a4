# make demo   train, certify, check independently, report (the first run also installs)
# make test   the whole test suite
# make soundness  the campaign that tries to break the proofs: what is missing of it, resumable
# make lint   style, format and types
# make bench  every benchmark; the peers install into environments of their own first
# make docs   the documentation as a site, in site/
# make wheels  wheels and source distributions of talweg and talweg-check, in dist/
# make check-wheels  installs them into fresh environments, runs the demo, and checks its file alone
# make venv   only the environment with everything that the tests need, in .venv
#
# PYTHON=... picks the interpreter (3.11 or newer); PIP_ARGS=... reaches every pip install.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test lint bench soundness docs wheels check-wheels venv clean

OUT ?= out
PIP_ARGS ?=
PYTEST_ARGS ?=
SOUNDNESS_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.talweg-installed
TEST_STAMP := .venv/.talweg-test-installed
DOCS_STAMP := .venv/.talweg-docs-installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

demo: $(STAMP)
	$(BIN)/talweg demo --out $(OUT)

# Two workers of one thread each: small matrices gain nothing from a second thread.
test: $(TEST_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# Shards that are complete for the present code are not run again; Ctrl-C loses nothing finished.
soundness: $(TEST_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.soundness --document $(SOUNDNESS_ARGS)

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(TEST_STAMP) bench-peers
	for benchmark in benchmarks/*.py; do $(BIN)/python "$$benchmark"; done
	$(BIN)/python -m benchmarks.faults

# A warning (a link or an anchor that leads nowhere, a page outside the navigation) is an error.
# The variable silences an advertisement that is no warning about the pages.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --clean
	@echo "Open site/index.html; with its search: python3 -m http.server --directory site"

wheels: $(TEST_STAMP)
	rm -rf dist
	$(BIN)/python -m hatchling build -d "$(CURDIR)/dist"
	cd checker && "$(CURDIR)/$(BIN)/python" -m hatchling build -d "$(CURDIR)/dist"

check-wheels: wheels
	.ci/check-wheels "$(CURDIR)/$(BIN)/python" $(PIP_ARGS)

venv: $(TEST_STAMP)

# The stamp is the last line, so an interrupted installation is taken up again by the next make.
$(STAMP): pyproject.toml checker/pyproject.toml constraints.txt
	@python=; for candidate in $(PYTHON) python3 python3.11 python3.12 python3.13; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "make: Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3" >&2; \
	  exit 1; fi; \
	if ! $(BIN)/python -c '' 2>/dev/null; then $$python -m venv .venv; fi
	$(INSTALL) $(PIP_ARGS) \
	  --constraint constraints.txt --editable checker --editable '.[demo,reproduce]'
	touch $@

# The tests also run talweg inside the training loops of other libraries; the demo needs none.
$(TEST_STAMP): $(STAMP)
	$(INSTALL) $(PIP_ARGS) \
	  --constraint constraints.txt --editable checker --editable '.[demo,reproduce,test,lint]'
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(INSTALL) $(PIP_ARGS) --constraint constraints.txt --editable checker --editable '.[docs]'
	touch $@

clean:
	rm -rf $(OUT) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

-include benchmarks/peers.mk
