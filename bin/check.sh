#!/usr/bin/env bash
# All checks that run no tests: format, lint, types, imports, migrations, schema, translations, alert
# rules.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" SECRET_KEY=check DEBUG=false DEMO= DATABASE_URL=
export PYTHONPATH=$PWD/clients/python/src
export MALL_SECRET_KEY=check MALL_VAR_DIR=$PWD/var/check

ruff format --check .
ruff check .
mypy groupbuy tag activity trade pages assistant tests benchmarks bin clients/python/src manage.py
mypy examples/agent
(cd examples/mall && mypy mall pretend_alipay tests manage.py)
PYTHONPATH=$PYTHONPATH:examples/mall lint-imports --no-logo
python manage.py check --fail-level WARNING
python manage.py makemigrations --check --dry-run
python examples/mall/manage.py check --fail-level WARNING
python examples/mall/manage.py makemigrations --check --dry-run
python manage.py spectacular --validate --fail-on-warn | diff docs/openapi.yaml - ||
  { echo "docs/openapi.yaml is old: python manage.py spectacular --file docs/openapi.yaml" >&2; exit 1; }
bin/translations.sh check
if bin/services.sh monitoring; then
  promtool check config deploy/prometheus/prometheus.yml >/dev/null
  promtool check config deploy/prometheus/compose.yml >/dev/null
  promtool test rules deploy/prometheus/tests.yml >/dev/null
  amtool check-config deploy/prometheus/alertmanager.yml >/dev/null
else
  echo "deploy/prometheus was not checked: promtool is missing and could not be installed."
fi
