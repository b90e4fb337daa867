#!/usr/bin/env bash
# What `make run` runs, from any directory: see `python manage.py run --help`.
cd "$(dirname "$0")/.." && exec .venv/bin/python manage.py run
