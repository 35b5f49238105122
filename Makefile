# Everything a person starts by hand. Paths are relative and quoted, so that the project may lie anywhere.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Each candidate is started, not only looked up: a version manager's shim can exist and still not run.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
    "$$p" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
VENV_PYTHON := .venv/bin/python
PIP_INSTALL := $(VENV_PYTHON) -m pip install -qq --no-input --disable-pip-version-check --require-hashes
# One version of each package for every Python; only releases that have wheels, so that nobody needs a compiler.
LOCK := $(VENV_PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
    --only-binary :all: --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
WRITTEN_FOLDERS := ingesteddata models practicemodels production_deployment

# An environment that was moved, whose Python is gone, or that was never finished is made anew.
SOUND := $(shell test "$$(cat .venv/.place 2>/dev/null)" = "$$(pwd -P)" && $(VENV_PYTHON) -c '' 2>/dev/null && echo yes)
ifneq ($(SOUND),yes)
.PHONY: .venv/.place
endif

.PHONY: help
help: ## list the targets (what make alone does)
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: .venv/.runtime ## make the environment in .venv, as far as it is not made yet

.PHONY: run
run: setup ## run the pipeline once on the data in sourcedata/, and say where the results are
	@$(VENV_PYTHON) fullprocess.py -v
	@$(VENV_PYTHON) -c 'from attrition import config; c = config.load(); \
	print(f"The report:    {c.report}\nThe risk list: {c.risk_list}\nThe API:       make serve")'

.PHONY: test
test: .venv/.dev .venv/.cluster ## run the tests; ARGS="-k cron" runs some of them
	@$(VENV_PYTHON) -m pytest -n auto --dist loadfile $(ARGS)

.PHONY: test-reliability
test-reliability: .venv/.dev ## try every crash point, full disk and power cut; make test tries a selection of them
	@RELIABILITY=all $(VENV_PYTHON) -m pytest -n auto --dist worksteal tests/reliability $(ARGS)

.PHONY: serve
serve: setup ## start the API
	@$(VENV_PYTHON) -m gunicorn --config gunicorn.conf.py wsgi:app

.PHONY: lint
lint: .venv/.dev .venv/.cluster ## check format, habits and types of all code
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m mypy

.PHONY: audit
audit: setup ## ask for known vulnerabilities of the packages, and say so where nobody answers
	@$(VENV_PYTHON) .ci/audit.py

.PHONY: demo
demo: setup ## watch a practice area go through a year: months arrive, the world changes, a release answers
	@rm -rf demo
	@$(VENV_PYTHON) -m attrition.demo --out demo

.PHONY: bench
bench: .venv/.bench ## measure speed, memory and decisions beside others in about ten minutes; ARGS="tick api" measures some
	@$(VENV_PYTHON) -m benchmarks.environments
	@$(VENV_PYTHON) -m benchmarks --short $(ARGS)

.PHONY: bench-full
bench-full: .venv/.bench ## the same at full size, for hours
	@$(VENV_PYTHON) -m benchmarks.environments
	@$(VENV_PYTHON) -m benchmarks --full $(ARGS)

.PHONY: lock
lock: .venv/.dev ## make requirements*.txt from requirements*.in; UPGRADE=yes takes the newest releases
	@$(LOCK) --output-file requirements.txt requirements.in
	@$(LOCK) --output-file requirements-dev.txt requirements-dev.in
	@$(LOCK) --output-file requirements-cluster.txt requirements-cluster.in
	@$(LOCK) --output-file requirements-bench.txt requirements-bench.in

.PHONY: cluster
cluster: .venv/.cluster ## install what a scheduler and workers of dask need, and what speaks to them

.PHONY: cron
cron: setup ## put the line of cronjob.txt into your crontab
	@$(VENV_PYTHON) -m attrition.crontab install

.PHONY: uncron
uncron: setup ## take that line out of your crontab
	@$(VENV_PYTHON) -m attrition.crontab remove

.PHONY: data
data: setup ## make the shipped data again: practicedata/, sourcedata/, testdata/
	@$(VENV_PYTHON) -m attrition.simulation --shipped --out .

.PHONY: clean
clean: ## remove all that was generated, the live release and the run history included; shipped data stays
	@for folder in $(WRITTEN_FOLDERS); do \
	    test ! -d "$$folder" || \
	    find "$$folder" -mindepth 1 -maxdepth 1 ! -name .gitkeep ! -name 'README*' \
	        -exec chmod -R u+rwX {} + -exec rm -rf {} + || exit; \
	done
	@find . -path ./.venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
	@rm -rf .*.stamp .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info

.PHONY: distclean
distclean: clean ## remove .venv as well
	@rm -rf .venv

.venv/.place:
	@if ! test -w . || ! test -w "$$(test -e .venv && echo .venv || echo .)"; then \
	    echo "$$(pwd -P): $$(id -un) may not write here, so .venv cannot be made. Give this user the permission, or" \
	        "clone the project into a folder of this user's." >&2; exit 1; \
	fi; \
	python="$(PYTHON)"; \
	if test -z "$$python"; then \
	    echo "No Python 3.11 or newer with venv was found as python3.13, python3.12, python3.11 or python3. Install one" \
	        "(Debian, Ubuntu: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python" >&2; \
	    exit 1; \
	fi; \
	if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    echo "$$python is not Python 3.11 or newer. Name another one: make PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv'; then \
	    echo "$$python lacks venv. Install it (Debian, Ubuntu: apt-get install python3-venv) and run make again." >&2; exit 1; \
	fi; \
	echo "Making .venv with $$("$$python" --version)."; \
	rm -rf .venv && "$$python" -m venv .venv && pwd -P > .venv/.place

# While packages are being installed the environment counts as unfinished: a setup that was killed starts afresh.
define INSTALL
@echo "Installing the packages of $< into .venv; this can take a minute."
@mv .venv/.place .venv/.unfinished; \
$(PIP_INSTALL) -r $<; status=$$?; \
test $$status -eq 0 || echo "The packages of $< could not be installed: pip says why above. Where no package index can be" \
    "reached, name a mirror (PIP_INDEX_URL), a proxy (HTTPS_PROXY) or a folder of wheels (PIP_NO_INDEX=1 PIP_FIND_LINKS=...)," \
    "then run make again." >&2; \
mv .venv/.unfinished .venv/.place; exit $$status
@touch $@
endef

.venv/.runtime: requirements.txt .venv/.place
	$(INSTALL)

.venv/.dev: requirements-dev.txt .venv/.runtime
	$(INSTALL)

.venv/.cluster: requirements-cluster.txt .venv/.runtime
	$(INSTALL)

.venv/.bench: requirements-bench.txt .venv/.runtime
	$(INSTALL)
