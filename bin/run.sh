#!/usr/bin/env bash
# Does what `make run` does, from any directory: see `python manage.py run --help`.
cd "$(dirname "$0")/.." && exec .venv/bin/python manage.py run
