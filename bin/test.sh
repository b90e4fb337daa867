#!/usr/bin/env bash
# All tests on SQLite, and at the same time all but the browser tests on a private MariaDB with
# RabbitMQ; then the short fault suite. Arguments are passed to pytest; with arguments the mall's
# tests and the faults are left out.
set -uo pipefail
cd "$(dirname "$0")/.."
export SERVICES_DIR=$PWD/var/test-services MARIADB_PORT=${MARIADB_PORT:-13406}
export RABBITMQ_PORT=${RABBITMQ_PORT:-15773} FLUSH=off
broker=amqp://guest:guest@127.0.0.1:$RABBITMQ_PORT/%2F

on_sqlite() {
  env -u DATABASE_URL -u AMQP_URL .venv/bin/pytest -q "$@" || return
  [ $# -eq 0 ] || return 0
  echo "== The reference mall"
  (cd examples/mall && ../../.venv/bin/pytest -q)
}

on_mariadb() {
  export VAR_DIR=$SERVICES_DIR/var DATABASE_URL=mysql://groupbuy:groupbuy@127.0.0.1:$MARIADB_PORT/groupbuy
  [ $# -gt 0 ] || set -- --ignore=tests/browser
  AMQP_URL=$broker .venv/bin/pytest -q "$@" || return
  [ "$1" != --ignore=tests/browser ] ||
    (cd examples/mall && MALL_TEST_AMQP_URL=$broker ../../.venv/bin/pytest -q tests/test_rabbitmq.py)
}

bin/chromium.sh || echo "The tests of the pages in a browser are skipped."
make --no-print-directory .venv/mysql && bin/services.sh start mariadb rabbitmq
services=$?
beside=
trap '[ -z "$beside" ] || kill -- -"$beside"; bin/services.sh stop >/dev/null' EXIT
if [ $services = 0 ]; then
  set -m # a process group of its own, which the trap ends
  on_mariadb "$@" >"$SERVICES_DIR/pytest.log" 2>&1 & beside=$!
  set +m
fi

echo "== SQLite"
on_sqlite "$@"
failed=$?
if [ $services != 0 ]; then
  [ $failed = 0 ] || exit 1
  echo "The tests passed on SQLite; those on MariaDB and RabbitMQ and the fault suite were skipped: the services could not be installed (see above)."
  exit 0
fi
echo "== MariaDB and RabbitMQ"
wait "$beside" || failed=1
beside=
cat "$SERVICES_DIR/pytest.log"
[ $failed = 0 ] || exit 1
[ $# -eq 0 ] || exit 0

bin/services.sh stop
echo "== Faults: processes and services that die, a mall that misbehaves"
env -u DATABASE_URL .venv/bin/pytest -q -m chaos || exit 1
echo "All tests passed, on SQLite and on MariaDB with RabbitMQ, and under faults."
