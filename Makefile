# Every command installs what it needs first. `make` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := 1
export PYTHONPATH := $(CURDIR)/clients/python/src

.PHONY: help run demo test chaos test-operations check bench load services services-stop translations screenshots clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run ## Start everything on http://127.0.0.1:8000/ (PORT=, VAR_DIR=); Ctrl-C stops it
	@$(BIN)/python manage.py run || [ $$? -eq 130 ]  # 130: Ctrl-C

demo: $(VENV)/run ## The whole journey, there and back, on a stack of its own; prints each step
	@$(BIN)/python -m bin.demo

test: $(VENV)/dev ## All tests: on SQLite, then on MariaDB where it can be installed
	@bin/test.sh

chaos: $(VENV)/dev $(VENV)/mysql ## The fault suite for SECONDS (300), with the SEED it prints; CLUSTER=1: on three nodes each
	@$(BIN)/python -m tests.chaos --seconds $(or $(SECONDS),300) $(if $(SEED),--seed $(SEED)) $(if $(CLUSTER),--cluster)

test-operations: $(VENV)/dev $(VENV)/mysql ## What runs around the platform: nginx, restarts, backups, alerts
	@$(BIN)/pytest -q -m operations

check: $(VENV)/dev ## Format, lint, types, imports, migrations, API schema, translations, alert rules
	@bin/check.sh

bench: $(VENV)/mysql ## Measure, print a table of ratios, write var/bench/latest.json
	@$(BIN)/python -m benchmarks.run

load: $(VENV)/load $(VENV)/mysql ## Load a platform and write a report (URL= KEY= NOTIFY_URL=, MINUTES=5, SHAPE=steady|flash, PAGE=1)
	@$(BIN)/python -m benchmarks.load --shape $(or $(SHAPE),steady) --minutes $(or $(MINUTES),5) \
	  $(if $(URL),--url $(URL) --key "$(KEY)" --notify-url "$(NOTIFY_URL)") $(if $(PAGE),--page) $(LOAD)

services: ## Start private MariaDB, Redis and RabbitMQ below var/services
	@bin/services.sh start
	@bin/services.sh env

services-stop: ## Stop them
	@bin/services.sh stop

translations: $(VENV)/dev ## Collect new texts into locale/ and compile the catalogs
	@bin/translations.sh update

screenshots: $(VENV)/dev ## Take docs/screenshots/ of the shopper pages and the console, with Chromium
	@bin/chromium.sh
	@SCREENSHOTS=1 $(BIN)/pytest -q tests/browser/screenshots.py tests/browser/test_operators.py

clean: ## Remove what the commands above have made, data included
	@bin/services.sh stop
	rm -rf $(VENV) var

$(VENV)/bin/python:
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed.")'
	python3 -m venv $(VENV)

$(VENV)/run: requirements.txt deploy/constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: -r requirements.txt
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/run
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: -r requirements-dev.txt
	@touch $@

$(VENV)/load: requirements-load.txt $(VENV)/run
	$(BIN)/pip install --quiet --disable-pip-version-check --only-binary :all: -r requirements-load.txt
	@touch $@

$(VENV)/mysql: requirements-mysql.txt $(VENV)/run
	@bin/services.sh client
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-mysql.txt
	@touch $@
