#!/usr/bin/env bash
# All tests on SQLite; all but the browser tests again on a private MariaDB with RabbitMQ; then the
# short fault suite. Arguments are passed to pytest; with arguments the mall and the faults are left out.
set -uo pipefail
cd "$(dirname "$0")/.."
export SERVICES_DIR=$PWD/var/test-services MARIADB_PORT=${MARIADB_PORT:-13406}
export RABBITMQ_PORT=${RABBITMQ_PORT:-15773} FLUSH=off

bin/chromium.sh || echo "The tests of the pages in a browser are skipped."
echo "== SQLite"
env -u DATABASE_URL -u AMQP_URL .venv/bin/pytest -q "$@" || exit 1

echo "== The reference mall"
[ $# -gt 0 ] || (cd examples/mall && ../../.venv/bin/pytest -q) || exit 1

echo "== MariaDB and RabbitMQ"
trap 'bin/services.sh stop >/dev/null' EXIT
make --no-print-directory .venv/mysql && bin/services.sh start mariadb rabbitmq
case $? in
  0) ;;
  *) echo "The tests passed on SQLite; those on MariaDB and RabbitMQ and the fault suite were skipped: the services could not be installed (see above)."
     exit 0 ;;
esac
export DATABASE_URL=mysql://groupbuy:groupbuy@127.0.0.1:$MARIADB_PORT/groupbuy
broker=amqp://guest:guest@127.0.0.1:$RABBITMQ_PORT/%2F
chosen=("$@")
[ $# -gt 0 ] || chosen=(--ignore=tests/browser)
AMQP_URL=$broker .venv/bin/pytest -q "${chosen[@]}" || exit 1
[ $# -gt 0 ] || (cd examples/mall && MALL_TEST_AMQP_URL=$broker ../../.venv/bin/pytest -q tests/test_rabbitmq.py) || exit 1
bin/services.sh stop
[ $# -eq 0 ] || exit 0

echo "== Faults: processes and services that die, a mall that misbehaves"
env -u DATABASE_URL .venv/bin/pytest -q -m chaos || exit 1
echo "All tests passed, on SQLite and on MariaDB with RabbitMQ, and under faults."
