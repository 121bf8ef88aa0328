# tulle's front door. `make` alone lists what there is.
#
# Everything that is fetched or built lies in .venv/, .cache/, build/, web/dist/ and node_modules/; a step that is
# done is not done again.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# `make PYTHON=python3.13 ...` (re)makes .venv with that Python; without it, .venv stays as it is.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
VENV_BASE := .venv/base-$(PYTHON_VERSION)
VENV_DEV := .venv/dev-$(PYTHON_VERSION)
VENV_SITE := .venv/site-$(PYTHON_VERSION)

# Tools of the venv and the chosen Node come first for every step below.
export PATH := $(CURDIR)/.cache/node/bin:$(VENV)/bin:$(PATH)

# flatc has to be of the version of third_party/flatbuffers.
FLATC ?= $(or $(wildcard .cache/toolchain/bin/flatc),flatc)

# Tests of a file run in one worker, files side by side; WORKERS=0: all in one process.
WORKERS ?= 2
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

C_SOURCES = $(shell git ls-files -co --exclude-standard 'wasm/*.c' 'wasm/*.cc' 'wasm/*.h' 'tests/native/*.c' 'tests/native/*.cc' | grep -v _generated)

NATIVE = $(MAKE) --no-print-directory -f scripts/native.mk -j"$$(getconf _NPROCESSORS_ONLN)"

# ---- what a person runs ---------------------------------------------------------------------------------------------

.PHONY: help
help:  ## list what there is
	@awk -F ':.*## *' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: site  ## set up everything, convert the models and serve the demo pages (PORT=8000)
	$(PY) scripts/serve.py --site build/site --open . $(if $(PORT),--port $(PORT))

.PHONY: site
site: build convert models npm $(VENV_SITE)  ## the demo pages and documents as static files for any host (build/site)
	$(PY) scripts/build_demo.py
	$(PY) scripts/build_site.py

.PHONY: test
test: dev build native-if-possible models npm chromium firefox  ## run all tests (ARGS="tests/python -k pad" for some)
	CHROMIUM="$$(cat .cache/chromium-path)" $(PYTEST) $(ARGS)

.PHONY: check
check: lint build native-if-possible models  ## lint, and the tests that open no browser and take no more than seconds
	$(PYTEST) -m "not browser and not slow" $(ARGS)

.PHONY: build
build: toolchain  ## build the four WebAssembly modules (web/dist, py/tulle/_wasm)
	scripts/build_wasm.sh

.PHONY: convert
convert: toolchain  ## the Python converter for tulle/convert and npx tulle (web/dist/tulle-python.zip)
	$(PY) scripts/convert_archive.py

.PHONY: native
native: native-toolchain  ## build the C library for this machine, for tests and debugging (build/native); see docs/native.md
	@$(NATIVE)

.PHONY: sanitize
sanitize: dev native models  ## all models and kernels under sanitizers, natively (some twenty minutes; ARGS="-k race")
	$(PY) -m pytest --thorough tests/native $(ARGS)

.PHONY: fuzz
fuzz: dev native models  ## look for files that crash or hang (SECONDS=120), with the lines that were reached
	@$(NATIVE) fuzz
	@$(PY) scripts/fuzz.py --seconds $(or $(SECONDS),120) $(ARGS)

.PHONY: soak
soak: dev build models npm chromium  ## 20,000 runs, 500 loads, 10,000 frames and as many of a background: memory flat (ten minutes)
	TULLE_SOAK=1 CHROMIUM="$$(cat .cache/chromium-path)" $(PY) -m pytest -s tests/browser/test_soak.py $(ARGS)
	CHROMIUM="$$(cat .cache/chromium-path)" $(PY) -m pytest --thorough tests/browser/test_background.py -k soak -s $(ARGS)

.PHONY: pyodide
pyodide: build node  ## build the wheels for Pyodide (dist/); see docs/pyodide.md
	$(PY) scripts/pyodide_wheels.py

.PHONY: notebooks
notebooks: pyodide models  ## a JupyterLite site of the notebooks (build/notebooks-site); see docs/pyodide.md
	$(PY) scripts/build_notebooks.py

.PHONY: bench
bench: dev build models chromium  ## compare with other runtimes (ARGS="--quick"); see docs/benchmarks.md
	CHROMIUM="$$(cat .cache/chromium-path)" $(PY) bench/run.py $(ARGS)

.PHONY: bench-kernels
bench-kernels: dev build chromium  ## GMAC/s of every kernel on real layer shapes (ARGS="--quick")
	CHROMIUM="$$(cat .cache/chromium-path)" $(PY) bench/kernels.py $(ARGS)

.PHONY: lint
lint: dev npm  ## linters and type checkers of Python, JavaScript and C
	ruff check .
	ruff format --check .
	mypy
	cd web && npm run --silent check && npx --no-install tsc -p ../demos
	clang-format --dry-run -Werror $(C_SOURCES)

.PHONY: format
format: dev  ## format Python and C
	ruff check --fix-only --quiet .
	ruff format .
	clang-format -i $(C_SOURCES)

.PHONY: schema
schema: toolchain  ## C, C++ and Python code from wasm/format/tulle.fbs
	$(FLATC) --cpp -o wasm/format wasm/format/tulle.fbs
	$(FLATC) --python --gen-onefile --gen-object-api -o py/tulle/pack/schema wasm/format/tulle.fbs
	$(PY) scripts/op_fields.py

.PHONY: tables
tables: dev  ## the tables of ops, operators and passes in README.md and docs/
	$(PY) scripts/op_tables.py

.PHONY: locks
locks: $(VENV_BASE)  ## newer versions of what builds and tests use, with their hashes (locks/)
	@$(PY) scripts/locks.py

.PHONY: sbom
sbom: $(VENV_BASE) node  ## what tulle is made of and built with, as CycloneDX lists (build/sbom)
	@$(PY) scripts/sbom.py

.PHONY: release-dry-run
release-dry-run: dev pyodide convert npm models sbom  ## all of a release but its publication (build/release; ARGS="--tag v0.1.0")
	@$(PY) scripts/release.py $(ARGS)

.PHONY: clean
clean:  ## remove what was built
	rm -rf build dist web/dist py/tulle/_wasm demos/models

.PHONY: distclean
distclean: clean  ## remove what was fetched too: .venv, .cache (toolchain, models), node_modules
	rm -rf .venv .cache
	rm -rf web/node_modules bench/node_modules .pytest_cache .ruff_cache .mypy_cache

# ---- set-up ---------------------------------------------------------------------------------------------------------

.PHONY: dev
dev: $(VENV_DEV)

$(VENV_BASE): pyproject.toml $(wildcard locks/*.txt)
	@$(PYTHON) scripts/make_venv.py
	@touch $@

$(VENV_DEV): $(VENV_BASE)
	@$(PYTHON) scripts/make_venv.py dev
	@touch $@

$(VENV_SITE): $(VENV_BASE)
	@$(PY) scripts/make_venv.py site
	@touch $@

.PHONY: toolchain
toolchain: $(VENV_BASE)
	@$(PY) scripts/toolchain.py

.PHONY: native-toolchain
native-toolchain: $(VENV_BASE)
	@$(PY) scripts/native_toolchain.py

# For `make test`: without a clang that will do, its tests skip.
.PHONY: native-if-possible
native-if-possible: $(VENV_BASE)
	@$(PY) scripts/native_toolchain.py --optional
	@[ ! -e .cache/native/bin/clang ] || $(NATIVE)

.PHONY: node
node: $(VENV_BASE)
	@$(PY) scripts/node.py

.PHONY: npm
npm: node web/node_modules/.package-lock.json

web/node_modules/.package-lock.json: web/package.json web/package-lock.json | node
	cd web && npm ci --no-audit --no-fund
	@touch $@

.PHONY: chromium
chromium: dev
	@$(PY) scripts/chromium.py

.PHONY: firefox
firefox: dev
	@$(PY) scripts/firefox.py

.PHONY: models
models: node
	@$(PY) scripts/fetch_models.py
	@$(PY) scripts/build_models.py
